"""The short way through plain heads against the long one: it may accept less, and must never read anything else."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from proxy.core.wire.grammar import END_OF_HEAD
from proxy.core.wire.headers import Forwarding, Rewrite, downstream_head, upstream_head
from proxy.core.wire.http1 import RequestHead
from proxy.core.wire.http1_answers import ResponseHead
from proxy.core.wire.plain import MOST_FIELDS, PLAIN_ANSWER, PLAIN_REQUEST
from proxy.errors import RequestError, ResponseError
from tests.core.pools import LIMITS

LONG_WAY = replace(LIMITS, headers=MOST_FIELDS - 1)
"""Fewer fields than a plain head may have: each head goes the long way."""

REQUEST = b"GET /a?b HTTP/1.1\r\nHost: shop.example:80\r\nAccept: */*\r\nConnection: keep-alive\r\nX-A: b"
ANSWER = b"HTTP/1.1 200 OK\r\nDate: now\r\nContent-Length: 12\r\nETag: x\r\nConnection: keep-alive"
NAMES = [
    *b"host connection content-length content-type te trailer transfer-encoding expect expires forwarded from via vary".split(),
    *b"upgrade upgrade-insecure-requests transfer traceparent trailers tr x-requested-with vias user-agent keep-alive proxy-connection proxy max-forwards x-forwarded-for x_forwarded_for x-request-id".split(),
    *b"x-request x_request_id content_length hos hosts connections tea a b c cookie date etag server".split(),
]
names = st.sampled_from(NAMES).flatmap(lambda name: st.sampled_from([name, name.title(), name.upper()]))
values = st.sampled_from(
    [
        b"",
        b"1",
        b"12",
        b"keep-alive",
        b"Keep-Alive",
        b"close",
        b"chunked",
        b"a.b:80",
        b"[::1]",
        b"v\xff",
        b"a b",
        b"\0",
        b"+1",
    ]
)
spaces = st.sampled_from([b"", b" ", b"\t ", b"\x0b"])
lines = st.builds(lambda *parts: b"%b:%b%b%b\r\n" % parts, names, spaces, values, spaces)
starts = st.sampled_from(
    [b"GET / HTTP/1.1", b"POST /a?b?/c HTTP/1.1", b"HEAD /# HTTP/1.1", b"get / HTTP/1.1", b"GET /? HTTP/1.1", b"TRACE / HTTP/1.1",
     b"OPTIONS * HTTP/1.1", b"GET http://a/ HTTP/1.1", b"GET / HTTP/1.0", b"PUT /\xff HTTP/1.1", b"GET /a b HTTP/1.1", b"\nGET / HTTP/1.1"]
)  # fmt: skip
answer_starts = st.sampled_from(
    [b"HTTP/1.1 200 OK", b"HTTP/1.1 204 No", b"HTTP/1.1 304", b"HTTP/1.1 404 ", b"HTTP/1.0 200 OK", b"HTTP/1.1 100 Go", b"HTTP/1.1 999 \xff", b"HTTP/1.1 20 OK"]
)  # fmt: skip


def composed(first: st.SearchStrategy[bytes], usual: bytes) -> st.SearchStrategy[bytes]:
    """A start and fields with something the matter now and then."""
    return st.builds(
        lambda start, before, after: b"%b\r\n%b%b%b\r\n" % (start, b"".join(before), usual, b"".join(after)),
        first,
        st.lists(lines, max_size=3),
        st.lists(lines, max_size=3),
    )


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """A plain head in which up to two bytes are others, or gone, or new."""
    head = bytearray(whole)
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(head)))
        head[at : at + draw(st.integers(0, 1))] = draw(st.binary(max_size=1))
    return bytes(head).partition(END_OF_HEAD)[0] + END_OF_HEAD


def read(make: Callable[[], object]) -> dict[str, object] | None:
    """All that a head says of itself, but which way it went and what it has noted on it; None if it is refused."""
    try:
        head = make()
    except (RequestError, ResponseError):
        return None
    kind = type(head)
    said = [name for name in dir(kind) if not name.startswith("_") and not callable(getattr(kind, name))]
    return {name: getattr(head, name) for name in {*said, *vars(head)} - {"is_plain", "connection"}}


@given(st.one_of(composed(starts, b"Host: a\r\n"), composed(starts, b""), damaged(REQUEST)))
@example(REQUEST + END_OF_HEAD)
@settings(max_examples=800)
def test_a_plain_request_is_read_as_the_long_way_reads_it(data: bytes) -> None:
    assert read(lambda: RequestHead(data, LONG_WAY)) == read(lambda: RequestHead(data, LIMITS))


@given(
    st.one_of(composed(answer_starts, b"Content-Length: 5\r\n"), composed(answer_starts, b""), damaged(ANSWER)),
    st.booleans(),
)
@example(ANSWER + END_OF_HEAD, False)
@settings(max_examples=800)
def test_a_plain_answer_is_read_as_the_long_way_reads_it(data: bytes, to_head: bool) -> None:  # noqa: FBT001
    long_way = read(lambda: ResponseHead(data, LONG_WAY, to_head=to_head))

    assert long_way == read(lambda: ResponseHead(data, LIMITS, to_head=to_head))


@pytest.fixture
def no_long_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """To read a head by llhttp is a mistake."""
    monkeypatch.setattr("proxy.core.wire.http1.httptools", None)
    monkeypatch.setattr("proxy.core.wire.http1_answers.httptools", None)


def ways(data: bytes) -> list[RequestHead]:
    both = [RequestHead(data, LIMITS), RequestHead(data, LONG_WAY)]
    assert [True, False] == [head.is_plain for head in both]
    return both


PLAIN_REQUESTS = [
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    REQUEST + END_OF_HEAD,
    b"POST /x/y HTTP/1.1\r\nUser-Agent: x\r\nhOST:[::1]:80\r\nconnection: Keep-Alive \r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade-Insecure-Requests: 1\r\nTraceparent: 00-a-b-01\r\nX-Requested-With: a\r\n\r\n",
]
BROWSER = (
    b"GET /checkout/cart?item=42 HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\n"
    b"Accept: text/html,*/*;q=0.8\r\nAccept-Language: en-GB,en;q=0.8\r\nAccept-Encoding: gzip, br\r\n"
    b"Referer: https://shop.example/shoes?page=3\r\nConnection: keep-alive\r\nCookie: a=b; c=d\r\n"
    b"Upgrade-Insecure-Requests: 1\r\nSec-Fetch-Dest: document\r\nCache-Control: max-age=0\r\n\r\n"
)
BROWSER_POST = BROWSER.replace(b"GET", b"POST")[:-2] + b"Content-Type: application/json\r\nContent-Length: 2048\r\n\r\n"
LESS_PLAIN_REQUESTS = [
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\nA: b\r\ncontent-length:\t17 \r\nC: d\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nA: b\r\nConnection: keep-alive\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nA: b\r\nConnection:close\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Close\r\nA: b\r\n\r\n",
]
CHUNKED_ANSWERS = [
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"HTTP/1.1 404 No\r\nA: b\r\nConnection: keep-alive\r\ntransfer-encoding:CHUNKED\t\r\nB: c\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nA: b\r\nConnection: keep-alive\r\n\r\n",
]
PLAIN_ANSWERS = [
    ANSWER + END_OF_HEAD,
    b"HTTP/1.1 500 \r\nConnection: keep-alive\r\ncontent-length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: 3\r\nDate: now\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 3\r\n\r\n",
]


@pytest.mark.parametrize("data", [*PLAIN_REQUESTS, *LESS_PLAIN_REQUESTS, BROWSER, BROWSER_POST])
def test_what_browsers_send_is_read_by_the_short_way(data: bytes, no_long_way: None) -> None:
    assert RequestHead(data, LIMITS).method in {b"GET", b"POST"}


@pytest.mark.parametrize("data", [*PLAIN_ANSWERS, *CHUNKED_ANSWERS])
def test_what_most_backends_answer_is_read_by_the_short_way(data: bytes, no_long_way: None) -> None:
    assert ResponseHead(data, LIMITS).status in {200, 404, 500}


@pytest.mark.parametrize("data", LESS_PLAIN_REQUESTS)
def test_a_request_with_a_body_or_the_last_one_is_read_as_the_long_way_reads_it(data: bytes) -> None:
    assert read(lambda: RequestHead(data, LONG_WAY)) == read(lambda: RequestHead(data, LIMITS))


@pytest.mark.parametrize("data", CHUNKED_ANSWERS)
def test_an_answer_in_chunks_is_read_as_the_long_way_reads_it(data: bytes) -> None:
    assert read(lambda: ResponseHead(data, LONG_WAY)) == read(lambda: ResponseHead(data, LIMITS))


@pytest.mark.parametrize("rest", [b"", b"hello", b"\r\n", b"HTTP/1.1 200 OK\r\n\r\n"])
@pytest.mark.parametrize("data", PLAIN_ANSWERS)
def test_a_plain_answer_is_found_in_front_of_whatever_follows(data: bytes, rest: bytes) -> None:
    found = ResponseHead.leading(data + rest, LIMITS)

    assert found is not None
    assert read(lambda: ResponseHead(data, LIMITS)) == read(lambda: found)


@given(st.one_of(composed(answer_starts, b"Content-Length: 5\r\n"), damaged(ANSWER)), st.binary(max_size=8))
@settings(max_examples=500)
def test_what_is_found_in_front_is_what_would_be_read_if_it_came_alone(data: bytes, rest: bytes) -> None:
    found = ResponseHead.leading(data + rest, LIMITS)

    if found is not None:
        assert (data + rest).startswith(found.head)
        assert found.head.endswith(END_OF_HEAD)
        assert found.head.count(END_OF_HEAD) == 1
        assert read(lambda: ResponseHead(found.head, LONG_WAY)) == read(lambda: found)


@pytest.mark.parametrize(
    "data",
    [b"HTTP/1.1 200 OK\r\nContent-Le", b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n"],
)
def test_an_answer_that_is_not_whole_or_not_plain_is_left_to_the_long_way(data: bytes) -> None:
    assert ResponseHead.leading(data, LIMITS) is None


@pytest.mark.parametrize("data", PLAIN_REQUESTS)
@pytest.mark.parametrize("rewrite", [None, Rewrite(b"/x"), Rewrite(host=b"b")])
def test_a_plain_request_goes_on_as_the_long_way_would_send_it(data: bytes, rewrite: Rewrite | None) -> None:
    plain, other = (upstream_head(head, Forwarding("c", b"http"), rewrite, lambda: b"id") for head in ways(data))

    assert other == plain


@pytest.mark.parametrize("data", PLAIN_ANSWERS)
def test_a_plain_answer_goes_on_as_the_long_way_would_send_it(data: bytes) -> None:
    plain, other = ResponseHead(data, LIMITS), ResponseHead(data, LONG_WAY)
    request = RequestHead(b"GET / HTTP/1.1\r\nHost: a\r\nX-Request-Id: id\r\n\r\n", LIMITS)

    assert [True, False] == [plain.is_plain, other.is_plain]
    assert downstream_head(request, other, close=False) == downstream_head(request, plain, close=False)


@pytest.mark.parametrize(
    "field", [b"Content-Length: 0", b"Transfer-Encoding: chunked", b"Expect: 100-continue", b"Upgrade: x", b"TE: trailers", b"Via: x",
              b"X-Forwarded-For: x", b"X_Forwarded_For: x", b"Forwarded: x", b"X-Request-Id: x", b"Keep-Alive: x", b"Proxy-Connection: x",
              b"Connection: close, x", b"Max-Forwards: 1", b"Host: a", b"Trailer: x",
              b"Content-Length: 5\r\nContent-Length: 5", b"Connection: keep-alive\r\nContent-Length: 5\r\nConnection: close"]
)  # fmt: skip
def test_a_request_with_a_field_that_matters_is_not_plain(field: bytes) -> None:
    for head in (b"Host: a\r\n" + field, field + b"\r\nHost: a"):
        assert PLAIN_REQUEST.fullmatch(b"GET / HTTP/1.1\r\n" + head + END_OF_HEAD) is None


def test_an_answer_that_never_has_a_body_is_read_by_the_long_way() -> None:
    data = b"HTTP/1.1 204 No\r\nContent-Length: 1\r\n\r\n"
    found = ResponseHead.leading(data, LIMITS)

    assert found is not None
    assert not found.is_plain
    assert read(lambda: ResponseHead(data, LONG_WAY)) == read(lambda: found)


def test_an_answer_to_head_is_never_plain() -> None:
    assert not ResponseHead(ANSWER + END_OF_HEAD, LIMITS, to_head=True).is_plain


def test_a_head_at_the_limits_goes_the_long_way() -> None:
    assert not RequestHead(REQUEST + END_OF_HEAD, replace(LIMITS, request_line=17)).is_plain
    assert not RequestHead(REQUEST + END_OF_HEAD, replace(LIMITS, header_bytes=len(REQUEST))).is_plain
    with pytest.raises(ResponseError):
        ResponseHead(ANSWER + END_OF_HEAD, replace(LIMITS, header_bytes=50))


def test_a_plain_head_has_no_more_fields_than_it_says() -> None:
    """Three times 32, the Host and the Connection field."""
    many = b"A: b\r\n" * 33
    head = b"GET / HTTP/1.1\r\n%bHost: a\r\n%bConnection: keep-alive\r\n%b\r\n"

    assert PLAIN_REQUEST.fullmatch(head % ((many[:-6],) * 3)) is not None
    assert PLAIN_REQUEST.fullmatch(head % ((many,) * 3)) is None
    assert MOST_FIELDS == 3 * 32 + 2


def greedy_loops(parsed: Iterable[tuple[object, object]]) -> Iterator[object]:
    """Every unbounded loop of an expression that could give back what it took, and take it again."""
    for operator, argument in parsed:
        if operator in (re._constants.MAX_REPEAT, re._constants.MIN_REPEAT) and argument[1] is re._constants.MAXREPEAT:
            yield argument
        for part in argument if isinstance(argument, list | tuple) else ():
            if isinstance(part, re._parser.SubPattern):
                yield from greedy_loops(part)
            elif isinstance(part, list):
                for branch in part:
                    yield from greedy_loops(branch if isinstance(branch, re._parser.SubPattern) else ())


@pytest.mark.parametrize("expression", [PLAIN_REQUEST, PLAIN_ANSWER])
def test_no_peer_can_make_the_expression_look_at_a_byte_again_and_again(expression: re.Pattern[bytes]) -> None:
    assert list(greedy_loops(re._parser.parse(b"a*(?:b+c|d)".decode())))

    assert [] == list(greedy_loops(re._parser.parse(expression.pattern.decode("latin-1"))))
