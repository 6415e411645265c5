"""Promises of `proxy.core.takeover`."""

from __future__ import annotations

import pytest

from proxy.core.messages import Report
from proxy.core.takeover import Offer, Order, Word, from_line, to_line

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
