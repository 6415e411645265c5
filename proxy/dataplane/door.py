"""A listening socket's accept queue, emptied in one turn of the loop.

uvloop accepts one connection per turn and socket; under load a turn lasts milliseconds, so thousands of new clients
would wait for seconds in a queue that nobody hurries to empty. When one connection has come, the rest are fetched too.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable

log = logging.getLogger("proxy.dataplane.door")

AT_ONCE = 128
"""Connections that are fetched in one turn, so that those who are being served wait no longer than that."""
BACKLOG = 4096
"""Connections that the kernel lets wait."""


class Door:
    """Accepts clients on one listening socket."""

    __slots__ = ("_is_called", "_is_full", "_make", "_opening", "_server", "_sock")

    def __init__(self, sock: socket.socket, make: Callable[[Door], asyncio.Protocol]) -> None:
        self._sock = sock
        self._make = make
        self._server: asyncio.Server | None = None
        self._opening: set[asyncio.Task[object]] = set()
        self._is_called = self._is_full = False

    def __repr__(self) -> str:
        return f"<Door {self._sock.fileno()}>"

    @property
    def is_open(self) -> bool:
        """Whether it accepts."""
        return self._server is not None

    def fileno(self) -> int:
        """Of the listening socket."""
        return self._sock.fileno()

    async def open(self) -> None:
        """Begin to accept."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: self._make(self), sock=self._sock, backlog=BACKLOG)

    def knock(self) -> None:
        """A connection has come: look for more at the end of this turn."""
        if not self._is_called and self._server is not None:
            self._is_called = True
            asyncio.get_running_loop().call_soon(self._fetch)

    def _fetch(self) -> None:
        self._is_called = False
        if self._server is None:
            return
        loop = asyncio.get_running_loop()
        for _ in range(AT_ONCE):
            try:
                sock, _ = self._sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                self._is_full = False
                return
            except OSError as error:
                self._say_full(error)
                return
            sock.setblocking(False)
            task = loop.create_task(loop.connect_accepted_socket(lambda: self._make(self), sock))
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    def _say_full(self, error: OSError) -> None:
        """Out of descriptors or memory: serve on, say it once; who waits is served when there is room again."""
        if not self._is_full:
            self._is_full = True
            log.warning("no more connections can be accepted", extra={"fields": {"error": error.strerror}})

    def close(self) -> None:
        """Accept no more."""
        if self._server is not None:
            self._server.close()
            self._server = None

    async def shut(self) -> None:
        """Accept no more, and return when all who were accepted are inside."""
        self.close()
        await asyncio.gather(*self._opening, return_exceptions=True)
        # uvloop makes the last connection's protocol a turn after it has accepted it.
        await asyncio.sleep(0)
        await asyncio.sleep(0)
