"""Crashes: a supervisor that is killed and one that takes over from it; workers that are killed or hang."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator
from typing import Any

import pytest

from proxy.samples.children import StartError
from tests.e2e.client import Client
from tests.e2e.load import Load
from tests.e2e.long import LongLived, long_backend, routes
from tests.e2e.peers import reserve_port
from tests.e2e.rig import NAMES, PATIENCE, POLICIES, Proxy, Rig, now, until
from tests.e2e.scripted import Scripted
from tests.e2e.test_orphans import has_ended
from tests.e2e.test_processes import connect_to, ends
from tests.e2e.test_replace import STARTS_WITHIN, counted

KILLS = 5
NOTICED_WITHIN = 0.2
"""Seconds in which a client has noticed that its connection is gone."""


@contextlib.asynccontextmanager
async def fixed_address() -> AsyncIterator[str]:
    """A port that a second proxy can be told, too."""
    with reserve_port() as reserved:
        yield f"127.0.0.1:{reserved.getsockname()[1]}"


async def successor(rig: Rig, config: dict[str, Any]) -> Proxy:
    """Start the proxy anew, as a service manager would, and wait until it has sent the old workers away."""
    (rig.folder / "proxy.log").rename(rig.folder / f"before-{len(list(rig.folder.glob('*.log')))}.log")
    proxy = await rig.start_proxy(config)
    await until(lambda: "handed over" in proxy.log, STARTS_WITHIN)
    return proxy


async def kill_supervisor(proxy: Proxy) -> list[int]:
    """Kill it; the workers that are left."""
    workers = proxy.workers()
    proxy.process.kill()
    await proxy.process.wait()
    return workers


@contextlib.contextmanager
def none_left(pids: list[int]):  # noqa: ANN201 - a context manager
    """Whatever the test comes to, these workers do not outlive it."""
    try:
        yield
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


# The supervisor


async def test_a_new_supervisor_takes_over_and_no_request_fails(rig: Rig) -> None:
    """Nor does a WebSocket or a download; what the workers before it had counted counts on."""
    await rig.start_backends(*NAMES)
    async with long_backend() as backend, fixed_address() as address:
        app = {"pools": {"app": {**POLICIES, "backends": rig.addresses()}}}
        config = routes(backend, app) | {"listeners": {"web": address}}
        first = await rig.start_proxy(config)
        async with LongLived(first.address) as long, Load(first.address) as load:
            await load.answered(50)
            orphans = await kill_supervisor(first)
            with none_left(orphans):
                await load.answered(50)
                second = await successor(rig, config)
                await load.answered(50)
                await long.moved(5)
                broken = list(long.broken)
                assert [False, False] == [has_ended(pid) for pid in orphans]
                long.close()
                await until(lambda: all(map(has_ended, orphans)))
        assert ([], [], []) == (broken, load.failed("GET"), load.failed("POST"))
        await counted(second, len(load.records))

    assert {} == {write: times for write, times in rig.executions().items() if times > 1}
    assert not set(orphans) & set(second.workers())


@pytest.mark.parametrize("numbers", [(2, 3), (3, 2)])
async def test_a_new_supervisor_may_have_another_number_of_workers(rig: Rig, numbers: tuple[int, int]) -> None:
    async with Scripted() as backend, fixed_address() as address:
        config = {"listeners": {"web": address}, "pools": {"app": [backend.address]}}
        orphans = await kill_supervisor(await rig.start_proxy(config | {"workers": numbers[0]}))
        with none_left(orphans):
            await successor(rig, config | {"workers": numbers[1]})
            await until(lambda: all(map(has_ended, orphans)))
            clients = [await rig.connect(address) for _ in range(30)]
            answers = [await client.ask("GET", "/") for client in clients]

    assert [200] * 30 == [answer.status for answer in answers]


async def test_a_unix_socket_is_taken_over_too(rig: Rig) -> None:
    path = f"unix:{rig.folder}/web.sock"
    async with Scripted() as backend:
        config = {"listeners": {"web": path}, "pools": {"app": [backend.address]}}
        orphans = await kill_supervisor(await rig.start_proxy(config))
        with none_left(orphans):
            await successor(rig, config)
            await until(lambda: all(map(has_ended, orphans)))
            client = await rig.connect(path)
            assert 200 == (await client.ask("GET", "/")).status


async def test_the_workers_of_another_proxy_are_left_alone(rig: Rig) -> None:
    """They serve on, and wait for a supervisor of their own."""
    async with Scripted() as backend, fixed_address() as address, fixed_address() as other:
        config = {"pools": {"app": [backend.address]}}
        orphans = await kill_supervisor(await rig.start_proxy(config | {"listeners": {"web": address}}))
        with none_left(orphans):
            (rig.folder / "proxy.log").rename(rig.folder / "before.log")
            await rig.start_proxy(config | {"listeners": {"web": other}})
            client = await rig.connect(address)
            answer = await client.ask("GET", "/")
            assert [False, False] == [has_ended(pid) for pid in orphans]
            assert "close" not in (answer.field("connection") or "")


async def test_a_successor_that_can_not_start_leaves_the_orphans_serving(rig: Rig) -> None:
    """It had their sockets already, and gives them back as they were."""
    rig.expected += ["is taken: another process listens there"]
    path = rig.folder / "web.sock"
    async with Scripted() as backend, fixed_address() as address, Scripted() as stranger:
        config = {"listeners": {"web": address, "local": f"unix:{path}"}, "pools": {"app": [backend.address]}}
        orphans = await kill_supervisor(await rig.start_proxy(config))
        with none_left(orphans):
            (rig.folder / "proxy.log").rename(rig.folder / "before.log")
            with pytest.raises(StartError):
                await rig.start_proxy(config | {"admin": stranger.address})
            for place in (address, f"unix:{path}"):
                client = await rig.connect(place)
                assert 200 == (await client.ask("GET", "/")).status


async def test_an_address_is_not_taken_from_a_proxy_that_lives(rig: Rig) -> None:
    rig.expected += ["is taken: another process listens there"]
    async with Scripted() as backend, fixed_address() as address:
        config = {"listeners": {"web": address}, "pools": {"app": [backend.address]}}
        await rig.start_proxy(config)
        (rig.folder / "proxy.log").rename(rig.folder / "before.log")
        with pytest.raises(StartError):
            await rig.start_proxy(config)
        client = await rig.connect(address)
        assert 200 == (await client.ask("GET", "/")).status


async def test_a_takeover_and_a_term_leave_nobody_behind(rig: Rig) -> None:
    async with long_backend() as backend, fixed_address() as address:
        config = routes(backend, {"pools": {"app": [backend.address]}})
        config |= {"listeners": {"web": address}, "drain_timeout": "200ms"}
        first = await rig.start_proxy(config)
        async with LongLived(address, sockets=4, downloads=0):
            orphans = await kill_supervisor(first)
            with none_left(orphans):
                second = await successor(rig, config)
                second.process.terminate()
                status = await ends(second.process)
                assert (0, [True, True]) == (status, [has_ended(pid) for pid in orphans])


# Workers


async def test_five_killed_workers_cost_only_what_they_had_under_way(rig: Rig) -> None:
    rig.expected += ["a worker dies again and again"]
    proxy = await rig.start()
    deaths = []
    async with Load(proxy.address) as load:
        for _ in range(KILLS):
            await load.answered(60)
            victim = proxy.workers()[0]
            served = proxy.log.count("worker serves")
            deaths.append(asyncio.get_running_loop().time())
            os.kill(victim, signal.SIGKILL)
            await until(lambda served=served: proxy.log.count("worker serves") > served)
        await load.answered(60)

    failed = [record for record in load.records if not record.is_good]
    spans = [(record.sent_at, record.sent_at + record.seconds) for record in failed]
    assert [] == [span for span in spans if not any(span[0] - NOTICED_WITHIN <= at <= span[1] for at in deaths)]
    assert {} == {write: times for write, times in rig.executions().items() if times > 1}
    assert KILLS == await proxy.admin.counter("failover_worker_restarts_total")


async def test_a_worker_that_hangs_is_replaced_after_worker_timeout(rig: Rig) -> None:
    rig.expected += ["a worker is silent: killed"]
    async with Scripted() as backend:
        proxy = await rig.start_proxy({"worker_timeout": "2s", "pools": {"app": [backend.address]}})
        hung, other = proxy.workers()
        on_other = await connect_to(rig, proxy, other)
        os.kill(hung, signal.SIGSTOP)
        began = now()
        # Some of them wait in the queue of the one that hangs, for its successor.
        newcomers = [await Client.connect(proxy.address) for _ in range(10)]
        asked = [asyncio.create_task(client.ask("GET", "/")) for client in newcomers]
        statuses = [(await on_other.ask("GET", "/")).status for _ in range(10)]
        await until(lambda: hung not in proxy.workers())
        replaced_after = now() - began
        answers = await asyncio.gather(*asked)
        for client in newcomers:
            client.close()

    assert [200] * 10 == statuses == [answer.status for answer in answers]
    assert 1.0 <= replaced_after <= PATIENCE
    assert json.dumps(hung) in proxy.log
