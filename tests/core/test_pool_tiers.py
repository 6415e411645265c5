from __future__ import annotations

import random

import pytest

from proxy.core.pools.model import Unavailable
from proxy.core.settings import BackendSettings
from tests.core.pools import DOWN, GET, NOWHERE, make_pool, picked, tell, tiered


def test_the_lowest_tier_serves_and_the_higher_stands_by() -> None:
    pool = tiered(1, 1, 2)

    assert {"b0", "b1"} == set(picked(pool))
    assert [[], [], [Unavailable.STANDBY]] == [pool.reasons(backend, 0.0) for backend in pool.backends]


def test_when_the_lowest_tier_is_gone_the_next_one_serves() -> None:
    pool = tiered(1, 1, 2)

    tell(pool, b0=DOWN, b1=DOWN)

    assert {"b2": 300} == picked(pool)
    assert [Unavailable.FAILED_PROBES] == pool.reasons(pool.backends[0], 0.0)


def test_what_the_lowest_tier_cannot_take_spills_in_proportion() -> None:
    """Half of it, overprovisioned by 1.4, takes 70 %."""
    pool = tiered(1, 1, 2)

    tell(pool, b1=DOWN)
    counted = picked(pool, number=3000)

    assert pytest.approx(2100, rel=0.05) == counted["b0"]
    assert 3000 == counted["b0"] + counted["b2"]


def test_a_retry_goes_to_the_standby_when_all_of_its_tier_were_tried() -> None:
    pool = tiered(1, 1, 2)

    assert {"b2": 300} == picked(pool, tried=pool.backends[:2])


def test_tiers_are_told_by_their_numbers_not_by_their_order() -> None:
    assert {"b1": 300} == picked(tiered(7, 2))


def test_a_tier_without_weight_takes_nothing() -> None:
    settings = [BackendSettings("b0", NOWHERE, weight=0), BackendSettings("b1", NOWHERE, tier=2)]

    assert {"b1": 300} == picked(make_pool(settings))


def test_a_draw_that_rounding_puts_past_the_last_share_still_finds_somebody() -> None:
    class Highest(random.Random):
        def random(self) -> float:
            return 1.0

    pool = tiered(1, 2)

    assert pool.pick(GET, 0.0, Highest()) is pool.backends[0]
