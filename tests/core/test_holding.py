from __future__ import annotations

from math import inf

import pytest

from proxy.core.requests.holding import UNKNOWN_LENGTH, hold_for
from proxy.core.wire.http1 import RequestHead
from proxy.core.wire.http1_answers import ResponseHead
from tests.core.pools import GET, LIMITS, POST, request

MOST = 65536


def answer(*fields: str, line: str = "HTTP/1.1 200 OK") -> ResponseHead:
    return ResponseHead("\r\n".join([line, *fields, "", ""]).encode(), LIMITS)


def test_a_small_answer_of_known_length_is_held_until_it_is_whole() -> None:
    """One that breaks off can then still be retried."""
    assert inf == hold_for(GET, answer(f"Content-Length: {MOST}"), MOST)


def test_a_large_answer_is_passed_on_as_it_comes() -> None:
    assert 0 == hold_for(GET, answer(f"Content-Length: {MOST + 1}"), MOST)


@pytest.mark.parametrize("fields", [["Transfer-Encoding: chunked"], []])
def test_an_answer_of_unknown_length_is_held_for_ten_milliseconds(fields: list[str]) -> None:
    assert 0.01 == UNKNOWN_LENGTH == hold_for(GET, answer(*fields), MOST)


@pytest.mark.parametrize("field", ["Content-Length: 5", "Transfer-Encoding: chunked"])
@pytest.mark.parametrize("head", [POST, request("PATCH")])
def test_the_answer_to_a_write_is_never_held(head: RequestHead, field: str) -> None:
    """It could not be retried anyway."""
    assert 0 == hold_for(head, answer(field), MOST)


FRAMINGS = pytest.mark.parametrize("framing", ["Transfer-Encoding: chunked", "Content-Length: 500"])
"""A stream of events of known length is one all the same."""


@FRAMINGS
def test_a_stream_of_events_is_never_held(framing: str) -> None:
    assert 0 == hold_for(GET, answer("Content-Type: text/event-stream", framing), MOST)


@FRAMINGS
@pytest.mark.parametrize(
    "fields",
    [
        ["Accept: text/html, text/event-stream"],
        ["Accept: Text/Event-Stream"],
        ["Accept: */*", "Accept: text/event-stream"],
    ],
)
def test_the_answer_to_who_asks_for_a_stream_of_events_is_never_held(framing: str, fields: list[str]) -> None:
    assert 0 == hold_for(request("GET", "/", *fields), answer(framing), MOST)


def test_an_upgrade_is_never_held() -> None:
    head = request("GET", "/", "Connection: upgrade", "Upgrade: websocket")

    assert 0 == hold_for(head, answer("Upgrade: websocket", "Connection: upgrade", line="HTTP/1.1 101 Switching"), MOST)
