"""HTTP/1.1 heads: everything that is refused is refused here (RFC 9112, RFC 9110; `behaviour.md`, section 3).

llhttp (httptools) decides whether the bytes of one head, never more, are well formed; the rules it does not have are
ours. A head that passed is copied in slices, so one scan for the fields that matter is all that is read of it.
This file knows nothing of sockets, routes and Backends.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Sequence
from functools import lru_cache

import httptools

from proxy.core.retry import IDEMPOTENT
from proxy.core.settings import Limits
from proxy.errors import ErrorKind, RequestError, ResponseError

END_OF_HEAD = b"\r\n\r\n"

_VERSION = re.compile(rb"HTTP/[0-9]\.[0-9]")
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] [1-9][0-9][0-9](?: [\t\x20-\x7e\x80-\xff]*)?\r\n")
"""llhttp lets control bytes, NUL among them, through in a reason."""
_HOST = re.compile(rb"(?:\[[0-9A-Fa-f:.]{2,}\]|[!$&'()*+,;=\-._~%0-9A-Za-z]+)(?::[0-9]{1,5})?")
_ABSOLUTE = re.compile(rb"[Hh][Tt][Tt][Pp][Ss]?://([^/?#]*)([^#]*)")

_FIELDS = (
    rb"connection|content-length|expect|forwarded|host|keep-alive|max-forwards|proxy-[^:]*|te|trailer|"
    rb"transfer-encoding|upgrade|via|x[-_]forwarded[-_][^:]*|x[-_]request[-_]id"
)
_SCAN_REQUEST = re.compile(rb"\n(" + _FIELDS + rb"):[ \t]*([^\r]*)\r")
_SCAN_RESPONSE = re.compile(
    rb"\n(connection|content-length|keep-alive|proxy-[^:]*|te|trailer|transfer-encoding|upgrade|x-request-id)"
    rb":[ \t]*([^\r]*)\r"
)
_EVENT_STREAM = re.compile(rb"\ncontent-type:[ \t]*text/event-stream", re.IGNORECASE)
_ALL_FIELDS = re.compile(rb"\n([^:\r]+):[ \t]*([^\r]*)\r")

UNNAMEABLE = frozenset(
    b"host authorization content-length transfer-encoding via forwarded x-forwarded-for x-forwarded-proto "
    b"x-forwarded-host x-request-id cookie set-cookie cache-control date content-type content-encoding location".split()
)
"""Fields that a `Connection` header can't have removed (Apache CVE-2022-31813, Fabio CVE-2025-48865)."""


FORWARDED = frozenset({b"forwarded", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host"})
"""What we write ourselves; a client's own is believed only from a trusted proxy."""

MOST_DIGITS = 18
"""Of a Content-Length: more would not fit a signed 64-bit number that another parser may use."""

REFUSED_METHODS = {
    b"CONNECT": (501, "CONNECT is not supported"),
    b"TRACE": (405, "TRACE is not allowed"),
}


class Body(enum.Enum):
    """How a message's body is delimited."""

    NONE = "none"
    COUNTED = "counted"
    CHUNKED = "chunked"
    UNTIL_CLOSE = "until close"


Cut = tuple[int, int]
"""A field that is not copied: from the LF before its name to the CR that ends it, both included."""


class _Sink:
    """What httptools calls; it needs to know nothing."""


class RequestHead:
    """One request's head, checked. What most requests don't have stays at the class's default."""

    authority = b""
    """The Host field's value, in lower case."""
    body = Body.NONE
    length = 0
    """Bytes of a counted body."""
    connection = b""
    expects_continue = False
    forwarded: Sequence[tuple[bytes, bytes]] = ()
    """The client's own `Forwarded` and `X-Forwarded-*` fields, names in lower case."""
    is_absolute = False
    """Whether the target came in absolute form; `target` is in origin form all the same."""
    max_forwards: bytes | None = None
    request_id = b""
    te_trailers = False
    upgrade = b""
    via = b""

    def __init__(self, head: bytes, limits: Limits, client: str = "") -> None:
        """Read a head that ends with an empty line; raises RequestError with the status for the client."""
        line_end = head.find(b"\r\n")
        if line_end > limits.request_line:
            raise RequestError(414, "the request line is too long")
        if len(head) > limits.header_bytes + line_end or head.count(b"\n") > limits.headers + 2:
            raise RequestError(431, "the head is too large")
        method, target, version = _request_line(head[:line_end])
        try:
            httptools.HttpRequestParser(_SINK).feed_data(head)
        except httptools.HttpParserUpgrade:
            pass
        except httptools.HttpParserInvalidMethodError:
            raise RequestError(501, "the method is not known") from None
        except httptools.HttpParserError as error:
            raise RequestError(400, f"the head can't be read: {error}") from None
        self.head = head
        self.client = client
        self.method = method
        self.target = target
        self.minor = 1 if version == b"HTTP/1.1" else 0
        self.is_keep_alive = self.minor == 1
        self.idempotent = method in IDEMPOTENT
        self.lowered = lowered = head.lower()
        self.cuts: list[Cut] = []
        fields = _SCAN_REQUEST.findall(lowered)
        if len(fields) == 1 and fields[0][0] == b"host":
            self.authority = fields[0][1].rstrip(b" \t")
        else:
            self._scan(lowered)
        if not _is_host(self.authority) and (self.authority or self.minor):
            raise RequestError(400, "the Host field is not a valid host")
        self.path = target.partition(b"?")[0] if target[:1] == b"/" else self._other_target()

    def __repr__(self) -> str:
        return f"<RequestHead {self.method.decode('latin-1')} {self.target.decode('latin-1')}>"

    # Reading

    def _scan(self, lowered: bytes) -> None:
        """One pass over the fields that matter; all others are copied unread."""
        hosts = 0
        framing = False
        for match in _SCAN_REQUEST.finditer(lowered):
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
                self.length = _content_length(value.rstrip(b" \t"))
                self.body = Body.COUNTED
            elif name == b"transfer-encoding":
                if framing:
                    raise RequestError(400, "several Content-Length or Transfer-Encoding fields")
                framing = True
                _check_coding(value.rstrip(b" \t"), self.minor)
                self.body = Body.CHUNKED
            elif self._is_kept(name, value, match):
                continue
            self.cuts.append((match.start(), match.end()))
        if hosts != 1 and (hosts or self.minor):
            raise RequestError(400, "several Host fields" if hosts else "no Host field")
        if self.connection == b"keep-alive":
            self.is_keep_alive = True
        elif self.connection:
            self._heed_connection()
        if self.upgrade and not self.connection:
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
            self.expects_continue = _expects_continue(value.rstrip(b" \t")) and self.minor == 1
            return True
        if name == b"max-forwards":
            self.max_forwards = raw
        elif name == b"upgrade":
            self.upgrade = raw
        elif name == b"te":
            self.te_trailers = b"trailers" in _options(value)
        elif name in FORWARDED:
            self.forwarded = (*self.forwarded, (name, raw))
        return name == b"max-forwards" or (name.startswith(b"x-forwarded-") and name not in FORWARDED)

    def _heed_connection(self) -> None:
        options = _options(self.connection)
        if b"close" in options:
            self.is_keep_alive = False
        elif b"keep-alive" in options:
            self.is_keep_alive = True
        if b"upgrade" not in options:
            self.upgrade = b""
        nominated = options - UNNAMEABLE - {b"close", b"keep-alive", b"upgrade", b"te"}
        if nominated:
            self.cuts = _with_nominated(self.cuts, self.lowered, nominated)

    def _other_target(self) -> bytes:
        """The path of a target that is not in origin form; the target becomes so (RFC 9112, section 3.2)."""
        target = self.target
        if target == b"*" and self.method == b"OPTIONS":
            return target
        match = _ABSOLUTE.fullmatch(target)
        if match is None:
            raise RequestError(400, "the request's target is not valid")
        if match[1].lower() != self.authority or not match[1]:
            raise RequestError(400, "the target's authority is not the Host field's")
        self.is_absolute = True
        if not match[2] and self.method == b"OPTIONS":
            self.target = b"*"
        else:
            self.target = match[2] if match[2][:1] == b"/" else b"/" + match[2]
        return self.target.partition(b"?")[0]

    # Asking

    @property
    def is_upgrade(self) -> bool:
        """Whether the client asks to switch protocols."""
        return bool(self.upgrade) and self.minor == 1

    @property
    def has_body(self) -> bool:
        """Whether body bytes follow."""
        return self.body is Body.CHUNKED or self.length > 0

    def field(self, name: bytes) -> bytes | None:
        """The first value of a field whose name is given in lower case; None where there is none."""
        for match in _ALL_FIELDS.finditer(self.lowered):
            if match[1] == name:
                return self.head[match.start(2) : match.end(2)].rstrip(b" \t")
        return None

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


class ResponseHead:
    """One response's head from a Backend, checked."""

    has_request_id = False
    length = -1
    """As announced; -1: not."""
    upgrade = b""

    def __init__(self, head: bytes, limits: Limits, *, to_head: bool = False) -> None:
        """Read a head that ends with an empty line; raises ResponseError. `to_head`: the request was a HEAD."""
        if len(head) > limits.header_bytes or head.count(b"\n") - 2 > limits.headers:
            raise ResponseError("the head is too large", ErrorKind.HTTP_RESPONSE_HEADER_SECTION_SIZE)
        try:
            httptools.HttpResponseParser(_SINK).feed_data(head)
        except httptools.HttpParserUpgrade:
            pass
        except httptools.HttpParserError as error:
            raise ResponseError(f"the head can't be read: {error}") from None
        if _STATUS_LINE.match(head) is None:
            raise ResponseError("not an HTTP/1 answer")
        self.head = head
        self.minor = minor = 1 if head[7:8] == b"1" else 0
        self.status = int(head[9:12])
        self.is_keep_alive = minor == 1
        self.cuts: list[Cut] = []
        lowered = head.lower()
        fields = _SCAN_RESPONSE.findall(lowered)
        if len(fields) == 1 and fields[0][0] == b"content-length" and not to_head:
            self.length = _response_length(fields[0][1])
            self.body = self._framing(b"", to_head=False)
        else:
            self.body = self._scan(lowered, to_head=to_head)

    def __repr__(self) -> str:
        return f"<ResponseHead {self.status} {self.body.value}>"

    def _scan(self, lowered: bytes, *, to_head: bool) -> Body:
        coding = connection = b""
        for match in _SCAN_RESPONSE.finditer(lowered):
            name, value = match.groups()
            if name == b"content-length":
                if self.length >= 0:
                    raise ResponseError("several Content-Length fields")
                self.length = _response_length(value)
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
                self.upgrade = self.head[start:end].rstrip(b" \t")
            self.cuts.append((match.start(), match.end()))
        if connection and connection != b"keep-alive":
            self._heed_connection(connection, lowered)
        elif connection:
            self.is_keep_alive = True
        return self._framing(coding, to_head=to_head)

    @property
    def is_event_stream(self) -> bool:
        """Whether the body is a stream of server-sent events, which must not be held."""
        return _EVENT_STREAM.search(self.head) is not None

    def _heed_connection(self, connection: bytes, lowered: bytes) -> None:
        options = _options(connection)
        if b"close" in options:
            self.is_keep_alive = False
        elif b"keep-alive" in options:
            self.is_keep_alive = True
        nominated = options - UNNAMEABLE - {b"close", b"keep-alive", b"upgrade"}
        if nominated:
            self.cuts = _with_nominated(self.cuts, lowered, nominated)

    def _framing(self, coding: bytes, *, to_head: bool) -> Body:
        """RFC 9112, section 6.3, and where two readings exist, refuse."""
        if coding and (self.length >= 0 or coding != b"chunked" or self.minor == 0):
            raise ResponseError("Transfer-Encoding is not just `chunked`, or stands beside Content-Length")
        if self.status < 200 or self.status == 204:
            self.cuts = _with_nominated(self.cuts, self.head.lower(), {b"content-length"})
        if self.status < 200 or self.status in (204, 304) or to_head:
            return Body.NONE
        if coding:
            return Body.CHUNKED
        if self.length >= 0:
            return Body.COUNTED if self.length else Body.NONE
        self.is_keep_alive = False
        return Body.UNTIL_CLOSE


# Rules


_SINK = _Sink()


def _request_line(line: bytes) -> list[bytes]:
    """Method, target and version; their bytes are llhttp's to judge.

    But llhttp skips a CR or LF before the method, and what is skipped would make `TRACE` another method for us.
    """
    parts = line.split(b" ")
    if len(parts) != 3 or line[0] in b"\r\n":
        raise RequestError(400, "the request line is not valid")
    method, target, version = parts
    if version != b"HTTP/1.1" and version != b"HTTP/1.0":
        raise RequestError(505 if _VERSION.fullmatch(version) else 400, "not HTTP/1.0 or HTTP/1.1")
    if b"#" in target:
        raise RequestError(400, "the request's target is not valid")
    if method in REFUSED_METHODS:
        raise RequestError(*REFUSED_METHODS[method])
    return parts


@lru_cache(maxsize=1024)
def _is_host(value: bytes) -> bool:
    """Kept for the hosts seen last: a check costs 0.2 µs, and most requests name the same few."""
    return _HOST.fullmatch(value) is not None


def _expects_continue(value: bytes) -> bool:
    if value != b"100-continue":
        raise RequestError(417, "an expectation that can't be met")
    return True


def _content_length(value: bytes) -> int:
    """Digits only: `int` alone would read `+5`, `1_0` and other scripts' digits."""
    if not value.isdigit() or len(value) > MOST_DIGITS:
        raise RequestError(400, "Content-Length is not a number")
    return int(value)


def _response_length(value: bytes) -> int:
    value = value.rstrip(b" \t")
    if not value.isdigit() or len(value) > MOST_DIGITS:
        raise ResponseError("Content-Length is not a number")
    return int(value)


def _check_coding(value: bytes, minor: int) -> None:
    if value != b"chunked" or minor == 0:
        raise RequestError(400, "Transfer-Encoding is not just `chunked`, or comes with HTTP/1.0")


def _options(value: bytes) -> set[bytes]:
    return {option.strip(b" \t") for option in value.split(b",")} - {b""}


def _with_nominated(cuts: list[Cut], lowered: bytes, names: set[bytes]) -> list[Cut]:
    """The cuts and those of the fields that `Connection` names."""
    more = [(m.start(), m.end()) for m in _ALL_FIELDS.finditer(lowered) if m[1] in names]
    return sorted({*cuts, *more})
