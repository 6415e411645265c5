"""A bare TCP relay on uvloop: the floor for anything that moves bytes in this language. It protects from nothing."""

from __future__ import annotations

import asyncio
import gc
import itertools
import sys
from importlib.metadata import version as version_of_package
from typing import cast

import uvloop

from benchmarks.peers.contract import Setup, UnsupportedError

TITLE = "bare relay (uvloop)"
INSTALL = "pip install uvloop"


def version() -> str | None:
    """What is installed."""
    return version_of_package("uvloop")


def command(setup: Setup) -> list[str]:
    """Write the config; start it so."""
    if setup.certificate:
        raise UnsupportedError("a bare relay does not speak TLS")
    if setup.routes > 1:
        raise UnsupportedError("a bare relay does not read what it relays, so it has no routes")
    if setup.workers > 1:
        raise UnsupportedError("a bare relay is one process")
    return [sys.executable, "-m", "benchmarks.peers.relay", str(setup.port), *map(str, setup.backends)]


class Side(asyncio.Protocol):
    """One end of a relayed connection."""

    __slots__ = ("_early", "other", "transport")

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.other: Side | None = None
        self._early: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def join(self, other: Side) -> None:
        """From now on what comes here goes there."""
        self.other = other
        for data in self._early:
            self.data_received(data)
        self._early.clear()

    def data_received(self, data: bytes) -> None:
        if self.other is None:
            self._early.append(data)
        elif self.other.transport is not None:
            self.other.transport.write(data)

    def pause_writing(self) -> None:
        if self.other and self.other.transport:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.other and self.other.transport:
            self.other.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.other and self.other.transport:
            self.other.transport.close()


class Accepting(Side):
    """The client's end: opens the other one as soon as it is there."""

    backends: itertools.cycle[int]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._task = asyncio.ensure_future(self._open())

    async def _open(self) -> None:
        assert self.transport is not None
        try:
            _, backend = await asyncio.get_running_loop().create_connection(Side, "127.0.0.1", next(self.backends))
        except OSError:
            self.transport.abort()
            return
        backend.join(self)
        self.join(backend)


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Accepting, "127.0.0.1", port, backlog=4096)
    gc.freeze()
    await server.serve_forever()


if __name__ == "__main__":
    Accepting.backends = itertools.cycle([int(port) for port in sys.argv[2:]])
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(int(sys.argv[1])))
