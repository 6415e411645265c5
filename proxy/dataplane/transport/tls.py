"""TLS on top of a TCP connection: a protocol to what is below, a transport to the Downstream or Upstream above.

uvloop has this too, but what it has decrypted and not yet handed on is lost when the other side ends the connection
while reading is paused, it can't end one direction only, and it leaves no room for what comes before the handshake
(docs/adr/0014-tls-over-memory.md). OpenSSL does the work here as there, over two buffers in memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import TYPE_CHECKING, Any, Protocol, cast

if TYPE_CHECKING:
    from collections.abc import Callable

    Wrap = Callable[[ssl.MemoryBIO, ssl.MemoryBIO], ssl.SSLObject]

    from proxy.dataplane.backends.upstream import Upstream
    from proxy.dataplane.clients.downstream import Downstream

RECORD = 16384
"""Bytes of the largest record, so of the most that one call can read."""

NEW, SHAKING, OPEN, CLOSING = range(4)


class HandshakeCutError(ConnectionResetError):
    """The other side closed the connection within the handshake."""

    def __init__(self) -> None:
        super().__init__("closed during the TLS handshake")


class Handshake(Protocol):
    """Who waits for the handshake of a connection."""

    def begun(self) -> None:
        """The connection below is there."""

    def ended(self, error: Exception | None) -> None:
        """It came to its end; None: it went well."""

    def gone(self, connection: ssl.SSLObject) -> None:
        """A connection that had gone well is over."""


class Nobody(asyncio.Protocol):
    """In place of both neighbours when all is over: or they and we would wait for the garbage collector."""

    def begun(self) -> None:
        """Too late."""

    def ended(self, error: Exception | None) -> None:
        """Too late."""

    def gone(self, connection: ssl.SSLObject) -> None:
        """Too late."""


NOBODY = Nobody()


class TlsTransport(asyncio.Protocol, asyncio.Transport):
    """One connection. `close` and `write_eof` say good-bye (close_notify); `abort` does not, and the break shows."""

    __slots__ = (
        "_above",
        "_error",
        "_handshake",
        "_has_ended",
        "_has_said_last",
        "_incoming",
        "_outgoing",
        "_raw",
        "_ssl",
        "_state",
    )

    _raw: asyncio.Transport

    def __init__(self, above: Downstream | Upstream, handshake: Handshake, wrap: Wrap) -> None:
        self._above: asyncio.Protocol = above
        self._handshake: Handshake = handshake
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._ssl = wrap(self._incoming, self._outgoing)
        self._state = NEW
        self._has_ended = self._has_said_last = False
        self._error: ssl.SSLError | None = None

    def __repr__(self) -> str:
        return f"<TlsTransport {('new', 'shaking', 'open', 'closing')[self._state]}>"

    # The connection below

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._raw = cast("asyncio.Transport", transport)
        self._state = SHAKING
        self._above.connection_made(self)
        if self._raw.is_closing():
            # One too many: no work is done for it.
            self._state = CLOSING
            return
        self._handshake.begun()
        if not self._ssl.server_side:
            self._shake()

    def data_received(self, data: bytes) -> None:
        if self._state == OPEN:
            self._incoming.write(data)
            self._read()
        elif self._state == SHAKING:
            self._incoming.write(data)
            self._shake()

    def eof_received(self) -> bool:
        """After a close_notify the other direction may go on. Without one something was cut off."""
        if self._state == SHAKING:
            self._fail(HandshakeCutError())
        return self._has_ended and self._state == OPEN

    def connection_lost(self, exc: Exception | None) -> None:
        if self._state == SHAKING:
            self._state = CLOSING
            self._handshake.ended(HandshakeCutError())
        elif self._state == OPEN:
            self._over()
        above, self._above, self._handshake = self._above, NOBODY, NOBODY
        above.connection_lost(self._error or exc)

    def pause_writing(self) -> None:
        self._above.pause_writing()

    def resume_writing(self) -> None:
        self._above.resume_writing()

    # What came

    def _shake(self) -> None:
        try:
            self._ssl.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            return
        except ssl.SSLError as error:
            self._fail(error)
            return
        self._state = OPEN
        self._flush()
        self._handshake.ended(None)
        if self._incoming.pending:
            self._read()

    def _fail(self, error: Exception) -> None:
        """The handshake failed: send the alert that says why, and nothing after it."""
        self._state = CLOSING
        self._flush()
        if not self._raw.is_closing():
            self._raw.write_eof()
        self._handshake.ended(error)

    def _read(self) -> None:
        incoming, read = self._incoming, self._ssl.read
        pieces: list[bytes] = []
        error: ssl.SSLError | None = None
        has_ended = False
        try:
            # A second call that finds nothing would cost as much as the first: an exception.
            while incoming.pending and not has_ended:
                piece = read(RECORD)
                pieces.append(piece)
                has_ended = not piece
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            has_ended = True
        except ssl.SSLError as failure:
            error = failure
        if self._outgoing.pending:
            self._flush()
        if pieces and pieces[0]:
            self._above.data_received(pieces[0] if len(pieces) == 1 else b"".join(pieces))
        if error is not None:
            self._break(error)
        elif has_ended and not self._has_ended:
            self._end()

    def _end(self) -> None:
        """The other side has said its last."""
        self._has_ended = True
        if self._state == OPEN and not self._above.eof_received():
            self.close()

    def _break(self, error: ssl.SSLError) -> None:
        """What came is no TLS, or an alert: nothing more can be said either way."""
        if self._state == OPEN:
            self._state = CLOSING
            self._error = error
            self._raw.abort()

    def _flush(self) -> None:
        if self._outgoing.pending:
            self._raw.write(self._outgoing.read())

    # The transport above

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Encrypt and send. Nothing can be sent before the end of the handshake or after our own last word."""
        if self._state != OPEN or self._has_said_last or not data:
            return
        try:
            sent = self._ssl.write(data)
            if sent < len(data):
                rest = memoryview(data)
                while rest := rest[sent:]:
                    sent = self._ssl.write(rest)
        except ssl.SSLError as error:
            self._break(error)
            return
        self._raw.write(self._outgoing.read())

    def can_write_eof(self) -> bool:
        """Whether one direction may end before the other."""
        return True

    def write_eof(self) -> None:
        """Say our last, and go on reading. Before the end of the handshake nothing can be said."""
        if self._state == SHAKING:
            self.abort()
            return
        self._say_last()
        if not self._raw.is_closing():
            self._raw.write_eof()

    def _say_last(self) -> None:
        if self._state == OPEN and not self._has_said_last:
            self._has_said_last = True
            # It would read the other side's last word, if that were there.
            with contextlib.suppress(ssl.SSLError):
                self._ssl.unwrap()
            self._flush()

    def close(self) -> None:
        """Send what is left to send, say our last, and close. A connection whose handshake is not over is cut."""
        if self._state == OPEN:
            self._say_last()
            self._over()
            self._raw.close()
        else:
            self.abort()

    def abort(self) -> None:
        """Cut it."""
        if self._state == OPEN:
            self._over()
        self._raw.abort()

    def let_go(self) -> None:
        """Nobody waits for this connection any more, if there ever was one."""
        if self._state != NEW:
            self.abort()

    def _over(self) -> None:
        self._state = CLOSING
        self._handshake.gone(self._ssl)

    def is_closing(self) -> bool:
        """Whether nothing more can be sent."""
        return self._state == CLOSING or self._raw.is_closing()

    def pause_reading(self) -> None:
        """Nothing that has been decrypted is ever left here, so it is enough that nothing more comes from below."""
        self._raw.pause_reading()

    def resume_reading(self) -> None:
        """Read again."""
        self._raw.resume_reading()

    def get_write_buffer_size(self) -> int:
        """Bytes that wait below, encrypted."""
        return self._raw.get_write_buffer_size()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """`ssl_object`, `sslcontext`, and all that the connection below knows."""
        if name == "ssl_object":
            return self._ssl
        return self._ssl.context if name == "sslcontext" else self._raw.get_extra_info(name, default)
