from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.core.pools.locality import LocalityPolicy
from proxy.core.pools.tiers import Place, place_of, shares, spread
from proxy.core.settings import BackendSettings, PoolSettings
from tests.core.pools import NOWHERE

HERE = LocalityPolicy(spill_below=0.7)

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


# Tiers and regions together


def pool_of(*places: tuple[int, str], locality: LocalityPolicy | None = HERE) -> PoolSettings:
    backends = tuple(BackendSettings(f"b{n}", NOWHERE, tier=t, region=r) for n, (t, r) in enumerate(places))
    return PoolSettings("app", backends, region="eu", locality=locality)


def test_a_place_is_far_only_where_the_pool_prefers_its_region() -> None:
    near, far = BackendSettings("n", NOWHERE, region="eu"), BackendSettings("f", NOWHERE, tier=2, region="us")
    prefers, does_not = pool_of(), pool_of(locality=None)

    assert [Place(1), Place(2, is_far=True)] == [place_of(prefers, one) for one in (near, far)]
    assert [Place(1), Place(2)] == [place_of(does_not, one) for one in (near, far)]


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        # Available and whole weight of: near and far of tier 1, near and far of tier 2. By hand, with 1.4 and 1/0.7.
        (((4, 4), (4, 4), (4, 4), (4, 4)), (1, 0, 0, 0)),
        (((2, 4), (4, 4), (4, 4), (4, 4)), (5 / 7, 2 / 7, 0, 0)),
        (((0, 4), (4, 4), (4, 4), (4, 4)), (0, 0.7, 0.3, 0)),
        (((0, 4), (2, 4), (4, 4), (4, 4)), (0, 0.35, 0.65, 0)),
        (((0, 4), (0, 4), (2, 4), (4, 4)), (0, 0, 5 / 7, 2 / 7)),
        (((0, 4), (0, 4), (0, 4), (1, 4)), (0, 0, 0, 1)),
        (((1, 4), (1, 4), (0, 4), (0, 4)), (0.5, 0.5, 0, 0)),
        (((0, 4), (0, 4), (0, 4), (0, 4)), (0, 0, 0, 0)),
        (((0, 0), (4, 4), (0, 0), (4, 4)), (0, 1, 0, 0)),
    ],
)
def test_the_load_is_spread_over_tiers_and_then_over_regions(
    weights: tuple[tuple[float, float], ...], expected: tuple[float, ...]
) -> None:
    places = [Place(tier, far) for tier in (1, 2) for far in (False, True)]

    assert pytest.approx(dict(zip(places, expected, strict=True))) == spread(
        pool_of(), dict(zip(places, weights, strict=True))
    )


places = st.builds(Place, st.integers(1, 4), st.booleans())
weights = st.tuples(st.integers(0, 100), st.integers(0, 100)).map(lambda pair: (float(min(pair)), float(max(pair))))


@given(st.dictionaries(places, weights, min_size=1), st.floats(0.01, 1), factors)
def test_all_shares_add_up_to_the_whole_load_and_nobody_without_weight_gets_any(
    weights: dict[Place, tuple[float, float]], spill_below: float, overprovisioning: float
) -> None:
    pool = PoolSettings("app", (), region="eu", locality=LocalityPolicy(spill_below), overprovisioning=overprovisioning)
    result = spread(pool, weights)

    assert pytest.approx(1.0 if any(available for available, _ in weights.values()) else 0.0) == sum(result.values())
    assert all(not result[place] for place, (available, _) in weights.items() if not available)
