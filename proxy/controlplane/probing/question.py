"""One GET on one connection, and its answer, judged by the rules by which traffic is judged (`core.http1_answers`).

Much less than a client: no redirects, cookies, retries, kept connections. `probe` opens the connection and bounds the
time. An HTTP client in its place took 1 ms of CPU for each probe, which 1,000 backends felt (`docs/performance.md`).
"""

from __future__ import annotations

import asyncio
from typing import NamedTuple, cast

from proxy.core.settings import Limits
from proxy.core.wire.chunked import ChunkedDecoder, ChunkError
from proxy.core.wire.grammar import ALL_FIELDS, CHUNKED, COUNTED, END_OF_HEAD, NO_BODY, is_no_answer
from proxy.core.wire.http1_answers import ResponseHead
from proxy.errors import ResponseError

UNANSWERED = "closed the connection without an answer"
BROKEN_HEAD = "closed the connection in the head of its answer"
LIMITS = Limits()
"""A probe's answer has the default ones."""


class Answer(NamedTuple):
    """What came."""

    head: ResponseHead
    body: bytes
    """As much of it as was wanted."""

    @property
    def said(self) -> str:
        """Status and reason."""
        line = self.head.head.partition(b"\r\n")[0]
        return line.partition(b" ")[2].decode("latin-1").strip()

    def field(self, name: str) -> str | None:
        """The first field of that name."""
        wanted = name.lower().encode()
        for match in ALL_FIELDS.finditer(self.head.head):
            if match[1].lower() == wanted:
                return match[2].decode("latin-1")
        return None


class Question(asyncio.Protocol):
    """Asks as soon as it is connected; `answer` is done when as much has come as is wanted, or nothing more will.

    A failure is its result, no exception, as nobody awaits it if the probe is given up: a ResponseError, or an OSError.
    """

    def __init__(self, request: bytes, body_wanted: int) -> None:
        self.answer: asyncio.Future[Answer | Exception] = asyncio.get_running_loop().create_future()
        self._request = request
        self._wanted = body_wanted
        self._buffer = b""
        self._head: ResponseHead | None = None
        self._body = bytearray()
        self._decoder: ChunkedDecoder | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast("asyncio.WriteTransport", transport).write(self._request)

    def data_received(self, data: bytes) -> None:
        if self.answer.done():
            return
        try:
            self._take(data)
        except (ResponseError, ChunkError) as error:
            self.answer.set_result(ResponseError(str(error)))

    def eof_received(self) -> None:
        self._end(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(exc)

    def _take(self, data: bytes) -> None:
        while self._head is None:
            self._buffer += data
            end = self._buffer.find(END_OF_HEAD) + len(END_OF_HEAD)
            if end < len(END_OF_HEAD):
                self._check_begun()
                return
            head = ResponseHead(self._buffer[:end], LIMITS)
            data, self._buffer = self._buffer[end:], b""
            if head.status >= 200 or head.status == 101:
                self._begin_body(head)
        self._take_body(data)

    def _check_begun(self) -> None:
        if len(self._buffer) > LIMITS.header_bytes:
            raise ResponseError("the head is too large")
        if is_no_answer(self._buffer):
            raise ResponseError("not an HTTP/1 answer")

    def _begin_body(self, head: ResponseHead) -> None:
        self._head = head
        if head.body is CHUNKED:
            self._decoder = ChunkedDecoder()

    def _take_body(self, data: bytes) -> None:
        head = cast("ResponseHead", self._head)
        if self._decoder is None:
            self._body += data
        elif self._wanted:
            self._body += b"".join(self._decoder.feed(data))
        if len(self._body) >= self._wanted or self._is_whole(head):
            self._finish()

    def _is_whole(self, head: ResponseHead) -> bool:
        if self._decoder is not None:
            return self._decoder.is_complete
        return head.body is NO_BODY or (head.body is COUNTED and len(self._body) >= head.length)

    def _finish(self) -> None:
        head = cast("ResponseHead", self._head)
        most = min(self._wanted, head.length) if head.body is COUNTED else self._wanted
        self.answer.set_result(Answer(head, bytes(self._body[:most])))

    def _end(self, error: Exception | None) -> None:
        """Nothing more will come; that ends a body without a length."""
        if self.answer.done():
            return
        if self._head is None:
            self.answer.set_result(error or ConnectionError(BROKEN_HEAD if self._buffer else UNANSWERED))
        elif error is not None or self._head.body in (COUNTED, CHUNKED):
            self.answer.set_result(ConnectionError("the answer's body broke off"))
        else:
            self._finish()
