"""When the demo calls itself passed."""

from __future__ import annotations

import pytest

from proxy.samples.client import Tally, Verdict
from proxy.samples.screen import Screen
from proxy.samples.summary import Figures, Round, summarise

PLAIN = Screen(is_terminal=False, is_coloured=False)
POOL = {"retries_total": 7, "saved_requests_total": 5}


def figures(
    verdicts: list[Verdict], out: float | None = 0.1, back: float | None = 0.2, repeated: tuple[str, ...] = ()
) -> Figures:
    tally = Tally()
    for verdict in verdicts:
        tally.count(verdict, 0.001, "POST: 504")
    return Figures(tally, 3, [Round("kill -9", out, back)], POOL, list(repeated))


@pytest.mark.parametrize(
    ("last_word", "played"),
    [
        ("PASSED", figures([Verdict.GOOD])),
        ("PASSED", figures([Verdict.GOOD, Verdict.UNKNOWN])),
        ("FAILED", figures([])),
        ("FAILED", figures([Verdict.GOOD, Verdict.FAILED])),
        ("FAILED", figures([Verdict.GOOD], out=None)),
        ("FAILED", figures([Verdict.GOOD], back=None)),
        ("FAILED", figures([Verdict.GOOD], repeated=("order 20",))),
    ],
)
def test_it_passes_only_if_nothing_failed_and_nothing_ran_twice_and_each_fault_was_seen(
    last_word: str, played: Figures
) -> None:
    assert last_word == summarise(played, PLAIN).splitlines()[-1]


def test_it_says_what_was_counted() -> None:
    text = summarise(figures([Verdict.GOOD, Verdict.UNKNOWN]), PLAIN)

    assert "requests     2 over 3 connections\nfailed       0\nretried      7, which saved 5 requests\n" in text
    assert "kill -9                               0.10 s      0.20 s\n" in text
    assert "  1 × POST: 504\n" in text
