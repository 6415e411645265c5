from __future__ import annotations

from proxy.core.pools.balancer import PeakEwma
from proxy.core.pools.group import grouped
from proxy.core.settings import BackendSettings
from tests.core.pools import DOWN, NOWHERE, make_pool, tell, tiered


def test_a_pool_of_one_tier_is_one_group() -> None:
    pool = make_pool(3)

    assert [pool.backends] == [group.backends for group in pool.groups]


def test_each_group_has_a_balancer_of_its_own() -> None:
    pool = tiered(1, 2, balance="peak_ewma")

    assert [PeakEwma, PeakEwma] == [type(group.balancer) for group in pool.groups]
    assert 2 == len({group.balancer for group in pool.groups})


def test_who_serves_first_comes_first_however_they_are_listed() -> None:
    assert ["b1", "b0"] == [group.backends[0].name for group in tiered(7, 2).groups]


def test_a_group_knows_how_much_of_its_weight_may_serve() -> None:
    settings = [BackendSettings(f"b{n}", NOWHERE, weight=weight) for n, weight in enumerate((1, 3))]
    pool = make_pool(settings)

    tell(pool, b1=DOWN)

    assert (1, 4) == pool.groups[0].weights()
    assert "1 of 2" in repr(pool.groups[0])


def test_nobody_is_in_two_groups_or_in_none() -> None:
    pool = tiered(3, 1, 2, 1, 3)

    assert sorted(b.name for b in pool.backends) == sorted(
        b.name for group in grouped(pool.settings, pool.backends) for b in group.backends
    )
