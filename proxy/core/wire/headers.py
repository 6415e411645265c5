"""Heads as they go on: hop-by-hop fields dropped, our own added last, all else kept to the byte and in order.

RFC 9110, section 7.6, RFC 7239 (Forwarded), RFC 9209 (Proxy-Status). Heads are joined from slices of a checked head.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from proxy.core.settings import ListenerSettings
from proxy.core.wire.grammar import CHUNKED, COUNTED, UNTIL_CLOSE, Cut
from proxy.core.wire.http1 import RequestHead
from proxy.core.wire.http1_answers import ResponseHead

PRODUCT = b"failover-proxy"
VIA = b"Via: 1.1 " + PRODUCT + b"\r\n"
NO_HOST = b"localhost"
"""The Host of a request that names none, as HTTP/1.0 may: HTTP/1.1 must have one, and nginx refuses an empty one."""
MOST_HOPS = 10
"""So many times may a request have passed a proxy of our name before it is taken for a loop."""


@dataclass(frozen=True, slots=True)
class Rewrite:
    """How a Route changes the request for its Backends."""

    strip_prefix: bytes = b""
    host: bytes | None = None
    """In place of the client's Host; None: it is kept."""


class Forwarding:
    """What we tell a Backend of one client connection. Kept for the last Host, which seldom changes on a connection."""

    __slots__ = ("_client", "_for", "_host", "_suffix", "_vouched", "is_trusted", "scheme")

    def __init__(self, client: str, scheme: bytes, *, is_trusted: bool = False) -> None:
        self._client = client.encode() or b"unknown"
        self._for = _node(self._client)
        self.is_trusted = is_trusted
        self._host: bytes | None = None
        self._suffix = self._vouched = b""
        self.scheme = scheme

    def vouch(self, name: str, value: bytes) -> None:
        """Tell Backends what we have verified of this client."""
        self._vouched = b"%b: %b\r\n" % (name.encode(), value)
        self._host = None

    @property
    def is_vouched_for(self) -> bool:
        """Whether we have verified who the client is."""
        return bool(self._vouched)

    def fields(self, request: RequestHead) -> bytes:
        """`Via`, `X-Forwarded-*` and `Forwarded` for this request."""
        if self.is_trusted and request.forwarded:
            return self._appended(request)
        if request.authority != self._host:
            self._host = request.authority
            self._suffix = self._fields({}, request.authority)
        return self._suffix

    def _appended(self, request: RequestHead) -> bytes:
        known: dict[bytes, bytes] = {}
        for name, value in request.forwarded:
            known[name] = known[name] + b", " + value if name in known else value
        return self._fields(known, request.authority)

    def _fields(self, known: dict[bytes, bytes], host: bytes) -> bytes:
        before = known.get(b"x-forwarded-for")
        forwarded = b'for=%b;proto=%b;host="%b"' % (self._for, self.scheme, host)
        earlier = known.get(b"forwarded")
        return b"".join(
            (
                VIA,
                b"X-Forwarded-For: %b\r\n" % (before + b", " + self._client if before else self._client),
                b"X-Forwarded-Proto: %b\r\n" % known.get(b"x-forwarded-proto", self.scheme),
                b"X-Forwarded-Host: %b\r\n" % known.get(b"x-forwarded-host", host),
                b"Forwarded: %b\r\n" % (earlier + b", " + forwarded if earlier else forwarded),
                self._vouched,
            )
        )


def _node(client: bytes) -> bytes:
    """An address as RFC 7239, section 6, wants it: IPv6 in brackets and quotes."""
    return b'"[%b]"' % client if b":" in client else client


def forgeable(listeners: Iterable[ListenerSettings]) -> re.Pattern[bytes] | None:
    """Finds fields, in a head, that nobody but we may set, on whichever Listener; None where we set none.

    With `_` as good as `-`: programs that see fields as variables can't tell `X_A` from `X-A`.
    """
    auths = [one.tls.client_auth for one in listeners if one.tls is not None]
    names = sorted({auth.header for auth in auths if auth is not None})
    spelt = "|".join("[-_]".join(map(re.escape, re.split("[-_]", name))) for name in names)
    return re.compile(rf"\n(?:{spelt}):[^\n]*\r(?=\n)".encode(), re.IGNORECASE) if spelt else None


def remove_forged(request: RequestHead, forged: re.Pattern[bytes]) -> None:
    """Leave out what `forgeable` finds, before the request goes anywhere."""
    found = [match.span() for match in forged.finditer(request.head)]
    if found:
        # More than a plain head ever has to leave out.
        request.is_plain = False
        request.cuts = sorted({*request.cuts, *found})
    for start, end in found:
        # Nothing here may be decided by it either: a Route may match such a field.
        request.head = request.head[: start + 1] + b"-" * (end - start - 2) + request.head[end - 1 :]


def is_loop(request: RequestHead) -> bool:
    """Whether the request has passed us too often (RFC 9110, section 7.6.3)."""
    return bool(request.via) and request.via.count(PRODUCT) >= MOST_HOPS


def upstream_head(
    request: RequestHead, forwarding: Forwarding, rewrite: Rewrite | None, make_id: Callable[[], bytes]
) -> bytes:
    """The head that goes to the Backend, up to and with its empty line."""
    head = request.head
    cuts: Sequence[Cut] = request.cuts
    if request.is_plain and rewrite is None:
        request.request_id = request_id = request.request_id or make_id()
        start = head[: cuts[0][0]] + head[cuts[0][1] : -2] if cuts else head[:-2]
        return b"%b%bX-Request-Id: %b\r\n\r\n" % (start, forwarding.fields(request), request_id)
    host = rewrite.host if rewrite is not None else None
    if host is None and not request.authority:
        host = NO_HOST
    if host is not None:
        cuts = _without_host(request)
    if request.minor == 1 and rewrite is None and not request.is_absolute:
        parts = _copied(head, 0, cuts)
    else:
        parts = [_request_line(request, rewrite), *_copied(head, head.find(b"\r\n"), cuts)]
    parts.append(forwarding.fields(request))
    if host is not None:
        parts.append(b"Host: %b\r\n" % host)
    if not request.request_id:
        request.request_id = request.made_id = make_id()
    if request.made_id:
        parts.append(b"X-Request-Id: %b\r\n" % request.made_id)
    if request.max_forwards > 0:
        parts.append(b"Max-Forwards: %d\r\n" % (request.max_forwards - 1))
    _add_framing(parts, request)
    parts.append(b"\r\n")
    return b"".join(parts)


def _request_line(request: RequestHead, rewrite: Rewrite | None) -> bytes:
    target = request.target
    if rewrite is not None and rewrite.strip_prefix and target.startswith(rewrite.strip_prefix):
        target = target[len(rewrite.strip_prefix) :]
        target = target if target[:1] == b"/" else b"/" + target
    return b"%b %b HTTP/1.1" % (request.method, target)


def _without_host(request: RequestHead) -> Sequence[Cut]:
    start = request.lowered.find(b"\nhost:")
    if start < 0:
        return request.cuts
    return sorted([*request.cuts, (start, request.lowered.find(b"\r", start) + 1)])


def _add_framing(parts: list[bytes], request: RequestHead) -> None:
    if request.body is COUNTED:
        parts.append(b"Content-Length: %d\r\n" % request.length)
    elif request.body is CHUNKED:
        parts.append(b"Transfer-Encoding: chunked\r\n")
    if request.is_upgrade:
        parts.append(b"Connection: upgrade\r\nUpgrade: %b\r\n" % request.upgrade)
    elif request.te_trailers:
        parts.append(b"Connection: te\r\nTE: trailers\r\n")


def _copied(head: bytes, start: int, cuts: Sequence[Cut]) -> list[bytes]:
    """The slices of a head between its cuts, without the empty line."""
    if not cuts:
        return [head[start:-2]]
    parts = []
    for begin, end in cuts:
        parts.append(head[start:begin])
        start = end
    parts.append(head[start:-2])
    return parts


def is_chunked_for(request: RequestHead, response: ResponseHead) -> bool:
    """Whether the body goes to the client in chunks: its length is not known, and the client reads HTTP/1.1."""
    return response.body in (CHUNKED, UNTIL_CLOSE) and request.minor == 1


def ends_with_connection(request: RequestHead, response: ResponseHead) -> bool:
    """Whether the client must take the connection's end for the body's: HTTP/1.0 knows no chunks."""
    return request.minor == 0 and response.body in (CHUNKED, UNTIL_CLOSE)


def downstream_head(request: RequestHead, response: ResponseHead, *, close: bool, proxy_status: bytes = b"") -> bytes:
    """The head that goes to the client, up to and with its empty line."""
    head = response.head
    if response.is_plain and request.minor and not close and not proxy_status:
        cuts = response.cuts
        start = head[: cuts[0][0]] + head[cuts[0][1] : -2] if cuts else head[:-2]
        return b"%bVia: 1.1 failover-proxy\r\nX-Request-Id: %b\r\n\r\n" % (start, request.request_id)
    if response.minor == 1:
        parts = _copied(head, 0, response.cuts)
    else:
        parts = [b"HTTP/1.1", *_copied(head, 8, response.cuts)]
    parts.append(VIA)
    if not response.has_request_id and request.request_id:
        parts.append(b"X-Request-Id: %b\r\n" % request.request_id)
    if proxy_status:
        parts.append(b"Proxy-Status: %b\r\n" % proxy_status)
    if is_chunked_for(request, response):
        parts.append(b"Transfer-Encoding: chunked\r\n")
    if response.status == 101:
        parts.append(b"Connection: upgrade\r\nUpgrade: %b\r\n" % response.upgrade)
    elif close:
        parts.append(b"Connection: close\r\n")
    elif request.minor == 0:
        parts.append(b"Connection: keep-alive\r\n")
    parts.append(b"\r\n")
    return b"".join(parts)


def interim_head(response: ResponseHead) -> bytes:
    """A 1xx answer as it goes to the client (RFC 9110, section 15.2)."""
    return b"".join(_copied(response.head, 0, response.cuts)) + b"\r\n"
