from __future__ import annotations

import random

import pytest

from proxy.core.messages import BackendState
from proxy.core.pools.breaker import BreakerPolicy, BreakerState, Transition
from proxy.core.pools.health import HealthState
from proxy.core.pools.outlier import EjectionPolicy
from proxy.core.pools.pool import Pool
from proxy.core.settings import PoolSettings
from tests.core.pools import (
    DOWN,
    DRAIN,
    GET,
    MAINT,
    POST,
    RESET,
    close,
    make_pool,
    members,
    picked,
    serve,
    tell,
    tiered,
    trip,
)

UP = BackendState()


# Who may serve


def test_all_backends_that_nothing_vetoes_serve() -> None:
    assert {"b0", "b1", "b2"} == set(picked(make_pool(3)))


@pytest.mark.parametrize(
    "state", [DOWN, MAINT, DRAIN, BackendState(weight=0), BackendState(health=HealthState.UNCHECKED)]
)
def test_a_vetoed_backend_gets_nothing_until_the_veto_ends(state: BackendState) -> None:
    pool = make_pool(2)

    tell(pool, b0=state)
    assert {"b1": 300} == picked(pool)

    tell(pool, b0=UP)
    assert {"b0", "b1"} == set(picked(pool))


def test_a_backend_whose_own_traffic_fails_gets_nothing() -> None:
    pool = make_pool(2)

    trip(pool.backends[0])

    assert {"b1": 300} == picked(pool)


def test_a_backend_that_is_full_gets_nothing_until_a_request_ends() -> None:
    pool = make_pool(members(2, max_in_flight=1))

    pool.enter(pool.backends[0])
    assert {"b1": 300} == picked(pool)

    pool.leave(pool.backends[0], 0.1, failed=False, now=0.1)
    assert {"b0", "b1"} == set(picked(pool))


def test_where_all_are_full_nobody_is_picked_and_it_is_neither_a_loss_nor_panic() -> None:
    pool = make_pool(members(2, max_in_flight=1))
    for backend in pool.backends:
        pool.enter(backend)

    assert {"nobody": 300} == picked(pool)
    assert (False, None) == (pool.panic, pool.outage_began())


def test_a_backend_that_was_tried_is_not_picked_again() -> None:
    pool = make_pool(3)

    assert {"b2": 300} == picked(pool, tried=pool.backends[:2])
    assert {"nobody": 300} == picked(pool, tried=pool.backends)


def test_news_of_backends_of_other_pools_change_nothing() -> None:
    pool = make_pool(2)

    pool.heed({("other", "b0"): DOWN}, 0.0)

    assert 2 == pool.available(0.0)


def test_the_administrators_weight_counts_from_the_next_snapshot_on() -> None:
    pool = make_pool(2)

    tell(pool, b0=BackendState(weight=3))

    assert {"b0": 225, "b1": 75} == picked(pool)


# Ejection is capped


@pytest.mark.parametrize(("number", "most"), [(1, 0), (2, 1), (3, 1), (4, 2), (6, 3)])
def test_real_traffic_ejects_no_more_backends_than_the_cap_allows(number: int, most: int) -> None:
    """Where all fail alike the pool is at fault and not one Backend."""
    pool = make_pool(number)

    for _ in range(50):
        serve(pool, 0.0, lambda _: RESET, POST)

    assert most == sum(not backend.breaker.is_closed for backend in pool.backends)


def test_the_cap_counts_those_that_are_out_beside_the_one_in_question() -> None:
    pool = make_pool(4)
    first, second, third, _ = pool.backends
    trip(first)

    assert pool.may_eject(second, 0.0)
    trip(second)
    assert not pool.may_eject(third, 0.0)
    assert pool.may_eject(second, 0.0)


def test_a_readmission_makes_room_under_the_cap() -> None:
    pool = make_pool(3)
    first, second, _ = pool.backends
    trip(first)
    assert not pool.may_eject(second, 0.0)

    close(first, 5.0)

    assert pool.may_eject(second, 0.0)


# Panic


def test_with_nobody_left_whoever_the_administrator_allows_is_tried() -> None:
    pool = make_pool(3)

    tell(pool, b0=DOWN, b1=DOWN, b2=MAINT)

    assert pool.panic
    assert {"b0", "b1"} == set(picked(pool))


def test_panic_ends_with_the_first_backend_that_is_well() -> None:
    pool = make_pool(2)
    tell(pool, b0=DOWN, b1=DOWN)
    assert pool.counts().panic

    tell(pool, b0=UP)

    assert not pool.counts().panic
    assert {"b0": 300} == picked(pool)


def test_panic_begins_under_the_threshold_where_the_user_set_one() -> None:
    pool = make_pool(4, ejection=EjectionPolicy(panic_below=0.5))

    tell(pool, b0=DOWN, b1=DOWN)
    assert {"b2", "b3"} == set(picked(pool))

    tell(pool, b2=DOWN)
    assert {"b0", "b1", "b2", "b3"} == set(picked(pool))


def test_panic_never_sends_anything_to_what_is_in_drain_or_maint() -> None:
    pool = make_pool(2)

    tell(pool, b0=DRAIN, b1=MAINT)

    assert not pool.panic
    assert {"nobody": 300} == picked(pool)


def test_in_panic_nobody_counts_as_available() -> None:
    pool = make_pool(2)

    tell(pool, b0=DOWN, b1=DOWN)

    assert 0 == pool.available(0.0)


# Trials


def test_once_its_time_is_over_an_ejected_backend_gets_one_request_as_a_trial() -> None:
    pool = make_pool(2)
    trip(pool.backends[0])
    assert {"b1": 300} == picked(pool, 4.99, may_try=True)

    first = pool.pick(GET, 5.0, random.Random(0), may_try=True)
    assert first is pool.backends[0]

    first.breaker.admit(5.0)
    pool.touch()
    assert {"b1": 300} == picked(pool, 5.0, may_try=True)


def test_a_request_that_could_not_be_retried_is_never_a_trial() -> None:
    pool = make_pool(2)
    trip(pool.backends[0])

    assert {"b1": 300} == picked(pool, 100.0, may_try=False)


def test_a_retry_is_never_a_trial() -> None:
    pool = make_pool(3)
    trip(pool.backends[0])

    assert {"b2": 300} == picked(pool, 100.0, may_try=True, tried=[pool.backends[1]])


def test_there_is_no_trial_where_nobody_else_could_serve_if_it_failed() -> None:
    pool = make_pool(2)
    trip(pool.backends[0])

    tell(pool, 5.0, b1=MAINT)

    assert pool.panic
    assert pool.pick(GET, 5.0, random.Random(0), may_try=True) is pool.backends[0]
    assert {"b0": 300} == picked(pool, 5.0)


def test_of_several_backends_to_be_tried_the_least_busy_comes_first() -> None:
    pool = make_pool(4)
    for backend in pool.backends[:2]:
        trip(backend)
    pool.backends[0].in_flight = 1

    assert pool.pick(GET, 5.0, random.Random(0), may_try=True) is pool.backends[1]


@pytest.mark.parametrize("state", [DOWN, MAINT, DRAIN, BackendState(weight=0)])
def test_a_backend_that_is_out_for_another_reason_too_gets_no_trial(state: BackendState) -> None:
    """One without weight was tried, and dividing by its weight failed the request."""
    pool = make_pool(2)
    trip(pool.backends[0])

    tell(pool, b0=state)

    assert {"b1": 300} == picked(pool, 100.0, may_try=True)


def test_a_breaker_that_opens_again_gets_its_trial_when_that_time_is_over() -> None:
    pool = make_pool(2)
    backend = pool.backends[0]
    trip(backend)
    picked(pool, 5.0, number=1)
    backend.breaker.follow(BreakerState.OPEN, 8.0, "news", 6.0)

    assert {"b1": 300} == picked(pool, 7.9, may_try=True)
    assert {"b0": 1} == picked(pool, 8.0, number=1, may_try=True)


# Changes and counters


def test_each_change_of_a_breaker_is_counted_and_told_with_its_backend() -> None:
    heard: list[tuple[str, Transition]] = []
    settings = PoolSettings("app", members(2), breaker=BreakerPolicy(trial_successes=1))
    pool = Pool(settings, 0.0, listener=lambda backend, change: heard.append((backend.name, change)))
    backend = pool.backends[0]

    trip(backend, 1.0)
    close(backend, 6.0)

    assert {"open": 1, "half-open": 1, "closed": 1} == backend.counts(0).breaker_transitions
    assert [("b0", "open"), ("b0", "half-open"), ("b0", "closed")] == [(name, change.after) for name, change in heard]


def test_what_enters_leaves_and_is_counted() -> None:
    pool = make_pool(2)
    backend = pool.backends[0]

    pool.enter(backend)
    pool.enter(backend)
    pool.leave(backend, 0.2, failed=True, now=0.2)

    assert (1, 2, 1) == (backend.in_flight, backend.requests, backend.failures)


def test_a_balancer_that_learns_is_taught_by_its_own_tiers_backends() -> None:
    pool = make_pool(2, balance="peak_ewma")
    slow, quick = pool.backends

    for backend, duration in ((slow, 3.0), (quick, 0.01)):
        pool.enter(backend)
        pool.leave(backend, duration, failed=False, now=3.0)

    counted = picked(pool, 3.0)
    assert counted["b1"] > 2 * counted["b0"]


def test_each_tier_learns_of_its_own_backends_only() -> None:
    pool = tiered(1, 2, balance="peak_ewma")
    pool.enter(pool.backends[1])

    pool.leave(pool.backends[1], 1.0, failed=False, now=1.0)

    assert [None, (1.0, 1.0)] == [backend.cost for backend in pool.backends]


def test_a_pool_says_what_it_is() -> None:
    pool = make_pool(3)
    tell(pool, b0=DOWN)

    assert "<Pool app 2 of 3>" == repr(pool)
