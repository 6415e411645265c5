"""HTTP/1.1 heads of answers: what a Backend may not send is refused here (RFC 9112, sections 4 to 6).

As in `http1`, llhttp decides whether the bytes of one head are well formed; the rules that it does not have are ours.
"""

from __future__ import annotations

import re

import httptools

from proxy.core.settings import Limits
from proxy.core.wire.grammar import (
    BODILESS,
    CHUNKED,
    COUNTED,
    EVENT_STREAM,
    NO_BODY,
    SCAN_RESPONSE,
    STATUS_LINE,
    UNTIL_CLOSE,
    Body,
    Cut,
    nominated,
    options_of,
    response_length,
    with_nominated,
)
from proxy.core.wire.plain import MOST_FIELDS, PLAIN_ANSWER, is_close
from proxy.errors import ErrorKind, ResponseError


class _Sink:
    """What httptools calls; it needs to know nothing."""


_SINK = _Sink()


class ResponseHead:
    """One response's head from a Backend, checked. `is_plain`: a counted HTTP/1.1 answer; nothing in it matters."""

    has_request_id = False
    length = -1
    """As announced; -1: not."""
    upgrade = b""

    def __init__(
        self, head: bytes, limits: Limits, *, to_head: bool = False, match: re.Match[bytes] | None = None
    ) -> None:
        """Read a head that ends with an empty line; raises ResponseError.

        `to_head`: the request was a HEAD. `match`: what `PLAIN_ANSWER` found in it, if it was asked already.
        """
        self.head = head
        if match is None and not to_head:
            match = PLAIN_ANSWER.fullmatch(head)
        is_taken = match is not None and self._take(match, limits)
        if not is_taken:
            self._read(head, limits, to_head=to_head)
        self.is_plain = is_taken and self.body is not CHUNKED

    @classmethod
    def leading(cls, data: bytes, limits: Limits) -> ResponseHead | None:
        """The head that `data` begins with, if it looks plain; None if not. Raises ResponseError."""
        match = PLAIN_ANSWER.match(data)
        return None if match is None else cls(data[: match.end()], limits, match=match)

    def _take(self, match: re.Match[bytes], limits: Limits) -> bool:
        status, before, length, coding, after = match.groups()
        if (
            status in BODILESS
            or (before and after)
            or match.end() > limits.header_bytes
            or limits.headers < MOST_FIELDS
        ):
            return False
        self.is_keep_alive = True
        self.minor = 1
        self.status = int(status)
        self.cuts: list[Cut] = []
        if coding is None:
            self.length = int(length)
            self.body = COUNTED if self.length else NO_BODY
        else:
            self.body = CHUNKED
            self.cuts.append((match.start(4) - 1, match.end(4) - 1))
        if before or after:
            start, end = match.span(2 if before else 5)
            self.cuts.append((start - 1, end - 1))
            self.cuts.sort()
            self.is_keep_alive = not is_close(before or after)
        return True

    def _read(self, head: bytes, limits: Limits, *, to_head: bool) -> None:
        """The long way: llhttp, then the rules that it does not have."""
        if len(head) > limits.header_bytes or head.count(b"\n") - 2 > limits.headers:
            raise ResponseError("the head is too large", ErrorKind.HTTP_RESPONSE_HEADER_SECTION_SIZE)
        try:
            httptools.HttpResponseParser(_SINK).feed_data(head)
        except httptools.HttpParserUpgrade:
            pass
        except httptools.HttpParserError as error:
            raise ResponseError(f"the head can't be read: {error}") from None
        start = STATUS_LINE.match(head)
        if start is None:
            raise ResponseError("not an HTTP/1 answer")
        self.status = int(start[2])
        self.is_keep_alive = start[1] == b"1"
        self.minor = 1 if self.is_keep_alive else 0
        self.cuts = []
        self.body = self._scan(head.lower(), to_head=to_head)

    def __repr__(self) -> str:
        return f"<ResponseHead {self.status} {self.body.value}>"

    def _scan(self, lowered: bytes, *, to_head: bool) -> Body:
        coding = connection = b""
        for match in SCAN_RESPONSE.finditer(lowered):
            name, value = match.groups()
            if name == b"content-length":
                if self.length >= 0:
                    raise ResponseError("several Content-Length fields")
                self.length = response_length(value)
                continue
            if name == b"connection":
                connection = connection + b"," + value if connection else value
            elif name == b"transfer-encoding":
                if coding:
                    raise ResponseError("several Transfer-Encoding fields")
                coding = value.rstrip(b" \t") or b"?"
            elif name == b"x-request-id":
                self.has_request_id = True
                continue
            elif name == b"upgrade":
                start, end = match.span(2)
                raw = self.head[start:end].rstrip(b" \t")
                self.upgrade = self.upgrade + b", " + raw if self.upgrade else raw
            self.cuts.append((match.start(), match.end()))
        if connection and connection != b"keep-alive":
            self._heed_connection(connection, lowered)
        elif connection:
            self.is_keep_alive = True
        return self._framing(coding, to_head=to_head)

    @property
    def is_event_stream(self) -> bool:
        """Whether the body is a stream of server-sent events, which must not be held."""
        return EVENT_STREAM.search(self.head) is not None

    def _heed_connection(self, connection: bytes, lowered: bytes) -> None:
        options = options_of(connection)
        if b"close" in options:
            self.is_keep_alive = False
        elif b"keep-alive" in options:
            self.is_keep_alive = True
        names = nominated(options)
        if names:
            self.cuts = with_nominated(self.cuts, lowered, names)

    def _framing(self, coding: bytes, *, to_head: bool) -> Body:
        """RFC 9112, section 6.3, and where two readings exist, refuse."""
        if coding and (self.length >= 0 or coding != b"chunked" or self.minor == 0):
            raise ResponseError("Transfer-Encoding is not just `chunked`, or stands beside Content-Length")
        if self.status < 200 or self.status == 204:
            self.cuts = with_nominated(self.cuts, self.head.lower(), {b"content-length"})
        if self.status < 200 or self.status in (204, 304) or to_head:
            return NO_BODY
        if coding:
            return CHUNKED
        if self.length >= 0:
            return COUNTED if self.length else NO_BODY
        self.is_keep_alive = False
        return UNTIL_CLOSE
