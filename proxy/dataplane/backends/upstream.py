"""One connection to a Backend: reading answers off it.

An Upstream belongs to one exchange at a time (its `owner`); bytes that come while it has none close it. It reads the
answer's head and body and either holds the body (`pieces`) or, once told to, passes it straight on to the client.
"""

from __future__ import annotations

import asyncio
import select
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from proxy.core.requests.retry import Outcome
from proxy.core.wire.chunked import ChunkedDecoder, ChunkError
from proxy.core.wire.grammar import CHUNKED, COUNTED, END_OF_HEAD, NO_BODY, is_no_answer
from proxy.core.wire.http1_answers import ResponseHead
from proxy.dataplane.backends.failure import failure
from proxy.errors import ErrorKind, ResponseError

if TYPE_CHECKING:
    from proxy.dataplane.backends.idle import IdleConnections
    from proxy.dataplane.clients.downstream import Downstream

HIGH_WATER = 262144
"""Bytes of an answer that are held before reading stops, where they can't be passed on yet."""


class Upstream(asyncio.Protocol):
    """One connection to a Backend."""

    __slots__ = (
        "_came_whole",
        "_decoder",
        "_sink",
        "_to_head",
        "buffer",
        "descriptor",
        "error",
        "has_ended",
        "head",
        "home",
        "idle_since",
        "interims",
        "is_complete",
        "is_lost",
        "is_reading_paused",
        "is_sent",
        "is_write_paused",
        "left",
        "owner",
        "pieces",
        "requests",
        "size",
        "stream",
        "tls_error",
        "transport",
        "tunnel",
    )

    transport: asyncio.Transport

    def __init__(self, home: IdleConnections) -> None:
        # Per connection
        self.home = home
        self.owner: Downstream | None = None
        self.requests = 0
        self.idle_since = 0.0
        self.descriptor = -1
        self.is_lost = False
        self.tls_error: ssl.SSLError | None = None
        self.is_sent = False
        """Whether the request of this exchange has been written; until then nothing of it was sent."""
        self.is_write_paused = self.is_reading_paused = False
        self.tunnel: Callable[[bytes], None] | None = None
        # Per request
        self._to_head = self._came_whole = False
        self._expect()

    def __repr__(self) -> str:
        state = "lost" if self.is_lost else "idle" if self.owner is None else "busy"
        return f"<Upstream {self.home.address} {state} requests={self.requests}>"

    def _expect(self) -> None:
        """Be ready for the head of the next answer."""
        self.buffer = b""
        self.head: ResponseHead | None = None
        self.error: ResponseError | None = None
        self.interims: list[ResponseHead] | None = None
        self.pieces: list[bytes] = []
        self.size = 0
        """Bytes of the body that have come, where they did not come with the head."""
        self.left = 0
        self.is_complete = self.has_ended = False
        self.stream: Callable[[list[bytes]], None] | None = None
        self._sink: Callable[[bytes], None] = self._take_head
        self._decoder: ChunkedDecoder | None = None

    # One exchange

    def begin(self, owner: Downstream, *, to_head: bool) -> None:
        """This connection serves `owner` now."""
        self.owner = owner
        self.is_sent = False
        self._to_head = to_head
        self.requests += 1
        if self.requests == 1 and not self.is_lost:
            self.descriptor = owner.worker.outbox.watch(self.transport)

    def release(self, now: float, *, reusable: bool) -> None:
        """The exchange is over: keep the connection if nothing speaks against it, else close it."""
        self.owner = None
        head = self.head
        if not reusable or head is None or not head.is_keep_alive or not self._is_clean():
            self.close()
            return
        if self._came_whole:
            self.head = None
            self.is_complete = False
            self._sink = self._take_head
        else:
            self._expect()
            self.resume_reading()
        self.home.keep(self, now)

    def _is_clean(self) -> bool:
        """Whether the answer ended by its own framing and nothing is left in either direction."""
        return self.is_complete and not (self.has_ended or self.is_lost or self.is_write_paused or self.buffer)

    def close(self) -> None:
        """End the connection at once; what the transport still holds is dropped."""
        self.owner = None
        if not self.is_lost:
            self._retire()
            self.transport.abort()

    def _retire(self) -> None:
        """Read no more. A method of ours in `_sink` would keep this, and what it holds, for the garbage collector."""
        self.is_lost = True
        self._sink = _unheard
        self.stream = None
        self.home.forget(self)

    def finish(self, within: float) -> None:
        """End the connection once all that the transport still holds has been written, or after so many seconds."""
        if self.is_lost or not self.transport.get_write_buffer_size():
            self.close()
            return
        self.owner = None
        self._retire()
        self.transport.close()
        asyncio.get_running_loop().call_later(within, self.transport.abort)

    def deliver(self, data: bytes, noisy: dict[int, int]) -> None:
        """Write a request's head: from here on the request counts as sent."""
        if self.descriptor in noisy and not self.is_lost and (self.home.tls is None or self.requests > 1):
            # Under TLS it may be no data; the tickets that follow a handshake have come before the first answer.
            if noisy[self.descriptor] == select.EPOLLIN and self.home.tls is None:
                self.home.distrust()
            self._lose()
        elif not self.is_lost and not self.transport.is_closing():
            self.is_sent = True
            self.transport.write(data)

    def _lose(self) -> None:
        """Bytes or an end that came before the request was written are no answer to it."""
        owner = self.owner
        self.close()
        if owner is not None:
            owner.wake()

    def outcome(self, kind: ErrorKind, detail: str, *, is_uploaded: bool) -> Outcome:
        """How an Attempt on this connection failed, and how far its request had got by then."""
        return failure(self, kind, detail, is_uploaded=is_uploaded)

    @property
    def is_passed_on(self) -> bool:
        """Whether what comes goes on to the client as it comes."""
        return self.stream is not None or self.tunnel is not None

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self.owner is None or not self.is_sent:
            # A server may say that it waits no longer, and close (RFC 9110, section 15.5.9).
            if not (data.startswith(b"HTTP/1.") and data[8:13] == b" 408 "):
                self.home.distrust()
            self._lose()
        elif self.tunnel is not None:
            self.tunnel(data)
        else:
            self._sink(data)

    def eof_received(self) -> bool:
        self.has_ended = True
        if self.owner is None:
            self.close()
            return False
        if not self.is_sent:
            self._lose()
            return False
        if self._sink == self._until_close and self.tunnel is None:
            self._end_body()
        else:
            self.owner.wake()
        return self.tunnel is not None

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.is_lost:
            self.tls_error = exc if isinstance(exc, ssl.SSLError) else None
            self._retire()
            self._wake()

    def pause_writing(self) -> None:
        self.is_write_paused = True
        if self.owner is not None:
            self.owner.pause_reading()

    def resume_writing(self) -> None:
        self.is_write_paused = False
        if self.owner is not None:
            self.owner.resume_reading()

    def pause_reading(self) -> None:
        """Read no more until `resume_reading`: whoever gets the bytes is slow."""
        if not self.is_reading_paused and not self.is_lost:
            self.is_reading_paused = True
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        """Read again."""
        if self.is_reading_paused and not self.is_lost:
            self.is_reading_paused = False
            self.transport.resume_reading()

    # The answer

    def _take_head(self, data: bytes) -> None:
        buffer = self.buffer + data if self.buffer else data
        try:
            head = self._read_head(buffer)
        except ResponseError as error:
            self.fail(error)
            return
        if head is None:
            self.buffer = buffer
            if len(buffer) > self.home.limits.header_bytes:
                self.fail(ResponseError("the head is too large", ErrorKind.HTTP_RESPONSE_HEADER_SECTION_SIZE))
            elif is_no_answer(buffer, max(0, len(buffer) - len(data) - 1)):
                self.fail(ResponseError("not an HTTP/1 answer"))
            return
        rest = buffer[len(head.head) :]
        if head.is_plain and len(rest) == head.length and self.interims is None:
            self._take_whole(head, rest)
        elif head.status < 200 and head.status != 101:
            self._take_interim(head, rest)
        else:
            self.head = head
            self._came_whole = False
            self.buffer = b""
            # After an answer that came whole its body is still there.
            self.pieces = []
            self._begin_body(head, rest)

    def _read_head(self, buffer: bytes) -> ResponseHead | None:
        """The head that has come, None if not all of it has; raises ResponseError."""
        is_first = not (self._to_head or self.buffer)
        head = ResponseHead.leading(buffer, self.home.limits) if is_first else None
        if head is not None:
            return head
        end = buffer.find(END_OF_HEAD)
        return None if end < 0 else ResponseHead(buffer[: end + 4], self.home.limits, to_head=self._to_head)

    def _take_whole(self, head: ResponseHead, body: bytes) -> None:
        """A plain answer that has come to its end, as nearly all do in their first read."""
        self.head = head
        self.pieces = [body]
        self.buffer = b""
        self._came_whole = self.is_complete = True
        self._sink = self._surplus
        self._wake()

    def _take_interim(self, head: ResponseHead, rest: bytes) -> None:
        self.interims = [*(self.interims or ()), head]
        self.buffer = b""
        if len(self.interims) > self.home.limits.headers:
            self.fail(ResponseError("too many interim answers"))
            return
        if rest:
            self._take_head(rest)
        self._wake()

    def _begin_body(self, head: ResponseHead, rest: bytes) -> None:
        body = head.body
        if head.status == 101:
            self._sink = self._hold_back
            self.buffer = rest
            self._wake()
        elif body is COUNTED:
            self.left = head.length
            self._sink = self._counted
            self._body_started(rest)
        elif body is NO_BODY:
            if rest:
                self._fail_by_surplus()
            else:
                self._end_body()
        else:
            self._sink = self._chunked if body is CHUNKED else self._until_close
            self._decoder = ChunkedDecoder()
            self._body_started(rest)

    def _body_started(self, rest: bytes) -> None:
        if rest:
            self._sink(rest)
        if not self.is_complete:
            self._wake()

    def _hold_back(self, data: bytes) -> None:
        """Bytes after a 101, before the tunnel stands."""
        self.buffer += data

    def _counted(self, data: bytes) -> None:
        self.left -= len(data)
        if self.left < 0:
            self._fail_by_surplus()
            return
        self._pass([data])
        if not self.left:
            self._end_body()

    def _chunked(self, data: bytes) -> None:
        decoder = cast("ChunkedDecoder", self._decoder)
        try:
            pieces = decoder.feed(data)
        except ChunkError as error:
            self.fail(ResponseError(str(error)))
            return
        if pieces:
            self._pass(pieces)
        if decoder.is_complete:
            if decoder.rest:
                self._fail_by_surplus()
            else:
                self._end_body()

    def _until_close(self, data: bytes) -> None:
        self._pass([data])

    def _pass(self, pieces: list[bytes]) -> None:
        self.size += sum(map(len, pieces))
        if self.stream is not None:
            self.stream(pieces)
            return
        self.pieces += pieces
        if self.size >= HIGH_WATER:
            self.pause_reading()
        self._wake()

    @property
    def body_size(self) -> int:
        """Bytes of the answer's body that have come."""
        return len(self.pieces[0]) if self._came_whole else self.size

    @property
    def trailer(self) -> bytes:
        """The trailer fields of a chunked answer."""
        return self._decoder.trailer if self._decoder is not None else b""

    def _end_body(self) -> None:
        self.is_complete = True
        self._sink = self._surplus
        self._wake()

    def _surplus(self, data: bytes) -> None:
        """Bytes after the end, before the exchange is over: the connection can't be used again."""
        self.buffer = b"surplus"
        self.home.distrust()

    def _fail_by_surplus(self) -> None:
        self.home.distrust()
        self.fail(ResponseError("more than was announced"))

    def fail(self, error: ResponseError) -> None:
        """The answer can't be used. An error that was raised is not kept: its traceback leads back to here."""
        self.error = ResponseError(error.detail, error.kind)
        self._sink = self._surplus
        self._wake()

    def _wake(self) -> None:
        if self.owner is not None:
            self.owner.wake()


def _unheard(_data: bytes) -> None:
    """Bytes after the end of a connection."""
