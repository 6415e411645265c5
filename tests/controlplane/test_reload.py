from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import replace

import pytest

from proxy.controlplane.listeners.sockets import StartError
from proxy.controlplane.reload import Fault, Json, Rejected
from proxy.controlplane.signals import heed_signals
from proxy.controlplane.supervisor import Supervisor
from proxy.core.messages import Applied, Drain, Snapshot
from proxy.core.settings import Address, BackendSettings, RouteSettings, Settings
from proxy.core.telling.journal import Query
from tests.controlplane.conftest import Api, Make, PlayedWorker, Stage

FAULT = Fault("unknown key", "x.yaml", 3, 5, "pools.app.helth")


class File:
    """The config file: what is read next."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.faults: list[Fault] = []
        self.before: Callable[[], None] = lambda: None

    def read(self, running: Settings) -> Settings:
        self.before()
        if self.faults:
            raise Rejected(self.faults)
        return self.settings

    def add_backend(self, name: str) -> None:
        pool = self.settings.pools[0]
        added = BackendSettings(name, Address("127.0.0.1", 9))
        self.settings = replace(self.settings, pools=(replace(pool, backends=(*pool.backends, added)),))


@pytest.fixture
def file(make: Make) -> File:
    return File(make.settings(workers=2))


async def obey(worker: PlayedWorker) -> Snapshot:
    """Put in force what comes next, and say so."""
    while (snapshot := await worker.hear_a(Snapshot)).settings is None:
        pass
    worker.say(Applied(worker.number, snapshot.settings_version, 0.001))
    return snapshot


async def test_a_reload_is_over_when_every_worker_has_put_it_in_force(stage: Stage, file: File) -> None:
    supervisor, (first, second) = await stage.serve(file.settings, file.read)
    file.add_backend("new")

    answer = asyncio.create_task(stage.ask(supervisor, "/v1/reload", "POST"))
    snapshot = await obey(first)
    assert not answer.done()
    await obey(second)
    status, document = await asyncio.wait_for(answer, 10)

    assert file.settings == snapshot.settings
    assert ("app", "new") in snapshot.backends
    assert (200, True, [], ["app/new"]) == (
        status,
        document["changed"],
        document["late_workers"],
        document["backends"]["added"],
    )
    assert {"success": 1, "failure": 0} == supervisor.registry.reloads
    assert ["person"] == [one["who"] for one in supervisor.journal.since(Query(kind="config"))]


async def test_a_bad_file_changes_nothing_and_its_mistakes_are_answered(stage: Stage, file: File) -> None:
    supervisor, (first, _) = await stage.serve(file.settings, file.read)
    file.add_backend("new")
    file.faults = [FAULT, replace(FAULT, line=9)]
    before = supervisor.registry.snapshot()

    status, document = await stage.ask(supervisor, "/v1/reload", "POST")
    supervisor.stop()

    assert 422 == status
    assert [
        {
            "file": "x.yaml",
            "line": line,
            "column": 5,
            "key": "pools.app.helth",
            "message": "unknown key",
            "text": f"x.yaml:{line}:5: error: pools.app.helth: unknown key",
        }
        for line in (3, 9)
    ] == document["mistakes"]
    assert before == supervisor.registry.snapshot()
    assert {"success": 0, "failure": 1} == supervisor.registry.reloads
    assert isinstance(await first.hear_a(Drain), Drain)


async def test_hup_reloads_and_the_log_says_what_came_of_it(
    stage: Stage, file: File, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    supervisor, workers = await stage.serve(file.settings, file.read)
    heed_signals(supervisor)
    file.add_backend("new")

    os.kill(os.getpid(), signal.SIGHUP)
    for worker in workers:
        await obey(worker)
    await said(caplog, "reloaded")
    file.faults = [FAULT]
    os.kill(os.getpid(), signal.SIGHUP)
    await said(caplog, "mistake in the config")

    fields = {record.message: record.fields for record in caplog.records if hasattr(record, "fields")}
    assert "1 added" == fields["reloaded"]["backends"]
    assert "x.yaml:3:5: error: pools.app.helth: unknown key" == str(fields["mistake in the config"]["text"])
    assert {"success": 1, "failure": 1} == supervisor.registry.reloads
    assert ["signal", "signal"] == [one["who"] for one in supervisor.journal.since(Query(kind="config"))]


async def test_a_reload_that_fails_by_our_own_mistake_is_in_the_journal_too(
    stage: Stage, file: File, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise ZeroDivisionError("a secret")

    supervisor, _ = await stage.serve(file.settings, file.read)
    file.before = fail
    supervisor.reloader.begin()
    await said(caplog, "a reload failed by our own mistake; the settings in force stay")

    entry = supervisor.journal.since(Query(kind="config"))[0]
    assert ("rejected", "signal") == (entry["to"], entry["who"])
    assert ["a mistake of our own (ZeroDivisionError)"] == entry["evidence"]["mistakes"]


async def said(caplog: pytest.LogCaptureFixture, message: str) -> None:
    async with asyncio.timeout(10):
        while not any(record.message == message for record in caplog.records):  # noqa: ASYNC110 - no event
            await asyncio.sleep(0.005)


async def test_reloads_come_one_after_the_other(stage: Stage, file: File) -> None:
    supervisor, workers = await stage.serve(file.settings, file.read)
    running = []
    file.before = lambda: running.append(len(running))

    asked = [asyncio.create_task(stage.ask(supervisor, "/v1/reload", "POST")) for _ in range(2)]
    await obey(workers[0])
    assert [0] == running
    await obey(workers[1])
    for worker in workers:
        await obey(worker)

    assert [200, 200] == [status for status, _ in await asyncio.gather(*asked)]
    assert [0, 1] == running


async def test_a_worker_that_dies_meanwhile_is_not_waited_for(stage: Stage, file: File) -> None:
    supervisor, (first, second) = await stage.serve(file.settings, file.read)

    answer = asyncio.create_task(stage.ask(supervisor, "/v1/reload", "POST"))
    await obey(first)
    second.end()
    status, document = await asyncio.wait_for(answer, 4)

    assert (200, []) == (status, document["late_workers"])


async def test_a_worker_that_begins_after_it_gets_the_new_settings(stage: Stage, file: File) -> None:
    supervisor, workers = await stage.serve(file.settings, file.read)
    file.add_backend("new")
    answer = asyncio.create_task(stage.ask(supervisor, "/v1/reload", "POST"))
    for worker in workers:
        await obey(worker)
    await answer

    workers[0].end()
    snapshot = await (await stage.worker()).start()

    assert file.settings == snapshot.settings


async def test_who_leaves_while_it_runs_does_not_end_it(stage: Stage, file: File) -> None:
    supervisor, workers = await stage.serve(file.settings, file.read)
    file.add_backend("new")

    answer = asyncio.create_task(stage.ask(supervisor, "/v1/reload", "POST"))
    await obey(workers[0])
    answer.cancel()
    await obey(workers[1])
    async with asyncio.timeout(10):
        while not supervisor.registry.reloads["success"]:  # noqa: ASYNC110 - no event
            await asyncio.sleep(0.005)

    assert file.settings == supervisor.settings


async def test_a_proxy_that_drains_reloads_no_more(stage: Stage, file: File) -> None:
    supervisor, _ = await stage.serve(replace(file.settings, drain_delay=60.0), file.read)

    supervisor.stop()
    status, document = await stage.ask(supervisor, "/v1/reload", "POST")

    assert (409, "the proxy is draining") == (status, document["detail"])


async def test_a_proxy_that_was_started_without_a_file_says_so(stage: Stage, make: Make) -> None:
    supervisor, _ = await stage.serve(make.settings())

    status, document = await stage.ask(supervisor, "/v1/reload", "POST")

    assert (409, "this proxy was not started from a file") == (status, document["detail"])


async def test_routes_that_stay_are_the_same_object_so_that_they_are_not_sent_again(stage: Stage, file: File) -> None:
    file.settings = replace(file.settings, routes=(RouteSettings("all", split=(("app", 1.0),)),))
    supervisor, workers = await stage.serve(file.settings, file.read)
    before = supervisor.settings.routes
    file.settings = replace(file.settings, routes=(RouteSettings("all", split=(("app", 1.0),)),))
    file.add_backend("new")

    answer = asyncio.create_task(stage.ask(supervisor, "/v1/reload", "POST"))
    for worker in workers:
        await obey(worker)
    await answer

    assert supervisor.settings.routes is before


async def test_only_a_post_reloads(api: Api) -> None:
    assert 405 == (await api.get("/v1/reload"))[0]


async def test_a_page_of_another_origin_can_not_reload(api: Api) -> None:
    headers = {"Origin": "http://evil.example"}

    assert 403 == (await api.send("POST", "/v1/reload", headers=headers))[0]


async def test_another_token_counts_at_once(stage: Stage, file: File) -> None:
    file.settings = replace(file.settings, admin=replace(file.settings.admin, token="old"))
    supervisor, workers = await stage.serve(file.settings, file.read)
    file.settings = replace(file.settings, admin=replace(file.settings.admin, token="new"))

    ask = asyncio.create_task(stage.ask(supervisor, "/v1/reload", "POST", headers={"Authorization": "Bearer old"}))
    for worker in workers:
        await obey(worker)
    status, document = await ask
    seen = [
        (await stage.ask(supervisor, "/v1/pools", headers={"Authorization": f"Bearer {token}"}))[0]
        for token in ("old", "new")
    ]

    assert (200, ["admin.token"], [401, 200]) == (status, document["settings"], seen)


async def test_signals_that_come_while_one_waits_for_its_turn_are_one_reload(stage: Stage, file: File) -> None:
    """It begins to read after the last of them: nothing that was written before is missed."""
    reads: list[int] = []
    going, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        reads.append(len(reads))
        going.set()
        assert go_on.wait(10)

    file.before = hold
    supervisor, workers = await stage.serve(file.settings, file.read)
    supervisor.reloader.begin()
    await asyncio.to_thread(going.wait, 10)
    for _ in range(50):
        supervisor.reloader.begin()
    go_on.set()
    for _ in range(2):
        for worker in workers:
            await obey(worker)
    async with asyncio.timeout(20):
        while supervisor.registry.reloads["success"] < 2:  # noqa: ASYNC110 - a signal gets no answer
            await asyncio.sleep(0.01)

    assert [0, 1] == reads


async def test_an_address_that_was_just_given_up_is_waited_for(
    stage: Stage, file: File, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers close their sockets a moment after a reload that has removed a Listener."""
    supervisor, workers = await stage.serve(file.settings, file.read)
    await reload_with(supervisor, workers)
    obeyed, refusals = supervisor.obey, [StartError("is taken")] * 2

    def obey_later(settings: Settings) -> int:
        if refusals:
            raise refusals.pop()
        return obeyed(settings)

    monkeypatch.setattr(supervisor, "obey", obey_later)
    assert "seconds" in await reload_with(supervisor, workers)


async def reload_with(supervisor: Supervisor, workers: list[PlayedWorker]) -> Json:
    answer = asyncio.create_task(supervisor.reload())
    for worker in workers:
        await obey(worker)
    return await answer
