"""Every byte in every place of a head, and heads made of any bytes: accepted as RFC 9110 and 9112 say, or refused."""

from __future__ import annotations

from collections.abc import Callable

import h11
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from proxy.core.wire.grammar import END_OF_HEAD, Body
from proxy.core.wire.headers import Forwarding, downstream_head, upstream_head
from proxy.core.wire.http1 import RequestHead
from proxy.core.wire.http1_answers import ResponseHead
from proxy.errors import RequestError, ResponseError
from tests.core.pools import GET, LIMITS

TOKEN = frozenset(b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
METHOD = TOKEN - frozenset(b"abcdefghijklmnopqrstuvwxyz")
VISIBLE = frozenset(range(0x21, 0x7F))
OBS_TEXT = frozenset(range(0x80, 0x100))
VALUE = VISIBLE | OBS_TEXT | frozenset(b" \t")
HOST = frozenset(b"!$&'()*+,-.;=_~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
"""What stands in a reg-name: unreserved and sub-delims; `_` is in wide use. A `%` needs two hexadecimal digits."""
NONE: frozenset[int] = frozenset()


def is_request(head: bytes) -> bool:
    try:
        RequestHead(head, LIMITS)
    except RequestError:
        return False
    return True


def is_response(head: bytes) -> bool:
    try:
        ResponseHead(head, LIMITS)
    except ResponseError:
        return False
    return True


def accepted(place: bytes, is_read: Callable[[bytes], bool]) -> set[int]:
    """Which bytes may stand where `?` stands."""
    return {byte for byte in range(256) if is_read(place.replace(b"?", bytes([byte]), 1))}


def names(bytes_: set[int] | frozenset[int]) -> list[str]:
    return [f"{byte:#04x}" for byte in sorted(bytes_)]


@pytest.mark.parametrize(
    ("place", "allowed"),
    [
        pytest.param(b"?GET / HTTP/1.1\r\nHost: a\r\n\r\n", METHOD, id="before the method"),
        pytest.param(b"G?T / HTTP/1.1\r\nHost: a\r\n\r\n", METHOD, id="in the method"),
        pytest.param(b"GET? / HTTP/1.1\r\nHost: a\r\n\r\n", METHOD, id="after the method"),
        pytest.param(b"GET ?/ HTTP/1.1\r\nHost: a\r\n\r\n", frozenset(b"/"), id="before the target"),
        pytest.param(b"GET /a?b HTTP/1.1\r\nHost: a\r\n\r\n", VISIBLE - frozenset(b"#"), id="in the path"),
        pytest.param(b"GET /%3F?b HTTP/1.1\r\nHost: a\r\n\r\n", VISIBLE - frozenset(b"#"), id="at the query's start"),
        pytest.param(b"GET / HTTP/1.1?\r\nHost: a\r\n\r\n", NONE, id="after the version"),
        pytest.param(b"GET / HTTP/1.1\r?Host: a\r\n\r\n", frozenset(b"\n"), id="for the LF after the request line"),
        pytest.param(b"GET / HTTP/1.1?\nHost: a\r\n\r\n", frozenset(b"\r"), id="for the CR after the request line"),
        pytest.param(b"GET / HTTP/1.1\r\n?: v\r\nHost: a\r\n\r\n", TOKEN, id="as a field's name"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\nX?: v\r\n\r\n", TOKEN | frozenset(b":"), id="at a name's end"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\nX?Y: v\r\n\r\n", TOKEN | frozenset(b":"), id="in a name"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\nX:?v\r\n\r\n", VALUE, id="at a value's start"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\nX: v?w\r\n\r\n", VALUE, id="in a value"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\nX: v?\r\n\r\n", VALUE, id="at a value's end"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\nX: v\r?Y: w\r\n\r\n", frozenset(b"\n"), id="for a field's LF"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\nX: v?\nY: w\r\n\r\n", frozenset(b"\r"), id="for a field's CR"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a?b\r\n\r\n", HOST, id="in a host"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a:?\r\n\r\n", frozenset(b"0123456789"), id="in a port"),
        pytest.param(
            b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1?2\r\n\r\n", frozenset(b"0123456789"), id="in a length"
        ),
    ],
)
def test_a_byte_of_a_request_is_accepted_only_where_it_may_stand(place: bytes, allowed: frozenset[int]) -> None:
    assert names(allowed) == names(accepted(place, is_request))


@pytest.mark.parametrize(
    ("place", "allowed"),
    [
        pytest.param(b"?HTTP/1.1 200 OK\r\n\r\n", NONE, id="before the version"),
        pytest.param(b"HTTP/1.? 200 OK\r\n\r\n", frozenset(b"01"), id="in the version"),
        pytest.param(b"HTTP/1.1?200 OK\r\n\r\n", frozenset(b" "), id="before the status"),
        pytest.param(b"HTTP/1.1 ?00 OK\r\n\r\n", frozenset(b"123456789"), id="in the status"),
        pytest.param(b"HTTP/1.1 200?OK\r\n\r\n", frozenset(b" "), id="after the status"),
        pytest.param(b"HTTP/1.1 200 O?K\r\n\r\n", VALUE, id="in the reason"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX?Y: v\r\n\r\n", TOKEN | frozenset(b":"), id="in a name"),
        pytest.param(b"HTTP/1.1 200 OK\r\n?: v\r\n\r\n", TOKEN, id="as a name"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX: v?w\r\n\r\n", VALUE, id="in a value"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX: v?\r\n\r\n", VALUE, id="at a value's end"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX: v\r?Y: w\r\n\r\n", frozenset(b"\n"), id="for a field's LF"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX: v?\nY: w\r\n\r\n", frozenset(b"\r"), id="for a field's CR"),
    ],
)
def test_a_byte_of_an_answer_is_accepted_only_where_it_may_stand(place: bytes, allowed: frozenset[int]) -> None:
    assert names(allowed) == names(accepted(place, is_response))


@pytest.mark.parametrize("byte", sorted(VALUE))
def test_a_values_bytes_go_on_as_they_came(byte: int) -> None:
    value = b"v" + bytes([byte]) + b"w"

    sent = upstream(RequestHead(b"GET / HTTP/1.1\r\nHost: a\r\nX: " + value + b"\r\n\r\n", LIMITS))

    assert b"\r\nX: " + value + b"\r\n" in sent


def upstream(head: RequestHead) -> bytes:
    return upstream_head(head, Forwarding("192.0.2.9", b"http"), None, lambda: b"made")


# Any bytes

PIECES = [
    b"GET",
    b"POST",
    b"TRACE",
    b"HEAD",
    b"OPTIONS",
    b" ",
    b"/",
    b"*",
    b"http://a/",
    b"?",
    b"#",
    b"HTTP/1.1",
    b"HTTP/1.0",
    b"HTTP/2.0",
    b"\r\n",
    b"\r",
    b"\n",
    b"\t",
    b"\0",
    b"\x7f",
    b"\x80",
    b"\xff",
    b":",
    b",",
    b";",
    b"Host: a",
    b"Host:",
    b"host: b",
    b"Connection: ",
    b"close",
    b"keep-alive",
    b"upgrade",
    b"x",
    b"Upgrade: websocket",
    b"Content-Length: ",
    b"5",
    b"+5",
    b"Transfer-Encoding: ",
    b"chunked",
    b"gzip",
    b"Expect: 100-continue",
    b"TE: trailers",
    b"Trailer: x",
    b"X-Forwarded-For: 1",
    b"X-Request-Id: 1",
    b"Via: 1.1 p",
    b"X_Forwarded_For: 2",
    b"Keep-Alive: 5",
    b"Proxy-Connection: close",
    b"x: y",
    b"Forwarded: for=1",
    b"200",
    b"204",
    b"101",
    b"304",
    b"OK",
]
soups = st.lists(st.sampled_from(PIECES), max_size=30).map(b"".join)
REQUEST = b"POST /a?b HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 5\r\nX-A: b\r\nConnection: keep-alive, x-a"
RESPONSE = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\nX-A: b\r\nConnection: keep-alive"
)


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """A good head in which a few bytes were replaced, inserted or lost."""
    head = whole
    for _ in range(draw(st.integers(0, 4))):
        at, lost = draw(st.integers(0, len(head))), draw(st.integers(0, 3))
        head = head[:at] + draw(st.one_of(st.binary(max_size=2), st.sampled_from(PIECES))) + head[at + lost :]
    return head


def heads(whole: bytes) -> st.SearchStrategy[bytes]:
    """Bytes up to their first empty line, as a connection would cut them."""
    anything = st.one_of(st.binary(max_size=80), soups, damaged(whole))
    return anything.map(lambda data: (data + END_OF_HEAD).partition(END_OF_HEAD)[0] + END_OF_HEAD)


@given(st.one_of(st.binary(max_size=80), soups, heads(REQUEST)))
@example(b"")
@example(b"\r\n\r\n")
@example(b"GET / HTTP/1.0\r")
@settings(max_examples=300)
def test_any_bytes_are_a_request_or_a_request_error(data: bytes) -> None:
    is_request(data)


@given(st.one_of(st.binary(max_size=80), soups, heads(RESPONSE)), st.booleans())
@example(b"", False)
@example(b"HTTP/1.1 20", False)
@settings(max_examples=300)
def test_any_bytes_are_an_answer_or_a_response_error(data: bytes, to_head: bool) -> None:  # noqa: FBT001
    try:
        ResponseHead(data, LIMITS, to_head=to_head)
    except ResponseError:
        return


@given(heads(REQUEST))
@example(b"\nGET / HTTP/1.1\r\nHost: a" + END_OF_HEAD)
@example(b"GET / HTTP/1.0" + END_OF_HEAD)
@example(b"GET / HTTP/1.0\r\nHost:" + END_OF_HEAD)
@example(b"GET / HTTP/1.1\r\nHost: a\r\nX-Request-Id:" + END_OF_HEAD)
@settings(max_examples=500)
def test_whatever_is_accepted_becomes_exactly_one_request_for_the_backend(data: bytes) -> None:
    try:
        head = RequestHead(data, LIMITS)
    except RequestError:
        return
    body = {Body.NONE: b"", Body.COUNTED: b"x" * min(head.length, 1000), Body.CHUNKED: b"1\r\nx\r\n0\r\n\r\n"}[
        head.body
    ]
    reader = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)

    reader.receive_data(upstream(head) + body)

    request = reader.next_event()
    assert isinstance(request, h11.Request)
    assert (head.method, head.target, b"1.1") == (request.method, request.target, request.http_version)
    if head.length <= 1000 and not head.is_upgrade:
        while not isinstance(reader.next_event(), h11.EndOfMessage):
            pass
        assert b"" == reader.trailing_data[0]


@given(heads(RESPONSE), st.sampled_from(["GET", "HEAD"]), st.booleans())
@settings(max_examples=500)
def test_whatever_is_accepted_becomes_exactly_one_answer_for_the_client(data: bytes, method: str, close: bool) -> None:  # noqa: FBT001
    try:
        head = ResponseHead(data, LIMITS, to_head=method == "HEAD")
    except ResponseError:
        return
    if head.status < 200 or head.length > 1000:
        return
    chunks = b"1\r\nx\r\n0\r\n\r\n"
    body = {Body.NONE: b"", Body.COUNTED: b"x" * head.length, Body.CHUNKED: chunks, Body.UNTIL_CLOSE: chunks}[head.body]
    reader = h11.Connection(h11.CLIENT)
    reader.send(h11.Request(method=method, target="/", headers=[("Host", "a")]))
    reader.send(h11.EndOfMessage())

    reader.receive_data(downstream_head(GET, head, close=close) + body)

    response = reader.next_event()
    assert isinstance(response, h11.Response)
    assert head.status == response.status_code
    while not isinstance(reader.next_event(), h11.EndOfMessage):
        pass
    assert b"" == reader.trailing_data[0]
