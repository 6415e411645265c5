from __future__ import annotations

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.grammar import Body
from proxy.core.headers import (
    MOST_HOPS,
    NO_HOST,
    Forwarding,
    Rewrite,
    downstream_head,
    interim_head,
    is_chunked_for,
    is_loop,
    upstream_head,
)
from proxy.core.http1 import RequestHead, ResponseHead
from tests.core.pools import LIMITS

Field = tuple[bytes, bytes]
OURS = [
    (b"Via", b"1.1 failover-proxy"),
    (b"X-Forwarded-For", b"192.0.2.9"),
    (b"X-Forwarded-Proto", b"http"),
    (b"X-Forwarded-Host", b"shop.example"),
    (b"Forwarded", b'for=192.0.2.9;proto=http;host="shop.example"'),
    (b"X-Request-Id", b"made"),
]
"""What is added to a request that has nothing of the kind."""
HOP_BY_HOP = frozenset(b"connection keep-alive te trailer transfer-encoding upgrade".split())


def head(line: str = "GET / HTTP/1.1", *fields: str, host: str | None = "shop.example") -> RequestHead:
    lines = [line, *([f"Host: {host}"] if host is not None else []), *fields]
    return RequestHead("\r\n".join([*lines, "", ""]).encode("latin-1"), LIMITS)


def sent(
    request: RequestHead, rewrite: Rewrite | None = None, *, client: str = "192.0.2.9", is_trusted: bool = False
) -> tuple[bytes, list[Field]]:
    """The request line and the fields that go to the Backend."""
    data = upstream_head(request, Forwarding(client, b"http", is_trusted=is_trusted), rewrite, lambda: b"made")
    return cut(data)


def cut(data: bytes) -> tuple[bytes, list[Field]]:
    assert data.endswith(b"\r\n\r\n")
    line, *fields = data[:-4].split(b"\r\n")
    assert not any(b"\r" in field or b"\n" in field for field in (line, *fields))
    pairs = [field.partition(b":") for field in fields]
    return line, [(name, value.strip(b" \t")) for name, _, value in pairs]


def values(fields: list[Field], name: bytes) -> list[bytes]:
    return [value for known, value in fields if known.lower() == name.lower()]


ASKED = head("GET / HTTP/1.1", "X-Request-Id: own")
ADDED = [(b"Via", b"1.1 failover-proxy"), (b"X-Request-Id", b"own")]
"""What is added to the answer to it."""


def response(*fields: str, line: str = "HTTP/1.1 200 OK", to_head: bool = False) -> ResponseHead:
    return ResponseHead("\r\n".join([line, *fields, "", ""]).encode("latin-1"), LIMITS, to_head=to_head)


def received(
    answer: ResponseHead, request: RequestHead | None = None, *, close: bool = False, proxy_status: bytes = b""
) -> tuple[bytes, list[Field]]:
    """The status line and the fields that go to the client."""
    return cut(downstream_head(request or ASKED, answer, close=close, proxy_status=proxy_status))


# What is kept and what is not


def test_a_plain_request_goes_on_as_it_came_with_ours_at_its_end() -> None:
    line, fields = sent(head("GET /a?b HTTP/1.1", "ACCEPT: */*", "x-a: 1", "X-A:2"))

    assert b"GET /a?b HTTP/1.1" == line
    assert [(b"Host", b"shop.example"), (b"ACCEPT", b"*/*"), (b"x-a", b"1"), (b"X-A", b"2"), *OURS] == fields


@pytest.mark.parametrize(
    "field",
    [
        "Connection: keep-alive",
        "Connection: close",
        "Keep-Alive: timeout=5",
        "Proxy-Connection: keep-alive",
        "Proxy-Authorization: Basic eA==",
        "TE: gzip",
        "Trailer: X-Sum",
        "Upgrade: websocket",
        "X-Forwarded-For: 10.0.0.1",
        "X_Forwarded_For: 10.0.0.1",
        "X-Forwarded_For: 10.0.0.1",
        "X_Request_Id: forged",
        "Forwarded: for=10.0.0.1",
    ],
)
def test_a_field_of_this_connection_or_a_forged_one_does_not_go_on(field: str) -> None:
    _, fields = sent(head("GET / HTTP/1.1", "X-Before: 1", field, "X-After: 2"))

    assert [(b"Host", b"shop.example"), (b"X-Before", b"1"), (b"X-After", b"2"), *OURS] == fields


def test_what_connection_names_does_not_go_on() -> None:
    _, fields = sent(head("GET / HTTP/1.1", "X-A: 1", "Connection: x-a, X-C", "X-B: 2", "x-c: 3"))

    assert [(b"Host", b"shop.example"), (b"X-B", b"2"), *OURS] == fields


@pytest.mark.parametrize(
    ("named", "field"),
    [
        ("host", None),
        ("authorization", "Authorization: Bearer x"),
        ("cookie", "Cookie: a=b"),
        ("x-request-id", "X-Request-Id: own"),
        ("via", "Via: 1.0 before"),
        ("cache-control", "Cache-Control: no-store"),
    ],
)
def test_connection_cannot_name_away_what_others_rely_on(named: str, field: str | None) -> None:
    _, fields = sent(head("GET / HTTP/1.1", f"Connection: close, {named}", *([field] if field else [])))

    assert values(fields, named.encode())


@pytest.mark.parametrize(
    "field",
    ["X-Forwarded-Port: 8443", "X-Forwarded-Prefix: /a", "Max-Forwards: 3", "Via: 1.1 cdn", "Expect: 100-continue"],
)
def test_a_field_that_is_looked_at_may_still_go_on(field: str) -> None:
    name, _, value = field.encode().partition(b": ")
    _, fields = sent(head("GET / HTTP/1.1", field))

    assert value in values(fields, name)


# The request line


@pytest.mark.parametrize(
    "first", ["Connection: keep-alive", "Keep-Alive: 5", "X-Forwarded-For: 1", "Host: shop.example"]
)
@pytest.mark.parametrize(
    ("line", "rewrite"),
    [
        ("GET / HTTP/1.0", None),
        ("GET http://shop.example/ HTTP/1.1", None),
        ("GET /x/y HTTP/1.1", Rewrite(b"/x")),
        ("GET / HTTP/1.1", Rewrite(host=b"backend")),
    ],
)
def test_a_rewritten_head_whose_first_field_is_left_out_has_no_empty_line_in_it(
    line: str, rewrite: Rewrite | None, first: str
) -> None:
    """The line feed of the field that was cut stayed behind: all that follows would have been another request."""
    rest = () if first.startswith("Host") else ("Host: shop.example",)
    data = upstream_head(head(line, first, *rest, "X-A: b", host=None), Forwarding("c", b"http"), rewrite, lambda: b"i")

    assert b"\n\n" not in data
    assert data.index(b"\r\n\r\n") == len(data) - 4
    assert (b"X-A", b"b") in cut(data)[1]


def test_a_client_of_http_1_0_is_spoken_for_in_http_1_1() -> None:
    line, fields = sent(head("GET / HTTP/1.0"))

    assert (b"GET / HTTP/1.1", [b"shop.example"]) == (line, values(fields, b"host"))


@pytest.mark.parametrize("fields", [[], ["Host:"], ["Host: "]])
def test_a_request_that_names_no_host_gets_one(fields: list[str]) -> None:
    _, got = sent(head("GET / HTTP/1.0", *fields, host=None))

    assert [NO_HOST] == values(got, b"host")


def test_an_absolute_target_goes_on_in_origin_form() -> None:
    assert b"GET /a?b HTTP/1.1" == sent(head("GET http://shop.example/a?b HTTP/1.1"))[0]


def test_options_for_the_whole_server_stay_so() -> None:
    assert b"OPTIONS * HTTP/1.1" == sent(head("OPTIONS http://shop.example HTTP/1.1"))[0]


@pytest.mark.parametrize(
    ("target", "becomes"), [("/x/y?q", b"/y?q"), ("/x/", b"/"), ("/x", b"/"), ("/x?q", b"/?q"), ("/other", b"/other")]
)
def test_a_prefix_is_stripped(target: str, becomes: bytes) -> None:
    assert b"GET %b HTTP/1.1" % becomes == sent(head(f"GET {target} HTTP/1.1"), Rewrite(b"/x"))[0]


def test_the_host_is_rewritten_where_the_route_says_so_and_told_as_it_was() -> None:
    _, fields = sent(head("GET / HTTP/1.1", "X-A: 1"), Rewrite(host=b"10.0.0.1:80"))

    assert [b"10.0.0.1:80"] == values(fields, b"host")
    assert [b"shop.example"] == values(fields, b"x-forwarded-host")


def test_a_rewritten_path_leaves_the_host_alone() -> None:
    assert [b"shop.example"] == values(sent(head(), Rewrite(b"/x"))[1], b"host")


# Framing, upgrade, trailers


@pytest.mark.parametrize(
    ("fields", "framing"),
    [
        ([], []),
        (["Content-Length: 007 "], [(b"Content-Length", b"7")]),
        (["Content-Length: 0"], [(b"Content-Length", b"0")]),
        (["transfer-encoding: Chunked"], [(b"Transfer-Encoding", b"chunked")]),
    ],
)
def test_a_body_is_announced_anew_and_in_one_way(fields: list[str], framing: list[Field]) -> None:
    got = sent(head("POST / HTTP/1.1", *fields))[1]

    assert framing == [field for field in got if field[0].lower() in (b"content-length", b"transfer-encoding")]


def test_an_upgrade_goes_on() -> None:
    _, fields = sent(head("GET / HTTP/1.1", "Connection: Upgrade, x-a", "Upgrade: WebSocket", "X-A: 1"))

    assert ([b"upgrade"], [b"WebSocket"], []) == (
        values(fields, b"connection"),
        values(fields, b"upgrade"),
        values(fields, b"x-a"),
    )


def test_the_wish_for_trailers_goes_on() -> None:
    _, fields = sent(head("GET / HTTP/1.1", "Connection: TE", "TE: trailers, gzip;q=0.5"))

    assert ([b"te"], [b"trailers"]) == (values(fields, b"connection"), values(fields, b"te"))


# Who asks


def test_a_clients_own_word_about_itself_is_not_believed() -> None:
    request = head("GET / HTTP/1.1", "X-Forwarded-For: 10.0.0.1", "Forwarded: for=10.0.0.1", "X-Forwarded-Proto: https")

    assert [(b"Host", b"shop.example"), *OURS] == sent(request)[1]


def test_a_trusted_proxys_word_is_passed_on_and_its_address_appended() -> None:
    request = head(
        "GET / HTTP/1.1",
        "X-Forwarded-For: 10.0.0.1",
        "X-Forwarded-For: 10.0.0.2",
        "X-Forwarded-Proto: https",
        "X-Forwarded-Host: www.example",
        "Forwarded: for=10.0.0.1",
    )

    _, fields = sent(request, is_trusted=True)

    assert [b"10.0.0.1, 10.0.0.2, 192.0.2.9"] == values(fields, b"x-forwarded-for")
    assert ([b"https"], [b"www.example"]) == (values(fields, b"x-forwarded-proto"), values(fields, b"x-forwarded-host"))
    assert [b'for=10.0.0.1, for=192.0.2.9;proto=http;host="shop.example"'] == values(fields, b"forwarded")


def test_a_trusted_proxy_that_says_nothing_is_told_of_like_any_client() -> None:
    assert [(b"Host", b"shop.example"), *OURS] == sent(head(), is_trusted=True)[1]


def test_an_ipv6_client_is_written_as_each_field_wants_it() -> None:
    _, fields = sent(head(), client="2001:db8::1")

    assert [b"2001:db8::1"] == values(fields, b"x-forwarded-for")
    assert [b'for="[2001:db8::1]";proto=http;host="shop.example"'] == values(fields, b"forwarded")


def test_a_client_on_a_unix_socket_is_unknown() -> None:
    assert [b"unknown"] == values(sent(head(), client="")[1], b"x-forwarded-for")


def test_what_is_told_follows_the_host_of_each_request_on_a_connection() -> None:
    forwarding = Forwarding("192.0.2.9", b"http")

    hosts = [values(cut(b"GET\r\n" + forwarding.fields(head(host=h)) + b"\r\n")[1], b"x-forwarded-host") for h in "aab"]

    assert [[b"a"], [b"a"], [b"b"]] == hosts


# Request ids and loops


def test_a_request_id_is_passed_on() -> None:
    assert [b"own"] == values(sent(head("GET / HTTP/1.1", "x-request-id: own"))[1], b"x-request-id")


@pytest.mark.parametrize("fields", [["X-Request-Id: a", "X-Request-Id: b"], ["X-Request-Id:", "X-Request-Id: a"]])
def test_there_is_only_one_request_id(fields: list[str]) -> None:
    assert [b"a"] == values(sent(head("GET / HTTP/1.1", *fields))[1], b"x-request-id")


@pytest.mark.parametrize("fields", [[], ["X-Request-Id:"], ["X-Request-Id: "]])
def test_a_request_without_an_id_gets_one(fields: list[str]) -> None:
    assert [b"made"] == values(sent(head("GET / HTTP/1.1", *fields))[1], b"x-request-id")


@pytest.mark.parametrize("fields", [[], ["Content-Length: 1"], ["X-Request-Id: own"]])
def test_every_attempt_of_a_request_is_sent_the_same(fields: list[str]) -> None:
    """The id that the first one was given too."""
    request = head("PUT / HTTP/1.1", *fields)

    assert sent(request) == sent(request)


def test_a_request_that_has_passed_us_too_often_is_a_loop() -> None:
    once = "1.1 failover-proxy"

    assert is_loop(head("GET / HTTP/1.1", f"Via: {', '.join([once] * (MOST_HOPS - 1))}", f"Via: {once}"))
    assert not is_loop(head("GET / HTTP/1.1", f"Via: {', '.join([once] * (MOST_HOPS - 1))}"))
    assert not is_loop(head("GET / HTTP/1.1", "Via: 1.1 other"))


# Any accepted request, as another parser reads it

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


# Answers


def test_an_answer_goes_on_as_it_came_with_ours_at_its_end() -> None:
    line, fields = received(response("SERVER: x", "Set-Cookie: a", "set-cookie: b", "Content-Length: 3"))

    assert b"HTTP/1.1 200 OK" == line
    assert [
        (b"SERVER", b"x"),
        (b"Set-Cookie", b"a"),
        (b"set-cookie", b"b"),
        (b"Content-Length", b"3"),
        *ADDED,
    ] == fields


@pytest.mark.parametrize(
    "field",
    [
        "Connection: keep-alive",
        "Connection: x",
        "Keep-Alive: 5",
        "Proxy-Authenticate: Basic",
        "Trailer: X",
        "TE: x",
        "Upgrade: h2c",
    ],
)
def test_a_field_of_the_backends_connection_does_not_go_on(field: str) -> None:
    _, fields = received(response("X-A: 1", field, "Content-Length: 0"))

    assert [(b"X-A", b"1"), (b"Content-Length", b"0"), *ADDED] == fields


def test_what_the_backends_connection_names_does_not_go_on() -> None:
    _, fields = received(response("X-A: 1", "Connection: x-a, content-length, date", "Content-Length: 0", "Date: now"))

    assert [[], [b"0"], [b"now"]] == [values(fields, name) for name in (b"x-a", b"content-length", b"date")]


def test_an_answer_in_http_1_0_goes_on_in_http_1_1() -> None:
    assert b"HTTP/1.1 404 Gone away" == received(response(line="HTTP/1.0 404 Gone away"))[0]


def test_the_backends_own_request_id_stands() -> None:
    _, fields = received(response("x-request-id: theirs", "Content-Length: 0"))

    assert [b"theirs"] == values(fields, b"x-request-id")


@pytest.mark.parametrize("fields", [["Transfer-Encoding: chunked"], []])
def test_a_body_of_unknown_length_goes_to_the_client_in_chunks(fields: list[str]) -> None:
    answer = response(*fields)

    assert is_chunked_for(head(), answer)
    assert [b"chunked"] == values(received(answer)[1], b"transfer-encoding")


def test_a_client_of_http_1_0_gets_no_chunks() -> None:
    answer, request = response("Transfer-Encoding: chunked"), head("GET / HTTP/1.0")

    assert not is_chunked_for(request, answer)
    assert [] == values(received(answer, request)[1], b"transfer-encoding")


@pytest.mark.parametrize("line", ["HTTP/1.1 204 No Content", "HTTP/1.1 103 Early Hints"])
def test_an_answer_that_can_have_no_body_announces_no_length(line: str) -> None:
    """RFC 9110, section 8.6."""
    assert [] == values(received(response("Content-Length: 5", "X: y", line=line))[1], b"content-length")


def test_an_answer_to_head_announces_the_length_that_it_would_have_had() -> None:
    assert [b"5"] == values(
        received(response("Content-Length: 5", to_head=True), head("HEAD / HTTP/1.1"))[1], b"content-length"
    )


@pytest.mark.parametrize(
    ("version", "close", "said"),
    [("1.1", False, []), ("1.1", True, [b"close"]), ("1.0", False, [b"keep-alive"]), ("1.0", True, [b"close"])],
)
def test_the_client_is_told_what_becomes_of_its_connection(version: str, close: bool, said: list[bytes]) -> None:  # noqa: FBT001
    _, fields = received(response("Content-Length: 0"), head(f"GET / HTTP/{version}"), close=close)

    assert said == values(fields, b"connection")


def test_a_switch_of_protocols_goes_on() -> None:
    answer = response(
        "Upgrade: WebSocket", "Connection: upgrade", "Sec-WebSocket-Accept: x", line="HTTP/1.1 101 Switching"
    )

    _, fields = received(answer)

    assert ([b"upgrade"], [b"WebSocket"], [b"x"]) == tuple(
        values(fields, name) for name in (b"connection", b"upgrade", b"sec-websocket-accept")
    )


def test_proxy_status_is_added_where_there_is_something_to_say() -> None:
    _, fields = received(response("Content-Length: 0"), proxy_status=b"failover-proxy; attempts=2")

    assert [b"failover-proxy; attempts=2"] == values(fields, b"proxy-status")


def test_an_interim_answer_goes_on_without_the_fields_of_its_connection() -> None:
    answer = response("Link: </a>", "Connection: close", "Content-Length: 3", line="HTTP/1.1 103 Early Hints")

    assert b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" == interim_head(answer)


def test_an_interim_answer_in_http_1_0_goes_on_as_it_came() -> None:
    assert b"HTTP/1.1 100 Continue\r\n\r\n" == interim_head(response(line="HTTP/1.1 100 Continue"))
