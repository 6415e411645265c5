"""HTTP/1.1 heads of requests: what is refused is refused here (RFC 9112, RFC 9110; `behaviour.md`, section 3).

llhttp (httptools) decides whether the bytes of one head, never more, are well formed; the rules it does not have are
ours. A head that passed is copied in slices, so one scan for the fields that matter is all that is read of it.
This file knows nothing of sockets, routes and Backends.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import httptools

from proxy.core.requests.retry import IDEMPOTENT
from proxy.core.settings import Limits
from proxy.core.wire.grammar import (
    ALL_FIELDS,
    ANY_METHOD,
    CHUNKED,
    COUNTED,
    FORWARDED,
    MOST_DIGITS,
    NO_BODY,
    SCAN_REQUEST,
    Cut,
    check_coding,
    content_length,
    expects_continue,
    is_host,
    may_tunnel,
    nominated,
    options_of,
    origin_form,
    request_line,
    with_nominated,
)
from proxy.core.wire.plain import MOST_FIELDS, PLAIN_REQUEST, is_close
from proxy.errors import RequestError


class _Sink:
    """What httptools calls; it needs to know nothing."""


_SINK = _Sink()


class RequestHead:
    """One request's head, checked. What most requests don't have stays at the class's default.

    `is_plain`: see `plain`; what is not a field of a plain request need not be looked at.
    """

    authority = b""
    """The Host field's value, in lower case."""
    body = NO_BODY
    length = 0
    """Bytes of a counted body."""
    connection = b""
    expects_continue = False
    has_body = False
    """Whether body bytes follow."""
    forwarded: Sequence[tuple[bytes, bytes]] = ()
    """The client's own `Forwarded` and `X-Forwarded-*` fields, names in lower case."""
    is_absolute = False
    """Whether the target came in absolute form; `target` is in origin form all the same."""
    max_forwards = -1
    """Hops that an OPTIONS request may still go (RFC 9110, section 7.6.2); -1: any number."""
    made_id = b""
    """The `X-Request-Id` that we gave to a request which had none."""
    request_id = b""
    te_trailers = False
    upgrade = b""
    via = b""

    def __init__(self, head: bytes, limits: Limits, client: str = "") -> None:
        """Read a head that ends with an empty line; raises RequestError with the status for the client."""
        self.head = head
        self.client = client
        match = PLAIN_REQUEST.fullmatch(head)
        if (
            match is None
            or len(head) > limits.header_bytes
            or match.end(2) + 9 >= limits.request_line
            or limits.headers < MOST_FIELDS
        ):
            self.is_plain = False
            self._read(head, limits)
        else:
            self.is_plain = self.is_keep_alive = True
            self.method, self.target, self.path, host, connection, _, length, after = match.groups()
            self.authority = host.lower()
            self.minor = 1
            self.cuts: list[Cut] = []
            if connection is not None:
                start, end = match.span(5)
                self.cuts.append((start - 1, end - 1))
                self.is_plain = self.is_keep_alive = not is_close(connection)
            if length is not None:
                self._take_length(match, length, after)
        self.idempotent = self.method in IDEMPOTENT
        if not is_host(self.authority) and (self.authority or self.minor):
            raise RequestError(400, "the Host field is not a valid host")

    def _take_length(self, match: re.Match[bytes], length: bytes, connection: bytes | None) -> None:
        """The Content-Length of a plain head, and a Connection field after it: whatever has a body is framed by us."""
        self.is_plain = False
        if connection is not None:
            self.is_keep_alive = not is_close(connection)
        self.body = COUNTED
        self.has_body = True
        self.length = int(length)
        for group in (6, 8):
            start, end = match.span(group)
            if end > 0:
                self.cuts.append((start - 1, end - 1))

    def _read(self, head: bytes, limits: Limits) -> None:
        """The long way: llhttp, then the rules that it does not have."""
        line_end = head.find(b"\r\n")
        if line_end > limits.request_line:
            raise RequestError(414, "the request line is too long")
        if len(head) > limits.header_bytes + line_end or head.count(b"\n") > limits.headers + 2:
            raise RequestError(431, "the head is too large")
        self.method, self.target, version = request_line(head[:line_end])
        try:
            httptools.HttpRequestParser(_SINK).feed_data(ANY_METHOD + head[len(self.method) :])
        except httptools.HttpParserUpgrade:
            pass
        except httptools.HttpParserError as error:
            raise RequestError(400, f"the head can't be read: {error}") from None
        self.minor = 1 if version == b"HTTP/1.1" else 0
        self.is_keep_alive = self.minor == 1
        self.cuts = []
        self._scan(self.lowered)
        if not self.target.startswith(b"/"):
            self.target, self.is_absolute = origin_form(self.method, self.target, self.authority)
        self.path = self.target.partition(b"?")[0]

    @property
    def lowered(self) -> bytes:
        """The head in lower case, where names are looked for."""
        return self.head.lower()

    def __repr__(self) -> str:
        return f"<RequestHead {self.method.decode('latin-1')} {self.target.decode('latin-1')}>"

    # Reading

    def _scan(self, lowered: bytes) -> None:
        """One pass over the fields that matter; all others are copied unread."""
        hosts = 0
        framing = False
        for match in SCAN_REQUEST.finditer(lowered):
            name, value = match.groups()
            if name == b"host":
                hosts += 1
                self.authority = value.rstrip(b" \t")
                continue
            if name == b"connection":
                self.connection = self.connection + b"," + value if self.connection else value
            elif name == b"content-length":
                if framing:
                    raise RequestError(400, "several Content-Length or Transfer-Encoding fields")
                framing = True
                self.length = content_length(value.rstrip(b" \t"))
                self.body = COUNTED
                self.has_body = self.length > 0
            elif name == b"transfer-encoding":
                if framing:
                    raise RequestError(400, "several Content-Length or Transfer-Encoding fields")
                framing = True
                check_coding(value.rstrip(b" \t"), self.minor)
                self.body = CHUNKED
                self.has_body = True
            elif self._is_kept(name, value, match):
                continue
            self.cuts.append((match.start(), match.end()))
        if hosts != 1 and (hosts or self.minor):
            raise RequestError(400, "several Host fields" if hosts else "no Host field")
        if hosts and not self.authority:
            raise RequestError(400, "the Host field is empty")
        if self.connection:
            self._heed_connection()
        else:
            self.upgrade = b""

    def _is_kept(self, name: bytes, value: bytes, match: re.Match[bytes]) -> bool:
        """Take note of one of the rarer fields; True if it is copied all the same."""
        start, end = match.span(2)
        raw = self.head[start:end].rstrip(b" \t")
        if name == b"via":
            self.via = self.via + b", " + raw if self.via else raw
            return True
        if name == b"x-request-id" and not self.request_id:
            self.request_id = raw
            return bool(raw)
        if name == b"expect":
            self.expects_continue = expects_continue(value.rstrip(b" \t")) and self.minor == 1
            return self.expects_continue
        if name == b"max-forwards":
            if self.method != b"OPTIONS" or not raw.isdigit() or len(raw) > MOST_DIGITS:
                return True
            self.max_forwards = int(raw)
        elif name == b"upgrade":
            self.upgrade = self.upgrade + b", " + raw if self.upgrade else raw
        elif name == b"te":
            self.te_trailers = b"trailers" in options_of(value)
        elif name in FORWARDED:
            self.forwarded = (*self.forwarded, (name, raw))
        return name.startswith(b"x-forwarded-") and name not in FORWARDED

    def _heed_connection(self) -> None:
        options = options_of(self.connection)
        if b"close" in options:
            self.is_keep_alive = False
        elif b"keep-alive" in options:
            self.is_keep_alive = True
        if b"upgrade" not in options or not may_tunnel(self.upgrade):
            self.upgrade = b""
        names = nominated(options)
        if names:
            self.cuts = with_nominated(self.cuts, self.lowered, names)

    # Asking

    @property
    def is_upgrade(self) -> bool:
        """Whether the client asks to switch protocols."""
        return bool(self.upgrade) and self.minor == 1

    def field(self, name: bytes) -> bytes | None:
        """The first value of a field whose name is given in lower case; None where there is none."""
        found = self.fields(name)
        return found[0] if found else None

    def fields(self, name: bytes) -> list[bytes]:
        """All values of a field whose name is given in lower case, in order."""
        found = (match for match in ALL_FIELDS.finditer(self.lowered) if match[1] == name)
        return [self.head[match.start(2) : match.end(2)].rstrip(b" \t") for match in found]

    def cookie(self, name: bytes) -> bytes | None:
        """The value of one cookie (RFC 6265, section 4.2)."""
        for pair in (self.field(b"cookie") or b"").split(b";"):
            key, _, value = pair.strip(b" \t").partition(b"=")
            if key == name:
                return value
        return None

    def balance_key(self, source: str, name: str) -> bytes:
        """What the `hash` Balancer hashes; the client's address where the named thing is absent."""
        if source == "path":
            return self.path
        value = None
        if source == "header":
            value = self.field(name.lower().encode())
        elif source == "cookie":
            value = self.cookie(name.encode())
        return self.client.encode() if value is None else value
