"""Promises of `proxy.core.holding`."""

from math import inf

import pytest

from proxy.core.holding import UNKNOWN_LENGTH, hold_for
from proxy.core.http1 import RequestHead, ResponseHead
from proxy.core.settings import Limits

COUNTED = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n"


def request(method: bytes = b"GET", fields: bytes = b"") -> RequestHead:
    return RequestHead(method + b" / HTTP/1.1\r\nHost: shop.example\r\n" + fields + b"\r\n", Limits())


def held(head: bytes, *, method: bytes = b"GET", fields: bytes = b"", most: int = 65536) -> float:
    return hold_for(request(method, fields), ResponseHead(head, Limits()), most)


@pytest.mark.parametrize(("most", "seconds"), [(65536, inf), (100, inf), (99, 0.0)])
def test_a_counted_answer_is_held_until_it_is_whole_if_it_is_small(most: int, seconds: float) -> None:
    assert seconds == held(COUNTED, most=most)


def test_an_answer_of_unknown_length_is_held_for_ten_milliseconds() -> None:
    assert UNKNOWN_LENGTH == held(CHUNKED)
    assert UNKNOWN_LENGTH == 0.01


def test_server_sent_events_are_never_held() -> None:
    assert held(EVENTS) == 0.0


def test_nothing_is_held_from_a_client_that_asks_for_events() -> None:
    assert held(CHUNKED, fields=b"Accept: text/event-stream\r\n") == 0.0


def test_an_answer_to_an_unsafe_request_is_never_held() -> None:
    assert held(COUNTED, method=b"POST") == 0.0


def test_a_change_of_protocol_is_never_held() -> None:
    assert held(SWITCH) == 0.0
