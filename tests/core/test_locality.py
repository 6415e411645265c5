from __future__ import annotations

import pytest

from proxy.core.pools.locality import LocalityPolicy
from proxy.core.pools.pool import Pool
from proxy.core.settings import BackendSettings
from tests.core.pools import DOWN, NOWHERE, make_pool, picked, tell

HERE = LocalityPolicy(spill_below=0.7)


def regions(*names: str, locality: LocalityPolicy | None = HERE, **changes: object) -> Pool:
    """A Pool in `eu` whose Backends `b0`, `b1`, … are in these regions."""
    settings = [BackendSettings(f"b{n}", NOWHERE, region=region) for n, region in enumerate(names)]
    return make_pool(settings, region="eu", locality=locality, **changes)


def test_the_share_below_which_it_spills_is_an_overprovisioning_factor() -> None:
    assert pytest.approx(1 / 0.7) == HERE.overprovisioning


def test_the_own_region_serves_alone_while_it_is_whole() -> None:
    assert {"b0", "b1"} == set(picked(regions("eu", "eu", "us", "ap")))


def test_without_locality_all_regions_are_one() -> None:
    assert {"b0", "b1", "b2"} == set(picked(regions("eu", "us", "ap", locality=None)))


def test_nothing_spills_while_the_own_region_has_its_share() -> None:
    """Three of four are 75 %."""
    pool = regions("eu", "eu", "eu", "eu", "us")

    tell(pool, b0=DOWN)

    assert {"b1", "b2", "b3"} == set(picked(pool))


def test_what_the_own_region_cannot_take_goes_to_the_others_by_weight() -> None:
    """Half of it takes 50/70; the others get 20/70, each a half of that."""
    pool = regions("eu", "eu", "us", "ap")

    tell(pool, b0=DOWN)
    counted = picked(pool, number=7000)

    assert pytest.approx(5000, rel=0.05) == counted["b1"]
    assert [pytest.approx(1000, rel=0.1)] * 2 == [counted["b2"], counted["b3"]]


def test_a_region_that_is_lost_is_served_by_the_rest() -> None:
    pool = regions("eu", "eu", "us", "ap")

    tell(pool, b0=DOWN, b1=DOWN)

    assert {"b2": 150, "b3": 150} == picked(pool)


def test_where_every_region_is_short_each_takes_its_part() -> None:
    """A quarter of each: both could take 25/70, so each gets a half."""
    pool = regions("eu", "eu", "eu", "eu", "us", "us", "us", "us")

    tell(pool, b0=DOWN, b1=DOWN, b2=DOWN, b4=DOWN, b5=DOWN, b6=DOWN)
    counted = picked(pool, number=4000)

    assert pytest.approx(2000, rel=0.05) == counted["b3"]
    assert 4000 == counted["b3"] + counted["b7"]


def test_a_proxy_in_a_region_without_backends_uses_all_others() -> None:
    assert {"b0", "b1"} == set(picked(regions("us", "ap")))


def test_a_retry_leaves_the_region_when_all_of_it_were_tried() -> None:
    pool = regions("eu", "eu", "us")

    assert {"b2": 300} == picked(pool, tried=pool.backends[:2])


def test_each_tier_has_its_near_and_its_far_side() -> None:
    settings = [
        BackendSettings("far", NOWHERE, region="us"),
        BackendSettings("near", NOWHERE, region="eu"),
        BackendSettings("second near", NOWHERE, region="eu", tier=2),
    ]
    pool = make_pool(settings, region="eu", locality=HERE)

    assert [(1, False), (1, True), (2, False)] == [group.place for group in pool.groups]
    assert {"near": 300} == picked(pool)
    tell(pool, near=DOWN, far=DOWN)
    assert {"second near": 300} == picked(pool)
