"""The rules of HTTP/1.1 heads that llhttp does not have, and the words they are about (RFC 9110, RFC 9112).

Small and without state; `http1` applies them to requests and responses.
"""

from __future__ import annotations

import enum
import re
from functools import lru_cache
from typing import cast

from proxy.core.settings import Limits
from proxy.errors import RequestError, ResponseError

END_OF_HEAD = b"\r\n\r\n"

_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_TARGET = re.compile(rb"[!-\x22$-~]+")
_VERSION = re.compile(rb"HTTP/[0-9]\.[0-9]")
STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9][0-9])(?: [\t\x20-\x7e\x80-\xff]*)?\r\n")
"""llhttp lets control bytes, NUL among them, through in a reason."""
_HOST = re.compile(rb"(?:\[[0-9A-Fa-f:.]{2,}\]|(?:[!$&'()*+,;=\-._~0-9A-Za-z]|%[0-9A-Fa-f]{2})+)(?::[0-9]{1,5})?")
ABSOLUTE_TARGET = re.compile(rb"[Hh][Tt][Tt][Pp][Ss]?://([^/?#]*)([^#]*)")

_EMPTY_LINES = re.compile(rb"(?:\r\n)*+")
_NEVER_IN_A_HEAD = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\r(?!\n|\Z)|(?<!\r)\n")
_BEGIN_OF_ANSWER = b"HTTP/1."

_FIELDS = (
    rb"connection|content[-_]length|expect|forwarded|host|keep-alive|max-forwards|proxy(?:-[^:]*)?|te|trailer|"
    rb"transfer[-_]encoding|upgrade|via|x[-_]forwarded[-_][^:]*|x[-_]request[-_]id"
)
SCAN_REQUEST = re.compile(rb"\n(" + _FIELDS + rb"):[ \t]*([^\r]*)\r")
SCAN_RESPONSE = re.compile(
    rb"\n(connection|content-length|keep-alive|proxy-[^:]*|te|trailer|transfer-encoding|upgrade|x-request-id)"
    rb":[ \t]*([^\r]*)\r"
)
EVENT_STREAM = re.compile(rb"\ncontent-type:[ \t]*text/event-stream", re.IGNORECASE)
ALL_FIELDS = re.compile(rb"\n([^:\r]+):[ \t]*([^\r]*)\r")

UNNAMEABLE = frozenset(
    b"host authorization content-length transfer-encoding via forwarded x-forwarded-for x-forwarded-proto "
    b"x-forwarded-host x-request-id idempotency-key cookie set-cookie cache-control date content-type content-encoding "
    b"location".split()
)
"""Fields that a `Connection` header can't have removed (Apache CVE-2022-31813, Fabio CVE-2025-48865): these, and all
that begin with `X-Forwarded-`."""
_NO_FIELDS = frozenset({b"close", b"keep-alive", b"upgrade", b"te"})
"""Options of `Connection` that name no field; what becomes of `Upgrade` and `TE` is settled elsewhere."""

FORWARDED = frozenset({b"forwarded", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host"})
"""What we write ourselves; a client's own is believed only from a trusted proxy."""

BODILESS = frozenset({b"204", b"304"})
"""Statuses whose answers have no body, whatever Content-Length says."""

_TUNNEL = re.compile(rb"(?!h2|(?:http|tls)(?:/|\Z))[!#$%&'*+\-.^_`|~0-9a-z]+(?:/[!#$%&'*+\-.^_`|~0-9a-z]+)?")
"""Protocols that a client can have by an upgrade; h2c, HTTP and TLS (RFC 2817) aren't: requests inside them would pass
our routes unseen."""

MOST_DIGITS = 18
"""Of a Content-Length: more would not fit a signed 64-bit number that another parser may use."""

REFUSED_METHODS = {
    b"CONNECT": (501, "CONNECT is not supported"),
    b"TRACE": (405, "TRACE is not allowed"),
    b"PRI": (501, "PRI is not a method of HTTP/1.1"),
}
"""All others pass. PRI begins HTTP/2 (RFC 9113, section 11.6)."""
ANY_METHOD = b"GET"
"""What llhttp reads in place of a request's method: it knows 46 of them, and judges what follows alike for each."""


class Body(enum.Enum):
    """How a message's body is delimited."""

    NONE = "none"
    COUNTED = "counted"
    CHUNKED = "chunked"
    UNTIL_CLOSE = "until close"


NO_BODY, COUNTED, CHUNKED, UNTIL_CLOSE = Body
"""By these names on the hot path; see `breaker.GOOD`."""

Cut = tuple[int, int]
"""A field that is not copied: from the LF before its name to the CR that ends it, both included."""


def request_line(line: bytes) -> list[bytes]:
    r"""Method, target and version, checked to the byte.

    llhttp skips a CR or LF before the method, so that `\nTRACE` would be another method for us; and it takes `GET /a\n`
    for a request of HTTP/0.9, so that the rest of the line, if it holds a colon, would be a field for it.
    """
    parts = line.split(b" ")
    if len(parts) != 3 or line[0] in b"\r\n":
        raise RequestError(400, "the request line is not valid")
    method, target, version = parts
    if not _TOKEN.fullmatch(method):
        raise RequestError(400, "the method is not a token")
    if version not in {b"HTTP/1.1", b"HTTP/1.0"}:
        raise RequestError(505 if _VERSION.fullmatch(version) else 400, "not HTTP/1.0 or HTTP/1.1")
    if not _TARGET.fullmatch(target):
        raise RequestError(400, "the request's target is not valid")
    if method != method.upper():
        raise RequestError(501, "the method is not in capitals")
    if method in REFUSED_METHODS:
        raise RequestError(*REFUSED_METHODS[method])
    return parts


def without_empty_lines(begun: bytes) -> bytes:
    """Empty lines before a request mean nothing (RFC 9112, section 2.2), however they are cut."""
    return begun[cast("re.Match[bytes]", _EMPTY_LINES.match(begun)).end() :]


def is_spoilt(begun: bytes, start: int = 0) -> bool:
    """Whether no more bytes can make a head of this: a control byte, or a CR or LF alone, at `start` or behind it.

    Who speaks another protocol may never send the empty line that ends a head; it need not be waited for.
    """
    return _NEVER_IN_A_HEAD.search(begun, start) is not None


def check_begun(begun: bytes, limits: Limits, start: int = 0) -> None:
    """Refuse a request's head of which this much has come, if the rest can't save it; `start`: see `is_spoilt`."""
    line_end = begun.find(b"\n", 0, limits.request_line + 2)
    if line_end < 0 and len(begun) > limits.request_line + 1:
        raise RequestError(414, "the request line is too long")
    if len(begun) > limits.header_bytes + max(line_end, 0) or begun.count(b"\n") > limits.headers + 1:
        raise RequestError(431, "the head is too large")
    if is_spoilt(begun, start):
        raise RequestError(400, "the head can't be read")


def is_no_answer(begun: bytes, start: int = 0) -> bool:
    """As `is_spoilt`, for an answer; bytes that begin like none are none."""
    return not _BEGIN_OF_ANSWER.startswith(begun[:7]) or is_spoilt(begun, start)


@lru_cache(maxsize=1024)
def is_host(value: bytes) -> bool:
    """Kept for the hosts seen last: a check costs 0.2 µs, and most requests name the same few."""
    return _HOST.fullmatch(value) is not None


def expects_continue(value: bytes) -> bool:
    """True for the one expectation that there is; any other is refused."""
    if value != b"100-continue":
        raise RequestError(417, "an expectation that can't be met")
    return True


def content_length(value: bytes) -> int:
    """Digits only: `int` alone would read `+5`, `1_0` and other scripts' digits."""
    if not value.isdigit() or len(value) > MOST_DIGITS:
        raise RequestError(400, "Content-Length is not a number")
    return int(value)


def response_length(value: bytes) -> int:
    """As `content_length`, for an answer."""
    value = value.rstrip(b" \t")
    if not value.isdigit() or len(value) > MOST_DIGITS:
        raise ResponseError("Content-Length is not a number")
    return int(value)


def check_coding(value: bytes, minor: int) -> None:
    """Refuse every Transfer-Encoding but one that both sides are sure to read alike."""
    if value != b"chunked" or minor == 0:
        raise RequestError(400, "Transfer-Encoding is not just `chunked`, or comes with HTTP/1.0")


def may_tunnel(protocols: bytes) -> bool:
    """Whether a client can have any of the protocols that its Upgrade names; the Backend may choose each of them."""
    members = options_of(protocols.lower())
    return bool(members) and all(map(_TUNNEL.fullmatch, members))


def is_chosen_of(asked: bytes, chosen: bytes) -> bool:
    """Whether the client has named what a Backend switches to; it may take no other (RFC 9110, section 7.8)."""
    protocols = options_of(chosen.lower())
    return bool(protocols) and protocols <= options_of(asked.lower())


def options_of(value: bytes) -> set[bytes]:
    """The members of a comma-separated list."""
    return {option.strip(b" \t") for option in value.split(b",")} - {b""}


def nominated(options: set[bytes]) -> set[bytes]:
    """The fields that these options of `Connection` have removed."""
    return {name for name in options - UNNAMEABLE - _NO_FIELDS if not name.startswith(b"x-forwarded-")}


def with_nominated(cuts: list[Cut], lowered: bytes, names: set[bytes]) -> list[Cut]:
    """The cuts and those of the fields that `Connection` names."""
    more = [(m.start(), m.end()) for m in ALL_FIELDS.finditer(lowered) if m[1] in names]
    return sorted({*cuts, *more})


def origin_form(method: bytes, target: bytes, authority: bytes) -> tuple[bytes, bool]:
    """A target that is not a path, as one, and whether it came in absolute form (RFC 9112, section 3.2)."""
    if target == b"*" and method == b"OPTIONS":
        return target, False
    match = ABSOLUTE_TARGET.fullmatch(target)
    if match is None:
        raise RequestError(400, "the request's target is not valid")
    if match[1].lower() != authority or not match[1]:
        raise RequestError(400, "the target's authority is not the Host field's")
    if not match[2] and method == b"OPTIONS":
        return b"*", True
    return match[2] if match[2][:1] == b"/" else b"/" + match[2], True
