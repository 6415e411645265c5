"""Promises of `proxy.core.limits.crowded`: where one Backend fails and the others are well, but full."""

from __future__ import annotations

import random

import pytest

from proxy.core.limits.crowded import has_full, with_room
from proxy.core.pools.counts import SIZE, SharedCounts, used_rows
from proxy.core.pools.pool import Pool
from proxy.core.requests.decisions import RELAY, Attempt, Refuse, Wait
from proxy.core.requests.dispatch import Dispatch
from proxy.core.requests.retry import Outcome
from proxy.core.settings import HoldPolicy
from proxy.core.wire.http1 import RequestHead
from tests.core.pools import GET, OK, POST, REFUSED, RESET, begin, make_pool, members


class Crowded:
    """Two Backends that take one request each: one has a long one, the other has just failed this one."""

    def __init__(self, outcome: Outcome = REFUSED, head: RequestHead = GET, **policies: object) -> None:
        self.pool: Pool = make_pool(members(2, max_in_flight=1), **policies)
        self.first, busy = begin(self.pool)
        self.dispatch, failed = begin(self.pool, head, 0.1)
        self.well, self.failed = busy.backend, failed.backend
        self.decision = self.dispatch.report(outcome, 0.2)

    def wait(self, dispatch: Dispatch, until: float, now: float = 0.2) -> float:
        """Go on for as long as it has to wait, at most until then."""
        while isinstance(self.decision, Wait) and now < until:
            now += max(0.001, self.decision.seconds)
            self.decision = dispatch.resume(now)
        return now


@pytest.mark.parametrize(("outcome", "head"), [(REFUSED, GET), (REFUSED, POST), (RESET, GET)])
def test_who_has_failed_on_one_backend_waits_for_the_one_that_is_full(outcome: Outcome, head: RequestHead) -> None:
    crowded = Crowded(outcome, head)
    now = crowded.wait(crowded.dispatch, 0.5)
    assert isinstance(crowded.decision, Wait)
    assert 1 == crowded.dispatch.attempts

    crowded.first.report(OK, now)
    crowded.first.finish(OK, now)
    now = crowded.wait(crowded.dispatch, 1.0, now)

    assert isinstance(crowded.decision, Attempt)
    assert crowded.decision.backend is crowded.well
    assert RELAY == crowded.dispatch.report(OK, now)
    crowded.dispatch.finish(OK, now)
    assert [0, 0] == [backend.in_flight for backend in crowded.pool.backends]


def test_a_pool_in_which_somebody_is_only_full_is_not_out() -> None:
    crowded = Crowded()
    crowded.pool.refresh(0.2)

    assert (None, False) == (crowded.pool.outage_began(), crowded.pool.panic)


def test_it_waits_no_longer_than_a_hold_and_then_asks_again_whom_it_can() -> None:
    crowded = Crowded(hold=HoldPolicy(duration=0.3))
    now = crowded.wait(crowded.dispatch, 9.0)

    assert isinstance(crowded.decision, Attempt)
    assert crowded.decision.backend is crowded.failed
    assert 0.5 <= now < 0.6


def test_without_a_hold_nobody_waits_for_who_is_full() -> None:
    crowded = Crowded(hold=HoldPolicy(duration=0.0))
    crowded.wait(crowded.dispatch, 9.0)

    assert isinstance(crowded.decision, Attempt | Refuse)


def test_a_write_that_may_have_been_executed_waits_for_nobody() -> None:
    crowded = Crowded(RESET, POST)

    assert isinstance(crowded.decision, Refuse)
    assert "unknown" == crowded.decision.executed


def test_a_place_that_another_worker_leaves_is_found() -> None:
    memory = memoryview(bytearray(SIZE))
    used_rows(memory)[0] = 2
    here, there = (
        Pool(make_pool(members(2, max_in_flight=1)).settings, 0.0, workers=2, counts=SharedCounts(memory, row))
        for row in (0, 1)
    )
    other, busy = begin(there)
    dispatch, failed = begin(here, now=0.1)
    assert failed.backend.name != busy.backend.name
    decision = dispatch.report(REFUSED, 0.2)
    assert isinstance(decision, Wait)
    assert isinstance(dispatch.resume(0.3), Wait)
    other.abandon(0.3)

    decision = dispatch.resume(0.4)

    assert isinstance(decision, Attempt)
    assert busy.backend.name == decision.backend.name
    dispatch.abandon(0.5)


def test_where_nothing_limits_a_pool_nobody_is_full() -> None:
    pool = make_pool(2)
    tried = pool.backends[:1]

    assert not has_full(pool, tried, 0.0)
    assert with_room(pool, tried, GET, 0.0, random.Random(0)) is None


def test_where_there_seemed_to_be_room_and_nobody_has_any_a_request_waits_for_its_turn() -> None:
    pool = make_pool(members(2, max_in_flight=1))
    for _ in pool.backends:
        begin(pool)
    pool.look_around(0.0)
    assert pool.gate is not None
    pool.gate.capacity = 3

    decision = Dispatch(pool, GET, random.Random(0)).start(0.0)

    assert isinstance(decision, Wait)
    assert decision.waiter is not None
    assert 1 == len(pool.gate.line)
