from __future__ import annotations

import pytest

from proxy.core.limits.waiting import WaitingPolicy
from proxy.core.requests.decisions import RETRY_AFTER, Refuse
from proxy.core.requests.retry import Outcome, Progress
from proxy.core.settings import BackendSettings, HoldPolicy
from proxy.core.wire.http1 import RequestHead
from proxy.errors import ErrorKind
from tests.core.pools import (
    BROKEN_OFF,
    GET,
    MAINT,
    NOWHERE,
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
    make_dispatch,
    make_pool,
    members,
    refusal,
)

# What the client is told


def test_where_nothing_was_sent_a_write_was_not_executed() -> None:
    dispatch, _ = begin(make_pool(2), POST)
    attempt(dispatch.report(REFUSED, 0.0))
    dispatch.replayable = False

    told = refusal(dispatch.report(REFUSED, 0.0))

    assert (ErrorKind.CONNECTION_REFUSED, 502, "no", RETRY_AFTER) == (
        told.kind,
        told.status,
        told.executed,
        told.retry_after,
    )


@pytest.mark.parametrize("outcome", [RESET, PARTLY_RESET, TIMED_OUT, STALE, BROKEN_OFF])
def test_a_write_that_may_have_reached_a_backend_is_of_unknown_execution(outcome: Outcome) -> None:
    pool = make_pool(3)
    dispatch, _ = begin(pool, POST)

    told = refusal(dispatch.report(outcome, 0.0))

    assert ("unknown", None, outcome.kind) == (told.executed, told.retry_after, told.kind)
    assert "request may have been executed" == told.detail


def test_a_read_that_failed_everywhere_is_told_how_the_last_one_failed() -> None:
    pool = make_pool(3)
    dispatch, _ = begin(pool)
    attempt(dispatch.report(RESET, 0.0))
    attempt(dispatch.report(RESET, 0.0))

    told = refusal(dispatch.report(TIMED_OUT, 0.0))

    assert (ErrorKind.HTTP_RESPONSE_TIMEOUT, 504, None) == (told.kind, told.status, told.executed)


@pytest.mark.parametrize(("head", "executed"), [(GET, None), (POST, "no")])
def test_where_no_backend_is_left_it_is_503_with_retry_after(head: RequestHead, executed: str | None) -> None:
    pool = make_pool(1, hold=HoldPolicy(duration=0.0))
    pool.heed({("app", "b0"): MAINT}, 0.0)

    told = refusal(make_dispatch(pool, head).start(0.0))

    assert Refuse(ErrorKind.DESTINATION_UNAVAILABLE, 503, "", executed, RETRY_AFTER) == told


def test_where_all_are_full_and_nobody_may_wait_it_is_503_at_once() -> None:
    pool = make_pool(members(2, max_in_flight=1), waiting=WaitingPolicy(max_requests=0))
    begin(pool)
    begin(pool)

    told = refusal(make_dispatch(pool, POST).start(0.0))

    assert (503, "overloaded", "no", 1) == (told.status, told.name, told.executed, told.retry_after)
    assert {"full": 1} == pool.counts().strain.waits


# Counters


def test_a_request_that_another_attempt_has_saved_is_counted() -> None:
    pool = make_pool(2)
    dispatch, _ = begin(pool)
    dispatch.report(RESET, 0.0)
    dispatch.report(OK, 0.1)
    assert 0 == pool.counts().saved

    dispatch.finish(OK, 0.2)

    assert 1 == pool.counts().saved


@pytest.mark.parametrize("ends", [[OK], [RESET, UNAVAILABLE], [RESET, BROKEN_OFF]])
def test_a_request_that_needed_no_other_or_that_none_has_saved_is_not_counted(ends: list[Outcome]) -> None:
    pool = make_pool(2)
    dispatch, _ = begin(pool)

    for outcome in ends:
        dispatch.report(outcome, 0.0)
    dispatch.finish(ends[-1], 0.0)

    assert 0 == pool.counts().saved


def test_retries_are_counted_by_their_reason_and_how_they_ended() -> None:
    pool = make_pool(3)
    dispatch, _ = begin(pool)
    dispatch.report(RESET, 0.0)
    dispatch.report(UNAVAILABLE, 0.1)
    dispatch.finish(OK, 0.2)

    assert {("connection_terminated", "failure"): 1, ("503", "success"): 1} == pool.counts().retries


def test_a_retry_whose_client_left_was_no_success() -> None:
    pool = make_pool(2)
    dispatch, _ = begin(pool)
    dispatch.report(REFUSED, 0.0)

    dispatch.abandon(0.1)

    assert {("connection_refused", "failure"): 1} == pool.counts().retries


def test_the_outcome_says_how_far_the_request_got() -> None:
    assert [0, 1, 2, 3] == sorted(Progress)


def test_an_attempt_says_what_it_is() -> None:
    pool = make_pool([BackendSettings("b7", NOWHERE)])

    assert "<Attempt 1 on b7>" == repr(begin(pool)[1])
