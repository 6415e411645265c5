"""A listening socket: accepts clients as long as there is room, and learns from a PROXY header who they are.

uvloop accepts one connection per turn and socket for half of what it costs to do so here, but under load a turn lasts
milliseconds, so thousands of new clients would wait for seconds. When one has come, the rest are fetched too. Where a
PROXY header comes first, all are accepted here. Where there is no room, a Door does not look at its queue until the
sweep finds some: who waits there is served then, and a full worker does not spin.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from functools import partial
from typing import Any, Protocol

from proxy.core.settings import ListenerSettings
from proxy.core.wire.proxy_protocol import IntroductionError, Origin
from proxy.dataplane.clients.introduction import read_introduction

log = logging.getLogger("proxy.dataplane.clients.door")

AT_ONCE = 128
"""Connections that are fetched in one turn, so that those who are being served wait no longer than that."""
BACKLOG = 4096
"""Connections that the kernel lets wait."""
LAST_CALL = 0.1
"""Seconds for those who are half in when a Door is shut."""
QUIET = 60.0
"""Seconds in which a Door that is full time and again says so once."""
TOO_FEW = "too few descriptors are left"
UNTRUSTED = "proxy_protocol_untrusted"
MALFORMED = "proxy_protocol_malformed"
LATE = "proxy_protocol_timeout"
LISTENER_FULL = "connections"


class Host(Protocol):
    """The worker, as a Door sees it."""

    def client_at(self, door: Door, origin: Origin | None) -> asyncio.Protocol:
        """A protocol for a new client."""

    def has_room(self) -> bool:
        """Whether another client may be accepted."""

    def is_trusted(self, client: str) -> bool:
        """Whether this address is one of `trusted_proxies`."""

    def head_timeout(self) -> float:
        """Seconds that a client has for its first words."""

    def turn_away(self, listener: str, reason: str) -> None:
        """Count a connection that was closed without being served."""


class Door:
    """Accepts clients on one listening socket."""

    __slots__ = (
        "_host",
        "_is_called",
        "_is_full",
        "_loop",
        "_said_at",
        "_server",
        "_sock",
        "_starting",
        "is_open",
        "opening",
        "settings",
    )

    def __init__(self, sock: socket.socket, settings: ListenerSettings, host: Host) -> None:
        self._sock = sock
        self._host = host
        self.settings = settings
        self._loop = asyncio.get_running_loop()
        self.opening: set[asyncio.Task[None]] = set()
        """Connections that are accepted and not yet at our protocol."""
        self._server: asyncio.Server | None = None
        self._starting: asyncio.Task[None] | None = None
        self.is_open = self._is_full = self._is_called = False
        self._said_at = -QUIET

    def __repr__(self) -> str:
        return f"<Door {self.settings.name}{' full' if self._is_full else ''}>"

    def fileno(self) -> int:
        """Of the listening socket."""
        return self._sock.fileno()

    @property
    def bound(self) -> Any:
        """Its address."""
        return self._sock.getsockname()

    def open(self) -> None:
        """Begin to accept."""
        self._sock.setblocking(False)
        self._sock.listen(BACKLOG)
        self.is_open = True
        self._begin()

    def obey(self, settings: ListenerSettings) -> None:
        """Do as the new settings say with those who come from now on."""
        is_other = settings.proxy_protocol is not self.settings.proxy_protocol
        self.settings = settings
        if is_other and self.is_open and not self._is_full:
            self._end()
            self._begin()

    def _begin(self) -> None:
        if self.settings.proxy_protocol:
            self._loop.add_reader(self._sock, self._fetch)
        else:
            self._starting = self._loop.create_task(self._serve())

    async def _serve(self) -> None:
        """Let uvloop accept. It closes what it is given when it ends; ours must live on."""
        try:
            self._server = await self._loop.create_server(self._make, sock=self._sock.dup(), backlog=BACKLOG)
        except OSError as error:
            self._pause(str(error.strerror))

    def _end(self) -> None:
        """Accept nobody, for now or for good."""
        self._loop.remove_reader(self._sock)
        if self._starting is not None:
            self._starting.cancel()
        if self._server is not None:
            self._server.close()
        self._starting = self._server = None

    def _make(self) -> asyncio.Protocol:
        """A connection has come: look for more at the end of this turn."""
        if not self._is_called:
            self._is_called = True
            self._loop.call_soon(self._fetch_more)
        return self._host.client_at(self, None)

    def _fetch_more(self) -> None:
        self._is_called = False
        if self.is_open and not self._is_full:
            why = self._fetch_all() or ("" if self._host.has_room() else TOO_FEW)
            if why:
                self._pause(why)

    def close(self) -> None:
        """Let in who waits, and no more. Who is half in goes on."""
        if not self.is_open:
            return
        self.is_open = False
        self._end()
        self._empty()
        self._sock.close()

    async def shut(self) -> None:
        """Accept no more, and return when all who were accepted are inside, or have not said who they are."""
        self.close()
        if self.opening:
            await asyncio.wait(self.opening, timeout=LAST_CALL)
        for task in self.opening:
            task.cancel()
        await asyncio.gather(*self.opening, return_exceptions=True)
        # uvloop makes the last connection's protocol a turn after it has accepted it.
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    def look(self) -> None:
        """If it was full: see whether there is room again."""
        if self.is_open and self._is_full and self._host.has_room():
            self._is_full = False
            self._begin()

    def _fetch(self) -> None:
        why = self._fetch_all()
        if why:
            self._pause(why)

    def _fetch_all(self) -> str:
        """Accept all that wait, up to `AT_ONCE`; why no more can be accepted, if that is so."""
        for _ in range(AT_ONCE):
            try:
                sock, peer = self._sock.accept()
            except (BlockingIOError, InterruptedError):
                return ""
            except ConnectionAbortedError:
                continue
            except OSError as error:
                return str(error.strerror)
            sock.setblocking(False)
            self._let_in(sock, peer)
            if not self._host.has_room():
                return TOO_FEW
        return ""

    def _empty(self) -> None:
        """Who is in the queue has been told that it is connected, and nobody else may come to accept it."""
        for _ in range(BACKLOG):
            try:
                sock, peer = self._sock.accept()
            except OSError:
                return
            sock.setblocking(False)
            self._let_in(sock, peer)

    def _pause(self, why: str) -> None:
        """Out of descriptors or memory: serve on, say it once; who waits is served when there is room again."""
        self._is_full = True
        self._end()
        if self._loop.time() - self._said_at >= QUIET:
            self._said_at = self._loop.time()
            log.warning(
                "no more connections can be accepted for now",
                extra={"fields": {"listener": self.settings.name, "error": why.lower()}},
            )

    def _let_in(self, sock: socket.socket, peer: Any) -> None:
        if self.settings.proxy_protocol:
            coroutine = self._meet(sock, peer)
        else:
            coroutine = self._connect(sock, None)
        task = self._loop.create_task(coroutine)
        self.opening.add(task)
        task.add_done_callback(partial(self._came, sock))

    def _came(self, sock: socket.socket, task: asyncio.Task[None]) -> None:
        self.opening.discard(task)
        # One that was cancelled before it began could not do it.
        if task.cancelled():
            sock.close()

    async def _connect(self, sock: socket.socket, origin: Origin | None) -> None:
        """Hand a connection over to the protocol that serves it, or to TLS below that."""
        try:
            await self._loop.connect_accepted_socket(lambda: self._host.client_at(self, origin), sock)
        except OSError:
            # It was gone before it was here.
            sock.close()

    # PROXY protocol

    async def _meet(self, sock: socket.socket, peer: Any) -> None:
        """Learn who it is. Whatever goes wrong, nothing of it is passed on."""
        try:
            reason, origin = await self._introduced(sock, peer)
        except BaseException:
            sock.close()
            raise
        if reason:
            self._host.turn_away(self.settings.name, reason)
            sock.close()
        else:
            await self._connect(sock, origin)

    async def _introduced(self, sock: socket.socket, peer: Any) -> tuple[str, Origin | None]:
        """Why it is turned away, if it is; else whose connection it is, if it is another's."""
        if isinstance(peer, tuple) and not self._host.is_trusted(peer[0]):
            return UNTRUSTED, None
        if len(self.opening) > self.settings.connections:
            return LISTENER_FULL, None
        try:
            async with asyncio.timeout(self._host.head_timeout()):
                return "", await read_introduction(sock)
        except TimeoutError:
            return LATE, None
        except (IntroductionError, OSError):
            return MALFORMED, None
