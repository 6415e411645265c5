"""Answers that we make ourselves: problem documents (RFC 9457) with Proxy-Status (RFC 9209), fixed texts, redirects."""

from __future__ import annotations

import json
from http import HTTPStatus
from math import ceil

from proxy.core.requests.decisions import Refuse
from proxy.core.settings import Redirect, StaticAnswer
from proxy.core.wire.headers import PRODUCT
from proxy.core.wire.http1 import RequestHead
from proxy.errors import ERRORS, ErrorKind, RequestError

ALLOW = b"Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
"""The methods that everybody knows; others pass as well, but TRACE and CONNECT."""


def reason_phrase(status: int) -> bytes:
    """The words beside a status; empty for one that nobody has named."""
    try:
        return HTTPStatus(status).phrase.encode()
    except ValueError:
        return b""


def message(
    status: int, fields: list[bytes], body: bytes, *, request: RequestHead | None = None, close: bool = False
) -> bytes:
    """A whole response. To HEAD the body is announced and not sent."""
    parts = [b"HTTP/1.1 %d %b\r\n" % (status, reason_phrase(status)), *(field + b"\r\n" for field in fields)]
    if status in (204, 304):
        body = b""
    else:
        parts.append(b"Content-Length: %d\r\n" % len(body))
    if request is not None and request.request_id:
        parts.append(b"X-Request-Id: %b\r\n" % request.request_id)
    if close:
        parts.append(b"Connection: close\r\n")
    elif request is not None and request.minor == 0:
        parts.append(b"Connection: keep-alive\r\n")
    parts.append(b"\r\n")
    if request is None or request.method != b"HEAD":
        parts.append(body)
    return b"".join(parts)


def proxy_status(kind: ErrorKind | None = None, *, details: str = "", attempts: int = 0, panic: bool = False) -> bytes:
    """The value of a Proxy-Status field."""
    parts = [PRODUCT]
    if kind is not None:
        parts.append(b"error=" + kind.value.encode())
    if attempts > 1:
        parts.append(b"attempts=%d" % attempts)
    if panic:
        parts.append(b"panic")
    if details:
        parts.append(b'details="%b"' % _quoted(details))
    return b"; ".join(parts)


def _quoted(text: str) -> bytes:
    """Fit for a structured-field string (RFC 8941, section 3.3.3)."""
    kept = "".join(c if " " <= c <= "~" else "?" for c in text)
    return kept.replace("\\", "\\\\").replace('"', '\\"').encode()


def refusal(refuse: Refuse, request: RequestHead, *, attempts: int, close: bool) -> bytes:
    """What a client gets when no Backend could answer: what happened, and whether the request was executed."""
    document: dict[str, object] = {
        "type": f"urn:failover-proxy:{refuse.name or refuse.kind.value}",
        "title": refuse.title or ERRORS[refuse.kind].title,
        "status": refuse.status,
        "attempts": attempts,
    }
    if refuse.executed is not None:
        document["executed"] = refuse.executed
    if refuse.detail:
        document["detail"] = refuse.detail
    fields = [
        b"Content-Type: application/problem+json",
        b"Cache-Control: no-store",
        b"Proxy-Status: " + proxy_status(refuse.kind, details=refuse.detail, attempts=attempts),
    ]
    if refuse.retry_after is not None:
        fields.append(b"Retry-After: %d" % refuse.retry_after)
    return message(refuse.status, fields, json.dumps(document).encode(), request=request, close=close)


def bad_request(error: RequestError, request: RequestHead | None = None, *, close: bool = True) -> bytes:
    """What a client gets for a message that is refused."""
    document = {
        "type": f"urn:failover-proxy:{error.kind.value}",
        "title": reason_phrase(error.status).decode(),
        "status": error.status,
        "detail": error.detail,
    }
    fields = [
        b"Content-Type: application/problem+json",
        b"Proxy-Status: " + proxy_status(error.kind, details=error.detail),
    ]
    if error.status == 405:
        fields.append(ALLOW)
    return message(error.status, fields, json.dumps(document).encode(), request=request, close=close)


def too_many(request: RequestHead, seconds: float, *, close: bool) -> bytes:
    """What a client gets that sends more than its Route takes: when it may come again."""
    kind = ErrorKind.HTTP_REQUEST_DENIED
    document = {
        "type": "urn:failover-proxy:rate_limited",
        "title": "Too many requests",
        "status": 429,
        "detail": "this client has sent more requests than it may",
        "executed": "no",
    }
    fields = [
        b"Content-Type: application/problem+json",
        b"Cache-Control: no-store",
        b"Proxy-Status: " + proxy_status(kind, details="rate limited"),
        b"Retry-After: %d" % max(1, ceil(seconds)),
    ]
    return message(429, fields, json.dumps(document).encode(), request=request, close=close)


TOO_MANY = bad_request(RequestError(503, "too many connections", ErrorKind.CONNECTION_LIMIT_REACHED))
"""What a client gets that is too many; it has not been read."""


def static(answer: StaticAnswer | Redirect, request: RequestHead, *, close: bool) -> bytes:
    """The answer of a Route that needs no Backend."""
    if isinstance(answer, Redirect):
        location = answer.to.encode().replace(b"{path}", request.target).replace(b"{host}", request.authority)
        return message(answer.status, [b"Location: " + location], b"", request=request, close=close)
    if request.max_forwards == 0:
        return message(answer.status, [ALLOW], b"", request=request, close=close)
    fields = [b"Content-Type: " + answer.content_type.encode()]
    return message(answer.status, fields, answer.body.encode(), request=request, close=close)
