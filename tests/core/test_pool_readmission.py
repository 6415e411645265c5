"""What a Pool gives to who is back: little at first, and nothing while it is damped."""

from __future__ import annotations

import pytest

from proxy.core.messages import BackendState
from proxy.core.pools.model import Unavailable
from proxy.core.pools.outlier import EjectionPolicy
from proxy.core.pools.pool import Pool
from proxy.core.pools.warmup import WarmupPolicy
from tests.core.pools import DOWN, close, make_pool, members, picked, tell, trip

SLOW = WarmupPolicy(20.0)
BALANCERS = ["round_robin", "least_requests", "random"]


def back(at: float, **changes: object) -> BackendState:
    return BackendState(readmitted_at=at, **changes)


@pytest.mark.parametrize("balance", BALANCERS)
@pytest.mark.parametrize(("age", "share"), [(0, 1 / 11), (10, 0.55 / 1.55), (20, 1 / 2)])
def test_who_is_back_gets_the_share_of_its_weight_that_its_age_allows(age: float, share: float, balance: str) -> None:
    pool = make_pool(2, warmup=SLOW, balance=balance)

    tell(pool, 100.0, b0=back(100.0))

    assert pytest.approx(6000 * share, rel=0.1) == picked(pool, 100.0 + age, number=6000)["b0"]


def test_at_our_own_start_everybody_has_its_whole_weight() -> None:
    assert {"b0": 150, "b1": 150} == picked(make_pool(2, warmup=SLOW))


def test_the_weight_grows_by_itself_without_a_word_from_the_supervisor() -> None:
    pool = make_pool(2, warmup=SLOW)
    tell(pool, 100.0, b0=back(100.0))

    assert [pytest.approx(weight) for weight in (0.1, 0.55, 1.0)] == [weight_at(pool, at) for at in (100, 110, 120)]


def weight_at(pool: Pool, now: float) -> float:
    pool.available(now)
    return pool.backends[0].weight


def test_it_grows_from_the_weight_that_the_administrator_gave() -> None:
    pool = make_pool(2, warmup=SLOW)

    tell(pool, 100.0, b0=back(100.0, weight=10))

    assert [1.0, 10.0] == [weight_at(pool, at) for at in (100.0, 120.0)]


def test_who_is_back_by_trials_begins_slowly_as_well() -> None:
    pool = make_pool(2, warmup=SLOW)
    backend = pool.backends[0]
    trip(backend, 0.0)
    close(backend, 100.0)

    assert pytest.approx(0.1) == weight_at(pool, 100.0)


def test_an_older_word_from_the_supervisor_does_not_shorten_it() -> None:
    """The Breaker closed here, and the supervisor has not heard of it yet."""
    pool = make_pool(2, warmup=SLOW)
    backend = pool.backends[0]
    trip(backend, 0.0)
    close(backend, 100.0)

    tell(pool, 100.0, b0=back(50.0))

    assert pytest.approx(0.1) == weight_at(pool, 100.0)


def test_alone_it_serves_all_however_new_it_is() -> None:
    pool = make_pool(2, warmup=SLOW)

    tell(pool, 100.0, b0=back(100.0), b1=DOWN)

    assert {"b0": 300} == picked(pool, 100.0)


# Damping


def test_who_is_damped_gets_nothing_until_its_time_is_over() -> None:
    pool = make_pool(2)

    tell(pool, 100.0, b0=BackendState(damped_until=160.0))

    assert {"b1": 300} == picked(pool, 159.9)
    assert [Unavailable.DAMPED] == pool.reasons(pool.backends[0], 159.9)
    assert {"b0", "b1"} == set(picked(pool, 160.0)), "without a word from the supervisor"


def test_who_was_damped_begins_slowly() -> None:
    pool = make_pool(2, warmup=SLOW)
    tell(pool, 100.0, b0=BackendState(damped_until=160.0))

    assert [pytest.approx(weight) for weight in (0.1, 0.55, 1.0)] == [weight_at(pool, at) for at in (160, 170, 180)]


def test_where_all_are_damped_all_serve() -> None:
    pool = make_pool(2)
    damped = BackendState(damped_until=160.0)

    tell(pool, 100.0, b0=damped, b1=damped)

    assert {"b0", "b1"} == set(picked(pool, 100.0))
    assert pool.panic


def test_a_damped_backend_counts_against_the_cap() -> None:
    pool = make_pool(members(2), ejection=EjectionPolicy(max_ejected=0.5))

    tell(pool, 100.0, b0=BackendState(damped_until=160.0))

    assert not pool.may_eject(pool.backends[1], 159.0)
    assert pool.may_eject(pool.backends[1], 161.0)
