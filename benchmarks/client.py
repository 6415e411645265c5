"""One connection of the load client: sends a request, and says when the answer is whole or why it will not be.

It knows nothing of rates, counts or windows (`load`), and of HTTP only what it takes to
tell a whole answer from a broken one.
"""

from __future__ import annotations

import asyncio
import re
from typing import Protocol, cast

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)
_CLOSES = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)
_LAST_CHUNK = b"0\r\n\r\n"
_HEAD, _COUNTED, _CHUNKS = range(3)


class Owner(Protocol):
    """Whoever sends through connections."""

    def finished(self, client: Client, error: str) -> None:
        """The answer is whole (`error` is empty), or will not come."""

    def lost(self, client: Client) -> None:
        """The connection is gone; nothing was in flight any more."""


class Client(asyncio.Protocol):
    """One connection to a proxy with at most one request in flight."""

    __slots__ = (
        "_buffer",
        "_closes",
        "_error",
        "_left",
        "_owner",
        "_part",
        "_transport",
        "_usual",
        "is_busy",
        "sent_at",
        "verb",
    )

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._transport: asyncio.Transport | None = None
        self._usual = -1
        """Length of this connection's first answer; one that is as long and came in one piece is not parsed again."""
        # Of the answer that is being read:
        self._part = _HEAD
        self._left = 0
        self._buffer = b""
        self._error = ""
        self._closes = False
        # Of the request in flight:
        self.is_busy = False
        self.sent_at = 0.0
        self.verb = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing() and not self._closes

    def send(self, request: bytes, now: float) -> None:
        """Send a request; `now` is when it should have gone out, from which its latency counts."""
        assert self._transport is not None
        self.is_busy = True
        self.sent_at = now
        self.verb = request[:4]
        self._transport.write(request)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def give_up(self, error: str) -> None:
        """Nothing came in time: count it as that error and drop the connection."""
        if self._transport is not None:
            self._transport.abort()
        self._finish(error)

    def data_received(self, data: bytes) -> None:
        if len(data) == self._usual and self._part == _HEAD and not self._buffer and data.startswith(b"HTTP/1.1 200"):
            self.is_busy = False
            self._owner.finished(self, "")
        elif not self.is_busy:
            self._closes = True  # bytes that nobody asked for: never use it again
            self.close()
        elif self._part == _HEAD:
            self._read_head(self._buffer + data)
        else:
            self._read_body(data)

    def _read_head(self, data: bytes) -> None:
        end = data.find(b"\r\n\r\n")
        if end < 0:
            self._buffer = data
            return
        self._buffer = b""
        status = data[9:12]
        self._error = "" if status == b"200" else f"status {status.decode('latin-1')}"
        self._closes = _CLOSES.search(data, 0, end) is not None
        body = data[end + 4 :]
        if length := _LENGTH.search(data, 0, end):
            self._part, self._left = _COUNTED, int(length[1])
            if len(body) == self._left and not self._closes:
                self._usual = len(data)
            self._read_body(body)
        elif _CHUNKED.search(data, 0, end):
            self._part = _CHUNKS
            self._read_body(body)
        else:
            self.give_up("answer without a length")

    def _read_body(self, data: bytes) -> None:
        if self._part == _COUNTED:
            self._left -= len(data)
            if self._left == 0:
                self._finish(self._error)
            elif self._left < 0:
                self.give_up("answer too long")
        else:
            # Bodies are made of `x`: what ends like a last chunk is one.
            self._buffer = (self._buffer + data)[-len(_LAST_CHUNK) :]
            if self._buffer == _LAST_CHUNK:
                self._finish(self._error)

    def _finish(self, error: str) -> None:
        self._part = _HEAD
        self._buffer = b""
        self.is_busy = False
        self._owner.finished(self, error)

    def connection_lost(self, exc: Exception | None) -> None:
        self._closes = True
        if self.is_busy:
            self._finish("reset" if exc is not None else "closed")
        self._owner.lost(self)
