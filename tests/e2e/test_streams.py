"""Streams: each event at once, a gibibyte in next to no memory, and the end of the work for a client that has left."""

from __future__ import annotations

import asyncio
import statistics
from array import array
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from tests.e2e.client import Client, request
from tests.e2e.rig import happens, now
from tests.e2e.scripted import Asked, Way
from tests.e2e.test_bodies import chunk, counted, forget_most_memory, most_memory, plain

pytestmark = pytest.mark.asyncio(loop_scope="module")

EVENTS = 50
PIECE = array("I", range(262_144)).tobytes()
"""1 MiB in which no part looks like another."""
PIECES = 1024
SIZE = PIECES * len(PIECE)
"""1 GiB."""
MOST_GROWTH = 8 * 1024 * 1024
"""Bytes by which a worker may grow in the meantime."""
TOLD_WITHIN = 0.1
"""Seconds from a client's leaving until its backend knows."""
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
FRAMINGS: dict[str, tuple[bytes, Callable[[bytes], bytes], bytes]] = {
    "counted": (counted(SIZE), plain, b""),
    "chunked": (CHUNKED, chunk, b"0\r\n\r\n"),
}


# Events


@pytest.mark.parametrize("accept", [(), ("Accept: text/event-stream",)], ids=["any", "events"])
@pytest.mark.parametrize("framing", [CHUNKED, b"\r\n"], ids=["chunked", "until-close"])
async def test_each_event_reaches_the_client_before_the_backend_sends_the_next(
    way: Way, client: Client, accept: tuple[str, ...], framing: bytes
) -> None:
    heard = asyncio.Event()
    frame = chunk if framing is CHUNKED else plain

    async def tell(asked: Asked) -> None:
        asked.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n" + framing)
        for number in range(EVENTS):
            asked.send(frame(b"data: %d\n\n" % number))
            await happens(heard)
            heard.clear()
        asked.send(b"0\r\n\r\n" if framing is CHUNKED else b"")
        asked.writer.close()

    way.backend.handler = tell
    client.send(request("GET", "/", *accept))
    status, _ = await client.head()
    events = []
    for _ in range(EVENTS):
        events.append(await client.chunk())
        heard.set()
    end = await client.chunk()

    assert 200 == status
    assert [b"data: %d\n\n" % number for number in range(EVENTS)] == events
    assert b"" == end


# Size


async def send_all(writer: asyncio.StreamWriter, frame: Callable[[bytes], bytes], end: bytes) -> None:
    framed = frame(PIECE)
    for _ in range(PIECES):
        writer.write(framed)
        await writer.drain()
    writer.write(end)


async def pieces_of(reader: asyncio.StreamReader, *, is_chunked: bool) -> AsyncIterator[bytes]:
    """The pieces of a body of `SIZE` as they come."""
    if not is_chunked:
        left = SIZE
        while left:
            piece = await reader.read(min(left, len(PIECE)))
            left -= len(piece)
            yield piece
        return
    while size := int(await reader.readuntil(b"\r\n"), 16):
        yield await reader.readexactly(size)
        await reader.readexactly(2)
    await reader.readexactly(2)


async def right_bytes(reader: asyncio.StreamReader, *, is_chunked: bool) -> int:
    """How many bytes came, up to the first that is not what was sent."""
    expected, received = PIECE + PIECE, 0
    async for piece in pieces_of(reader, is_chunked=is_chunked):
        start = received % len(PIECE)
        if piece != expected[start : start + len(piece)]:
            break
        received += len(piece)
    return received


@pytest.mark.parametrize("framing", FRAMINGS)
async def test_a_gibibyte_up_arrives_whole_in_next_to_no_memory(way: Way, client: Client, framing: str) -> None:
    head, frame, end = FRAMINGS[framing]
    received = []

    async def take(asked: Asked) -> None:
        received.append(await right_bytes(asked.reader, is_chunked=framing == "chunked"))
        asked.answer(body=b"thanks")

    await client.ask("GET", "/first")
    way.backend.handler = take
    before = forget_most_memory(pid := way.proxy.worker_of(client))
    client.send(b"POST / HTTP/1.1\r\nHost: test\r\n" + head)
    await send_all(client.writer, frame, end)
    answer = await client.answer("POST")
    grown = most_memory(pid) - before

    assert (200, [SIZE]) == (answer.status, received)
    assert grown < MOST_GROWTH


@pytest.mark.parametrize("framing", FRAMINGS)
async def test_a_gibibyte_down_arrives_whole_in_next_to_no_memory(way: Way, client: Client, framing: str) -> None:
    head, frame, end = FRAMINGS[framing]

    async def give(asked: Asked) -> None:
        asked.send(b"HTTP/1.1 200 OK\r\n" + head)
        await send_all(asked.writer, frame, end)

    await client.ask("GET", "/first")
    way.backend.handler = give
    before = forget_most_memory(pid := way.proxy.worker_of(client))
    client.send(request("GET", "/"))
    status, _ = await client.head()
    received = await right_bytes(client.reader, is_chunked=framing == "chunked")
    grown = most_memory(pid) - before

    assert (200, SIZE) == (status, received)
    assert grown < MOST_GROWTH


# Who leaves


async def wait_for_head(asked: Asked) -> None:
    """Never answer."""


async def answer_slowly(asked: Asked) -> None:
    """Begin an answer, and send no more of it."""
    asked.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n" + CHUNKED + chunk(b"data: 1\n\n"))


async def answer_much(asked: Asked) -> None:
    """Send without an end, as fast as it is taken."""
    asked.send(b"HTTP/1.1 200 OK\r\n" + counted(SIZE * 1024))
    try:
        while True:
            asked.send(PIECE)
            await asked.writer.drain()
    except ConnectionError:
        return


@dataclass(frozen=True, slots=True)
class Leaving:
    """What the backend does, and what the client sends and hears before it leaves."""

    backend: Callable[[Asked], Awaitable[None]]
    asks: bytes
    hears: int = 0


LEAVINGS = {
    "before-the-head": Leaving(wait_for_head, request("GET", "/")),
    "between-two-events": Leaving(answer_slowly, request("GET", "/"), 60),
    "in-a-large-answer": Leaving(answer_much, request("GET", "/"), 100_000),
    "in-its-body": Leaving(wait_for_head, request("POST", "/", "Content-Length: 1000000") + b"x" * 1000),
    "in-its-chunks": Leaving(wait_for_head, request("POST", "/", "Transfer-Encoding: chunked") + b"5\r\nhello\r\n"),
    "after-its-body": Leaving(wait_for_head, request("POST", "/", body=b"all of it")),
}


@pytest.mark.parametrize("case", LEAVINGS)
@pytest.mark.parametrize("manner", ["closes", "resets"])
async def test_a_client_that_leaves_ends_the_work_at_the_backend_within_100_ms(
    way: Way, case: str, manner: str
) -> None:
    """The median of five, so that a busy machine fails no test."""
    leaving = LEAVINGS[case]
    took = [await seconds_until_told(way, leaving, manner) for _ in range(5)]
    print(f"{case}, {manner}: {[round(one * 1000) for one in took]} ms")

    assert statistics.median(took) <= TOLD_WITHIN


async def seconds_until_told(way: Way, leaving: Leaving, manner: str) -> float:
    """From the client's leaving to the end of its request's connection at the backend."""
    began, told = asyncio.Event(), asyncio.get_running_loop().create_future()

    async def serve(asked: Asked) -> None:
        began.set()
        await leaving.backend(asked)
        await asked.until_closed()
        told.set_result(now())

    way.backend.handler = serve
    async with await Client.connect(way.proxy.address) as client:
        client.send(leaving.asks)
        await happens(began)
        await client.reader.readexactly(leaving.hears)
        left = now()
        leave(client, manner)
        at: Any = await asyncio.wait_for(told, 15)
        return float(at - left)


def leave(client: Client, manner: str) -> None:
    if manner == "resets":
        client.reset()
    else:
        client.close()
