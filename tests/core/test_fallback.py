"""Promises of `proxy.core.requests.fallback`: what may stand in for which failure, and for whom."""

from __future__ import annotations

import pytest

from proxy.core.requests.fallback import may_be_stale, may_stand_in


@pytest.mark.parametrize(
    ("status", "executed", "expected"),
    [
        (503, None, True),
        (502, None, True),
        (504, "no", True),
        (503, "unknown", False),
        (500, None, False),
        (429, None, False),
        (413, "no", False),
    ],
)
def test_something_else_stands_in_where_nobody_could_serve_and_nothing_was_perhaps_executed(
    status: int, executed: str | None, expected: object
) -> None:
    assert expected is may_stand_in(status, executed)


@pytest.mark.parametrize(
    ("status", "method", "expected"),
    [
        (500, b"GET", True),
        (503, b"HEAD", True),
        (503, b"PUT", False),
        (503, b"OPTIONS", False),
        (404, b"GET", False),
        (501, b"GET", False),
    ],
)
def test_a_kept_answer_stands_in_for_a_failed_reading(status: int, method: bytes, expected: object) -> None:
    assert expected is may_be_stale(status, method)
