"""The transport of a client that is none: takes what is written, and says when it is closed. Used by `delivery`."""

from __future__ import annotations

import asyncio
from typing import Any


class Mailbox(asyncio.Transport):
    """Ends nowhere. The answer is kept by the ledger, so what is written need not be."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._loop = loop
        self._protocol: asyncio.BaseProtocol | None = None
        self._is_closing = False
        self.status = 0
        """Of the last answer that began."""
        self.closed = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Mailbox{' closed' if self._is_closing else ''}>"

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        assert self._protocol is not None
        return self._protocol

    def write(self, data: Any) -> None:
        """Nobody reads more of it than its status."""
        start = bytes(data[:12])
        if start.startswith(b"HTTP/1.1 "):
            self.status = int(start[9:])

    def can_write_eof(self) -> bool:
        return False

    def is_closing(self) -> bool:
        return self._is_closing

    def close(self) -> None:
        if not self._is_closing:
            self._is_closing = True
            self._loop.call_soon(self._lose)

    def abort(self) -> None:
        self.close()

    def _lose(self) -> None:
        self.get_protocol().connection_lost(None)
        self.closed.set()

    def is_reading(self) -> bool:
        return not self._is_closing

    def pause_reading(self) -> None:
        """All of it has come already."""

    def resume_reading(self) -> None:
        """As above."""

    def get_write_buffer_size(self) -> int:
        return 0
