from __future__ import annotations

import pytest

from proxy.core.settings import Limits
from proxy.core.wire.grammar import (
    FORWARDED,
    UNNAMEABLE,
    check_begun,
    check_coding,
    content_length,
    expects_continue,
    is_host,
    is_no_answer,
    is_spoilt,
    nominated,
    options_of,
    request_line,
    response_length,
    with_nominated,
    without_empty_lines,
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
        (b"GET /h\nttp://a/ HTTP/1.1", 400),
        (b"GET /\rX: HTTP/1.1", 400),
        (b"GET /\x7f HTTP/1.1", 400),
        (b"GET /\xc3\xa4 HTTP/1.1", 400),
        (b"GET  HTTP/1.1", 400),
        (b"TRACE / HTTP/1.1", 405),
        (b"CONNECT a:1 HTTP/1.1", 501),
        (b"PRI * HTTP/1.1", 501),
        (b"get / HTTP/1.1", 501),
        (b"trace / HTTP/1.1", 501),
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
    assert {b"x-a"} == nominated({b"close", b"te", b"upgrade", b"host", b"x-forwarded-port", b"x-a", *FORWARDED})


@pytest.mark.parametrize("begun", [b"", b"\r", b"GET / HTTP/1.1", HEAD[:-2], HEAD[:-1], b"X: \t\x80\xff"])
def test_a_head_that_may_still_become_one_is_waited_for(begun: bytes) -> None:
    assert not is_spoilt(begun)
    check_begun(begun, Limits())


@pytest.mark.parametrize("end", [b"", b"\r"])
def test_a_request_line_at_the_limit_is_waited_for_wherever_it_is_cut(end: bytes) -> None:
    line = b"GET /".ljust(Limits().request_line, b"a")
    check_begun(line + end, Limits())


@pytest.mark.parametrize("begun", [b"a\n", b"\n", b"a\rb", b"\r\r\n", b"\x00", b"\x16\x03\x01", b"a\x7f", b"a\x0bb"])
def test_a_head_that_can_become_none_is_not_waited_for(begun: bytes) -> None:
    """Its sender may speak another protocol, and never send an empty line."""
    assert is_spoilt(begun)
    with pytest.raises(RequestError) as error:
        check_begun(begun, Limits())
    assert 400 == error.value.status


def test_what_was_looked_at_before_is_not_looked_at_again_but_for_the_cr_at_its_end() -> None:
    assert not is_spoilt(b"\n" + b"a" * 9, 2)
    assert not is_spoilt(b"a\r\nb", 1)
    assert is_spoilt(b"a\rb", 1)


@pytest.mark.parametrize(
    ("begun", "status"),
    [
        (b"G" * 12, 414),
        (b"G" * 11 + b"\r\n", 414),
        (b"GET\r\n" + b"a" * 40, 431),
        (b"GET\r\na\r\nb\r\nc\r\n", 431),
    ],
)
def test_the_limits_of_a_head_hold_before_it_is_whole(begun: bytes, status: int) -> None:
    with pytest.raises(RequestError) as error:
        check_begun(begun, Limits(request_line=10, headers=2, header_bytes=40))

    assert status == error.value.status


@pytest.mark.parametrize("begun", [b"", b"H", b"HTTP/1.", b"HTTP/1.1 200 OK\r\nX: a\r\n"])
def test_an_answer_that_may_still_become_one_is_waited_for(begun: bytes) -> None:
    assert not is_no_answer(begun)


@pytest.mark.parametrize("begun", [b"SSH-2.0\r\n", b"h", b"HTTP/2", b"\x15\x03", b"HTTP/1.1 200 OK\nX: a\n\n"])
def test_an_answer_that_can_become_none_is_not_waited_for(begun: bytes) -> None:
    assert is_no_answer(begun)


@pytest.mark.parametrize("begun", [b"", b"\r", b"GET", b"\rGET", b"\nGET"])
def test_only_whole_empty_lines_before_a_request_mean_nothing(begun: bytes) -> None:
    assert begun == without_empty_lines(b"\r\n\r\n" + begun)
