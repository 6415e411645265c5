from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.requests.canary import AbortPolicy, Canary, Seen, chance, evidence

POLICY = AbortPolicy("canary", worse_by=0.05, min_requests=50, window=30.0)
WELL = Seen(1000, 2)

counts = st.integers(0, 5000).flatmap(lambda ended: st.builds(Seen, st.just(ended), st.integers(0, ended)))


# The rule


@pytest.mark.parametrize(
    ("own", "others", "is_cut"),
    [
        # A fifth fails, of the others next to nothing.
        (Seen(50, 10), WELL, True),
        (Seen(50, 50), WELL, True),
        # Within the margin, or just on it.
        (Seen(1000, 50), Seen(1000, 0), False),
        (Seen(1000, 51), Seen(1000, 0), True),
        # Above the margin, but of so few that it may be chance: 3 of 50.
        (Seen(50, 3), Seen(200, 4), False),
        # Too few to say anything.
        (Seen(49, 49), WELL, False),
        (Seen(500, 400), Seen(49, 0), False),
        # Others have their troubles, too; this one has clearly more.
        (Seen(200, 100), Seen(1000, 200), True),
        # Both are bad: nobody would be helped.
        (Seen(200, 190), Seen(1000, 500), False),
        (Seen(200, 60), Seen(1000, 300), False),
        # It does better than the others.
        (Seen(200, 0), Seen(1000, 400), False),
        (Seen(), Seen(), False),
    ],
)
def test_a_pool_is_cut_off_when_it_fails_clearly_more_than_the_others(own: Seen, others: Seen, *, is_cut: bool) -> None:
    assert is_cut is bool(evidence(own, others, POLICY))


def test_the_evidence_says_what_was_seen() -> None:
    assert "10 of 50 failed (20.0%), of the others 2 of 1000 failed (0.2%), in 30 s" == evidence(
        Seen(50, 10), WELL, POLICY
    )


@given(counts, counts)
def test_no_pool_is_cut_off_that_is_not_worse_by_the_margin_of_enough_requests(own: Seen, others: Seen) -> None:
    if evidence(own, others, POLICY):
        assert own.share > others.share + POLICY.worse_by
        assert min(own.ended, others.ended) >= POLICY.min_requests


@given(counts, counts, st.integers(1, 500))
def test_more_failures_never_save_a_pool(own: Seen, others: Seen, more: int) -> None:
    if evidence(own, others, POLICY):
        assert evidence(Seen(own.ended, min(own.ended, own.failed + more)), others, POLICY)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.1, 0.3])
def test_pools_that_fail_alike_are_hardly_ever_cut_off(share: float) -> None:
    rng = random.Random(7)

    def seen(ended: int) -> Seen:
        return Seen(ended, sum(rng.random() < share for _ in range(ended)))

    cut = sum(bool(evidence(seen(60), seen(1000), POLICY)) for _ in range(500))

    assert cut <= 8


@pytest.mark.parametrize(
    ("own", "others", "expected"),
    [
        # Counted out by hand: 1 of 6 ways; 1 of 20; 10 of 20; all of them.
        (Seen(2, 2), Seen(2, 0), 1 / 6),
        (Seen(3, 3), Seen(3, 0), 1 / 20),
        (Seen(3, 2), Seen(3, 1), 10 / 20),
        (Seen(3, 0), Seen(3, 2), 1.0),
        (Seen(3, 0), Seen(3, 0), 1.0),
        (Seen(2, 3), Seen(2, 0), 1 / 6),
    ],
)
def test_how_likely_it_is_by_chance_is_exact(own: Seen, others: Seen, expected: float) -> None:
    assert pytest.approx(expected) == chance(own, others)


@pytest.mark.parametrize("share", [0.01, 0.1])
def test_a_canary_that_is_as_good_as_the_others_is_not_cut_off_in_a_day_of_looks(share: float) -> None:
    rng, canary = random.Random(1), Canary(POLICY)
    own = others = Seen()
    cut = 0
    for second in range(86_400):
        own = Seen(own.ended + 2, own.failed + (rng.random() < share) + (rng.random() < share))
        others = Seen(others.ended + 38, others.failed + round(max(0.0, rng.gauss(38 * share, (38 * share) ** 0.5))))
        cut += bool(canary.look(own, others, float(second)))

    assert 0 == cut


def test_a_canary_of_which_a_fifth_fails_is_cut_off_within_its_window() -> None:
    canary = Canary(POLICY)

    assert any(canary.look(Seen(2 * at, 2 * at // 5), Seen(38 * at, 38 * at // 100), float(at)) for at in range(31))


# Over time


def looks(canary: Canary, *totals: Sequence[tuple[float, Seen, Seen]]) -> list[bool]:
    return [bool(canary.look(own, others, at)) for at, own, others in totals]  # type: ignore[misc]


def test_only_what_came_in_the_window_counts() -> None:
    canary = Canary(POLICY)
    old = looks(canary, (0.0, Seen(), Seen()), (1.0, Seen(100, 90), WELL))
    late = looks(
        canary, (2.0, Seen(100, 90), WELL), (40.0, Seen(160, 90), Seen(2000, 2)), (45.0, Seen(260, 120), Seen(3000, 2))
    )

    assert ([False, True], [True, False, True]) == (old, late)


def test_what_was_counted_before_the_first_look_counts_not() -> None:
    assert [False, False] == looks(Canary(POLICY), (0.0, Seen(100, 90), WELL), (1.0, Seen(101, 91), WELL))


def test_totals_that_went_back_begin_anew() -> None:
    """A reload has removed a Backend with all that it had counted."""
    canary = Canary(POLICY)
    looks(canary, (0.0, Seen(500, 0), WELL), (1.0, Seen(600, 90), Seen(2000, 2)))

    assert [False, False, True] == looks(
        canary,
        (2.0, Seen(90, 80), Seen(2100, 2)),
        (3.0, Seen(91, 81), Seen(2200, 2)),
        (4.0, Seen(190, 181), Seen(2300, 2)),
    )


def test_after_a_person_has_given_it_its_share_back_it_is_judged_anew() -> None:
    canary = Canary(POLICY)
    looks(canary, (0.0, Seen(), Seen()), (1.0, Seen(100, 90), WELL))
    canary.begin_anew()

    assert [False, False] == looks(canary, (2.0, Seen(100, 90), WELL), (3.0, Seen(140, 130), Seen(2000, 2)))
    assert "<Canary canary>" == repr(canary)


def test_memory_is_bounded_by_the_window() -> None:
    canary = Canary(POLICY)
    for second in range(1000):
        canary.look(Seen(second, 0), Seen(second, 0), float(second))

    assert len(canary._samples) == 31


def test_a_window_of_a_month_takes_no_more_memory() -> None:
    canary = Canary(AbortPolicy("canary", window=30 * 86400.0))
    for minute in range(10_000):
        canary.look(Seen(minute, 0), Seen(minute, 0), minute * 600.0)

    assert len(canary._samples) <= 101


def test_totals_that_went_back_are_noticed_however_long_the_window_is() -> None:
    canary = Canary(AbortPolicy("canary", window=86400.0))

    assert [False, False, False] == looks(
        canary, (0.0, Seen(), Seen()), (1.0, Seen(500, 0), Seen(500, 0)), (2.0, Seen(80, 80), Seen(600, 0))
    )
