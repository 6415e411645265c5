from __future__ import annotations

from proxy.core.messages import AdminState, BackendState
from proxy.core.pools.pool import SCOUT_EVERY
from tests.core.pools import DOWN, MAINT, make_pool, picked, tell, trip

UP = BackendState()


def test_a_pool_is_out_from_the_moment_that_it_has_lost_its_last_backend() -> None:
    pool = make_pool(2)
    tell(pool, 1.0, b0=DOWN)
    assert not pool.is_out(1.0)

    tell(pool, 2.0, b1=DOWN)
    tell(pool, 3.0, b1=MAINT)

    assert (True, 2.0) == (pool.is_out(3.0), pool.outage_began())


def test_it_is_back_with_the_first_backend_that_serves() -> None:
    pool = make_pool(2)
    tell(pool, 2.0, b0=DOWN, b1=DOWN)

    tell(pool, 4.0, b0=UP)

    assert (False, None) == (pool.is_out(4.0), pool.outage_began())


def test_a_request_may_find_an_outage_before_the_verdicts_do() -> None:
    pool = make_pool(2)

    pool.note_outage(1.0, 1.0)
    pool.note_outage(2.0, 2.0)

    assert (True, 1.0) == (pool.is_out(2.0), pool.outage_began())


def test_an_outage_is_panic_until_a_backend_answers() -> None:
    """Those that should serve can't be reached: what probes and Breakers say is not believed."""
    pool = make_pool(3)
    trip(pool.backends[0])
    tell(pool, b1=MAINT)
    assert {"b2": 300} == picked(pool)

    pool.note_outage(1.0, 1.0)
    assert {"b0", "b2"} == set(picked(pool, 1.0))
    assert pool.panic

    pool.end_outage(2.0)
    assert {"b2": 300} == picked(pool, 2.0)
    assert not pool.panic


def test_the_last_resort_is_the_least_busy_of_those_that_are_out() -> None:
    pool = make_pool(4)
    first, second, third, fourth = pool.backends
    trip(first)
    trip(second)
    first.in_flight = 1
    tell(pool, b3=MAINT)

    assert second is pool.last_resort([third])
    assert first is pool.last_resort([third, second])
    assert pool.last_resort([third, second, first]) is None
    assert fourth.admin is AdminState.MAINT


def test_in_an_outage_one_request_at_a_time_looks_whether_it_is_over() -> None:
    pool = make_pool(2)
    pool.note_outage(1.0, 1.0)

    assert not pool.may_scout(1.0 + SCOUT_EVERY / 2)
    assert pool.may_scout(1.0 + SCOUT_EVERY)
    assert not pool.may_scout(1.0 + SCOUT_EVERY)


def test_what_has_ended_by_itself_is_seen_without_any_news() -> None:
    """An opening ends by time alone."""
    pool = make_pool(2)
    trip(pool.backends[0])
    assert 1 == pool.available(0.0)

    assert 1 == pool.available(5.0)
    assert pool._trials == (pool.backends[0],)
