"""A worker without sockets and without a running loop: its real connections, on wires that keep what is written to them.

A test plays the kernel: it hands bytes to a connection, ends a turn of the loop, and looks at the wires. So a whole
request passes in a tenth of a millisecond, on the code that serves.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from time import monotonic
from typing import Any

from proxy.core.messages import Snapshot
from proxy.core.pools.breaker import BreakerPolicy
from proxy.core.requests.retry import RetryPolicy
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
from proxy.dataplane.backends.upstream import Upstream
from proxy.dataplane.clients.downstream import Downstream
from proxy.dataplane.clients.reception import Arrival
from proxy.dataplane.worker import Worker

WEB = ListenerSettings("web", Address())
NOWHERE = Address("192.0.2.1", 80)
CLIENT = ("192.0.2.9", 4711)
SERVER = ("192.0.2.1", 80)
UNMOVED = BreakerPolicy(consecutive=1_000_000, min_requests=1_000_000)
ONCE = RetryPolicy(attempts=1, unsafe_reuse=1e6)
"""A connection is reused however long this machine took."""


class Connecting:
    """A connection that is being opened: as much of a task as whoever waits for one asks of it."""

    def __init__(self, loop: Turns) -> None:
        self._loop = loop
        self._ended: list[Callable[[Any], object]] = []
        self._result: Upstream | None = None
        self._error: Exception | None = None
        self.was_given_up = False

    def done(self) -> bool:
        return self._result is not None or self._error is not None

    def cancelled(self) -> bool:
        return False

    def result(self) -> Upstream:
        assert self._result is not None
        return self._result

    def exception(self) -> Exception | None:
        return self._error

    def cancel(self) -> None:
        self.was_given_up = True

    def add_done_callback(self, callback: Callable[[Any], object]) -> None:
        self._ended.append(callback)

    def end(self, result: Upstream | None, error: Exception | None = None) -> None:
        """It has come, or failed; also when nobody waits any more."""
        self._result, self._error = result, error
        for callback in self._ended:
            callback(self)
        self._loop.turn()


class Turns(asyncio.AbstractEventLoop):
    """A loop that turns when it is told to. The only tasks on it are connections that are being opened."""

    def __init__(self) -> None:
        self.connecting: list[Connecting] = []
        self._soon: list[Callable[[], object]] = []
        self.later: list[Callable[[], object]] = []
        """What waits for a time to pass."""

    def call_soon(self, callback: Callable[..., object], *arguments: Any, context: object = None) -> Any:
        self._soon.append(lambda: callback(*arguments))

    def call_later(self, delay: float, callback: Callable[..., object], *arguments: Any, context: object = None) -> Any:
        self.later.append(lambda: callback(*arguments))

    def create_task(self, work: Any, **_: object) -> Any:
        work.close()
        self.connecting.append(Connecting(self))
        return self.connecting[-1]

    def turn(self) -> None:
        """Call what was to be called soon, until nothing is left."""
        while self._soon:
            soon, self._soon = self._soon, []
            for callback in soon:
                callback()

    def pass_time(self) -> None:
        """Call what waits for a time to pass."""
        later, self.later = self.later, []
        for callback in later:
            callback()
        self.turn()


class Wire(asyncio.Transport):
    """One connection, seen from the proxy: what it has written, and whether it has ended it."""

    def __init__(self, loop: Turns, protocol: Downstream | Upstream) -> None:
        super().__init__()
        self._loop = loop
        self._protocol = protocol
        self.written = bytearray()
        self.is_ended = False
        """Whether the proxy sends no more."""
        self.is_cut = False
        """Whether it dropped what had not been sent: no clean end."""
        self.is_paused = False
        """Whether it reads no more."""
        self._is_closing = False
        self._has_heard_end = False
        protocol.connection_made(self)

    def get_extra_info(self, name: str, default: object = None) -> Any:
        return {"peername": CLIENT, "sockname": SERVER}.get(name, default)

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        assert not self.is_ended, "written after the end"
        self.written += data

    def get_write_buffer_size(self) -> int:
        return 0

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.is_ended = True

    def is_closing(self) -> bool:
        return self._is_closing

    def close(self) -> None:
        if not self._is_closing:
            self._is_closing = self.is_ended = True
            self._loop.call_soon(self._protocol.connection_lost, None)

    def abort(self) -> None:
        self.is_cut = self.is_cut or not self.is_ended
        self.close()

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False

    def hear(self, data: bytes) -> None:
        """Bytes have come from the other end."""
        if data and not self._is_closing and not self._has_heard_end:
            self._protocol.data_received(data)
            self._loop.turn()

    def hear_end(self) -> None:
        """The other end sends no more."""
        self._has_heard_end = True
        if not self._is_closing:
            if not self._protocol.eof_received():
                self.close()
            self._loop.turn()

    def fill(self) -> None:
        """The other end reads no more, and all buffers are full."""
        self._protocol.pause_writing()
        self._loop.turn()

    def drain(self) -> None:
        """The other end has read."""
        self._protocol.resume_writing()
        self._loop.turn()

    def hear_reset(self) -> None:
        """The other end is gone."""
        if not self._is_closing:
            self._is_closing = self.is_ended = self.is_cut = True
            self._protocol.connection_lost(ConnectionResetError())
            self._loop.turn()


class Mistakes(logging.Handler):
    """Keeps what is logged as an error: on this path each one is a mistake of ours."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(f"{record.getMessage()}: {record.exc_info and record.exc_info[1]!r}")


MISTAKES = Mistakes()
logging.getLogger("proxy.dataplane").addHandler(MISTAKES)


class Plane:
    """A worker with one Backend or a few; connections are opened by the test, to the first of them."""

    def __init__(self, *, limits: Limits | None = None, backends: int = 1, **policies: Any) -> None:
        self.loop = Turns()
        self.worker = Worker(0, self.loop, random.Random(0))
        limits = limits or Limits()
        names = ("one", "two", "three")[:backends]
        policies = {
            "breaker": UNMOVED,
            "retries": ONCE,
            "limits": limits,
            "timeouts": Timeouts(backend_idle=1e6),
            **policies,
        }
        settings = Settings(
            (),
            (PoolSettings("app", tuple(BackendSettings(name, NOWHERE) for name in names), **policies),),
            (RouteSettings("all", split=(("app", 1.0),)),),
            limits=limits,
        )
        self.worker.heed(Snapshot(1, 1, settings, {}))
        self._said_before = len(MISTAKES.said)
        self.pool = self.worker.pools["app"]
        self.backend = self.pool.backends[0]
        self.home = self.worker.idle[self.backend]
        self.upstreams: list[Wire] = []
        """All connections to the Backend, in the order of their opening."""

    def begin_anew(self) -> None:
        """Close what is idle, and forget what was: also that the Backend has sent bytes out of turn."""
        self.home.clear()
        self.home._distrusted_until = 0.0
        self.upstreams = []
        self.loop.later.clear()
        self.loop.connecting.clear()
        self.loop.turn()

    def client(self) -> Wire:
        """A new client."""
        return Wire(self.loop, Downstream(self.worker, Arrival(WEB)))

    def open_upstream(self) -> Wire:
        """A connection to the Backend, idle from now on."""
        upstream = Upstream(self.home)
        wire = Wire(self.loop, upstream)
        self.home.keep(upstream, monotonic())
        self.upstreams.append(wire)
        return wire

    def connect(self) -> Wire:
        """The connection that has been waited for longest is there."""
        upstream = Upstream(self.home)
        wire = Wire(self.loop, upstream)
        self.upstreams.append(wire)
        self.loop.connecting.pop(0).end(upstream)
        return wire

    def refuse(self) -> None:
        """The connection that has been waited for longest can't be had."""
        self.loop.connecting.pop(0).end(None, ConnectionRefusedError())

    @property
    def mistakes(self) -> list[str]:
        """What the worker has logged as a mistake of its own."""
        return MISTAKES.said[self._said_before :]

    @property
    def idle(self) -> int:
        """How many connections wait for a request."""
        return len(self.home)

    def expire(self, *, idle: bool = True) -> None:
        """Let the deadline of every client pass; `idle`: also of one that waits for nothing but its next request."""
        self.loop.pass_time()
        for client in list(self.worker.connections):
            if idle or client._is_serving:
                client.expire()
        self.loop.turn()
