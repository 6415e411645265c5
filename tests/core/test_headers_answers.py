from __future__ import annotations

import pytest

from proxy.core.wire.headers import (
    downstream_head,
    ends_with_connection,
    interim_head,
    is_chunked_for,
)
from proxy.core.wire.http1 import RequestHead
from proxy.core.wire.http1_answers import ResponseHead
from tests.core.pools import LIMITS

Field = tuple[bytes, bytes]


def head(line: str = "GET / HTTP/1.1", *fields: str, host: str | None = "shop.example") -> RequestHead:
    lines = [line, *([f"Host: {host}"] if host is not None else []), *fields]
    return RequestHead("\r\n".join([*lines, "", ""]).encode("latin-1"), LIMITS)


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


@pytest.mark.parametrize(
    ("version", "fields", "does"),
    [
        ("HTTP/1.0", [], True),
        ("HTTP/1.0", ["Transfer-Encoding: chunked"], True),
        ("HTTP/1.0", ["Content-Length: 2"], False),
        ("HTTP/1.1", [], False),
    ],
)
def test_a_body_ends_with_the_connection_where_the_client_can_see_no_other_end(
    version: str,
    fields: list[str],
    does: bool,  # noqa: FBT001 - a table's column
) -> None:
    assert does is ends_with_connection(head(f"GET / {version}"), response(*fields))


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
