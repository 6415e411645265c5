from __future__ import annotations

from proxy.core.pools.pool import Pool
from proxy.core.requests.decisions import HEDGE_LOST, RELAY, Attempt
from proxy.core.requests.hedging import HedgeAfter, HedgePolicy, HedgeResult
from proxy.core.requests.retry import CLIENT_GONE, RetryPolicy
from tests.core.pools import (
    MAINT,
    NO_BUDGET,
    OK,
    REFUSED,
    RESET,
    UNAVAILABLE,
    attempt,
    begin,
    ejected,
    make_dispatch,
    make_pool,
    members,
    tell,
)

HEDGE = HedgePolicy(HedgeAfter(share=0.9), min_requests=1)


def in_flight(pool: Pool) -> list[int]:
    return [backend.in_flight for backend in pool.backends]


def failures(pool: Pool) -> int:
    return sum(backend.failures for backend in pool.backends)


def hedged(pool: Pool, now: float = 0.1) -> tuple[Attempt, Attempt]:
    dispatch, first = begin(pool)
    second = dispatch.hedge(now)
    assert isinstance(second, Attempt)
    return first, second


def test_a_hedge_goes_to_another_backend_and_both_are_in_flight() -> None:
    pool = make_pool(2, hedge=HEDGE)
    dispatch, first = begin(pool)

    second = dispatch.hedge(0.1)

    assert isinstance(second, Attempt)
    assert (first, second, 2) == (dispatch.attempt, dispatch.rival, dispatch.attempts)
    assert ({first.backend, second.backend}, [1, 1]) == (set(pool.backends), in_flight(pool))


def test_who_loses_is_settled_once_and_without_blame() -> None:
    pool = make_pool(2, hedge=HEDGE)
    dispatch, first = begin(pool)
    second = attempt(dispatch.hedge(0.1))  # type: ignore[arg-type]

    dispatch.drop(first, HEDGE_LOST, 0.2)
    assert (second, None) == (dispatch.attempt, dispatch.rival)
    assert RELAY == dispatch.report(OK, 0.2)
    dispatch.finish(OK, 0.2)

    assert ([0, 0], 0, 0, {}) == (in_flight(pool), failures(pool), pool.saved, pool.retries)
    assert dispatch.is_settled


def test_how_slow_a_loser_was_at_least_is_learnt() -> None:
    pool = make_pool(2, hedge=HEDGE)
    dispatch, first = begin(pool)
    dispatch.hedge(0.5)
    dispatch.drop(first, HEDGE_LOST, 0.7)

    assert pool.hedging is not None
    assert (pool.hedging.after(0.7) or 0.0) >= 0.7


def test_a_first_attempt_that_fails_is_blamed_and_the_second_has_saved_the_request() -> None:
    pool = make_pool(2, hedge=HEDGE)
    dispatch, first = begin(pool)
    dispatch.hedge(0.1)
    dispatch.drop(first, RESET, 0.2)
    dispatch.report(OK, 0.3)
    dispatch.finish(OK, 0.3)

    assert (1, 1, {("connection_terminated", "success"): 1}) == (failures(pool), pool.saved, pool.retries)


def test_a_second_attempt_that_fails_saves_nothing_and_is_not_asked_again() -> None:
    pool = make_pool(3, hedge=HEDGE)
    dispatch, first = begin(pool)
    second = attempt(dispatch.hedge(0.1))  # type: ignore[arg-type]
    dispatch.drop(second, UNAVAILABLE, 0.2)
    assert first is dispatch.attempt

    third = attempt(dispatch.report(RESET, 0.3))

    assert third.backend not in {first.backend, second.backend}
    dispatch.report(OK, 0.4)
    dispatch.finish(OK, 0.4)
    assert 2 == failures(pool)


def test_a_client_that_leaves_blames_neither() -> None:
    pool = make_pool(2, hedge=HEDGE)
    dispatch, _ = begin(pool)
    dispatch.hedge(0.1)

    dispatch.abandon(0.2)

    assert ([0, 0], 0, True) == (in_flight(pool), failures(pool), dispatch.is_settled)


def test_where_hedging_was_taken_away_meanwhile_a_loser_is_settled_all_the_same() -> None:
    pool = make_pool(2)
    dispatch, first = begin(pool)
    dispatch.hedge(0.1)
    dispatch.drop(first, HEDGE_LOST, 0.2)
    dispatch.abandon(0.2)

    assert [0, 0] == in_flight(pool)


def test_without_budget_there_is_no_hedge() -> None:
    pool = make_pool(2, hedge=HEDGE, retries=NO_BUDGET)

    assert HedgeResult.NO_BUDGET is begin(pool)[0].hedge(0.1)
    assert 1 == pool.budget.exhausted_total


def test_hedges_draw_on_the_budget_of_retries() -> None:
    pool = make_pool(2, hedge=HEDGE, retries=RetryPolicy(budget=0.0, budget_min=0.1))

    assert isinstance(begin(pool)[0].hedge(0.1), Attempt)
    assert HedgeResult.NO_BUDGET is begin(pool)[0].hedge(0.1)


def test_a_trial_is_not_hedged_and_a_hedge_is_no_trial() -> None:
    pool, out = ejected(2, hedge=HEDGE)
    dispatch, first = begin(pool, now=6.0)
    assert (out, HedgeResult.NOBODY) == (first.backend, dispatch.hedge(6.1))
    dispatch.abandon(6.1)
    pool, out = ejected(2, hedge=HEDGE)
    other, first = begin(pool, now=0.0)

    assert (False, HedgeResult.NOBODY) == (first.backend is out, other.hedge(6.0))


def test_where_nobody_else_serves_there_is_no_hedge() -> None:
    pool = make_pool(2, hedge=HEDGE)
    tell(pool, b1=MAINT)

    assert HedgeResult.NOBODY is begin(pool)[0].hedge(0.1)


def test_in_an_outage_there_is_no_hedge() -> None:
    pool = make_pool(2, hedge=HEDGE)
    dispatch, _ = begin(pool)
    pool.note_outage(0.0, 0.1)

    assert HedgeResult.NOBODY is dispatch.hedge(0.2)


def test_where_one_attempt_is_all_there_is_no_hedge() -> None:
    pool = make_pool(2, hedge=HEDGE, retries=RetryPolicy(attempts=1))

    assert HedgeResult.NOBODY is begin(pool)[0].hedge(0.1)


def test_a_retry_is_not_hedged() -> None:
    pool = make_pool(3, hedge=HEDGE)
    dispatch, _ = begin(pool)
    dispatch.report(REFUSED, 0.1)

    assert HedgeResult.NOBODY is dispatch.hedge(0.2)


def test_what_belongs_to_an_owner_is_not_hedged() -> None:
    pool = make_pool(2, hedge=HEDGE)
    dispatch = make_dispatch(pool)
    dispatch.owner = pool.backends[0]
    dispatch.start(0.0)

    assert HedgeResult.NOBODY is dispatch.hedge(0.1)


def test_nobody_to_hedge_is_nobody() -> None:
    assert HedgeResult.NOBODY is make_dispatch(make_pool(2, hedge=HEDGE)).hedge(0.0)


def test_a_hedge_takes_no_place_that_others_wait_for() -> None:
    """Of ten places it may fill seven, as a request of low priority may; nobody must wait before it."""
    pool = make_pool(members(2, max_in_flight=5), hedge=HEDGE, has_priorities=True)
    for _ in range(6):
        begin(pool)
    dispatch, _ = begin(pool)

    assert HedgeResult.NOBODY is dispatch.hedge(0.1)


def test_with_room_a_limited_pool_hedges_too() -> None:
    pool = make_pool(members(2, max_in_flight=5), hedge=HEDGE)

    first, second = hedged(pool)

    assert first.backend is not second.backend


def test_what_says_nothing_says_nothing() -> None:
    assert {"neutral"} == {outcome.verdict().value for outcome in (CLIENT_GONE, HEDGE_LOST)}
