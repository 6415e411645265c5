from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from proxy.controlplane.workers.channel import PART, UNSENT_MAX, Channel
from proxy.core.messages import BreakerNews, Decoder, Drain, Message, ProbePassed, RoutePart, Snapshot, Started, encode
from proxy.core.settings import RouteSettings
from tests.controlplane.conftest import Make


class Line:
    """A Channel and, at the other end, a worker that reads only when it is told to."""

    def __init__(self) -> None:
        self.received: asyncio.Queue[Message] = asyncio.Queue()
        self.lost = asyncio.Event()
        self.channel = Channel(self.received.put_nowait, self.lost.set)
        self.worker: socket.socket
        self._decoder = Decoder()

    async def open(self) -> None:
        ours, self.worker = socket.socketpair()
        self.worker.setblocking(False)
        await asyncio.get_running_loop().create_unix_connection(lambda: self.channel, sock=ours)

    async def read_until(self, last: Message) -> list[Message]:
        """All that comes, up to `last`."""
        messages: list[Message] = []
        while last not in messages:
            data = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(self.worker, 65536), 10)
            messages += self._decoder.feed(data)
        return messages

    def unsent(self) -> int:
        assert self.channel._transport is not None
        return self.channel._transport.get_write_buffer_size()


@pytest.fixture
async def line() -> AsyncIterator[Line]:
    line = Line()
    await line.open()
    yield line
    line.channel.close()
    line.worker.close()


@pytest.fixture
def snapshot(make: Make) -> Snapshot:
    return Snapshot(1, 1, make.settings(), {})


async def test_a_worker_that_does_not_read_costs_bounded_memory(line: Line, snapshot: Snapshot) -> None:
    """However much there is to say to it."""
    for version in range(1, 20_001):
        line.channel.send(replace(snapshot, version=version))
        line.channel.send(ProbePassed("app", "b0"))

    assert line.unsent() < UNSENT_MAX + 10 * len(encode(snapshot))


async def test_a_worker_that_reads_again_gets_the_last_snapshot(line: Line, snapshot: Snapshot) -> None:
    last = replace(snapshot, version=20_000, settings=None)
    for version in range(1, 20_001):
        line.channel.send(replace(snapshot, version=version))

    messages = await line.read_until(last)

    versions = [one.version for one in messages]
    assert sorted(versions) == versions
    assert len(versions) < 10_000


async def test_a_dropped_snapshot_does_not_lose_its_settings(line: Line, snapshot: Snapshot) -> None:
    """Those that replace it carry the settings that the worker still needs."""
    for version in range(1, 20_001):
        line.channel.send(replace(snapshot, version=version))
    line.channel.send(replace(snapshot, version=30_000, settings_version=2))
    line.channel.send(replace(snapshot, version=30_001, settings_version=2))
    last = replace(snapshot, version=30_001, settings_version=2)

    assert last == (await line.read_until(last))[-1]


async def test_only_the_newest_news_of_a_breaker_waits(line: Line, make: Make) -> None:
    last = make.opened(1, until=20_000.0)
    for until in range(1, 20_001):
        line.channel.send(make.opened(1, until=float(until)))
    line.channel.send(make.opened(1, until=1.0, backend="b1"))

    messages = await line.read_until(make.opened(1, until=1.0, backend="b1"))

    assert last in messages
    assert len(messages) < 10_000


async def test_an_order_to_drain_is_never_lost(line: Line, snapshot: Snapshot, make: Make) -> None:
    for version in range(1, 20_001):
        line.channel.send(replace(snapshot, version=version))
        line.channel.send(make.opened(1, until=float(version)))
    line.channel.send(Drain(5.0))

    messages = await line.read_until(Drain(5.0))

    assert [Snapshot, BreakerNews, Drain] == [type(one) for one in messages[-3:]]


async def test_messages_come_however_they_are_cut(line: Line) -> None:
    data = encode(Started(0, 1, 1)) + encode(Drain(1.0))
    for position in range(len(data)):
        line.worker.send(data[position : position + 1])

    assert [Started(0, 1, 1), Drain(1.0)] == [await line.received.get(), await line.received.get()]


async def test_the_end_of_the_worker_is_noticed_and_sending_is_harmless_then(line: Line, snapshot: Snapshot) -> None:
    line.worker.close()
    await asyncio.wait_for(line.lost.wait(), 10)

    line.channel.send(snapshot)
    line.channel.close()


async def test_what_nobody_understands_ends_the_channel(line: Line) -> None:
    line.worker.send(b"\0\0\0\4oops")

    await asyncio.wait_for(line.lost.wait(), 10)


# Very many Routes


def with_routes(snapshot: Snapshot, number: int, version: int, routes: tuple[RouteSettings, ...] = ()) -> Snapshot:
    routes = routes or tuple(RouteSettings(f"r{n}") for n in range(number))
    settings = replace(snapshot.settings, routes=routes)
    return replace(snapshot, version=version, settings_version=version, settings=settings)


async def read_up_to(line: Line, version: int) -> tuple[list[RoutePart], list[Snapshot]]:
    parts, snapshots = [], []
    while not snapshots or snapshots[-1].version < version:
        data = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(line.worker, 65536), 10)
        for message in line._decoder.feed(data):
            (parts if isinstance(message, RoutePart) else snapshots).append(message)
    return parts, snapshots


async def test_few_routes_are_sent_with_the_settings(line: Line, snapshot: Snapshot) -> None:
    sent = with_routes(snapshot, PART, 1)

    line.channel.send(sent)

    assert ([], [sent]) == await read_up_to(line, 1)


async def test_very_many_routes_come_before_the_settings_in_parts(line: Line, snapshot: Snapshot) -> None:
    sent = with_routes(snapshot, 10 * PART + 1, 1)

    line.channel.send(sent)
    parts, (last,) = await read_up_to(line, 1)

    assert [True] + 10 * [False] == [part.is_first for part in parts]
    assert {1} == {part.version for part in parts}
    assert sent.settings.routes == sum((part.routes for part in parts), ())
    assert ((), 1) == (last.settings.routes, last.routes_version)


async def test_routes_that_have_not_changed_are_not_sent_again(line: Line, snapshot: Snapshot) -> None:
    first = with_routes(snapshot, 3 * PART, 1)
    again = with_routes(snapshot, 0, 2, first.settings.routes)
    other = with_routes(snapshot, 2 * PART, 3)

    for sent in (first, again, other):
        line.channel.send(sent)
    parts, snapshots = await read_up_to(line, 3)

    assert [1, 1, 1, 2, 2] == [part.version for part in parts]
    assert [1, 1, 2] == [one.routes_version for one in snapshots]
