from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from proxy.core.breaker import BreakerState
from proxy.core.dispatch import RELAY, RETRY_AFTER, Attempt, Dispatch, Refuse, Relay, Wait
from proxy.core.health import HealthState
from proxy.core.http1 import RequestHead
from proxy.core.messages import AdminState, BackendState
from proxy.core.model import Backend
from proxy.core.pool import SCOUT_EVERY, Pool
from proxy.core.retry import Outcome, Progress, RetryPolicy, answered
from proxy.core.settings import BackendSettings, HoldPolicy
from proxy.errors import ErrorKind
from tests.core.pools import (
    BROKEN_OFF,
    GET,
    NOWHERE,
    OK,
    PARTLY_RESET,
    POST,
    REFUSED,
    RESET,
    STALE,
    TIMED_OUT,
    UNAVAILABLE,
    UNREACHED,
    attempt,
    make_dispatch,
    make_pool,
    members,
    request,
    serve,
    trip,
)

DOWN = BackendState(health=HealthState.DOWN)
MAINT = BackendState(admin=AdminState.MAINT)
NO_BUDGET = RetryPolicy(budget=0.0, budget_min=0.0)
POST_HANDED_OVER = [RESET, PARTLY_RESET, TIMED_OUT, STALE, BROKEN_OFF, UNAVAILABLE]


def begin(pool: Pool, head: RequestHead = GET, now: float = 0.0) -> tuple[Dispatch, Attempt]:
    """A request whose first Attempt is under way."""
    dispatch = make_dispatch(pool, head)
    return dispatch, attempt(dispatch.start(now))


def refusal(decision: object) -> Refuse:
    assert isinstance(decision, Refuse), decision
    return decision


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
    assert 1 == pool.counts().unknown_outcomes


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


def test_where_all_are_full_it_is_503_at_once() -> None:
    """Nobody was lost, so there is nothing to wait for."""
    pool = make_pool(members(2, max_in_flight=1))
    begin(pool)
    begin(pool)

    assert 503 == refusal(make_dispatch(pool).start(0.0)).status


# Trials


def ejected(number: int = 2, **changes: object) -> tuple[Pool, Backend]:
    pool = make_pool(number, **changes)
    trip(pool.backends[0])
    return pool, pool.backends[0]


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


# Hold


def lost(number: int = 2, **changes: object) -> Pool:
    """A pool whose Backends have all just gone into maint, at time 10."""
    pool = make_pool(number, **changes)
    pool.heed({backend.key: MAINT for backend in pool.backends}, 10.0)
    return pool


def test_while_a_pool_has_just_lost_its_last_backend_requests_wait() -> None:
    pool = lost()

    assert isinstance(make_dispatch(pool).start(10.5), Wait)
    assert (1, 1) == (pool.holding, pool.counts().held)


def test_they_wait_for_no_longer_than_hold_says() -> None:
    pool = lost()
    dispatch = make_dispatch(pool)
    dispatch.start(10.5)

    now = 10.5
    while isinstance(decision := dispatch.resume(now), Wait):
        now += decision.seconds
        assert now < 11.1

    assert 503 == refusal(decision).status
    assert now >= 11.0
    assert 0 == pool.holding


def test_who_comes_later_does_not_wait() -> None:
    assert 503 == refusal(make_dispatch(lost()).start(11.0)).status


def test_as_soon_as_a_backend_is_back_they_go_on() -> None:
    pool = lost()
    dispatch = make_dispatch(pool)
    dispatch.start(10.0)

    pool.heed({("app", "b1"): BackendState()}, 10.3)

    assert "b1" == attempt(dispatch.resume(10.3)).backend.name
    assert 0 == pool.holding


def test_no_more_wait_than_hold_says() -> None:
    pool = lost(hold=HoldPolicy(max_requests=2))

    decisions = [make_dispatch(pool).start(10.0) for _ in range(3)]

    assert [Wait, Wait, Refuse] == [type(decision) for decision in decisions]


def test_a_client_that_leaves_while_it_waits_makes_room() -> None:
    pool = lost()
    dispatch = make_dispatch(pool)
    dispatch.start(10.0)

    dispatch.abandon(10.1)

    assert 0 == pool.holding


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("head", [GET, POST])
def test_a_request_that_finds_every_backend_gone_waits_too(number: int, head: RequestHead) -> None:
    """Before any verdict has been passed, and also where its Attempts are used up: nothing was sent."""
    pool = make_pool(number)

    assert isinstance(serve(pool, 1.0, lambda _: REFUSED, head), Wait)
    assert 1 == pool.holding


def test_it_goes_on_when_a_backend_takes_connections_again() -> None:
    pool = make_pool(2)
    dispatch, _ = begin(pool)
    attempt(dispatch.report(REFUSED, 0.0))
    assert isinstance(dispatch.report(REFUSED, 0.0), Wait)

    scout = attempt(dispatch.resume(SCOUT_EVERY))

    assert 3 == scout.number
    assert RELAY == dispatch.report(OK, 0.1)
    assert pool.failing_at is None


def test_those_that_look_try_also_what_is_out() -> None:
    """An ejected Backend may be well long before its time is over."""
    pool, out = ejected()
    make_dispatch(pool).start(0.0)
    waiting = [make_dispatch(pool, POST) for _ in range(4)]
    pool.note_outage(0.0, 0.0)
    for dispatch in waiting:
        assert isinstance(dispatch.start(0.0), Wait)

    looked = [dispatch.resume(SCOUT_EVERY * (1 + number)) for number, dispatch in enumerate(waiting)]

    assert out in [attempt(decision).backend for decision in looked]


def test_a_request_waits_no_longer_than_hold_says_however_many_outages_follow() -> None:
    pool = make_pool(1)
    dispatch, _ = begin(pool)
    assert isinstance(dispatch.report(REFUSED, 0.0), Wait)

    for now in (0.2, 0.4, 0.6, 0.8):
        pool.end_outage(now)
        attempt(dispatch.resume(now))
        assert isinstance(dispatch.report(REFUSED, now), Wait)
    pool.end_outage(1.0)
    attempt(dispatch.resume(1.0))

    assert isinstance(dispatch.report(REFUSED, 1.0), Refuse)
    assert (1, 0) == (pool.counts().held, pool.holding)


def test_only_one_of_those_that_wait_looks_at_a_time() -> None:
    pool = make_pool(1)
    waiting = []
    for _ in range(5):
        dispatch = make_dispatch(pool)
        decision = dispatch.start(0.0)
        if isinstance(decision, Attempt):
            decision = dispatch.report(REFUSED, 0.0)
        assert isinstance(decision, Wait)
        waiting.append(dispatch)

    decisions = [dispatch.resume(SCOUT_EVERY) for dispatch in waiting]

    assert 1 == sum(isinstance(decision, Attempt) for decision in decisions)


def test_an_answer_that_has_only_begun_ends_the_outage() -> None:
    """Its body may take minutes."""
    pool = make_pool(1)
    dispatch, _ = begin(pool)
    dispatch.report(REFUSED, 0.0)
    attempt(dispatch.resume(SCOUT_EVERY))

    dispatch.report(OK, 0.1)

    assert isinstance(make_dispatch(pool).start(0.1), Attempt)


def test_late_news_of_an_outage_that_is_over_begins_no_new_one() -> None:
    """Connections begun in it time out long after a Backend has answered."""
    pool = make_pool(1)
    late, _ = begin(pool)
    early, _ = begin(pool)
    assert isinstance(early.report(REFUSED, 0.1), Wait)
    attempt(early.resume(0.2))
    early.report(OK, 0.3)

    assert isinstance(late.report(UNREACHED, 1.0), Wait)

    assert pool.failing_at is None
    assert attempt(late.resume(1.1)).backend is pool.backends[0]


def test_an_outage_that_follows_long_after_the_probes_verdict_has_its_own_time_to_wait() -> None:
    """In panic all may be well, though probes fail for hours."""
    pool = make_pool(1)
    pool.heed({("app", "b0"): DOWN}, 0.0)

    dispatch, _ = begin(pool, now=5000.0)

    assert isinstance(dispatch.report(REFUSED, 5000.0), Wait)


def test_while_an_outage_lasts_new_requests_are_refused_at_once_but_for_one_that_looks() -> None:
    pool = make_pool(1)
    dispatch, _ = begin(pool)
    dispatch.report(REFUSED, 0.0)

    decisions = [make_dispatch(pool).start(5.0) for _ in range(3)]

    assert [Attempt, Refuse, Refuse] == [type(decision) for decision in decisions]


@pytest.mark.parametrize("outcome", [RESET, TIMED_OUT])
def test_a_read_that_was_sent_does_not_wait_when_its_attempts_are_used_up(outcome: Outcome) -> None:
    """Each Attempt may have cost a Backend as much as it will ever cost: `attempts` is the limit."""
    pool = make_pool(2, retries=RetryPolicy(attempts=2))
    pool.heed({backend.key: DOWN for backend in pool.backends}, 0.0)

    assert 502 <= refusal(serve(pool, 0.0, lambda _: outcome)).status


def test_a_write_that_was_sent_never_waits() -> None:
    pool = make_pool(2)
    pool.heed({backend.key: DOWN for backend in pool.backends}, 0.0)

    assert "unknown" == refusal(serve(pool, 0.0, lambda _: RESET, POST)).executed


def test_a_wait_that_ends_with_all_backends_full_is_a_refusal() -> None:
    pool = lost(1, hold=HoldPolicy())
    full = make_pool([BackendSettings("b0", NOWHERE, max_in_flight=1)])
    full.heed({("app", "b0"): MAINT}, 10.0)
    dispatch = make_dispatch(full)
    assert isinstance(dispatch.start(10.0), Wait)

    full.heed({("app", "b0"): BackendState()}, 10.1)
    begin(full, now=10.1)

    assert 503 == refusal(dispatch.resume(10.1)).status
    assert (0, 0) == (full.holding, pool.holding)


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
