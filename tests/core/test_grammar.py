from __future__ import annotations

import pytest

from proxy.core.grammar import (
    FORWARDED,
    UNNAMEABLE,
    check_coding,
    content_length,
    expects_continue,
    is_host,
    options_of,
    request_line,
    response_length,
    with_nominated,
)
from proxy.errors import RequestError, ResponseError

HEAD = b"GET / HTTP/1.1\r\nhost: a\r\nx-a: 1\r\nx-b: 2\r\nx-a: 3\r\n\r\n"


def test_a_request_line_has_three_parts() -> None:
    assert [b"GET", b"/", b"HTTP/1.1"] == request_line(b"GET / HTTP/1.1")


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"", 400),
        (b"GET /", 400),
        (b"GET / HTTP/1.1 x", 400),
        (b"\rGET / HTTP/1.1", 400),
        (b"\nGET / HTTP/1.1", 400),
        (b"GET / HTTP/1.2", 505),
        (b"GET / HTTQ/1.1", 400),
        (b"GET /# HTTP/1.1", 400),
        (b"TRACE / HTTP/1.1", 405),
        (b"CONNECT a:1 HTTP/1.1", 501),
    ],
)
def test_a_request_line_is_refused_with_its_own_status(line: bytes, status: int) -> None:
    with pytest.raises(RequestError) as error:
        request_line(line)

    assert status == error.value.status


@pytest.mark.parametrize("value", [b"a", b"a:1", b"[::1]", b"[::1]:1", b"a-b.c_d~e%20"])
def test_a_host_is_known(value: bytes) -> None:
    assert is_host(value)


@pytest.mark.parametrize("value", [b"", b"a:", b":1", b"a:1:2", b"[]", b"[a", b"a b", b"a@b", b"a/b", b"a:123456"])
def test_what_is_no_host_is_known(value: bytes) -> None:
    assert not is_host(value)


@pytest.mark.parametrize("value", [b"", b"+1", b"-1", b"1_0", b" 1", b"1,1", b"\xb2", b"0x1", b"1" * 19])
def test_a_length_is_digits_and_nothing_else(value: bytes) -> None:
    with pytest.raises(RequestError):
        content_length(value)
    if value != b" 1":
        with pytest.raises(ResponseError):
            response_length(value)


def test_a_length_is_read() -> None:
    assert (12, 12) == (content_length(b"012"), response_length(b"12 \t"))


@pytest.mark.parametrize(("value", "minor"), [(b"gzip", 1), (b"chunked, chunked", 1), (b"", 1), (b"chunked", 0)])
def test_a_coding_is_chunked_in_http_1_1_or_nothing(value: bytes, minor: int) -> None:
    with pytest.raises(RequestError):
        check_coding(value, minor)


def test_the_only_expectation_is_100_continue() -> None:
    assert expects_continue(b"100-continue")
    with pytest.raises(RequestError) as error:
        expects_continue(b"more")
    assert 417 == error.value.status


def test_options_are_taken_apart_at_commas_and_http_white_space_only() -> None:
    """Other white space, which `strip` alone would take away, is part of the word."""
    assert {b"a", b"b", b"\x0bc"} == options_of(b" a ,,\tb, \x0bc")


def test_what_connection_names_is_cut_wherever_it_stands() -> None:
    cuts = with_nominated([], HEAD, {b"x-a"})

    assert [b"\nx-a: 1\r", b"\nx-a: 3\r"] == [HEAD[start:end] for start, end in cuts]


def test_a_field_that_is_cut_already_is_cut_once() -> None:
    cuts = with_nominated([], HEAD, {b"x-a"})

    assert cuts == with_nominated(cuts[:1], HEAD, {b"x-a"})


def test_nobody_can_name_away_what_we_write_ourselves() -> None:
    assert FORWARDED <= UNNAMEABLE
