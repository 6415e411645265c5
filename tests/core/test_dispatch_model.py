"""Many requests on one Pool, whose Attempts end in any order and any way, while Backends come and go."""

from __future__ import annotations

import random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from proxy.core.limits.concurrency import ConcurrencyPolicy
from proxy.core.limits.waiting import Priority, WaitingPolicy
from proxy.core.messages import AdminState, BackendState
from proxy.core.pools.breaker import BreakerPolicy, BreakerState
from proxy.core.pools.health import HealthState
from proxy.core.pools.model import Backend
from proxy.core.requests.decisions import HEDGE_LOST, Attempt, Decision, Refuse, Relay, Wait
from proxy.core.requests.dispatch import Dispatch
from proxy.core.requests.hedging import HedgeAfter, HedgePolicy
from proxy.core.requests.retry import Outcome, Progress, RetryPolicy, answered
from proxy.core.settings import BackendSettings, HoldPolicy
from proxy.errors import ErrorKind
from tests.core.pools import GET, NOWHERE, POST, STALE, make_pool, request

FAILURES = [
    *(
        Outcome(kind, progress=Progress.NOT_SENT)
        for kind in (ErrorKind.CONNECTION_REFUSED, ErrorKind.CONNECTION_TIMEOUT)
    ),
    *(
        Outcome(kind, progress=progress)
        for kind in (ErrorKind.CONNECTION_TERMINATED, ErrorKind.HTTP_RESPONSE_TIMEOUT, ErrorKind.HTTP_PROTOCOL_ERROR)
        for progress in (Progress.PARTLY_SENT, Progress.SENT, Progress.ANSWERED)
    ),
    STALE,
]
ANSWERS = [answered(status, False) for status in (200, 404, 500, 503)]
HEADS = [GET, POST, request("PUT", "/", "Content-Length: 5")]
ATTEMPTS = 3
HOLDING = 3
WAITING = 2


class Running:
    """One request, and what must be true of it."""

    def __init__(self, dispatch: Dispatch, *, idempotent: bool) -> None:
        self.dispatch = dispatch
        self.idempotent = idempotent
        self.decision: Decision = Relay()
        self.sent_to: list[Backend] = []
        self.unsent = 0
        """Attempts that reached nobody."""
        self.reached = 0
        """Attempts that may have reached a Backend."""


class DispatchMachine(RuleBasedStateMachine):
    """Each rule is something that can happen to one request, or to the Pool."""

    requests: Bundle[Running] = Bundle("requests")

    @initialize(
        balance=st.sampled_from(["round_robin", "least_requests", "peak_ewma", "random", "hash"]),
        tiers=st.lists(st.integers(1, 2), min_size=1, max_size=4),
        most=st.none() | st.integers(1, 3),
        limit=st.none() | st.integers(1, 4),
        has_priorities=st.booleans(),
        seed=st.integers(),
    )
    def begin(
        self,
        *,
        balance: str,
        tiers: list[int],
        most: int | None,
        limit: int | None,
        has_priorities: bool,
        seed: int,
    ) -> None:
        backends = [BackendSettings(f"b{n}", NOWHERE, tier=tier, max_in_flight=most) for n, tier in enumerate(tiers)]
        self.pool = make_pool(
            backends,
            balance=balance,
            breaker=BreakerPolicy(consecutive=2, open_for=1.0, min_requests=4),
            retries=RetryPolicy(attempts=ATTEMPTS, budget=0.5, budget_min=0.1),
            hold=HoldPolicy(max_requests=HOLDING),
            waiting=WaitingPolicy(max_requests=WAITING, max_wait=0.5),
            concurrency=None if limit is None else ConcurrencyPolicy(min_limit=1, max_limit=limit),
            hedge=HedgePolicy(HedgeAfter(seconds=0.1)),
            has_priorities=has_priorities,
        )
        self.rng = random.Random(seed)
        self.now = 0.0
        self.open: list[Running] = []

    # What can happen

    @rule(seconds=st.sampled_from([0.01, 0.05, 0.3, 1.0, 5.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(
        number=st.integers(0, 3),
        admin=st.sampled_from([AdminState.READY, AdminState.READY, *AdminState]),
        health=st.sampled_from([HealthState.UP, HealthState.UP, *HealthState]),
        weight=st.sampled_from([None, None, 0, 3]),
    )
    def a_snapshot_comes(self, number: int, admin: AdminState, health: HealthState, weight: int | None) -> None:
        backend = self.pool.backends[number % len(self.pool.backends)]
        self.pool.heed({backend.key: BackendState(admin, health, weight)}, self.now)

    @rule(target=requests, head=st.sampled_from(HEADS), priority=st.sampled_from(Priority))
    def a_request_comes(self, head: object, priority: Priority) -> Running:
        dispatch = Dispatch(self.pool, head, self.rng)
        dispatch.priority = priority
        one = Running(dispatch, idempotent=head.idempotent)
        self.open.append(one)
        self._take(one, dispatch.start(self.now))
        return one

    @rule(target=requests, one=consumes(requests), outcome=st.sampled_from(FAILURES + ANSWERS), is_whole=st.booleans())
    def an_attempt_ends(self, one: Running, outcome: Outcome, is_whole: bool) -> object:  # noqa: FBT001
        if not isinstance(one.decision, Attempt):
            return one
        if one.dispatch.rival is not None:
            one.dispatch.drop(one.dispatch.rival, HEDGE_LOST, self.now)
        one.dispatch.replayable &= is_whole
        if outcome.progress is Progress.NOT_SENT:
            one.unsent += 1
        else:
            one.reached += 1
        self._take(one, one.dispatch.report(outcome, self.now))
        return self._unless_over(one)

    @rule(one=requests)
    def a_slow_read_is_sent_to_another_one_too(self, one: Running) -> None:
        if not isinstance(one.decision, Attempt) or one.dispatch.rival is not None or not one.idempotent:
            return
        first = one.dispatch.attempt
        chosen = one.dispatch.hedge(self.now)
        if isinstance(chosen, Attempt):
            assert first is one.dispatch.attempt
            assert chosen.backend is not first.backend
            assert not chosen.ticket.is_trial
            self._check_attempt(one, chosen)
            one.sent_to.append(chosen.backend)
            one.reached += 1

    @rule(one=requests, outcome=st.sampled_from([*FAILURES, HEDGE_LOST]), is_first=st.booleans())
    def one_of_two_fails_or_loses(self, one: Running, outcome: Outcome, is_first: bool) -> None:  # noqa: FBT001
        rival = one.dispatch.rival
        if rival is not None:
            one.dispatch.drop(one.dispatch.attempt if is_first else rival, outcome, self.now)
            one.decision = one.dispatch.attempt

    @rule(target=requests, one=consumes(requests), outcome=st.sampled_from(FAILURES[2:] + ANSWERS))
    def an_answer_was_passed_on(self, one: Running, outcome: Outcome) -> object:
        if not isinstance(one.decision, Relay):
            return one
        one.dispatch.finish(outcome, self.now)
        self.open.remove(one)
        return multiple()

    @rule(target=requests, one=consumes(requests))
    def a_wait_ends(self, one: Running) -> object:
        if not isinstance(one.decision, Wait):
            return one
        self.now += one.decision.seconds
        self._take(one, one.dispatch.resume(self.now))
        return self._unless_over(one)

    @rule(one=consumes(requests))
    def a_client_leaves(self, one: Running) -> None:
        one.dispatch.abandon(self.now)
        self.open.remove(one)

    @rule(number=st.integers(0, 3), state=st.sampled_from([BreakerState.OPEN, BreakerState.CLOSED]))
    def another_worker_tells(self, number: int, state: BreakerState) -> None:
        backend = self.pool.backends[number % len(self.pool.backends)]
        if state is BreakerState.CLOSED or self.pool.may_eject(backend, self.now):
            backend.breaker.follow(state, self.now + 1.0, "news", self.now)

    # What must be true

    def _take(self, one: Running, decision: Decision) -> None:
        one.decision = decision
        if isinstance(decision, Attempt):
            self._check_attempt(one, decision)
            one.sent_to.append(decision.backend)
        if isinstance(decision, Refuse) and not one.idempotent:
            assert decision.executed == ("unknown" if one.reached else "no")

    def _check_attempt(self, one: Running, attempt: Attempt) -> None:
        assert attempt.backend.admin is AdminState.READY
        assert attempt.backend.weight > 0
        assert attempt.backend.max_in_flight is None or attempt.backend.in_flight <= attempt.backend.max_in_flight
        assert one.idempotent or not one.reached, "a write was sent twice"
        assert one.reached < ATTEMPTS, "more Attempts than the policy allows"
        assert not one.sent_to or one.dispatch.replayable, "sent again without its body"

    def _unless_over(self, one: Running) -> object:
        if isinstance(one.decision, Refuse):
            self.open.remove(one)
            return multiple()
        return one

    @invariant()
    def what_is_in_flight_is_what_has_not_ended(self) -> None:
        if hasattr(self, "pool"):
            attempts = [x for one in self.open for x in (one.dispatch.attempt, one.dispatch.rival) if x is not None]
            expected = [attempt.backend for attempt in attempts]
            assert {b.name: expected.count(b) for b in self.pool.backends} == {
                b.name: b.in_flight for b in self.pool.backends
            }

    @invariant()
    def every_trial_that_runs_is_that_of_an_attempt(self) -> None:
        if hasattr(self, "pool"):
            for backend in self.pool.backends:
                tickets = [
                    one.dispatch.attempt.ticket
                    for one in self.open
                    if one.dispatch.attempt is not None and one.dispatch.attempt.backend is backend
                ]
                running = sum(t.is_trial and t.generation == backend.breaker.generation for t in tickets)
                assert running == backend.breaker._trials_running

    @invariant()
    def those_that_wait_are_counted_and_bounded(self) -> None:
        if hasattr(self, "pool"):
            assert sum(one.dispatch._held_until is not None for one in self.open) == self.pool.holding <= HOLDING

    @invariant()
    def those_that_wait_for_a_place_are_bounded_and_each_has_one_place_at_most(self) -> None:
        gate = self.pool.gate if hasattr(self, "pool") else None
        if gate is not None:
            waiters = [one.dispatch._waiter for one in self.open if one.dispatch._waiter is not None]
            assert gate.called == sum(waiter.is_called for waiter in waiters)
            # Who was called in vain is let in again, whoever came meanwhile.
            assert (
                len(gate.line) == sum(not waiter.is_over for waiter in waiters) <= WAITING + len(waiters) - gate.called
            )

    @invariant()
    def every_attempt_was_counted_once(self) -> None:
        if hasattr(self, "pool"):
            for backend in self.pool.backends:
                assert backend.requests == backend.in_flight + sum(backend.duration_buckets)

    def teardown(self) -> None:
        """Whatever happened: when everybody has left, nothing is in flight, waits, or is on trial."""
        if hasattr(self, "pool"):
            for one in self.open:
                one.dispatch.abandon(self.now)
            assert (0, 0) == (self.pool.holding, self.pool.strain.waiting)
            assert [(0, 0)] * len(self.pool.backends) == [
                (backend.in_flight, backend.breaker._trials_running) for backend in self.pool.backends
            ]


TestDispatch = DispatchMachine.TestCase
TestDispatch.settings = settings(max_examples=150, stateful_step_count=50)
