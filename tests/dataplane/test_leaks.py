"""Nothing is left of a connection when it is over, however badly it went: no task, no place, no descriptor."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from proxy.core.messages import Snapshot
from proxy.core.settings import (
    Address,
    BackendSettings,
    Limits,
    ListenerSettings,
    PoolSettings,
    RouteSettings,
    Settings,
    Timeouts,
)
from proxy.dataplane.worker import Worker

HEAD = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n"
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
MOST = 50
EACH = 100
QUICK = Timeouts(connect=0.05, first_byte=0.05, stall=0.05, request_head=0.05, client_idle=0.05)


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def half_close(sock: socket.socket) -> None:
    sock.shutdown(socket.SHUT_WR)


def stay(sock: socket.socket) -> None:
    """Until the proxy has had enough."""


KINDS: dict[str, tuple[bytes, Callable[[socket.socket], None]]] = {
    "says nothing": (b"", stay),
    "leaves at once": (b"", socket.socket.close),
    "resets at once": (b"", reset),
    "leaves within its head": (GET[:-2], socket.socket.close),
    "never ends its head": (GET[:-2], stay),
    "speaks no HTTP": (b"\x16\x03\x01\0\xa5\r\n\r\n", stay),
    "says too much": (b"GET /" + b"x" * 20_000, stay),
    "never sends its body": (HEAD, stay),
    "resets within its body": (HEAD + b"12345", reset),
    "ends its side and waits": (GET, half_close),
}


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


class Town:
    """A worker with two Listeners, and a Backend that never answers."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.hole = socket.create_server(("127.0.0.1", 0), backlog=4096)
        web = ListenerSettings("web", Address("127.0.0.1", 0), connections=MOST)
        front = ListenerSettings("front", Address("127.0.0.1", 0), proxy_protocol=True, connections=MOST)
        backend = BackendSettings("hole", Address("127.0.0.1", self.hole.getsockname()[1]))
        pool = PoolSettings("app", (backend,), timeouts=QUICK, send_proxy_protocol="v2")
        settings = Settings(
            (web, front),
            (pool,),
            (RouteSettings("all", split=(("app", 1.0),)),),
            timeouts=QUICK,
            limits=Limits(),
            trusted_proxies=("127.0.0.1/32",),
        )
        self.worker = Worker(0, self.loop, random.Random(1))
        self.worker.heed(Snapshot(1, 1, settings, {}))
        self.addresses = {}
        for name in ("web", "front"):
            sock = socket.create_server(("127.0.0.1", 0), backlog=4096)
            self.addresses[name] = sock.getsockname()
            self.worker.reception.open(name, sock)
        self.worker.sweep()

    async def visit(self, listener: str, said: bytes, end: Callable[[socket.socket], None]) -> None:
        sock = socket.socket()
        sock.setblocking(False)
        await self.loop.sock_connect(sock, self.addresses[listener])
        try:
            await self.loop.sock_sendall(sock, said)
            end(sock)
            while sock.fileno() >= 0 and await self.loop.sock_recv(sock, 65536):
                pass
        except OSError:
            # Cut before it had said all.
            pass
        finally:
            sock.close()

    async def until_empty(self) -> None:
        worker = self.worker
        async with asyncio.timeout(20):
            while worker.connections or any(door.opening for door in worker.reception.doors):  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.01)
            # A Backend's connection may outlive its client's by a turn.
            await asyncio.sleep(0.05)

    async def close(self) -> None:
        self.worker.ending.begin(0.0, closes_idle=True)
        await asyncio.wait_for(self.worker.done.wait(), 10)
        self.hole.close()


@pytest.fixture
async def town() -> AsyncIterator[Town]:
    town = Town()
    yield town
    await town.close()


@pytest.mark.parametrize("kind", KINDS)
async def test_of_hundreds_of_bad_connections_nothing_is_left(town: Town, kind: str) -> None:
    said, end = KINDS[kind]
    await town.visit("web", GET, stay)
    await town.until_empty()
    tasks, descriptors = asyncio.all_tasks(), open_files()

    headers = {"web": b"", "front": b"PROXY TCP4 192.0.2.1 192.0.2.9 1 2\r\n"}
    visits = [town.visit(name, header + said, end) for name, header in headers.items() for _ in range(EACH // 2)]
    unannounced = [town.visit("front", said, end) for _ in range(EACH // 2)]
    async with asyncio.timeout(30):
        await asyncio.gather(*visits, *unannounced)
    await town.until_empty()
    worker = town.worker

    assert tasks == asyncio.all_tasks()
    assert open_files() <= descriptors
    assert (0, {}) == (worker.reception._places.inside, worker.reception._places._counts)
    assert (0, 0) == (len(worker.connections), len(worker.suspects))
    assert 0 == sum(backend.in_flight for pool in worker.pools.values() for backend in pool.backends)
