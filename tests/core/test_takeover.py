"""Promises of `proxy.core.takeover`."""

from __future__ import annotations

import pytest

from proxy.core.messages import Report
from proxy.core.takeover import MARKS, Offer, Order, Word, from_line, mark, name_of, read_name, to_line

REPORT = Report(0, 1, 2.0, 3, 4, 5.0, {("all", "app", "GET", 200): 6}, {}, {}, {}, {"400": 7}, 8, final=True)


@pytest.mark.parametrize("value", [Offer(1, 2), Word(REPORT), Order(1.5, closes_idle=True)])
def test_each_word_is_one_line_and_comes_back_as_it_was(value: Offer | Word | Order) -> None:
    line = to_line(value)

    assert (1, b"\n") == (line.count(b"\n"), line[-1:])
    assert value == from_line(type(value), line)


def test_an_order_of_another_version_is_understood() -> None:
    assert Order(5.0, closes_idle=False) == from_line(Order, b'{"drain": 5, "kindly": true}\n')


@pytest.mark.parametrize("line", [b"", b"\n", b"{", b"\xff", b"[]", b'{"drain": "now"}', b"[" * 100_000])
def test_a_line_that_is_nothing_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - JSON says it in its own words
        from_line(Order, line)


def test_a_name_tells_who_waits_and_where_it_serves() -> None:
    marks = [mark(("127.0.0.1", 80)), mark("/run/web.sock"), mark(("::1", 80, 0, 0))]

    assert 3 == len(set(marks))
    assert (42, frozenset(marks)) == read_name(name_of(42, "salt", marks))


def test_a_worker_that_accepts_no_more_has_a_name_too() -> None:
    assert (42, frozenset()) == read_name(name_of(42, "salt", []))


def test_a_name_always_fits() -> None:
    """However many listeners there are: 107 bytes after the one that makes it abstract."""
    name = name_of(4194304, "01234567", [mark(("127.0.0.1", port)) for port in range(100)])

    assert len(name) <= 107
    assert MARKS == len(read_name(name)[1])


@pytest.mark.parametrize("name", ["", "x", "failover-proxy/orphan/", "failover-proxy/orphan/x/y/z", "failover/1/2/3"])
def test_a_name_of_others_is_none(name: str) -> None:
    assert read_name(name) is None


def test_a_path_that_is_not_utf_8_has_a_mark() -> None:
    assert mark("/run/\udcff") != mark("/run/x")
