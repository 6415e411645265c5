"""Requests of an active-passive pool while the active Backend fails and a failover is to be expected."""

from __future__ import annotations

import pytest

from proxy.core.messages import BackendState
from proxy.core.pools.active import FailoverPolicy
from proxy.core.pools.pool import Pool
from proxy.core.requests.decisions import RELAY, Wait
from proxy.core.requests.retry import Outcome
from proxy.core.settings import BackendSettings
from proxy.core.wire.http1 import RequestHead
from tests.core.pools import (
    GET,
    NOWHERE,
    OK,
    POST,
    RESET,
    UNAVAILABLE,
    attempt,
    make_dispatch,
    make_pool,
    refusal,
    trip,
)

ACTIVE, STANDBY, DOWN = BackendState(), BackendState(standby=True), BackendState(standby=True, damped_until=1e9)


def pair(policy: FailoverPolicy | None = None, standby: BackendState = STANDBY) -> Pool:
    """`a` is active, `b` stands by."""
    backends = [BackendSettings(name, NOWHERE) for name in "ab"]
    pool = make_pool(backends, failover=policy or FailoverPolicy())
    tell(pool, 0.0, a=ACTIVE, b=standby)
    return pool


def tell(pool: Pool, now: float, **states: BackendState) -> None:
    pool.heed({("app", name): state for name, state in states.items()}, now)


def switch(pool: Pool, now: float) -> None:
    tell(pool, now, a=STANDBY, b=ACTIVE)


@pytest.mark.parametrize("outcome", [RESET, UNAVAILABLE])
def test_a_read_that_fails_waits_for_the_failover_however_often_it_was_tried(outcome: Outcome) -> None:
    pool = pair()
    dispatch = make_dispatch(pool)
    dispatch.start(0.0)
    now = 0.0
    for _ in range(4):
        decision = dispatch.report(outcome, now + 0.01)
        assert isinstance(decision, Wait)
        now += 0.01 + decision.seconds
        assert "a" == attempt(dispatch.resume(now)).backend.name
    switch(pool, now)

    assert "b" == attempt(dispatch.report(outcome, now + 0.01)).backend.name
    assert RELAY is dispatch.report(OK, now)


def test_it_does_not_wait_for_longer_than_a_hold() -> None:
    pool = pair()
    dispatch = make_dispatch(pool)
    dispatch.start(0.0)
    decision = dispatch.report(UNAVAILABLE, 0.1)
    assert isinstance(decision, Wait)
    attempt(dispatch.resume(0.2))
    dispatch.report(UNAVAILABLE, 0.3)
    attempt(dispatch.resume(0.4))

    assert RELAY is dispatch.report(UNAVAILABLE, 1.2), "the last real answer goes to the client"


@pytest.mark.parametrize("pool", [pair(FailoverPolicy(automatic=False)), pair(standby=DOWN)])
def test_where_no_failover_is_to_be_expected_it_does_not_wait(pool: Pool) -> None:
    dispatch = make_dispatch(pool)
    dispatch.start(0.0)

    assert RELAY is dispatch.report(UNAVAILABLE, 0.1)


def test_in_a_switch_by_hand_it_waits_as_well() -> None:
    """Nobody is active: somebody soon will be."""
    pool = pair(FailoverPolicy(automatic=False))
    dispatch = make_dispatch(pool)
    dispatch.start(0.0)
    tell(pool, 0.1, a=STANDBY, b=STANDBY)

    assert isinstance(dispatch.report(RESET, 0.2), Wait)


def test_while_a_failover_is_awaited_one_read_at_a_time_looks_if_the_active_one_is_back() -> None:
    pool = pair()
    trip(pool.backends[0], 10.0)
    pool.touch()
    pool.available(10.0)
    first, second = make_dispatch(pool), make_dispatch(pool)

    assert pool.scouts_only
    assert not pool.panic
    assert "a" == attempt(first.start(10.0)).backend.name
    assert isinstance(second.start(10.01), Wait)


def test_what_cannot_be_repeated_looks_for_nobody_then() -> None:
    pool = pair()
    trip(pool.backends[0], 10.0)
    pool.touch()
    pool.available(10.0)
    dispatch = make_dispatch(pool, POST)

    assert isinstance(dispatch.start(10.0), Wait)
    assert isinstance(dispatch.resume(10.1), Wait)
    switch(pool, 10.2)
    assert "b" == attempt(dispatch.resume(10.2)).backend.name


@pytest.mark.parametrize("head", [GET, POST])
def test_a_failover_that_does_not_come_is_not_awaited_for_ever(head: RequestHead) -> None:
    """After the hold, who is out is tried all the same: that is panic."""
    pool = pair()
    trip(pool.backends[0], 10.0)
    pool.touch()
    pool.available(10.0)

    assert "a" == attempt(make_dispatch(pool, head).start(11.1)).backend.name
    assert pool.panic


def test_another_active_one_ends_the_outage_of_the_one_before() -> None:
    pool = pair()
    pool.note_outage(0.0, 0.0)
    assert pool.scouts_only

    switch(pool, 0.1)

    assert not pool.scouts_only
    assert pool.outage_began() is None


def test_a_probe_stands_for_a_trial_of_who_stands_by() -> None:
    pool = pair()
    standby = pool.backends[1]
    trip(standby, 0.0)

    for _ in range(2):
        pool.probe_passed(standby, 100.0)

    assert standby.breaker.is_closed


def test_when_no_failover_is_to_be_expected_any_more_what_was_sent_is_not_held() -> None:
    pool = pair()
    dispatch = make_dispatch(pool)
    dispatch.start(0.0)
    decision = dispatch.report(RESET, 0.1)
    assert isinstance(decision, Wait)
    tell(pool, 0.11, a=STANDBY, b=DOWN)
    tell(pool, 0.12, a=BackendState(standby=True, damped_until=1e9))

    assert 502 == refusal(dispatch.resume(0.2)).status
