from __future__ import annotations

import pytest

from proxy.core.limits.waiting import WaitingPolicy
from proxy.core.messages import BackendState
from proxy.core.pools.pool import SCOUT_EVERY, Pool
from proxy.core.requests.decisions import RELAY, Attempt, Refuse, Wait
from proxy.core.requests.retry import Outcome, RetryPolicy
from proxy.core.settings import BackendSettings, HoldPolicy
from proxy.core.wire.http1 import RequestHead
from proxy.errors import ErrorKind
from tests.core.pools import (
    DOWN,
    GET,
    MAINT,
    NOWHERE,
    OK,
    POST,
    REFUSED,
    RESET,
    TIMED_OUT,
    UNAVAILABLE,
    UNREACHED,
    attempt,
    begin,
    ejected,
    make_dispatch,
    make_pool,
    refusal,
    serve,
)


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


def test_a_backend_that_takes_the_request_ends_the_outage_even_if_it_fails_it() -> None:
    """It can be reached: what fails now is that request's own matter."""
    pool = make_pool(1)
    dispatch, _ = begin(pool)
    dispatch.report(REFUSED, 0.0)
    attempt(dispatch.resume(SCOUT_EVERY))

    dispatch.report(RESET, 0.1)

    assert pool.failing_at is None


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
    full = make_pool([BackendSettings("b0", NOWHERE, max_in_flight=1)], waiting=WaitingPolicy(max_requests=0))
    full.heed({("app", "b0"): MAINT}, 10.0)
    dispatch = make_dispatch(full)
    assert isinstance(dispatch.start(10.0), Wait)

    full.heed({("app", "b0"): BackendState()}, 10.1)
    begin(full, now=10.1)

    assert 503 == refusal(dispatch.resume(10.1)).status
    assert (0, 0) == (full.holding, pool.holding)


def test_what_we_lack_ourselves_is_no_outage() -> None:
    """Out of descriptors, no Backend can be reached; each of them may be as well as ever."""
    pool = make_pool(1)
    dispatch = make_dispatch(pool)
    decision, now = dispatch.start(10.0), 10.0
    while not isinstance(decision, Refuse):
        if isinstance(decision, Wait):
            now += decision.seconds
            decision = dispatch.resume(now)
        else:
            decision = dispatch.report(Outcome(ErrorKind.CONNECTION_LIMIT_REACHED), now)

    assert (503, pool.settings.retries.attempts) == (decision.status, dispatch.attempts)
    assert not pool.is_out(now)
    assert isinstance(make_dispatch(pool).start(now), Attempt)


def test_a_request_whose_body_grew_too_large_to_keep_while_it_waited_waits_no_longer() -> None:
    pool = lost()
    dispatch = make_dispatch(pool)
    assert isinstance(dispatch.start(10.0), Wait)

    dispatch.replayable = False

    assert 503 == refusal(dispatch.resume(10.1)).status
    assert 0 == pool.holding


def test_a_request_of_which_nothing_was_sent_asks_everybody_before_it_fails_whatever_attempts_says() -> None:
    """The first requests in an outage of six Backends got 502 after three of them: nobody knew yet that all were gone."""
    pool = make_pool(6)

    decision = serve(pool, 0.0, lambda backend: REFUSED)

    assert isinstance(decision, Wait)
    assert [1] * 6 == [backend.requests for backend in pool.backends]
    assert 0.0 == pool.outage_began()


def test_it_asks_for_no_longer_than_hold_lasts() -> None:
    pool = make_pool(6, hold=HoldPolicy(1.0))
    dispatch, _ = begin(pool)

    decisions = [dispatch.report(UNREACHED, now) for now in (0.9, 1.5, 1.9)]

    assert [Attempt, Attempt, Refuse] == [type(decision) for decision in decisions]


@pytest.mark.parametrize("second", [RESET, TIMED_OUT, UNAVAILABLE])
def test_once_something_was_sent_attempts_ends_it(second: Outcome) -> None:
    pool = make_pool(6, retries=RetryPolicy(on=("connect", "reset", "timeout", "503")))
    dispatch, _ = begin(pool)
    attempt(dispatch.report(REFUSED, 0.0))
    attempt(dispatch.report(second, 0.0))

    assert not isinstance(dispatch.report(REFUSED, 0.0), Attempt)


def test_a_pool_that_holds_nobody_ends_after_its_attempts() -> None:
    pool = make_pool(6, hold=HoldPolicy(0.0))

    assert 502 == refusal(serve(pool, 0.0, lambda backend: REFUSED)).status
    assert 3 == sum(backend.requests for backend in pool.backends)


def test_a_held_request_whose_time_is_over_goes_to_nobody_even_if_somebody_is_back() -> None:
    pool = lost()
    dispatch = make_dispatch(pool)
    assert isinstance(dispatch.start(10.0), Wait)
    pool.heed({backend.key: BackendState() for backend in pool.backends}, 10.1)
    dispatch.replayable = False

    assert "no" != refusal(dispatch.resume(10.2)).executed
    assert (0, True) == (pool.holding, dispatch.is_settled)
    assert [0, 0] == [backend.requests for backend in pool.backends]


def test_a_request_that_can_not_be_sent_any_more_is_not_held() -> None:
    pool = lost()
    dispatch = make_dispatch(pool)
    dispatch.replayable = False

    assert ErrorKind.DESTINATION_UNAVAILABLE is refusal(dispatch.start(10.0)).kind
    assert 0 == pool.holding
