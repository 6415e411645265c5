from __future__ import annotations

import pytest

from proxy.core.pools.breaker import BreakerState
from proxy.core.requests.decisions import RELAY
from proxy.core.requests.retry import Outcome, RetryPolicy, answered
from proxy.core.wire.http1 import RequestHead
from tests.core.pools import (
    BROKEN_OFF,
    NO_BUDGET,
    OK,
    POST,
    REFUSED,
    RESET,
    STALE,
    TIMED_OUT,
    UNAVAILABLE,
    attempt,
    begin,
    ejected,
    request,
)


def test_a_read_is_the_trial_of_an_ejected_backend() -> None:
    pool, sick = ejected()

    _, first = begin(pool, now=5.0)

    assert (sick, True) == (first.backend, first.ticket.is_trial)
    assert "<Attempt 1 on b0 trial>" == repr(first)


def test_only_one_trial_runs_at_a_time() -> None:
    pool, sick = ejected()
    begin(pool, now=5.0)

    assert all(begin(pool, now=5.0)[1].backend is not sick for _ in range(20))


@pytest.mark.parametrize(
    "head",
    [
        POST,
        request("PATCH"),
        request("PUT", "/", "Content-Length: 5"),
        request("PUT", "/", "Transfer-Encoding: chunked"),
    ],
)
def test_a_request_that_could_not_be_repeated_is_no_trial(head: RequestHead) -> None:
    """A large body may be gone by the time that the trial fails."""
    pool, sick = ejected()

    assert all(begin(pool, head, now=5.0)[1].backend is not sick for _ in range(20))


def test_where_no_second_attempt_is_allowed_there_is_no_trial() -> None:
    pool, sick = ejected(retries=RetryPolicy(attempts=1))

    assert begin(pool, now=5.0)[1].backend is not sick


@pytest.mark.parametrize(
    "outcome", [REFUSED, RESET, TIMED_OUT, UNAVAILABLE, answered(500, False), answered(502, False)]
)
@pytest.mark.parametrize("retries", [RetryPolicy(), NO_BUDGET, RetryPolicy(on=())])
def test_a_failed_trial_costs_the_client_nothing(outcome: Outcome, retries: RetryPolicy) -> None:
    """The trial was our wish: it is tried elsewhere whatever failed it, and neither `on` nor the budget forbid that."""
    pool, sick = ejected(retries=retries)
    dispatch, _ = begin(pool, now=5.0)

    second = attempt(dispatch.report(outcome, 5.1))

    assert second.backend is not sick
    assert BreakerState.OPEN is sick.breaker.state


@pytest.mark.parametrize("status", [200, 404])
def test_a_trial_that_the_backend_answers_goes_to_the_client(status: int) -> None:
    pool, _ = ejected()
    dispatch, _ = begin(pool, now=5.0)

    assert RELAY == dispatch.report(answered(status, False), 5.1)


def test_good_trials_bring_a_backend_back() -> None:
    pool, sick = ejected()

    for now in (5.0, 5.1):
        dispatch, first = begin(pool, now=now)
        assert first.backend is sick
        dispatch.report(OK, now)
        dispatch.finish(OK, now)

    assert sick.breaker.is_closed


def test_a_trial_whose_answer_never_ends_does_not_keep_its_backend_out() -> None:
    """A stream of events, a WebSocket: the answer's head is the verdict."""
    pool, sick = ejected()

    for now in (5.0, 5.1):
        dispatch, _ = begin(pool, now=now)
        dispatch.report(OK, now)

    assert (True, 2) == (sick.breaker.is_closed, sick.in_flight)


def test_what_was_a_trial_counts_as_any_other_once_its_answer_has_begun() -> None:
    pool, sick = ejected()
    streams = [begin(pool, now=now)[0] for now in (5.0,)]
    streams[0].report(OK, 5.0)
    streams += [begin(pool, now=5.1)[0]]
    streams[1].report(OK, 5.1)

    for stream in streams:
        stream.finish(BROKEN_OFF, 9.0)

    assert 1 == sick.breaker.consecutive
    assert 0 == sick.in_flight


def test_a_client_that_leaves_in_a_trial_decides_nothing_and_frees_its_place() -> None:
    pool, sick = ejected()
    dispatch, _ = begin(pool, now=5.0)

    dispatch.abandon(5.1)

    assert BreakerState.HALF_OPEN is sick.breaker.state
    assert begin(pool, now=5.2)[1].backend is sick


def test_a_trial_on_a_stale_connection_is_made_elsewhere_and_decides_nothing() -> None:
    pool, sick = ejected()
    dispatch, _ = begin(pool, now=5.0)

    assert attempt(dispatch.report(STALE, 5.1)).backend is not sick
    assert BreakerState.HALF_OPEN is sick.breaker.state
