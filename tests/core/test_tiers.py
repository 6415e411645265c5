from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.core.tiers import shares

parts = st.lists(st.floats(0, 1), min_size=1, max_size=6)
factors = st.floats(1, 3)


def test_the_lowest_tier_takes_all_while_it_is_whole() -> None:
    assert [1.0, 0.0] == shares([1.0, 1.0], 1.4)


def test_nothing_spills_until_the_tier_is_short_of_what_the_overprovisioning_covers() -> None:
    """5 of 7 are 71 %: times 1.4 that is all of the load."""
    assert [1.0, 0.0] == pytest.approx(shares([5 / 7, 1.0], 1.4))


def test_what_a_tier_cannot_take_spills_to_the_next() -> None:
    assert [0.7, 0.3] == pytest.approx(shares([0.5, 1.0], 1.4))


def test_what_no_tier_can_take_is_shared_in_proportion() -> None:
    """Together they could take 42 %: a third of it, and two thirds."""
    assert [1 / 3, 2 / 3] == pytest.approx(shares([0.1, 0.2], 1.4))


def test_a_tier_that_is_gone_gets_nothing() -> None:
    assert [0.0, 1.0, 0.0] == shares([0.0, 1.0, 1.0], 1.4)


def test_nobody_gets_anything_where_nothing_is_available() -> None:
    assert [0.0, 0.0] == shares([0.0, 0.0], 1.4)


@given(parts, factors)
@example([1e-9, 1e-9], 1.0)
def test_the_shares_add_up_to_the_whole_load(available: list[float], overprovisioning: float) -> None:
    result = shares(available, overprovisioning)

    assert all(0 <= share <= 1 for share in result)
    assert pytest.approx(1.0 if sum(available) else 0.0) == sum(result)


@given(parts, factors)
def test_a_tier_gets_a_share_only_if_the_lower_ones_are_at_their_limit(
    available: list[float], overprovisioning: float
) -> None:
    taken = 0.0
    for part, share in zip(available, shares(available, overprovisioning), strict=True):
        if share > 1e-9:
            assert taken < 1.0
        taken += min(1.0, overprovisioning * part)
