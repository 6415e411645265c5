"""Promises of `proxy.core.writes.keyed`."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.limits.waiting import Priority
from proxy.core.messages import BackendState
from proxy.core.pools.breaker import Verdict
from proxy.core.pools.health import HealthState
from proxy.core.pools.pool import Pool
from proxy.core.requests.decisions import RELAY, Attempt, Decision, Refuse, Wait
from proxy.core.requests.retry import Outcome, RetryPolicy, answered
from proxy.core.settings import IdempotencyPolicy
from proxy.core.wire.http1 import RequestHead
from proxy.core.writes.keyed import KeyedDispatch
from tests.core.pools import (
    BROKEN_HEAD,
    BROKEN_OFF,
    DOWN,
    DRAIN,
    MAINT,
    NO_BUDGET,
    OK,
    PARTLY_RESET,
    REFUSED,
    RESET,
    STALE,
    TIMED_OUT,
    UNAVAILABLE,
    UNREACHED,
    attempt,
    make_pool,
    members,
    refusal,
    request,
    tell,
    tiered,
    trip,
)

WRITE = request("POST", "/", "Content-Length: 1", "Idempotency-Key: k")
POLICY = IdempotencyPolicy()
DISHONOURED = IdempotencyPolicy(honoured=False)
SHARED = IdempotencyPolicy(shares_keys=True)
EVERYTHING = RetryPolicy(on=("connect", "reset", "timeout", "408", "425", "429", "500", "502", "503", "504"))
MAYBE_EXECUTED = [RESET, PARTLY_RESET, STALE, TIMED_OUT, BROKEN_OFF, BROKEN_HEAD]


def keyed(pool: Pool, policy: IdempotencyPolicy = POLICY, head: RequestHead = WRITE) -> KeyedDispatch:
    return KeyedDispatch(pool, head, random.Random(0), policy)


def carry(dispatch: KeyedDispatch, decision: Decision, *outcomes: Outcome) -> tuple[list[str], Decision]:
    """Let the Attempts end so, one after another; who was tried, and what was decided in the end."""
    tried: list[str] = []
    left = list(outcomes)
    while isinstance(decision, Attempt | Wait) and (left or isinstance(decision, Wait)):
        if isinstance(decision, Wait):
            decision = dispatch.resume(0.0)
        else:
            tried.append(decision.backend.name)
            decision = dispatch.report(left.pop(0), 0.0)
    return tried, decision


# A new write


def test_a_write_that_was_not_sent_goes_to_another_backend() -> None:
    dispatch = keyed(make_pool(3))

    tried, end = carry(dispatch, dispatch.start(0.0), REFUSED, UNREACHED, OK)

    assert (3, RELAY) == (len(set(tried)), end)
    assert dispatch.was_sent


def test_a_write_that_was_sent_to_nobody_is_told_not_to_be_executed() -> None:
    dispatch = keyed(make_pool(1, retries=RetryPolicy(attempts=1)))
    tell(pool := make_pool(1), b0=MAINT)
    out = keyed(pool)

    _, end = carry(dispatch, dispatch.start(0.0), Outcome(OK.kind, 503))

    assert RELAY == end
    assert "no" == refusal(out.start(2.0)).executed
    assert (False, False) == (out.was_sent, out.may_be_executed)


@pytest.mark.parametrize("outcome", MAYBE_EXECUTED)
def test_a_write_that_may_have_been_executed_is_sent_again_to_the_same_backend_only(outcome: Outcome) -> None:
    pool = make_pool(3, retries=EVERYTHING)
    dispatch = keyed(pool)

    tried, end = carry(dispatch, dispatch.start(0.0), outcome, OK)

    assert (2, 1, RELAY) == (len(tried), len(set(tried)), end)
    assert (tried[0], False) == (dispatch.only, dispatch.may_be_executed)


def test_between_two_tries_of_one_backend_there_is_a_wait() -> None:
    dispatch = keyed(make_pool(1))
    dispatch.start(0.0)

    decision = dispatch.report(RESET, 0.0)

    assert isinstance(decision, Wait)
    assert 0.0 <= decision.seconds <= 0.025


def test_an_answer_that_speaks_of_the_moment_is_asked_for_again() -> None:
    dispatch = keyed(make_pool(2))

    tried, end = carry(dispatch, dispatch.start(0.0), UNAVAILABLE, OK)

    assert (1, RELAY, False) == (len(set(tried)), end, dispatch.may_be_executed)


def test_an_answer_that_settles_nothing_is_passed_on_when_it_stays_so() -> None:
    pool = make_pool(2, retries=RetryPolicy(attempts=2))
    dispatch = keyed(pool)

    _, end = carry(dispatch, dispatch.start(0.0), UNAVAILABLE, UNAVAILABLE)
    dispatch.finish(UNAVAILABLE, 0.0)

    assert (RELAY, True, True) == (end, dispatch.may_be_executed, dispatch.is_settled)


@pytest.mark.parametrize("status", [200, 402, 404])
def test_a_final_answer_is_passed_on_even_where_the_policy_names_it(status: int) -> None:
    dispatch = keyed(make_pool(2, retries=EVERYTHING))

    _, end = carry(dispatch, dispatch.start(0.0), answered(status, False))

    assert (RELAY, 1, False) == (end, dispatch.attempts, dispatch.may_be_executed)


def test_what_the_policy_does_not_name_is_not_sent_again() -> None:
    dispatch = keyed(make_pool(2, retries=RetryPolicy(on=("connect", "reset"))))

    _, end = carry(dispatch, dispatch.start(0.0), BROKEN_HEAD)

    assert ("unknown", 1) == (refusal(end).executed, refusal(end).retry_after)


@pytest.mark.parametrize(
    ("retries", "policy"),
    [(RetryPolicy(attempts=1), POLICY), (NO_BUDGET, POLICY), (RetryPolicy(), DISHONOURED)],
)
def test_a_write_is_not_sent_again_without_room_or_where_keys_are_not_honoured(
    retries: RetryPolicy, policy: IdempotencyPolicy
) -> None:
    dispatch = keyed(make_pool(3, retries=retries), policy)

    tried, end = carry(dispatch, dispatch.start(0.0), RESET)

    assert (1, "unknown") == (len(tried), refusal(end).executed)


def test_a_write_whose_time_is_over_is_not_sent_again() -> None:
    dispatch = keyed(make_pool(2))
    dispatch.start(0.0)
    dispatch.replayable = False

    assert "unknown" == refusal(dispatch.report(RESET, 0.0)).executed
    assert not dispatch.replayable


def test_a_refused_connection_does_not_undo_that_the_write_was_sent_before() -> None:
    dispatch = keyed(make_pool(3))

    tried, end = carry(dispatch, dispatch.start(0.0), RESET, REFUSED, REFUSED)

    assert (3, 1) == (len(tried), len(set(tried)))
    assert ("unknown", "request may have been executed") == (refusal(end).executed, refusal(end).detail)


# A repeat of what one Backend may have executed


def test_a_repeat_goes_to_the_backend_that_may_have_executed_it_though_another_one_serves() -> None:
    pool = tiered(1, 2)

    repeated = attempt(keyed(pool).start_again("b1", 0.0))

    assert "b1" == repeated.backend.name


def test_a_repeat_counts_as_a_request_for_the_budget() -> None:
    pool = make_pool(1, retries=RetryPolicy(budget=1.0, budget_min=0.0))

    keyed(pool).start_again("b0", 0.0)

    assert pool.budget.withdraw(0.0)


@pytest.mark.parametrize("state", [DOWN, MAINT])
def test_a_repeat_waits_for_its_backend_while_that_is_down(state: object) -> None:
    pool = make_pool(2)
    tell(pool, b0=state)
    dispatch = keyed(pool)

    told = refusal(dispatch.start_again("b0", 0.0))

    assert (503, "unknown", 1) == (told.status, told.executed, told.retry_after)
    assert (True, True) == (dispatch.was_sent, dispatch.is_settled)


def test_a_backend_that_drains_still_gets_the_repeat_of_what_it_may_have_executed() -> None:
    pool = make_pool(2)
    tell(pool, b0=DRAIN)

    assert "b0" == attempt(keyed(pool).start_again("b0", 0.0)).backend.name


def test_a_repeat_may_be_the_trial_of_a_backend_whose_breaker_waits_for_one() -> None:
    pool = make_pool(2)
    trip(pool.backends[0])
    until = pool.backends[0].breaker.until

    early = keyed(pool).start_again("b0", until - 0.1)
    late = keyed(pool).start_again("b0", until + 0.1)

    assert "unknown" == refusal(early).executed
    assert attempt(late).ticket.is_trial


def test_a_repeat_for_a_backend_that_is_no_more_is_refused() -> None:
    told = refusal(keyed(make_pool(2)).start_again("gone", 0.0))

    assert (503, "unknown", "the backend that may have executed it is no more") == (
        told.status,
        told.executed,
        told.detail,
    )


def test_a_backend_that_goes_down_between_two_tries_leaves_the_outcome_unknown() -> None:
    pool = make_pool(2)
    dispatch = keyed(pool)
    first = attempt(dispatch.start(0.0))
    dispatch.report(RESET, 0.0)
    tell(pool, **{first.backend.name: DOWN})

    assert "unknown" == refusal(dispatch.resume(0.0)).executed


# Where all Backends know the key


@pytest.mark.parametrize("outcome", [RESET, TIMED_OUT, UNAVAILABLE])
def test_where_backends_share_keys_another_one_is_tried(outcome: Outcome) -> None:
    dispatch = keyed(make_pool(3, retries=EVERYTHING), SHARED)

    tried, end = carry(dispatch, dispatch.start(0.0), outcome, OK)

    assert (2, RELAY, "", False) == (len(set(tried)), end, dispatch.only, dispatch.may_be_executed)


def test_where_backends_share_keys_what_may_have_been_executed_is_still_told() -> None:
    dispatch = keyed(make_pool(1, retries=RetryPolicy(attempts=1)), SHARED)

    _, end = carry(dispatch, dispatch.start_anywhere(0.0), RESET)

    assert "unknown" == refusal(end).executed


def test_where_backends_share_keys_the_balancer_sees_the_request() -> None:
    pool = make_pool(3, balance="hash")
    dispatches = [keyed(pool, policy) for policy in (POLICY, SHARED)]
    chosen = []
    for dispatch in dispatches:
        chosen.append(attempt(dispatch.start(0.0)).backend.name)
        dispatch.abandon(0.0)

    assert chosen[0] == chosen[1]


# Ends


def test_a_client_that_leaves_may_leave_an_executed_write_behind() -> None:
    pool = make_pool(1)
    dispatch = keyed(pool)
    first = attempt(dispatch.start(0.0))

    dispatch.abandon(0.1)

    assert (True, True, None) == (dispatch.was_sent, dispatch.is_settled, dispatch.attempt)
    assert (0, 0) == (first.backend.in_flight, first.backend.failures)


def test_a_client_that_leaves_before_an_attempt_leaves_nothing_behind() -> None:
    dispatch = keyed(make_pool(1))

    dispatch.abandon(0.0)

    assert not dispatch.was_sent


def test_an_attempt_that_is_withdrawn_was_not_sent() -> None:
    pool = make_pool(1)
    dispatch = keyed(pool)
    first = attempt(dispatch.start(0.0))

    dispatch.withdraw(0.0)

    assert (False, False, True) == (dispatch.was_sent, dispatch.may_be_executed, dispatch.is_settled)
    assert 0 == first.backend.in_flight


def test_a_report_without_an_attempt_changes_nothing() -> None:
    dispatch = keyed(make_pool(1), DISHONOURED)

    assert "unknown" == refusal(dispatch.report(RESET, 0.0)).executed


OUTCOMES = st.sampled_from(
    [OK, REFUSED, UNREACHED, RESET, STALE, TIMED_OUT, BROKEN_OFF, UNAVAILABLE, answered(409, False)]
)


@given(st.lists(OUTCOMES, max_size=12), st.sampled_from([POLICY, DISHONOURED]), st.integers(1, 4))
def test_whatever_happens_at_most_one_backend_can_have_executed_a_write(
    outcomes: list[Outcome], policy: IdempotencyPolicy, backends: int
) -> None:
    """And a refusal says "no" only where nobody can."""
    dispatch = keyed(make_pool(backends, retries=EVERYTHING), policy)
    decision: Decision = dispatch.start(0.0)
    reached: set[str] = set()
    while isinstance(decision, Attempt | Wait):
        if isinstance(decision, Wait):
            decision = dispatch.resume(9.0)
            continue
        outcome = outcomes.pop() if outcomes else OK
        if outcome.progress:
            reached.add(decision.backend.name)
        decision = dispatch.report(outcome, 0.0)

    assert len(reached) <= 1
    assert bool(reached) is dispatch.was_sent
    assert not isinstance(decision, Refuse) or decision.executed == ("unknown" if reached else "no")
    dispatch.finish(OK, 0.0)
    assert [0] * backends == [backend.in_flight for backend in dispatch._pool.backends]


def test_a_trial_that_fails_counts_against_its_backend() -> None:
    pool = make_pool(2)
    backend = pool.backends[0]
    trip(backend)
    dispatch = keyed(pool)
    until = backend.breaker.until
    attempt(dispatch.start_again("b0", until))

    dispatch.report(BROKEN_HEAD, until)

    assert (Verdict.BAD, True) == (BROKEN_HEAD.verdict(), backend.breaker.until > until)


def test_a_standby_that_is_well_gets_the_repeat_of_what_it_may_have_executed_and_one_that_is_down_does_not() -> None:
    """As a primary does after a failover."""
    pool = make_pool(2)
    well, down = BackendState(standby=True), BackendState(standby=True, health=HealthState.DOWN)

    tell(pool, b0=well)
    assert "b0" == attempt(keyed(pool).start_again("b0", 0.0)).backend.name
    tell(pool, b0=down)
    assert "unknown" == refusal(keyed(pool).start_again("b0", 0.0)).executed


def test_a_keyed_write_waits_for_a_place_like_any_other_request() -> None:
    pool = make_pool(members(1, max_in_flight=1), has_priorities=True)
    first = keyed(pool)
    assert isinstance(first.start(0.0), Attempt)
    second = keyed(pool)
    second.priority = Priority.CRITICAL

    waits = second.start(0.0)
    assert isinstance(waits, Wait)
    assert waits.waiter is not None
    assert Priority.CRITICAL is waits.waiter.priority is second.priority
    first.report(OK, 0.1)
    first.finish(OK, 0.1)

    assert isinstance(second.resume(0.1), Attempt)
