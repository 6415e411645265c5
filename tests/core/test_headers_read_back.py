"""Any accepted request, as another parser reads what goes on of it."""

from __future__ import annotations

import h11
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.wire.grammar import Body
from proxy.core.wire.headers import (
    Forwarding,
    upstream_head,
)
from proxy.core.wire.http1 import RequestHead
from tests.core.pools import LIMITS, OURS

Field = tuple[bytes, bytes]


HOP_BY_HOP = frozenset(b"connection keep-alive te trailer transfer-encoding upgrade".split())


TOKENS = st.text("abcdefghijklmnopqrstuvwxyzABCXYZ0123456789-_!~.", min_size=1, max_size=12).map(str.encode)
VALUES = st.lists(st.sampled_from([*range(0x20, 0x7F), *range(0x80, 0x100), 9]), max_size=12).map(bytes)
KNOWN = st.sampled_from(
    [
        (b"Connection", b"keep-alive"),
        (b"connection", b"close, X-Hop"),
        (b"Connection", b"x-a,,host"),
        (b"X-Hop", b"1"),
        (b"x-a", b"2"),
        (b"Keep-Alive", b"timeout=5"),
        (b"Proxy-Connection", b"close"),
        (b"Proxy", b"http://a.example"),
        (b"TE", b"gzip"),
        (b"Trailer", b"x"),
        (b"Accept", b"*/*"),
        (b"X-Request", b"7"),
        (b"Hosts", b"x"),
        (b"Cookie", b"a=b; c=d"),
    ]
)
FIELDS = st.lists(st.one_of(KNOWN, st.tuples(TOKENS, VALUES)), max_size=8)
FRAMINGS = st.sampled_from([(), ((b"Content-Length", b"3"),), ((b"transfer-encoding", b"CHUNKED"),)])
TARGETS = st.text([chr(n) for n in range(0x21, 0x7F) if chr(n) != "#"], max_size=20).map(
    lambda text: b"/" + text.encode()
)
SPACES = st.sampled_from([b"", b" ", b"\t", b" \t "])
OURS_TO_SAY = frozenset(
    b"via x-forwarded-for x-forwarded-proto x-forwarded-host forwarded x-request-id host expect".split()
)


@st.composite
def raw_requests(draw: st.DrawFn) -> tuple[bytes, bytes, bytes, list[Field]]:
    """A well-formed request as bytes, with its method, its target and its fields in order."""
    method = draw(st.sampled_from([b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH"]))
    target = draw(TARGETS)
    fields = [
        f for f in draw(FIELDS) if f[0].lower() not in OURS_TO_SAY and not f[0].lower().startswith((b"x_", b"x-f"))
    ]
    fields += draw(FRAMINGS)
    fields.insert(draw(st.integers(0, len(fields))), (b"Host", b"shop.example"))
    version = (
        b"HTTP/1.1" if draw(st.booleans()) or any(n.lower() == b"transfer-encoding" for n, _ in fields) else b"HTTP/1.0"
    )
    lines = [
        # llhttp takes no tab around a transfer coding, which is its good right.
        b"%b:%b%b%b"
        % (name, *((b" ", value, b"") if name == b"transfer-encoding" else (draw(SPACES), value, draw(SPACES))))
        for name, value in fields
    ]
    return b"\r\n".join([b"%b %b %b" % (method, target, version), *lines, b"", b""]), method, target, fields


def kept(fields: list[Field]) -> list[Field]:
    """What must go on, by the words of RFC 9110, section 7.6.1."""
    named = {option.strip().lower() for n, v in fields if n.lower() == b"connection" for option in v.split(b",")}
    return [
        (name, value.strip(b" \t"))
        for name, value in fields
        if name.lower() not in HOP_BY_HOP | (named - {b"host", b"cookie"}) | {b"content-length"}
        # `Proxy` is no field of HTTP's; programs that see fields as variables take it for their own (httpoxy).
        and name.lower() != b"proxy"
        and not name.lower().startswith(b"proxy-")
    ]


@given(raw_requests())
@settings(max_examples=400)
def test_another_parser_reads_exactly_the_request_that_came(raw: tuple[bytes, bytes, bytes, list[Field]]) -> None:
    data, method, target, fields = raw
    request = RequestHead(data, LIMITS)
    body = {Body.NONE: b"", Body.COUNTED: b"abc", Body.CHUNKED: b"3\r\nabc\r\n0\r\n\r\n"}[request.body]
    reader = h11.Connection(h11.SERVER)

    reader.receive_data(upstream_head(request, Forwarding("192.0.2.9", b"http"), None, lambda: b"made") + body)

    got = reader.next_event()
    assert isinstance(got, h11.Request)
    assert (method, target, b"1.1") == (got.method, got.target, got.http_version)
    framing = {
        Body.NONE: [],
        Body.COUNTED: [(b"Content-Length", b"3")],
        Body.CHUNKED: [(b"Transfer-Encoding", b"chunked")],
    }
    assert [*kept(fields), *OURS, *framing[request.body]] == [
        (name, bytes(value)) for name, value in got.headers.raw_items()
    ]
    rest = [reader.next_event() for _ in range(2 if request.has_body else 1)]
    assert isinstance(rest[-1], h11.EndOfMessage)
    assert not request.has_body or b"abc" == rest[0].data
    assert b"" == reader.trailing_data[0]
