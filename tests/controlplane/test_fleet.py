from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.controlplane.workers import place
from proxy.controlplane.workers.fleet import Fleet
from proxy.controlplane.workers.place import next_delay
from proxy.core.messages import BreakerNews, Message, Snapshot
from tests.controlplane.conftest import Make, Stage


class Owner:
    """What a Fleet needs of a supervisor."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self.losses: asyncio.Queue[int] = asyncio.Queue()
        self.ends: list[tuple[int, str, bool]] = []

    def snapshot(self) -> Snapshot:
        return self._snapshot

    def openings(self) -> list[BreakerNews]:
        return []

    def worker_timeout(self) -> float:
        return 10.0

    def take(self, message: Message) -> None:
        raise RuntimeError("a bug")

    def ended(self, worker: int, pid: int, how: str, *, is_orderly: bool) -> None:
        self.ends.append((worker, how, is_orderly))

    def lost(self, worker: int) -> None:
        self.losses.put_nowait(worker)


class Ear(logging.Handler):
    """Lets a test wait for a log line."""

    def __init__(self) -> None:
        super().__init__()
        self._lines: asyncio.Queue[logging.LogRecord] = asyncio.Queue()

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.put_nowait(record)

    async def hear(self, message: str) -> logging.LogRecord:
        while (record := await asyncio.wait_for(self._lines.get(), 10)).getMessage() != message:
            pass
        return record


@pytest.fixture
def ear() -> Iterator[Ear]:
    ear = Ear()
    place.log.addHandler(ear)
    yield ear
    place.log.removeHandler(ear)


@pytest.fixture
def owner(make: Make) -> Owner:
    return Owner(Snapshot(1, 1, make.settings(), {}))


def python(program: str) -> tuple[str, ...]:
    return (sys.executable, "-S", "-E", "-c", program)


def test_the_first_restart_comes_at_once_and_later_ones_ever_later() -> None:
    assert [0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 8.0] == [next_delay(deaths) for deaths in range(1, 9)]


async def test_a_worker_that_dies_again_and_again_is_said_loudly(
    owner: Owner, ear: Ear, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(place, "BACK_OFF", 0.001)
    workers = Fleet([], 1, owner, python("raise SystemExit(3)"))
    workers.start()

    record = await ear.hear("a worker dies again and again")

    assert logging.ERROR == record.levelno
    assert {"worker": 0, "deaths": 3, "next_start_in": 0.002} == record.fields
    await workers.end()


async def test_a_worker_that_served_for_a_while_is_replaced_at_once_each_time(
    stage: Stage, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(place, "SETTLED_AFTER", 0.0)
    monkeypatch.setattr(place, "BACK_OFF", 3600.0)
    supervisor, [worker, other] = await stage.serve(make.settings(workers=2))
    for _ in range(3):
        os.kill(worker.pid, signal.SIGKILL)
        worker = await stage.worker()
        await worker.start()
        worker.say(make.opened(0, until=5.0))
        await other.hear_a(BreakerNews)  # so that it serves is known, too

    assert 3 == supervisor.restarts()


async def test_a_death_is_logged_with_its_cause(owner: Owner, ear: Ear) -> None:
    workers = Fleet([], 1, owner, python("raise SystemExit(3)"))
    workers.start()

    assert {"worker": 0, "how": "status 3"} == (await ear.hear("worker died")).fields
    assert (0, "status 3", False) == owner.ends[0]
    await workers.end()


async def test_a_command_that_cannot_be_started_is_tried_again(
    owner: Owner, ear: Ear, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(place, "BACK_OFF", 0.001)
    workers = Fleet([], 1, owner, ("/no/such/program",))
    workers.start()

    await ear.hear("a worker dies again and again")

    await workers.end()


async def test_a_worker_that_hangs_up_and_lives_on_is_replaced(
    owner: Owner, ear: Ear, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(place, "HANG_UP_LIMIT", 0.01)
    workers = Fleet([], 1, owner, python("import os, sys, time; os.close(int(sys.argv[4])); time.sleep(3600)"))
    workers.start()

    assert {"worker": 0, "how": "signal SIGKILL"} == (await ear.hear("worker died")).fields
    await workers.end()


async def test_a_worker_that_does_not_begin_to_serve_is_replaced(
    stage: Stage, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(place, "START_LIMIT", 1)
    await stage.supervise(make.settings())

    first, second = await stage.worker(), await stage.worker()

    assert first.pid != second.pid


async def test_a_worker_that_has_served_and_falls_silent_is_replaced(stage: Stage, make: Make) -> None:
    _, [worker] = await stage.serve(make.settings(worker_timeout=1.0))

    assert worker.pid != (await stage.worker()).pid


async def test_a_bug_in_taking_a_message_does_not_cost_the_worker(stage: Stage, make: Make, ear: Ear) -> None:
    supervisor, [first, second] = await stage.serve(make.settings(workers=2))
    first.say(make.report(first.number, backends=None))

    await ear.hear("a worker's message was not understood")

    first.say(make.opened(first.number, until=5.0))
    await second.hear_a(BreakerNews)
    assert 0 == supervisor.restarts()


async def test_workers_do_not_get_ctrl_c(stage: Stage, make: Make) -> None:
    """They lead sessions of their own: a terminal's signals are the supervisor's to handle."""
    _, [worker] = await stage.serve(make.settings())

    assert worker.pid == os.getsid(worker.pid)


async def test_a_worker_inherits_its_own_sockets_and_no_others(stage: Stage, make: Make) -> None:
    """One that held another's control socket would hide its death; one that held the admin's would keep its port."""
    _, workers = await stage.serve(make.settings(workers=2))

    for worker in workers:
        files = [str(one.readlink()) for one in Path(f"/proc/{worker.pid}/fd").iterdir()]
        # The control socket, the one over which others are handed, one listener, and the test's tap. The listener has
        # been handed, too: it is the same socket under another number.
        assert 4 == len({file for file in files if file.startswith("socket:")})


async def test_while_a_worker_stays_away_the_others_get_its_connections(
    stage: Stage, make: Make, ear: Ear, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(place, "BACK_OFF", 3600.0)
    monkeypatch.setattr(place, "BACK_OFF_MAX", 3600.0)
    supervisor, [first, second] = await stage.serve(make.settings(workers=2))
    os.kill(first.pid, signal.SIGKILL)
    successor = await stage.worker()
    os.kill(successor.pid, signal.SIGKILL)
    await ear.hear("worker stays away")

    address = supervisor.listeners[0].address
    for _ in range(20):
        reader, writer = await asyncio.open_connection(address.host, address.port)
        assert f"1 {second.pid}\n" == (await reader.readline()).decode()
        writer.close()


async def test_a_worker_that_comes_back_gets_connections_again(
    stage: Stage, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(place, "BACK_OFF", 0.01)
    monkeypatch.setattr(place, "PAUSE_FROM", 0.01)
    supervisor, [worker] = await stage.serve(make.settings())
    for _ in range(2):
        os.kill(worker.pid, signal.SIGKILL)
        worker = await stage.worker()

    address = supervisor.listeners[0].address
    reader, writer = await asyncio.open_connection(address.host, address.port)

    assert f"0 {worker.pid}\n" == (await reader.readline()).decode()
    writer.close()


async def test_more_workers_before_the_start_are_started_once_with_the_others(owner: Owner, tmp_path: Path) -> None:
    """A reload may come while those of the program before still serve."""
    program = "import os, sys, time; open(sys.argv[1] + str(os.getpid()), 'w'); time.sleep(3600)"
    workers = Fleet([], 1, owner, (*python(program), f"{tmp_path}/pid-"))

    workers.follow(workers.numbers(3), 1, 0.0)
    workers.follow(workers.numbers(2), 2, 0.0)
    before = workers.pids()
    workers.start()
    async with asyncio.timeout(10):
        while len(list(tmp_path.iterdir())) < 2:  # noqa: ASYNC110 - another process makes them
            await asyncio.sleep(0.01)
    pids = sorted(f"pid-{pid}" for pid in workers.pids())
    await workers.end()

    assert () == before
    assert pids == sorted(one.name for one in tmp_path.iterdir())
    assert 2 == len(pids)


def test_a_worker_is_told_where_the_package_is_where_it_is_not_installed() -> None:
    assert (Path(place.PACKAGES) / "proxy" / "dataplane" / "worker.py").is_file()
