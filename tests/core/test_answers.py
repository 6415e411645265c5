from __future__ import annotations

import json

import h11
import pytest

from proxy.core.requests.decisions import Refuse
from proxy.core.settings import Redirect, StaticAnswer
from proxy.core.wire.answers import ALLOW, bad_request, message, proxy_status, reason_phrase, refusal, static, too_many
from proxy.core.wire.http1 import RequestHead
from proxy.errors import ERRORS, ErrorKind, RequestError
from tests.core.pools import GET, LIMITS, request

NOWHERE = Refuse(ErrorKind.DESTINATION_UNAVAILABLE, 503, "", "no", 1)
UNKNOWN = Refuse(ErrorKind.CONNECTION_TERMINATED, 502, "request may have been executed", "unknown")
OLD = RequestHead(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", LIMITS)


def read(data: bytes, method: str = "GET") -> tuple[h11.Response, bytes]:
    """The one answer that another parser finds in these bytes."""
    reader = h11.Connection(h11.CLIENT)
    reader.send(h11.Request(method=method, target="/", headers=[("Host", "a")]))
    reader.send(h11.EndOfMessage())
    reader.receive_data(data)
    response = reader.next_event()
    assert isinstance(response, h11.Response)
    body = b""
    while not isinstance(event := reader.next_event(), h11.EndOfMessage):
        assert isinstance(event, h11.Data)
        body += event.data
    assert b"" == reader.trailing_data[0]
    return response, body


def field(response: h11.Response, name: bytes) -> list[bytes]:
    return [value for known, value in response.headers if known == name]


# Problem documents


def test_a_refusal_says_what_happened_as_a_problem_document() -> None:
    response, body = read(refusal(NOWHERE, GET, attempts=2, close=False))

    assert (503, b"Service Unavailable") == (response.status_code, response.reason)
    assert [b"application/problem+json"] == field(response, b"content-type")
    assert {
        "type": "urn:failover-proxy:destination_unavailable",
        "title": "No backend is available",
        "status": 503,
        "attempts": 2,
        "executed": "no",
    } == json.loads(body)


def test_where_nothing_was_sent_the_client_is_told_so_and_when_to_come_again() -> None:
    response, body = read(refusal(NOWHERE, GET, attempts=1, close=False))

    assert "no" == json.loads(body)["executed"]
    assert [b"1"] == field(response, b"retry-after")


def test_where_a_write_may_have_been_executed_the_client_is_told_so_and_not_to_come_again() -> None:
    response, body = read(refusal(UNKNOWN, request("POST"), attempts=1, close=False))

    assert "unknown" == json.loads(body)["executed"]
    assert [b'failover-proxy; error=connection_terminated; details="request may have been executed"'] == field(
        response, b"proxy-status"
    )
    assert [] == field(response, b"retry-after")


def test_a_read_is_not_told_of_execution() -> None:
    _, body = read(refusal(Refuse(ErrorKind.HTTP_RESPONSE_TIMEOUT, 504, ""), GET, attempts=1, close=False))

    assert "executed" not in json.loads(body)


def test_a_refusal_is_not_cached() -> None:
    assert [b"no-store"] == field(read(refusal(NOWHERE, GET, attempts=1, close=False))[0], b"cache-control")


@pytest.mark.parametrize("kind", ErrorKind)
def test_every_kind_of_failure_has_its_answer(kind: ErrorKind) -> None:
    response, body = read(refusal(Refuse(kind, ERRORS[kind].status, ""), GET, attempts=1, close=False))

    assert ERRORS[kind].status == response.status_code == json.loads(body)["status"]
    assert [b"failover-proxy; error=" + kind.encode()] == field(response, b"proxy-status")


def test_a_request_that_is_refused_is_told_why() -> None:
    response, body = read(bad_request(RequestError(414, "the request line is too long")))

    assert (414, [b"close"]) == (response.status_code, field(response, b"connection"))
    assert "the request line is too long" == json.loads(body)["detail"]


def test_who_uses_a_method_that_is_not_allowed_is_told_which_are() -> None:
    response, _ = read(bad_request(RequestError(405, "TRACE is not allowed")))

    assert b"GET" in field(response, b"allow")[0]
    assert b"TRACE" not in field(response, b"allow")[0]


# Proxy-Status


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (proxy_status(attempts=2), b"failover-proxy; attempts=2"),
        (proxy_status(attempts=1, panic=True), b"failover-proxy; panic"),
        (proxy_status(ErrorKind.DNS_ERROR), b"failover-proxy; error=dns_error"),
        (proxy_status(details='a "b" \\c'), b'failover-proxy; details="a \\"b\\" \\\\c"'),
        (proxy_status(details="Grüße\r\nX: y"), b'failover-proxy; details="Gr??e??X: y"'),
    ],
)
def test_proxy_status_is_a_structured_field(value: bytes, text: bytes) -> None:
    assert text == value


# All answers


@pytest.mark.parametrize(
    ("head", "close", "said"),
    [
        (None, False, []),
        (GET, False, []),
        (GET, True, [b"close"]),
        (OLD, False, [b"keep-alive"]),
        (OLD, True, [b"close"]),
    ],
)
def test_an_answer_says_what_becomes_of_the_connection(
    head: RequestHead | None,
    close: bool,  # noqa: FBT001 - a table's column
    said: list[bytes],
) -> None:
    assert said == field(read(message(200, [], b"", request=head, close=close))[0], b"connection")


def test_an_answer_bears_the_id_of_its_request() -> None:
    assert [b"7"] == field(
        read(message(200, [], b"", request=request("GET", "/", "X-Request-Id: 7")))[0], b"x-request-id"
    )
    assert [] == field(read(message(200, [], b"", request=GET))[0], b"x-request-id")


def test_an_answer_to_head_announces_its_body_and_does_not_send_it() -> None:
    response, body = read(message(200, [], b"hello", request=request("HEAD")), "HEAD")

    assert ([b"5"], b"") == (field(response, b"content-length"), body)


@pytest.mark.parametrize("status", [204, 304])
def test_an_answer_that_can_have_no_body_has_none(status: int) -> None:
    """RFC 9110, sections 8.6, 15.3.5 and 15.4.5: not even a length after a 204."""
    response, body = read(static(StaticAnswer(status, "not to be seen"), GET, close=False))

    assert ([], b"") == (field(response, b"content-length"), body)


@pytest.mark.parametrize(("status", "words"), [(200, b"OK"), (404, b"Not Found"), (599, b"")])
def test_a_status_has_its_words_if_anybody_has_named_them(status: int, words: bytes) -> None:
    assert words == reason_phrase(status)


# Answers of a Route


def test_a_route_may_answer_by_itself() -> None:
    response, body = read(static(StaticAnswer(200, "Grüße", "text/plain; charset=utf-8"), GET, close=False))

    assert (200, [b"text/plain; charset=utf-8"]) == (response.status_code, field(response, b"content-type"))
    assert "Grüße" == body.decode()


def test_a_route_may_redirect_and_keep_path_and_host() -> None:
    answer = Redirect("https://{host}/new{path}", 301)

    response, body = read(static(answer, request("GET", "/a?b=c"), close=True))

    assert (301, b"", [b"close"]) == (response.status_code, body, field(response, b"connection"))
    assert [b"https://shop.example/new/a?b=c"] == field(response, b"location")


def test_a_request_that_may_go_no_further_is_told_which_methods_there_are() -> None:
    """RFC 9110, section 7.6.2: whoever may not forward it answers as if it were meant."""
    response, body = read(static(StaticAnswer(), request("OPTIONS", "/", "Max-Forwards: 0"), close=False), "OPTIONS")

    assert (200, b"", [b"0"]) == (response.status_code, body, field(response, b"content-length"))
    assert [ALLOW.removeprefix(b"Allow: ")] == field(response, b"allow")


@pytest.mark.parametrize(("seconds", "told"), [(0.02, b"1"), (1.0, b"1"), (1.001, b"2"), (3599.5, b"3600")])
def test_who_sends_too_much_is_told_when_to_come_again(seconds: float, told: bytes) -> None:
    answer = too_many(GET, seconds, close=False)
    head, _, body = answer.partition(b"\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 429 Too Many Requests\r\n")
    assert b"\r\nRetry-After: " + told + b"\r\n" in head + b"\r\n"
    document = json.loads(body)
    assert ("urn:failover-proxy:rate_limited", 429, "no") == (
        document["type"],
        document["status"],
        document["executed"],
    )
