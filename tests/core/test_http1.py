from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from proxy.core.settings import Limits
from proxy.core.wire.grammar import Body, is_chosen_of
from proxy.core.wire.http1 import RequestHead
from proxy.core.wire.http1_answers import ResponseHead
from proxy.errors import ErrorKind, RequestError, ResponseError
from tests.core.pools import LIMITS, request

Parse = Callable[[], object]


def head(line: str = "GET / HTTP/1.1", *fields: str, host: str | None = "shop.example") -> RequestHead:
    lines = [line, *([f"Host: {host}"] if host is not None else []), *fields]
    return RequestHead("\r\n".join([*lines, "", ""]).encode("latin-1"), LIMITS)


def refused(line: str = "GET / HTTP/1.1", *fields: str, host: str | None = "shop.example") -> int:
    """The status with which such a head is refused."""
    with pytest.raises(RequestError) as error:
        head(line, *fields, host=host)
    return error.value.status


def answer(*fields: str, line: str = "HTTP/1.1 200 OK", to_head: bool = False, limits: Limits = LIMITS) -> ResponseHead:
    return ResponseHead("\r\n".join([line, *fields, "", ""]).encode("latin-1"), limits, to_head=to_head)


def unusable(*fields: str, line: str = "HTTP/1.1 200 OK", to_head: bool = False) -> bool:
    with pytest.raises(ResponseError) as error:
        answer(*fields, line=line, to_head=to_head)
    return error.value.kind is ErrorKind.HTTP_PROTOCOL_ERROR


# The request line


def test_method_target_and_path_are_read_as_they_were_sent() -> None:
    got = head("PURGE /a%2Fb//c?q=%20 HTTP/1.1")

    assert (b"PURGE", b"/a%2Fb//c?q=%20", b"/a%2Fb//c") == (got.method, got.target, got.path)


@pytest.mark.parametrize(("version", "minor"), [("HTTP/1.1", 1), ("HTTP/1.0", 0)])
def test_http_1_1_and_1_0_are_spoken(version: str, minor: int) -> None:
    assert minor == head(f"GET / {version}").minor


@pytest.mark.parametrize("version", ["HTTP/2.0", "HTTP/0.9", "HTTP/1.2", "HTTP/3.0"])
def test_another_version_is_505(version: str) -> None:
    assert 505 == refused(f"GET / {version}")


@pytest.mark.parametrize(
    "line",
    [
        "",
        "GET",
        "GET /",
        "GET / HTTP/1.1 ",
        " GET / HTTP/1.1",
        "GET  / HTTP/1.1",
        "GET /  HTTP/1.1",
        "GET\t/ HTTP/1.1",
        "GET / x HTTP/1.1",
        "GET / http/1.1",
        "GET / HTTP/11",
        "GET / HTTP/1.10",
        "GET / ICE/1.0",
        "GET /#part HTTP/1.1",
        "GET path HTTP/1.1",
        "GET * HTTP/1.1",
        "GET shop.example:80 HTTP/1.1",
        "OPTIONS ** HTTP/1.1",
    ],
)
def test_a_request_line_that_is_not_valid_is_400(line: str) -> None:
    assert 400 == refused(line)


@pytest.mark.parametrize(
    "method", ["FOO", "QUERY", "GETX", "BASELINE-CONTROL", "DESCRIBE", "SOURCE", "!#$%&'*+-.^_`|~0"]
)
def test_any_method_in_capitals_passes_also_one_that_llhttp_does_not_know(method: str) -> None:
    assert method.encode() == head(f"{method} / HTTP/1.1").method


@pytest.mark.parametrize(
    "line", ["get / HTTP/1.1", "trace / HTTP/1.1", "PRI / HTTP/1.1", "CONNECT a.example:80 HTTP/1.1"]
)
def test_a_method_that_does_not_pass_is_501(line: str) -> None:
    assert 501 == refused(line)


def test_trace_is_not_allowed() -> None:
    assert 405 == refused("TRACE / HTTP/1.1")


@pytest.mark.parametrize("before", ["\r", "\n"])
@pytest.mark.parametrize("line", ["TRACE / HTTP/1.1", "CONNECT / HTTP/1.1", "GET / HTTP/1.1"])
def test_a_line_break_before_the_method_does_not_hide_it(before: str, line: str) -> None:
    r"""Llhttp skips it, and `\\nTRACE` was no method that we refuse."""
    assert 400 == refused(before + line)


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"])
def test_methods_that_may_be_repeated_are_known(method: str) -> None:
    assert head(f"{method} / HTTP/1.1").idempotent


@pytest.mark.parametrize("method", ["POST", "PATCH", "PURGE", "LOCK"])
def test_every_other_method_is_taken_for_unsafe(method: str) -> None:
    assert not head(f"{method} / HTTP/1.1").idempotent


# The target


def test_an_absolute_target_is_brought_into_origin_form() -> None:
    got = head("GET http://SHOP.example/a?b HTTP/1.1")

    assert (b"/a?b", b"/a", True) == (got.target, got.path, got.is_absolute)


@pytest.mark.parametrize(("target", "is_now"), [("http://shop.example", b"/"), ("HTTPS://shop.example?q", b"/?q")])
def test_an_absolute_target_without_a_path_is_the_root(target: str, is_now: bytes) -> None:
    assert is_now == head(f"GET {target} HTTP/1.1").target


@pytest.mark.parametrize("target", ["*", "http://shop.example"])
def test_options_may_ask_for_the_server_as_a_whole(target: str) -> None:
    """RFC 9112, section 3.2.4: a proxy sends the absolute form without a path on as `*`."""
    got = head(f"OPTIONS {target} HTTP/1.1")

    assert (b"*", b"*") == (got.target, got.path)


@pytest.mark.parametrize(
    "target",
    ["http://other.example/", "http://shop.example:80/", "http://u@shop.example/", "http:///", "ftp://shop.example/"],
)
def test_an_absolute_target_that_does_not_name_the_host_is_refused(target: str) -> None:
    assert 400 == refused(f"GET {target} HTTP/1.1")


# Host


@pytest.mark.parametrize(
    "host", ["shop.example", "SHOP:8080", "127.0.0.1", "[::1]", "[::1]:80", "a_b", "x%2Dy", "10.0.0.1:1", "a.b.c."]
)
def test_a_host_is_a_name_or_an_address_with_or_without_a_port(host: str) -> None:
    assert host.lower().encode() == head(host=host).authority


@pytest.mark.parametrize(
    "host", ["", "a b", "a/b", "a@b", "a:b", "a:123456", "a:", "[::1", "::1", "a\\b", "a?b", "a#b", "<a>", "\xe4"]
)
def test_a_host_that_is_not_valid_is_refused(host: str) -> None:
    assert 400 == refused(host=host)


def test_a_request_without_a_host_is_refused() -> None:
    assert 400 == refused(host=None)


@pytest.mark.parametrize("second", ["Host: shop.example", "host: other", "Host:"])
def test_a_second_host_is_refused_even_if_it_is_the_same(second: str) -> None:
    assert 400 == refused("GET / HTTP/1.1", second)


def test_http_1_0_needs_no_host() -> None:
    assert b"" == head("GET / HTTP/1.0", host=None).authority


@pytest.mark.parametrize("value", ["", " ", " \t"])
def test_an_empty_host_is_refused_in_http_1_0_too(value: str) -> None:
    with pytest.raises(RequestError) as error:
        RequestHead(f"GET / HTTP/1.0\r\nHost:{value}\r\n\r\n".encode(), LIMITS)

    assert 400 == error.value.status


def test_two_hosts_are_refused_in_http_1_0_too() -> None:
    assert 400 == refused("GET / HTTP/1.0", "Host: b")


# Framing


def test_a_request_without_a_length_has_no_body() -> None:
    got = head("POST / HTTP/1.1")

    assert (Body.NONE, False) == (got.body, got.has_body)


@pytest.mark.parametrize(
    ("value", "length"), [("0", 0), ("5", 5), (" 5 ", 5), ("\t5\t", 5), ("005", 5), ("9" * 18, 10**18 - 1)]
)
def test_a_counted_body_is_as_long_as_it_says(value: str, length: int) -> None:
    got = head("POST / HTTP/1.1", f"Content-Length:{value}")

    assert (Body.COUNTED, length, length > 0) == (got.body, got.length, got.has_body)


@pytest.mark.parametrize("value", ["", "+5", "-5", "5,5", "5, 5", "1_0", "0x5", "5 5", "5.0", "５", "9" * 19, "\xb2"])
def test_a_length_that_is_not_one_plain_number_is_refused(value: str) -> None:
    with pytest.raises(RequestError) as error:
        RequestHead(f"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {value}\r\n\r\n".encode(), LIMITS)

    assert 400 == error.value.status


@pytest.mark.parametrize("value", ["chunked", "Chunked", "CHUNKED "])
def test_a_chunked_body_is_known(value: str) -> None:
    got = head("POST / HTTP/1.1", f"Transfer-Encoding: {value}")

    assert (Body.CHUNKED, True) == (got.body, got.has_body)


@pytest.mark.parametrize(
    "value",
    ["gzip", "gzip, chunked", "chunked, chunked", "identity", "xchunked", "chunked;q=1", "", ",chunked", "\x0bchunked"],
)
def test_a_transfer_coding_other_than_chunked_is_refused(value: str) -> None:
    assert 400 == refused("POST / HTTP/1.1", f"Transfer-Encoding: {value}")


def test_a_transfer_coding_in_http_1_0_is_refused() -> None:
    assert 400 == refused("POST / HTTP/1.0", "Transfer-Encoding: chunked")


@pytest.mark.parametrize(
    "fields",
    [
        ("Content-Length: 5", "Transfer-Encoding: chunked"),
        ("Transfer-Encoding: chunked", "Content-Length: 5"),
        ("Content-Length: 5", "Content-Length: 5"),
        ("Content-Length: 5", "Content-Length: 6"),
        ("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
        ("Transfer-Encoding: chunked", "transfer-encoding: identity"),
    ],
)
def test_a_body_whose_length_could_be_read_in_two_ways_is_refused(fields: tuple[str, ...]) -> None:
    assert 400 == refused("POST / HTTP/1.1", *fields)


@pytest.mark.parametrize("first", ["content-length: 1", "transfer-encoding: chunked"])
@pytest.mark.parametrize("second", ["content-length: 1", "transfer-encoding: chunked"])
def test_a_second_length_would_be_refused_even_if_llhttp_let_it_through(first: str, second: str) -> None:
    fields = f"\nhost: a\r\n{first}\r\n{second}\r".encode()

    with pytest.raises(RequestError, match="several"):
        head()._scan(fields)
    with pytest.raises(ResponseError):
        answer("X: y")._scan(fields, to_head=False)


@pytest.mark.parametrize("field", ["Content_Length: 5", "Transfer_Encoding: chunked"])
def test_a_name_with_an_underscore_is_another_field(field: str) -> None:
    assert Body.NONE is head("POST / HTTP/1.1", field).body


@pytest.mark.parametrize(
    "raw",
    [
        b"GET / HTTP/1.1\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n z\r\n\r\n",
        b"GET / HTTP/1.1\r\n Host: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n: y\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: y\rz\r\n\r\n",
    ],
)
def test_a_head_that_two_readers_could_cut_differently_is_refused(raw: bytes) -> None:
    with pytest.raises(RequestError) as error:
        RequestHead(raw, LIMITS)

    assert 400 == error.value.status


# Limits


def test_a_request_line_over_the_limit_is_414() -> None:
    limits = replace(LIMITS, request_line=30)
    line = b"GET /" + b"a" * 16 + b" HTTP/1.1"

    assert 30 == len(line)
    RequestHead(line + b"\r\nHost: a\r\n\r\n", limits)
    with pytest.raises(RequestError) as error:
        RequestHead(line.replace(b"/", b"/a", 1) + b"\r\nHost: a\r\n\r\n", limits)
    assert 414 == error.value.status


def test_more_fields_than_the_limit_are_431() -> None:
    limits = replace(LIMITS, headers=3)
    raw = b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 2

    RequestHead(raw + b"\r\n", limits)
    with pytest.raises(RequestError) as error:
        RequestHead(raw + b"X: y\r\n\r\n", limits)
    assert 431 == error.value.status


def test_more_bytes_than_the_limit_are_431() -> None:
    limits = replace(LIMITS, header_bytes=100)

    with pytest.raises(RequestError) as error:
        RequestHead(b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 100 + b"\r\n\r\n", limits)
    assert 431 == error.value.status


# Keep-alive


@pytest.mark.parametrize(
    ("version", "fields", "is_kept"),
    [
        ("1.1", [], True),
        ("1.1", ["Connection: close"], False),
        ("1.1", ["Connection: CLOSE "], False),
        ("1.1", ["Connection: keep-alive"], True),
        ("1.1", ["Connection: keep-alive, close"], False),
        ("1.1", ["Connection: keep-alive", "Connection: close"], False),
        ("1.1", ["Connection: closed"], True),
        ("1.0", [], False),
        ("1.0", ["Connection: keep-alive"], True),
        ("1.0", ["Connection: Keep-Alive , x"], True),
        ("1.0", ["Connection: close"], False),
    ],
)
def test_a_connection_is_kept_as_the_client_asks(version: str, fields: list[str], is_kept: bool) -> None:  # noqa: FBT001
    assert is_kept is head(f"GET / HTTP/{version}", *fields).is_keep_alive


# Upgrade, Expect, TE


@pytest.mark.parametrize(
    "fields",
    [
        ["Upgrade: h2c"],
        ["Upgrade: websocket, H2C"],
        ["Upgrade: h2c", "Upgrade: websocket"],
        ["Upgrade: h2c/1"],
        ["Upgrade: h2c ;a"],
        ["Upgrade: HTTP/2.0"],
        ["Upgrade: TLS/1.2"],
        ["Upgrade: ,"],
    ],
)
def test_nobody_gets_a_tunnel_past_the_routes(fields: list[str]) -> None:
    got = head("GET / HTTP/1.1", "Connection: Upgrade, HTTP2-Settings", *fields, "HTTP2-Settings: x")

    assert not got.is_upgrade


@pytest.mark.parametrize(
    ("chosen", "is_asked_for"),
    [(b"b", True), (b"A/1, b", True), (b"c", False), (b"b, c", False), (b"", False)],
)
def test_a_backend_may_switch_to_what_the_client_has_named(chosen: bytes, is_asked_for: bool) -> None:  # noqa: FBT001
    got = head("GET / HTTP/1.1", "Connection: Upgrade", "Upgrade: a/1", "Upgrade: B")

    assert is_asked_for is is_chosen_of(got.upgrade, chosen)


def test_an_answer_tells_all_protocols_that_it_switches_to() -> None:
    got = ResponseHead(b"HTTP/1.1 101 Go\r\nUpgrade: a\r\nConnection: upgrade\r\nUpgrade: b\r\n\r\n", Limits())

    assert b"a, b" == got.upgrade


def test_an_upgrade_is_one_where_connection_names_it() -> None:
    got = head("GET / HTTP/1.1", "Connection: keep-alive, Upgrade", "Upgrade: WebSocket")

    assert (True, b"WebSocket") == (got.is_upgrade, got.upgrade)


@pytest.mark.parametrize(
    ("line", "fields"),
    [
        ("GET / HTTP/1.1", ["Upgrade: websocket"]),
        ("GET / HTTP/1.1", ["Upgrade: websocket", "Connection: keep-alive"]),
        ("GET / HTTP/1.1", ["Upgrade: websocket", "Connection: close"]),
        ("GET / HTTP/1.1", ["Connection: upgrade"]),
        ("GET / HTTP/1.0", ["Upgrade: websocket", "Connection: upgrade"]),
    ],
)
def test_an_upgrade_that_is_not_properly_asked_for_is_none(line: str, fields: list[str]) -> None:
    assert not head(line, *fields).is_upgrade


def test_a_client_may_wait_for_100_continue() -> None:
    assert head("POST / HTTP/1.1", "Expect: 100-Continue", "Content-Length: 1").expects_continue


def test_in_http_1_0_an_expectation_is_ignored() -> None:
    assert not head("POST / HTTP/1.0", "Expect: 100-continue", "Content-Length: 1").expects_continue


def test_another_expectation_is_417() -> None:
    assert 417 == refused("POST / HTTP/1.1", "Expect: 200-ok")


@pytest.mark.parametrize(
    ("value", "wanted"), [("trailers", True), ("gzip, Trailers", True), ("gzip", False), ("trailersx", False)]
)
def test_a_client_may_ask_for_trailers(value: str, wanted: bool) -> None:  # noqa: FBT001 - a table's column
    assert wanted is head("GET / HTTP/1.1", f"TE: {value}").te_trailers


# Asking


def test_a_field_is_found_by_its_name_and_keeps_its_bytes() -> None:
    got = head("GET / HTTP/1.1", "X-Tenant: \tÄ b \t", "x-tenant: second")

    assert "Ä b".encode("latin-1") == got.field(b"x-tenant")
    assert got.field(b"x-ten") is None


def test_all_values_of_a_field_are_found_in_order_whatever_its_case() -> None:
    got = request("POST", "/", "Idempotency-Key: a ", "idempotency-key:b", "Idempotency-Keys: c")

    assert [b"a", b"b"] == got.fields(b"idempotency-key")
    assert [] == got.fields(b"authorization")


def test_a_cookie_is_found_by_its_name() -> None:
    got = head("GET / HTTP/1.1", "Cookie: a=1; fo=x=y ;b=2")

    assert (b"1", b"x=y", None) == (got.cookie(b"a"), got.cookie(b"fo"), got.cookie(b"o"))
    assert head().cookie(b"a") is None


def test_what_a_balancer_hashes_is_the_clients_address_where_the_named_thing_is_absent() -> None:
    got = request("GET", "/a?b", "Cookie: id=7", "X-T: t", client="192.0.2.1")

    assert b"192.0.2.1" == got.balance_key("client", "")
    assert b"/a" == got.balance_key("path", "")
    assert (b"7", b"192.0.2.1") == (got.balance_key("cookie", "id"), got.balance_key("cookie", "no"))
    assert (b"t", b"192.0.2.1") == (got.balance_key("header", "X-T"), got.balance_key("header", "X-U"))


def test_heads_say_what_they_are() -> None:
    assert "<RequestHead GET /a>" == repr(head("GET /a HTTP/1.1"))
    assert "<ResponseHead 200 until close>" == repr(answer())
