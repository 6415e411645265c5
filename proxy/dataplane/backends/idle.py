"""The connections of one Backend in one worker: the kept-alive ones, the newest first, and how to open more."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
from collections import deque
from collections.abc import Callable
from math import inf
from time import monotonic
from typing import TYPE_CHECKING

from proxy.contexts import describe, error_kind
from proxy.core.requests.retry import Outcome
from proxy.core.settings import Address, Limits
from proxy.dataplane.backends.introduced import Introductions
from proxy.dataplane.backends.upstream import Upstream
from proxy.dataplane.transport.handshakes import BackendHandshakes
from proxy.dataplane.transport.pause import PAUSE
from proxy.dataplane.transport.tls import HandshakeCutError
from proxy.dialling import dial
from proxy.errors import ErrorKind

if TYPE_CHECKING:
    from proxy.dataplane.clients.downstream import Downstream


log = logging.getLogger("proxy.dataplane.backends.idle")

DISTRUST = 60.0
"""Seconds in which no connection is used twice to a Backend that sends bytes out of turn."""


class IdleConnections:
    """The connections of one Backend in one worker: the kept-alive ones, the newest first, and how to open more."""

    __slots__ = ("_distrusted_until", "_idle", "address", "introductions", "limits", "tls")

    def __init__(
        self,
        address: Address,
        limits: Limits,
        introductions: Introductions | None = None,
        tls: BackendHandshakes | None = None,
    ) -> None:
        self.address = address
        self.limits = limits
        self.tls = tls
        """How connections are made secure, if they are."""
        self.introductions = introductions
        """Where each connection is one client's: they are kept there."""
        self._idle: deque[Upstream] = deque()
        self._distrusted_until = 0.0

    def __len__(self) -> int:
        return len(self._idle) + (len(self.introductions) if self.introductions is not None else 0)

    @property
    def version(self) -> str:
        """Of the PROXY protocol that connections begin with; empty for none."""
        return self.introductions.version if self.introductions is not None else ""

    def take(self, now: float, longest_idle: float, client: Downstream) -> Upstream | None:
        """The connection used last, if it has not been idle for longer than `longest_idle` seconds."""
        if self.introductions is not None:
            return self.introductions.take(client, now, longest_idle)
        idle = self._idle
        while idle:
            newest = idle.pop()
            if now - newest.idle_since > longest_idle:
                idle.append(newest)
                return None
            if not newest.is_lost:
                return newest
        return None

    def keep(self, upstream: Upstream, now: float) -> None:
        """Keep a connection for later."""
        if now < self._distrusted_until:
            upstream.close()
            return
        upstream.idle_since = now
        if self.introductions is not None:
            self.introductions.keep(upstream)
        else:
            self._idle.append(upstream)

    def forget(self, upstream: Upstream) -> None:
        """A connection is gone."""
        if self.introductions is not None:
            self.introductions.forget(upstream)
        elif upstream.owner is None:
            try:
                self._idle.remove(upstream)
            except ValueError:
                return

    def distrust(self) -> None:
        """The Backend has sent bytes that nobody asked for: use no connection to it twice for a while.

        What it may send behind one answer could be taken for the next one.
        """
        now = monotonic()
        if now >= self._distrusted_until:
            log.warning("a backend sends more than was asked for", extra={"fields": {"backend": str(self.address)}})
        self._distrusted_until = max(self._distrusted_until, now + DISTRUST)
        self.clear()

    def sweep(self, now: float, longest_idle: float) -> None:
        """Close what has been idle for longer than `longest_idle` seconds."""
        if self.introductions is not None:
            self.introductions.sweep(now, longest_idle)
        while self._idle and now - self._idle[0].idle_since > longest_idle:
            self._idle.popleft().close()

    def clear(self) -> None:
        """Close all that are idle."""
        while self._idle:
            self._idle.popleft().close()
        if self.introductions is not None:
            self.introductions.clear()

    def close(self) -> None:
        """Close all that are idle, and keep none of those that are not."""
        self._distrusted_until = inf
        self.clear()

    async def open(self, client: Downstream) -> Upstream:
        """Open a connection. Raises OSError; the caller bounds the time by cancelling."""
        loop = asyncio.get_running_loop()
        address = self.address

        def make() -> Upstream:
            return Upstream(self)

        if self.introductions is not None:
            sock = await dial(address, self.introductions.header(client))
            if self.tls is None:
                _, upstream = await loop.create_connection(make, sock=sock)
            else:
                upstream = make()
                await self.tls.open(upstream, sock)
            self.introductions.begin(upstream, client)
        elif self.tls is not None:
            upstream = make()
            await self.tls.open(upstream)
        elif address.path:
            _, upstream = await loop.create_unix_connection(make, address.path)
        else:
            _, upstream = await loop.create_connection(make, address.host, address.port)
        return upstream


FULL_HERE = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL})
"""Failures to connect that are this machine's and not the Backend's."""


def connect_error(error: BaseException) -> ErrorKind:
    """What a failure to connect means."""
    if isinstance(error, ssl.SSLError):
        return error_kind(error)
    if isinstance(error, HandshakeCutError):
        return ErrorKind.TLS_PROTOCOL_ERROR
    if isinstance(error, socket.gaierror):
        return ErrorKind.DNS_ERROR
    if isinstance(error, ConnectionRefusedError | FileNotFoundError):
        return ErrorKind.CONNECTION_REFUSED
    if isinstance(error, TimeoutError):
        return ErrorKind.CONNECTION_TIMEOUT
    if isinstance(error, ConnectionError):
        return ErrorKind.CONNECTION_TERMINATED
    if isinstance(error, OSError) and error.errno in FULL_HERE:
        return ErrorKind.CONNECTION_LIMIT_REACHED
    return ErrorKind.DESTINATION_UNAVAILABLE


async def connect(home: IdleConnections, client: Downstream, check: Callable[[], None]) -> Upstream | Outcome:
    """A new connection, or how the Attempt failed. Given up at the client's deadline, or when `check` raises."""
    result = await _connect(home, client, check)
    if isinstance(result, Outcome) and result.kind is ErrorKind.CONNECTION_LIMIT_REACHED and _make_room(client):
        return await _connect(home, client, check)
    return result


def _make_room(client: Downstream) -> bool:
    """Out of descriptors: idle connections are worth less than this one. Whether there were any."""
    idle = [one for one in client.worker.idle.values() if len(one)]
    for one in idle:
        one.clear()
    return bool(idle)


async def _connect(home: IdleConnections, client: Downstream, check: Callable[[], None]) -> Upstream | Outcome:
    task = begin_opening(home, client)
    try:
        while not task.done():
            check()
            if client.is_expired:
                return Outcome(ErrorKind.CONNECTION_TIMEOUT, detail="no connection in time")
            await PAUSE
    finally:
        give_up(task)
    return opened(task)


def begin_opening(home: IdleConnections, client: Downstream) -> asyncio.Task[Upstream]:
    """Open a connection beside all else; its end wakes the client."""
    task = client.worker.loop.create_task(home.open(client))
    task.add_done_callback(lambda _: client.wake())
    return task


def give_up(task: asyncio.Task[Upstream]) -> None:
    """Nobody waits for this connection any more, if it is not there yet."""
    if not task.done():
        task.cancel()
        task.add_done_callback(_let_go)


def opened(task: asyncio.Task[Upstream]) -> Upstream | Outcome:
    """The connection that was opened, or how that failed."""
    error = task.exception()
    if error is None:
        return task.result()
    if not isinstance(error, OSError):
        raise error
    said = describe(error) if isinstance(error, ssl.SSLError) else error.strerror
    return Outcome(connect_error(error), detail=said or str(error) or type(error).__name__)


def _let_go(task: asyncio.Task[Upstream]) -> None:
    """A connection that came after nobody waited for it any more."""
    if not task.cancelled() and task.exception() is None:
        task.result().close()
