from __future__ import annotations

import pytest

from proxy.core.wire.headers import (
    MOST_HOPS,
    NO_HOST,
    Forwarding,
    Rewrite,
    is_loop,
    upstream_head,
)
from proxy.core.wire.http1 import RequestHead
from tests.core.pools import LIMITS, OURS

Field = tuple[bytes, bytes]


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


def test_an_options_request_has_its_hops_counted_down() -> None:
    _, fields = sent(head("OPTIONS * HTTP/1.1", "Max-Forwards: 3"))

    assert [b"2"] == values(fields, b"Max-Forwards")


@pytest.mark.parametrize("hops", ["many", "", "-1", "1" * 5000])
def test_hops_that_are_no_number_go_on_as_they_came(hops: str) -> None:
    request = head("OPTIONS * HTTP/1.1", f"Max-Forwards: {hops}")
    _, fields = sent(request)

    assert (-1, [hops.encode()]) == (request.max_forwards, values(fields, b"Max-Forwards"))


def test_an_expectation_of_an_older_version_does_not_go_on() -> None:
    """RFC 9110, section 10.1.1: it must be ignored, but we would send it as one of HTTP/1.1."""
    _, fields = sent(head("POST / HTTP/1.0", "Expect: 100-continue"))

    assert [] == values(fields, b"Expect")


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


def test_a_request_that_names_no_host_gets_one() -> None:
    _, got = sent(head("GET / HTTP/1.0", host=None))

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
