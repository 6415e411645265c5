"""A worker whose supervisor is gone: it serves on, and offers its sockets to the next supervisor, whom it then obeys.

It listens on an abstract Unix socket, which needs no folder and vanishes with the process. Only our own user and root
are let in. What is said there is in `core.takeover`. The worker owns one Orphan, idle as long as its supervisor lives.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import socket
import struct
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, Any, cast

from proxy.core.messages import Message, ReopenLogs, Report
from proxy.core.takeover import Offer, Order, Word, from_line, mark, name_of, to_line

if TYPE_CHECKING:
    from proxy.dataplane.worker import Worker

log = logging.getLogger("proxy.dataplane.orphan")

AGAIN = 1.0
"""Seconds until the next try where no socket could be had."""
MOST_WAITING = 4194304
"""Bytes that may wait for an heir that does not read."""
ORDER_MAX = 4096
"""Bytes of an order."""
LAST_WORDS = 2.0
"""Seconds for an heir to read our last counts."""


class Orphan:
    """Lets in one heir at a time."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """The supervisor is gone."""
        if not self._worker.reception.doors:
            # Nobody could want it: it has nothing to offer.
            self._worker.ending.begin(0.0, closes_idle=True)
        elif self._task is None:
            self._task = self._worker.loop.create_task(self._run())

    async def _run(self) -> None:
        """Wait for heirs, one after the other, until this process ends. Who is led is not to be found."""
        while True:
            try:
                with _listen([door.bound for door in self._worker.reception.doors if door.is_open]) as listener:
                    heir, _ = await self._worker.loop.sock_accept(listener)
                await self._follow(heir)
            except OSError as error:
                log.warning("nobody can take over from here for now", extra={"fields": {"error": error.strerror}})
                await asyncio.sleep(AGAIN)

    async def _follow(self, sock: socket.socket) -> None:
        """Offer what we have, and do as told, until the heir goes."""
        if _user_of(sock) not in {os.geteuid(), 0}:
            sock.close()
            return
        gone = asyncio.Event()
        try:
            heir = await self._introduce(sock, gone)
        except OSError as error:
            sock.close()
            log.warning("a takeover failed", extra={"fields": {"error": error.strerror}})
            return
        self._worker.control = heir
        heir.send(self._worker.report(monotonic()))
        await gone.wait()

    async def _introduce(self, sock: socket.socket, gone: asyncio.Event) -> Heir:
        sock.setblocking(False)
        sockets = [door.fileno() for door in self._worker.reception.doors if door.is_open]
        offer = to_line(Offer(os.getpid(), len(sockets)))
        if sockets:
            socket.send_fds(sock, [offer], sockets)
        else:
            sock.send(offer)
        _, heir = await self._worker.loop.create_connection(lambda: Heir(self._obey, gone.set), sock=sock)
        return heir

    def _obey(self, order: Order) -> None:
        if order.reopens_logs:
            self._worker.heed(ReopenLogs())
        if order.drain is not None:
            self._worker.ending.begin(order.drain, closes_idle=order.closes_idle)


class Heir(asyncio.Protocol):
    """The supervisor that takes over, in the place of `Control`: gets our counts, gives orders."""

    def __init__(self, obey: Callable[[Order], None], gone: Callable[[], None]) -> None:
        self._obey = obey
        self._gone = gone
        self._buffer = b""
        self._transport: asyncio.Transport | None = None
        self._closed = asyncio.Event()
        self.is_alone = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        try:
            for line in lines:
                self._obey(from_line(Order, line))
        except ValueError as error:
            log.warning("an order was not understood", extra={"fields": {"error": str(error)}})
        if len(self._buffer) > ORDER_MAX and self._transport is not None:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self.is_alone = True
        self._closed.set()
        self._gone()

    def send(self, message: Message) -> None:
        """Tell our counts; the heir asks for nothing else."""
        transport = self._transport
        if transport is not None and isinstance(message, Report) and transport.get_write_buffer_size() < MOST_WAITING:
            transport.write(to_line(Word(message)))

    async def say_last(self, message: Message) -> None:
        """Send the last counts and close; who does not read them is not waited for."""
        self.send(message)
        if self._transport is not None:
            self._transport.close()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closed.wait(), LAST_WORDS)


def _listen(bound: list[Any]) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.bind(f"\0{name_of(os.getpid(), secrets.token_hex(4), map(mark, bound))}")
        sock.listen(1)
    except OSError:
        sock.close()
        raise
    return sock


def _user_of(sock: socket.socket) -> int:
    """Who is at the other end (unix(7), SO_PEERCRED)."""
    credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    user: int = struct.unpack("3i", credentials)[1]
    return user
