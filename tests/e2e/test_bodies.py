"""Large bodies: all bytes arrive, the slower side sets the pace, and the proxy keeps next to nothing."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.client import Client, request
from tests.e2e.rig import happens
from tests.e2e.scripted import Asked, Way

pytestmark = pytest.mark.asyncio(loop_scope="module")

PIECE = bytes(range(256)) * 256
"""64 KiB in which no part looks like its neighbour."""
PIECES = 160
SIZE = PIECES * len(PIECE)
"""10 MiB."""
DIGEST = hashlib.sha256(PIECE * PIECES).hexdigest()
FLOOD = 16 * SIZE
"""More than the buffers of all kernels' sockets on the way can hold."""
MOST_KEPT = 2 * 1024 * 1024
"""Bytes by which a worker may grow in the meantime."""


class Sender:
    """Sends up to `FLOOD` bytes, as fast as they are taken."""

    def __init__(self) -> None:
        self.sent = 0

    async def run(self, writer: asyncio.StreamWriter) -> None:
        while self.sent < FLOOD:
            writer.write(PIECE)
            await writer.drain()
            self.sent += len(PIECE)

    async def is_stuck(self) -> None:
        """Return once nothing has been taken for a while."""
        before = -1
        async with asyncio.timeout(15):
            while before != self.sent or not before:
                before = self.sent
                await asyncio.sleep(0.2)


def most_memory(pid: int) -> int:
    """Bytes that the process has had at most since `forget_most_memory`."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM:")).split()[1]) * 1024


def forget_most_memory(pid: int) -> int:
    """What it has now."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    return most_memory(pid)


def counted(size: int) -> bytes:
    return b"Content-Length: %d\r\n\r\n" % size


def plain(piece: bytes) -> bytes:
    return piece


def chunk(piece: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(piece), piece)


@pytest.mark.parametrize(
    ("framing", "frame", "end"),
    [(counted(SIZE), plain, b""), (b"Transfer-Encoding: chunked\r\n\r\n", chunk, b"0\r\n\r\n")],
    ids=["counted", "chunked"],
)
async def test_ten_megabytes_arrive_whole_both_ways(
    way: Way, client: Client, framing: bytes, frame: Callable[[bytes], bytes], end: bytes
) -> None:
    digests = []

    async def echo(asked: Asked) -> None:
        digests.append(hashlib.sha256(await asked.body()).hexdigest())
        asked.send(b"HTTP/1.1 200 OK\r\n" + framing + frame(PIECE) * PIECES + end)

    way.backend.handler = echo
    client.send(b"POST / HTTP/1.1\r\nHost: test\r\n" + framing + frame(PIECE) * PIECES + end)
    answer = await client.answer("POST")

    assert [DIGEST] == digests
    assert DIGEST == hashlib.sha256(answer.body).hexdigest()


async def test_a_slow_client_slows_the_backend_down_and_fills_no_memory(way: Way) -> None:
    sender = Sender()

    async def flood(asked: Asked) -> None:
        asked.send(b"HTTP/1.1 200 OK\r\n" + counted(FLOOD))
        await sender.run(asked.writer)

    way.backend.handler = flood
    async with await Client.connect(way.proxy.address, receive_buffer=65536) as client:
        client.send(request("GET", "/"))
        await client.head()
        pid = way.proxy.worker_of(client)
        before = forget_most_memory(pid)
        await sender.is_stuck()
        stuck_at = sender.sent
        for _ in range(FLOOD // len(PIECE)):
            assert PIECE == await client.reader.readexactly(len(PIECE))

    assert stuck_at < FLOOD
    assert most_memory(pid) - before < MOST_KEPT


async def test_a_slow_backend_slows_the_client_down_and_fills_no_memory(way: Way, client: Client) -> None:
    asked_for, read_on = asyncio.Event(), asyncio.Event()
    received = []

    async def dawdle(asked: Asked) -> None:
        asked_for.set()
        await happens(read_on)
        received.append(hashlib.sha256(await asked.body()).hexdigest())
        asked.answer()

    way.backend.handler = dawdle
    client.send(request("POST", "/", f"Content-Length: {FLOOD}"))
    sender = Sender()
    sending = asyncio.create_task(sender.run(client.writer))
    await happens(asked_for)
    pid = way.proxy.worker_of(client)
    before = forget_most_memory(pid)
    await sender.is_stuck()
    stuck_at = sender.sent
    read_on.set()
    answer = await client.answer("POST")
    await sending

    assert 200 == answer.status
    assert [hashlib.sha256(PIECE * (FLOOD // len(PIECE))).hexdigest()] == received
    assert stuck_at < FLOOD
    assert most_memory(pid) - before < MOST_KEPT
