from __future__ import annotations

from dataclasses import replace

import pytest

from proxy.core.settings import Limits
from proxy.core.wire.grammar import Body
from proxy.core.wire.http1_answers import ResponseHead
from proxy.errors import ErrorKind, ResponseError
from tests.core.pools import LIMITS


def answer(*fields: str, line: str = "HTTP/1.1 200 OK", to_head: bool = False, limits: Limits = LIMITS) -> ResponseHead:
    return ResponseHead("\r\n".join([line, *fields, "", ""]).encode("latin-1"), limits, to_head=to_head)


def unusable(*fields: str, line: str = "HTTP/1.1 200 OK", to_head: bool = False) -> bool:
    with pytest.raises(ResponseError) as error:
        answer(*fields, line=line, to_head=to_head)
    return error.value.kind is ErrorKind.HTTP_PROTOCOL_ERROR


@pytest.mark.parametrize(
    ("fields", "body", "length"),
    [
        (["Content-Length: 5"], Body.COUNTED, 5),
        (["Content-Length:5 ", "X-A: b"], Body.COUNTED, 5),
        (["Content-Length: 0"], Body.NONE, 0),
        (["Transfer-Encoding: chunked"], Body.CHUNKED, -1),
        (["Transfer-Encoding: Chunked "], Body.CHUNKED, -1),
        ([], Body.UNTIL_CLOSE, -1),
    ],
)
def test_an_answers_body_is_delimited_as_it_says(fields: list[str], body: Body, length: int) -> None:
    got = answer(*fields)

    assert (body, length) == (got.body, got.length)


@pytest.mark.parametrize(
    "line",
    ["HTTP/1.1 204 No Content", "HTTP/1.1 304 Not Modified", "HTTP/1.1 100 Continue", "HTTP/1.1 103 Early Hints"],
)
@pytest.mark.parametrize("field", ["Content-Length: 5", "Transfer-Encoding: chunked", "X: y"])
def test_some_statuses_never_have_a_body(line: str, field: str) -> None:
    assert Body.NONE is answer(field, line=line).body


@pytest.mark.parametrize("field", ["Content-Length: 5", "Transfer-Encoding: chunked", "X: y"])
def test_an_answer_to_head_has_no_body(field: str) -> None:
    got = answer(field, to_head=True)

    assert (Body.NONE, True) == (got.body, got.is_keep_alive)


@pytest.mark.parametrize(
    "fields",
    [
        ["Content-Length: 5", "Transfer-Encoding: chunked"],
        ["Transfer-Encoding: chunked", "Content-Length: 5"],
        ["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"],
        ["Transfer-Encoding: gzip, chunked"],
        ["Transfer-Encoding: gzip"],
        ["Transfer-Encoding:"],
        ["Content-Length: 5", "Content-Length: 5"],
        ["Content-Length: 5", "X: y", "Content-Length: 6"],
        ["Content-Length: 5, 5"],
        ["Content-Length: +5"],
        ["Content-Length: " + "9" * 19],
        ["Content-Length:"],
    ],
)
@pytest.mark.parametrize("to_head", [False, True])
def test_an_answer_whose_length_could_be_read_in_two_ways_is_unusable(fields: list[str], to_head: bool) -> None:  # noqa: FBT001
    assert unusable(*fields, to_head=to_head)


def test_an_answer_in_http_1_0_with_a_transfer_coding_is_unusable() -> None:
    assert unusable("Transfer-Encoding: chunked", line="HTTP/1.0 200 OK")


@pytest.mark.parametrize(
    "line",
    [
        "",
        "HTTP/2 200 OK",
        "HTTP/2.0 200 OK",
        "HTTP/0.9 200 OK",
        "ICY 200 OK",
        "http/1.1 200 OK",
        "HTTP/1.1 20 OK",
        "HTTP/1.1 099 OK",
        "HTTP/1.1 2000 OK",
        "HTTP/1.1  200 OK",
        "HTTP/1.1 abc OK",
        "HTTP/1.1",
        "GET / HTTP/1.1",
        "\r\nHTTP/1.1 200 OK",
        "hello",
    ],
)
def test_what_does_not_begin_like_an_answer_is_unusable(line: str) -> None:
    assert unusable(line=line)


@pytest.mark.parametrize("line", ["HTTP/1.1 200 ", "HTTP/1.1 200", "HTTP/1.0 200 OK", "HTTP/1.1 599 Gr\xfc\xdfe"])
def test_a_reason_is_free_to_be_anything_or_nothing(line: str) -> None:
    assert int(line[9:12]) == answer(line=line).status


@pytest.mark.parametrize(
    ("fields", "line", "is_kept"),
    [
        (["Content-Length: 1"], "HTTP/1.1 200 OK", True),
        (["Content-Length: 1", "Connection: close"], "HTTP/1.1 200 OK", False),
        (["Content-Length: 1", "Connection: x, Close"], "HTTP/1.1 200 OK", False),
        (["Content-Length: 1", "Connection: Keep-Alive", "Connection: x"], "HTTP/1.1 200 OK", True),
        (["Content-Length: 1"], "HTTP/1.0 200 OK", False),
        (["Content-Length: 1", "Connection: keep-alive"], "HTTP/1.0 200 OK", True),
        (["Content-Length: 1", "Connection: keep-alive, x"], "HTTP/1.0 200 OK", True),
        ([], "HTTP/1.1 200 OK", False),
    ],
)
def test_a_backends_connection_is_kept_as_it_says(fields: list[str], line: str, is_kept: bool) -> None:  # noqa: FBT001
    assert is_kept is answer(*fields, line=line).is_keep_alive


def test_an_answers_head_over_the_limits_is_unusable() -> None:
    for limits in (replace(LIMITS, headers=2), replace(LIMITS, header_bytes=30)):
        with pytest.raises(ResponseError) as error:
            answer("X: 1", "X: 2", "X: 3", limits=limits)
        assert ErrorKind.HTTP_RESPONSE_HEADER_SECTION_SIZE is error.value.kind


@pytest.mark.parametrize(
    ("value", "is_stream"),
    [("text/event-stream", True), ("Text/Event-Stream; charset=utf-8", True), ("text/plain", False)],
)
def test_a_stream_of_events_is_known(value: str, is_stream: bool) -> None:  # noqa: FBT001 - a table's column
    assert is_stream is answer(f"Content-Type: {value}").is_event_stream


def test_an_answer_that_switches_protocols_says_to_which() -> None:
    got = answer("Upgrade: WebSocket", "Connection: Upgrade", line="HTTP/1.1 101 Switching Protocols")

    assert (101, b"WebSocket", Body.NONE) == (got.status, got.upgrade, got.body)
