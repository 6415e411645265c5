from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from proxy.core.messages import AdminState, BackendState
from proxy.core.pools.breaker import BreakerState
from proxy.core.pools.model import Backend
from proxy.core.pools.pool import Pool
from proxy.core.requests.decisions import RELAY, Attempt, Refuse, Relay, Wait
from proxy.core.requests.dispatch import Dispatch
from proxy.core.requests.retry import Outcome, RetryPolicy, answered
from proxy.core.wire.http1 import RequestHead
from tests.core.pools import (
    BROKEN_OFF,
    DOWN,
    GET,
    MAINT,
    NO_BUDGET,
    OK,
    PARTLY_RESET,
    POST,
    REFUSED,
    RESET,
    STALE,
    TIMED_OUT,
    UNAVAILABLE,
    attempt,
    begin,
    ejected,
    make_pool,
    request,
    serve,
)

POST_HANDED_OVER = [RESET, PARTLY_RESET, TIMED_OUT, STALE, BROKEN_OFF, UNAVAILABLE]


def tried(pool: Pool, outcome: Outcome, head: RequestHead = GET) -> list[str]:
    """The Backends that a request is sent to while each of them ends with this outcome, until there is a wait."""
    seen: list[str] = []

    def ends(backend: Backend) -> Outcome:
        seen.append(backend.name)
        return outcome

    serve(pool, 0.0, ends, head)
    return seen


# One Attempt


def test_a_request_goes_to_a_backend_and_its_answer_to_the_client() -> None:
    pool = make_pool(3)
    dispatch, first = begin(pool)
    assert (1, 1) == (first.backend.in_flight, first.number)

    assert RELAY == dispatch.report(OK, 0.1)
    dispatch.finish(OK, 0.2)

    assert (0, 1, 0) == (first.backend.in_flight, first.backend.requests, first.backend.failures)


@pytest.mark.parametrize("status", [200, 301, 404, 429, 500, 501])
def test_an_answer_that_the_policy_does_not_name_is_passed_on(status: int) -> None:
    dispatch, _ = begin(make_pool(3))

    assert RELAY == dispatch.report(answered(status, False), 0.1)


def test_an_answer_counts_for_its_backend_when_it_was_passed_on_whole() -> None:
    pool = make_pool(2)
    dispatch, first = begin(pool)
    dispatch.report(OK, 0.1)

    dispatch.finish(BROKEN_OFF, 0.5)

    assert (1, 1) == (first.backend.failures, first.backend.breaker.consecutive)


# When a failed Attempt is tried again


@pytest.mark.parametrize("outcome", [REFUSED, RESET, PARTLY_RESET, TIMED_OUT, BROKEN_OFF, UNAVAILABLE])
def test_a_failed_read_is_tried_on_another_backend(outcome: Outcome) -> None:
    dispatch, first = begin(make_pool(2))

    second = attempt(dispatch.report(outcome, 0.1))

    assert first.backend is not second.backend
    assert (0, 1, 2) == (first.backend.in_flight, second.backend.in_flight, second.number)


def test_no_backend_is_tried_twice_while_another_is_untried() -> None:
    for number in (2, 3, 6):
        names = tried(make_pool(number, retries=RetryPolicy(attempts=number)), REFUSED)
        assert number == len(names) == len(set(names))


def test_a_request_is_tried_as_often_as_the_policy_says() -> None:
    for attempts in (1, 2, 3):
        pool = make_pool(6, retries=RetryPolicy(attempts=attempts))
        assert attempts == len(tried(pool, RESET))


def test_a_write_of_which_nothing_was_sent_is_tried_on_another_backend() -> None:
    assert 3 == len(tried(make_pool(3), REFUSED, POST))


@pytest.mark.parametrize("method", ["POST", "PATCH"])
@pytest.mark.parametrize("outcome", POST_HANDED_OVER)
def test_a_write_that_may_have_reached_a_backend_is_never_sent_to_another(method: str, outcome: Outcome) -> None:
    assert 1 == len(tried(make_pool(3), outcome, request(method)))


@pytest.mark.parametrize("outcome", [REFUSED, RESET, UNAVAILABLE])
def test_a_request_whose_body_is_not_whole_any_more_is_not_tried_again(outcome: Outcome) -> None:
    dispatch, _ = begin(make_pool(3), request("PUT"))

    dispatch.replayable = False

    assert not isinstance(dispatch.report(outcome, 0.1), Attempt | Wait)


def test_where_the_budget_is_spent_nothing_is_tried_again() -> None:
    pool = make_pool(3, retries=NO_BUDGET)

    assert 1 == len(tried(pool, RESET))
    assert 1 == pool.counts().budget_exhausted


def test_the_last_real_answer_goes_to_the_client() -> None:
    """A 503 with a body beats a blank 502 of ours."""
    dispatch, _ = begin(make_pool(2))
    attempt(dispatch.report(RESET, 0.1))

    assert RELAY == dispatch.report(UNAVAILABLE, 0.2)


def test_a_backend_that_says_503_is_not_asked_again_when_all_have_said_so() -> None:
    """Its answer is as good as any; and the budget is not spent on a retry that is not made."""
    pool = make_pool(2)

    assert 2 == len(tried(pool, UNAVAILABLE))
    assert "<RetryBudget 1 of 100.2>" == repr(pool.budget)


# All were tried


def test_when_all_were_tried_a_read_that_was_sent_backs_off() -> None:
    dispatch, _ = begin(make_pool(1))

    wait = dispatch.report(RESET, 0.1)

    assert isinstance(wait, Wait)
    assert 0 <= wait.seconds <= 0.025
    assert 2 == attempt(dispatch.resume(0.2)).number


def test_the_backoff_grows() -> None:
    """Its bound doubles: 25, 50, 100 ms."""
    pool = make_pool(1, retries=RetryPolicy(attempts=4))

    class Highest(random.Random):
        def random(self) -> float:
            return 1.0

    dispatch = Dispatch(pool, GET, Highest())
    dispatch.start(0.0)
    waits = []
    for _ in range(3):
        wait = dispatch.report(RESET, 0.0)
        assert isinstance(wait, Wait)
        waits.append(wait.seconds)
        attempt(dispatch.resume(0.0))

    assert [0.025, 0.05, 0.1] == waits


def test_after_the_backoff_every_backend_may_be_tried_anew() -> None:
    pool = make_pool(2, retries=RetryPolicy(attempts=4))
    dispatch, first = begin(pool)
    second = attempt(dispatch.report(RESET, 0.0))
    assert isinstance(dispatch.report(RESET, 0.0), Wait)

    third = attempt(dispatch.resume(0.1))
    fourth = attempt(dispatch.report(RESET, 0.2))

    assert {first.backend, second.backend} == {third.backend, fourth.backend}


def test_a_stale_connection_is_replaced_at_once_where_there_is_nobody_else() -> None:
    dispatch, first = begin(make_pool(1))

    second = attempt(dispatch.report(STALE, 0.1))

    assert first.backend is second.backend
    assert 1 == second.backend.in_flight


def test_a_stale_connection_does_not_count_against_its_backend() -> None:
    pool = make_pool(1)

    for _ in range(20):
        begin(pool)[0].report(STALE, 0.0)

    assert pool.backends[0].breaker.is_closed
    assert 0 == pool.backends[0].failures


def test_a_stale_connection_to_a_backend_that_has_gone_to_maint_is_not_replaced_there() -> None:
    pool = make_pool(1)
    dispatch, _ = begin(pool)
    pool.heed({("app", "b0"): MAINT}, 0.1)

    assert isinstance(dispatch.report(STALE, 0.1), Wait)
    assert isinstance(dispatch.resume(0.2), Wait | Refuse)


# The last resort


@pytest.mark.parametrize("outcome", [REFUSED, RESET, TIMED_OUT, UNAVAILABLE])
def test_when_all_that_serve_have_failed_a_read_one_that_is_out_is_tried(outcome: Outcome) -> None:
    """No client sees a failure that another backend could have prevented."""
    pool, out = ejected()
    dispatch, _ = begin(pool)

    assert attempt(dispatch.report(outcome, 0.1)).backend is out


def test_what_failed_probes_is_a_last_resort_too() -> None:
    pool = make_pool(2)
    pool.heed({("app", "b0"): DOWN}, 0.0)
    dispatch, _ = begin(pool)

    assert pool.backends[0] is attempt(dispatch.report(RESET, 0.1)).backend


@pytest.mark.parametrize("state", [MAINT, BackendState(admin=AdminState.DRAIN), BackendState(weight=0)])
def test_what_a_person_has_taken_out_is_never_a_last_resort(state: BackendState) -> None:
    pool = make_pool(2)
    pool.heed({("app", "b0"): state}, 0.0)
    dispatch, _ = begin(pool)

    assert isinstance(dispatch.report(RESET, 0.1), Wait)


def test_the_last_resort_is_no_trial_but_its_good_answer_brings_one_forward() -> None:
    pool, out = ejected()
    dispatch, _ = begin(pool)
    last = attempt(dispatch.report(RESET, 0.1))
    assert not last.ticket.is_trial

    dispatch.report(OK, 0.2)
    dispatch.finish(OK, 0.2)

    assert BreakerState.OPEN is out.breaker.state
    assert begin(pool, now=0.2)[1].backend is out


def test_the_last_resort_draws_on_the_budget() -> None:
    pool, _ = ejected(retries=NO_BUDGET)
    dispatch, _ = begin(pool)

    assert isinstance(dispatch.report(RESET, 0.1), Refuse)


# Settled exactly once


@pytest.mark.parametrize(
    "end",
    [
        lambda dispatch: dispatch.finish(OK, 1.0),
        lambda dispatch: dispatch.finish(BROKEN_OFF, 1.0),
        lambda dispatch: dispatch.abandon(1.0),
    ],
)
def test_an_attempt_is_settled_once_however_often_its_end_is_told(end: Callable[[Dispatch], None]) -> None:
    pool = make_pool(1)
    dispatch, first = begin(pool)
    dispatch.report(OK, 0.5)

    end(dispatch)
    dispatch.abandon(2.0)
    dispatch.finish(BROKEN_OFF, 2.0)

    assert 0 == first.backend.in_flight
    assert 1 == sum(first.backend.duration_buckets)


def test_a_request_is_settled_when_it_holds_neither_an_attempt_nor_a_place() -> None:
    dispatch, _ = begin(make_pool(1))
    assert not dispatch.is_settled

    assert isinstance(dispatch.report(REFUSED, 0.0), Wait)
    assert not dispatch.is_settled

    dispatch.abandon(0.1)
    assert dispatch.is_settled


def test_news_of_an_attempt_that_has_ended_changes_nothing() -> None:
    pool = make_pool(2)
    dispatch, _ = begin(pool)
    dispatch.abandon(0.1)

    assert isinstance(dispatch.report(RESET, 0.2), Refuse | Relay)

    assert [0, 0] == [backend.in_flight for backend in pool.backends]
