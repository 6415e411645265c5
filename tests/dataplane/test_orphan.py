"""Promises of `proxy.dataplane.orphan`: a worker in this process, and a test that plays the supervisor."""

from __future__ import annotations

import asyncio
import os
import random
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from proxy.core.settings import AccessLogSettings
from proxy.core.takeover import PREFIX, Offer, Order, Word, from_line, mark, read_name, to_line
from proxy.dataplane import orphan
from proxy.dataplane.accesslog import AccessLog
from proxy.dataplane.worker import Worker

PATIENCE = 10


@pytest.fixture
async def worker() -> AsyncIterator[Worker]:
    """A worker with one listening socket whose supervisor has just gone."""
    worker = Worker(0, asyncio.get_running_loop(), random.Random(1))
    listener = socket.create_server(("127.0.0.1", 0))
    worker.reception.open("web", listener)
    worker.orphan.begin()
    yield worker
    worker.ending.begin(0.0, closes_idle=True)
    await asyncio.wait_for(worker.done.wait(), PATIENCE)
    assert worker.orphan._task is not None
    worker.orphan._task.cancel()
    await asyncio.wait([worker.orphan._task])


def names() -> list[str]:
    """Of sockets of this process that wait for an heir."""
    wanted = f"@{PREFIX}{os.getpid()}/"
    lines = [line.split() for line in Path("/proc/self/net/unix").read_text().splitlines()]
    return [line[-1] for line in lines if line[-1].startswith(wanted) and line[3] == "00010000"]


async def name_of_the_socket() -> str:
    async with asyncio.timeout(PATIENCE):
        while not names():  # noqa: ASYNC110 - the kernel has no event for it
            await asyncio.sleep(0)
    return "\0" + names()[0][1:]


class Supervisor:
    """The one that takes over."""

    def __init__(self, sock: socket.socket, offer: Offer, sockets: list[socket.socket]) -> None:
        self.offer, self.sockets = offer, sockets
        self._sock = sock
        self._rest = b""

    @classmethod
    async def connect(cls) -> Supervisor:
        sock = socket.socket(socket.AF_UNIX)
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(sock, await name_of_the_socket())
        readable = asyncio.Event()
        loop.add_reader(sock, readable.set)
        await asyncio.wait_for(readable.wait(), PATIENCE)
        loop.remove_reader(sock)
        data, fds, _, _ = socket.recv_fds(sock, 65536, 16)
        line, _, rest = data.partition(b"\n")
        one = cls(sock, from_line(Offer, line), [socket.socket(fileno=fd) for fd in fds])
        one._rest = rest
        return one

    async def hear(self) -> Word | None:
        """The next counts; None at the end."""
        loop = asyncio.get_running_loop()
        while b"\n" not in self._rest:
            data = await asyncio.wait_for(loop.sock_recv(self._sock, 65536), PATIENCE)
            if not data:
                return None
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        return from_line(Word, line)

    def say(self, data: bytes) -> None:
        self._sock.send(data)

    def close(self) -> None:
        self._sock.close()
        for one in self.sockets:
            one.close()


async def test_an_heir_gets_the_very_sockets_and_the_counts(worker: Worker) -> None:
    worker.stats.client_aborts = 3

    heir = await Supervisor.connect()

    assert Offer(os.getpid(), 1) == heir.offer
    assert [worker.reception.doors[0]._sock.getsockname()] == [one.getsockname() for one in heir.sockets]
    assert os.fstat(heir.sockets[0].fileno()).st_ino == os.fstat(worker.reception.doors[0].fileno()).st_ino
    word = await heir.hear()
    assert word is not None
    assert (3, False) == (word.report.client_aborts, word.report.final)
    heir.close()


async def test_it_drains_when_told_and_its_last_word_is_final(worker: Worker) -> None:
    heir = await Supervisor.connect()
    await heir.hear()

    heir.say(to_line(Order(5.0)))

    word = await heir.hear()
    assert word is not None
    assert word.report.final
    assert await heir.hear() is None
    assert worker.done.is_set()
    heir.close()


async def test_an_heir_that_dies_is_followed_by_another(worker: Worker) -> None:
    (await Supervisor.connect()).close()

    second = await Supervisor.connect()

    assert 1 == len(second.sockets)
    assert not worker.is_draining
    second.close()


async def test_it_is_found_by_its_address_and_not_while_it_is_led(worker: Worker) -> None:
    waits = read_name((await name_of_the_socket())[1:])
    heir = await Supervisor.connect()
    await heir.hear()

    assert (os.getpid(), {mark(worker.reception.doors[0].bound)}) == waits
    assert [] == names()
    heir.close()


@pytest.mark.parametrize("nonsense", [b"{}}\n", b"x" * 10_000])
async def test_nonsense_drains_nothing(worker: Worker, nonsense: bytes) -> None:
    heir = await Supervisor.connect()
    await heir.hear()

    heir.say(nonsense)
    heir.close()

    again = await Supervisor.connect()
    assert not worker.is_draining
    again.close()


async def test_another_user_is_sent_away(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orphan, "_user_of", lambda sock: 12345)
    sock = socket.socket(socket.AF_UNIX)
    sock.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(sock, await name_of_the_socket())

    assert b"" == await asyncio.wait_for(loop.sock_recv(sock, 100), PATIENCE)
    sock.close()


async def test_as_long_as_an_heir_leads_a_signal_changes_nothing(worker: Worker) -> None:
    heir = await Supervisor.connect()
    await heir.hear()

    worker.obey_as_orphan()

    assert not worker.is_draining
    heir.close()


async def test_an_heir_can_have_the_log_begun_anew_without_ending_anything(worker: Worker, tmp_path: Path) -> None:
    """Also in one message with the order to end that follows it."""
    path = tmp_path / "access.log"
    worker.access_log = AccessLog(AccessLogSettings(str(path)), random.Random(0))
    worker.access_log.file.add(b"before\n")
    worker.access_log.file.flush()
    while not path.exists() or not path.stat().st_size:  # noqa: ASYNC110 - a file has no events
        await asyncio.sleep(0.01)
    moved = path.rename(path.with_suffix(".1"))
    heir = await Supervisor.connect()
    await heir.hear()

    heir.say(to_line(Order(None, reopens_logs=True)))
    while not path.exists():  # noqa: ASYNC110 - a file has no events
        await asyncio.sleep(0.01)

    assert not worker.is_draining
    assert "before\n" == moved.read_text()
    heir.say(to_line(Order(None, reopens_logs=True)) + to_line(Order(5.0)))
    while (word := await heir.hear()) is not None and not word.report.final:
        pass
    assert worker.is_draining
    heir.close()
