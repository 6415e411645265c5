"""A worker of a simulation: the real Dispatch and Pool carry each request; the timeline stands for network and clock."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import cast

from proxy.core.messages import BackendState, BreakerNews, Report
from proxy.core.pools.breaker import GOOD, BreakerState, Transition
from proxy.core.pools.model import Backend
from proxy.core.pools.pool import Pool
from proxy.core.requests.decisions import HEDGE_LOST, Attempt, Decision, Refuse, Relay, Wait
from proxy.core.requests.dispatch import Dispatch
from proxy.core.requests.fallback import StalePolicy, may_be_stale
from proxy.core.requests.retry import Outcome
from proxy.core.requests.stale import LastGood
from proxy.core.settings import Limits, PoolSettings
from proxy.core.wire.http1 import RequestHead
from proxy.core.wire.http1_answers import ResponseHead
from proxy.dataplane.unanswered import LONGEST
from tests.core.pools import BROKEN_OFF, STALE
from tests.sim.backends import ScriptedBackend
from tests.sim.timeline import Timeline

NOTICED = 0.001
"""Seconds until a worker knows that an idle connection was closed."""
UNNOTICED = 0.2
"""Seconds that the end of an outage may go unnoticed: every 50 ms one request looks, and one has to come first."""
PAGE = ResponseHead(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n", Limits())
numbers = count(1)


@dataclass
class Request:
    """One client's request and what came of it."""

    head: RequestHead
    begun: float
    streams: float = 0.0
    """Seconds that the body of its answer takes."""
    number: int = field(default_factory=lambda: next(numbers))
    ended: float | None = None
    status: int = 0
    """What the client got; 0: an answer that broke off, or nothing because it left."""
    executed: str | None = None
    """What the client was told of its execution."""
    has_left: bool = False
    broke_off: bool = False
    is_degraded: bool = False
    """Whether it got a kept answer."""
    attempts: int = 0
    tried: list[str] = field(default_factory=list)
    blame: str = ""
    """Why a failure could have been prevented."""

    @property
    def failed(self) -> bool:
        """Whether the client saw a failure that a Backend or we have made."""
        return not self.has_left and (self.status >= 500 or self.broke_off)


class Worker:
    """One worker process."""

    def __init__(
        self,
        number: int,
        settings: PoolSettings,
        backends: Mapping[str, ScriptedBackend],
        *,
        timeline: Timeline,
        rng: random.Random,
        workers: int,
        tell: Callable[[BreakerNews], None],
        stale: StalePolicy | None = None,
    ) -> None:
        self.number = number
        self.pool = Pool(settings, 0.0, workers=workers, listener=self._breaker_changed)
        self._settings = settings
        self._backends = backends
        self._timeline = timeline
        self._rng = rng
        self._tell = tell
        self._is_following = False
        self._idle: dict[str, list[tuple[int, float]]] = {name: [] for name in backends}
        self.requests: list[float] = []
        """When clients asked."""
        self.retries: list[float] = []
        """When the budget was drawn on."""
        self.last_good = None if stale is None else LastGood(stale)
        self.most_ejected = 0
        self.waiting: dict[Exchange, tuple[str, float]] = {}
        """Who waits for an answer's head, where and since when."""

    # What the supervisor says

    def heed(self, states: Mapping[tuple[str, str], BackendState]) -> None:
        self.pool.heed(states, self._timeline.now)

    def probe_passed(self, backend: str) -> None:
        self.pool.probe_passed(self.pool.by_name[backend], self._timeline.now)

    def follow(self, news: BreakerNews) -> None:
        backend = self.pool.by_name[news.backend]
        if news.state is BreakerState.OPEN and not self.pool.may_eject(backend, self._timeline.now):
            return
        self._is_following = True
        backend.breaker.follow(news.state, news.until, news.reason, self._timeline.now, outlier=news.outlier)
        self._is_following = False

    def _breaker_changed(self, backend: Backend, change: Transition) -> None:
        if change.after is BreakerState.OPEN:
            backend.breaker.jitter(self._rng)
        self.most_ejected = max(self.most_ejected, sum(not b.breaker.is_closed for b in self.pool.backends))
        if not self._is_following:
            until = backend.breaker.until if change.after is BreakerState.OPEN else 0.0
            self._tell(BreakerNews(self.number, *backend.key, change.after, until, change.reason, change.at))

    def _note_unanswered(self) -> None:
        """What `dataplane.unanswered` sees once a second."""
        for name, backend in self.pool.by_name.items():
            waits = [int(self._timeline.now - since) for where, since in self.waiting.values() if where == name]
            backend.unanswered = tuple(waits.count(seconds) for seconds in range(1, LONGEST + 1))

    def report(self) -> Report:
        self._note_unanswered()
        return Report(
            worker=self.number,
            pid=self.number,
            at=self._timeline.now,
            snapshot_version=1,
            connections=0,
            loop_lag=0.0,
            requests={},
            durations={},
            backends={backend.key: backend.counts(0) for backend in self.pool.backends},
            pools={self.pool.name: self.pool.counts()},
            refused={},
            client_aborts=0,
        )

    # Requests

    def ask(self, request: Request, patience: float | None = None) -> None:
        """A client asks, and leaves after so many seconds if it has no answer by then."""
        self.requests.append(self._timeline.now)
        exchange = Exchange(self, request)
        if patience is not None:
            self._timeline.after(patience, exchange.leave)
        exchange.begin()


class Exchange:
    """One request on its way through a worker."""

    def __init__(self, worker: Worker, request: Request) -> None:
        self._worker = worker
        self._timeline = worker._timeline
        self._request = request
        self._dispatch = Dispatch(worker.pool, request.head, worker._rng)
        self._backend: ScriptedBackend | None = None
        self._connection = 0
        self._budget_was_spent = False

    def begin(self) -> None:
        self._carry_out(self._dispatch.start(self._timeline.now))

    def leave(self) -> None:
        """The client goes away."""
        if self._request.ended is None:
            self._request.has_left = True
            self._forget()
            self._dispatch.abandon(self._timeline.now)
            self._end(0)

    def _carry_out(self, decision: Decision) -> None:
        if isinstance(decision, Attempt):
            self._send(decision)
        elif isinstance(decision, Wait):
            self._timeline.after(decision.seconds, self._resume)
        elif isinstance(decision, Refuse) and self._is_rescued(decision):
            self._end(200)
        elif isinstance(decision, Refuse):
            self._request.executed = decision.executed
            self._request.blame = self._who_could_have_answered()
            self._end(decision.status)

    def _is_rescued(self, refuse: Refuse) -> bool:
        """Whether a kept answer stands in."""
        memory, head = self._worker.last_good, self._request.head
        if memory is None or not may_be_stale(refuse.status, head.method):
            return False
        self._request.is_degraded = memory.find(head, b"http", self._timeline.now) is not None
        return self._request.is_degraded

    def _resume(self) -> None:
        if self._request.ended is None:
            self._carry_out(self._dispatch.resume(self._timeline.now))

    # One Attempt

    def _send(self, attempt: Attempt) -> None:
        worker, request, now = self._worker, self._request, self._timeline.now
        request.attempts += 1
        request.tried.append(attempt.backend.name)
        self._backend = backend = worker._backends[attempt.backend.name]
        generation = self._reuse(backend)
        if generation is not None and generation != backend.generation:
            self._await(0.0003, STALE)
            return
        self._connection = backend.generation
        timeouts = worker._settings.timeouts
        fate = backend.take(now, worker._rng, timeouts.connect, timeouts.first_byte)
        backend.executions[request.number] += fate.executed
        worker.waiting[self] = (backend.name, now)
        self._await(fate.delay, fate.outcome)
        hedging = worker.pool.hedging
        after = None if hedging is None or request.head.method != b"GET" else hedging.after(now)
        if after is not None and attempt.number == 1:
            self._timeline.after(after, partial(self._hedge, attempt))

    # A second Attempt beside a slow one

    def _hedge(self, first: Attempt) -> None:
        """The first one is slow: ask another Backend as well, over a new connection."""
        worker, request, now = self._worker, self._request, self._timeline.now
        if self._dispatch.attempt is not first or self._backend is None or request.ended is not None:
            return
        chosen = self._dispatch.hedge(now)
        if isinstance(chosen, Attempt):
            backend, timeouts = worker._backends[chosen.backend.name], worker._settings.timeouts
            fate = backend.take(now, worker._rng, timeouts.connect, timeouts.first_byte)
            backend.executions[request.number] += fate.executed
            self._timeline.after(fate.delay, partial(self._rival_ended, chosen, backend, fate.outcome))

    def _rival_ended(self, rival: Attempt, backend: ScriptedBackend, outcome: Outcome) -> None:
        """It wins if its answer is good; it is all there is if the first one has failed by now."""
        dispatch, now = self._dispatch, self._timeline.now
        if self._request.ended is not None or rival not in (dispatch.rival, dispatch.attempt):
            return
        if dispatch.rival is rival:
            if outcome.verdict() is not GOOD:
                dispatch.drop(rival, outcome, now)
                return
            dispatch.drop(cast("Attempt", dispatch.attempt), HEDGE_LOST, now)
            self._forget()
        self._backend, self._connection = backend, backend.generation
        self._request.attempts += 1
        self._ended(self._request.attempts, outcome)

    def _race_is_on(self, outcome: Outcome) -> bool:
        """The first one has ended; whether it has failed, and its rival may still answer."""
        dispatch, now = self._dispatch, self._timeline.now
        if dispatch.rival is None or dispatch.attempt is None:
            return False
        has_failed = outcome.verdict() is not GOOD
        if has_failed:
            dispatch.drop(dispatch.attempt, outcome, now)
        else:
            dispatch.drop(dispatch.rival, HEDGE_LOST, now)
        return has_failed

    def _reuse(self, backend: ScriptedBackend) -> int | None:
        """The process that an idle connection leads to, if there is one young enough; a closed one is soon noticed."""
        idle, policy = self._worker._idle[backend.name], self._worker._settings
        longest = policy.timeouts.backend_idle if self._request.head.idempotent else policy.retries.unsafe_reuse
        while idle:
            generation, since = idle.pop()
            is_known_dead = generation != backend.generation and self._timeline.now > backend.died_at + NOTICED
            if self._timeline.now - since <= longest and not is_known_dead:
                return generation
        return None

    def _await(self, delay: float, outcome: Outcome) -> None:
        """The Attempt ends so, unless the Backend dies before."""
        request, backend = self._request, self._backend
        assert backend is not None
        number = request.attempts
        backend.pending[request.number] = partial(self._ended, number)
        self._timeline.after(delay, partial(self._ended, number, outcome))

    def _forget(self) -> None:
        self._worker.waiting.pop(self, None)
        if self._backend is not None:
            self._backend.pending.pop(self._request.number, None)
        self._backend = None

    def _ended(self, number: int, outcome: Outcome) -> None:
        backend, request = self._backend, self._request
        if backend is None or number != request.attempts or request.ended is not None:
            return
        self._forget()
        if self._race_is_on(outcome):
            return
        attempt = self._dispatch.attempt
        assert attempt is not None
        was_trial, spent = attempt.ticket.is_trial, self._worker.pool.budget.exhausted_total
        is_held = request.head.idempotent and self._worker._settings.retries.hold_answer > 0
        if outcome is BROKEN_OFF and not is_held:
            # Its head has gone to the client already: only small answers to idempotent requests are held.
            self._dispatch.finish(outcome, self._timeline.now)
            self._break_off()
            return
        decision = self._dispatch.report(outcome, self._timeline.now)
        self._budget_was_spent = self._worker.pool.budget.exhausted_total > spent
        if isinstance(decision, Relay):
            self._relay(backend, outcome)
            return
        waits = self._dispatch._held_until is not None
        if isinstance(decision, Attempt | Wait) and not was_trial and not waits:
            self._worker.retries.append(self._timeline.now)
        self._carry_out(decision)

    # The answer

    def _relay(self, backend: ScriptedBackend, outcome: Outcome) -> None:
        if self._worker.last_good is not None and outcome.status == 200:
            self._worker.last_good.keep(self._request.head, b"http", PAGE, b"page", self._timeline.now)
        if self._worker._settings.retries.names(outcome):
            self._request.blame = self._who_could_have_answered()
        if self._request.streams:
            self._backend = backend
            backend.pending[self._request.number] = lambda _: self._break_off()
            self._timeline.after(self._request.streams, partial(self._passed_on, backend, outcome))
        else:
            self._passed_on(backend, outcome)

    def _passed_on(self, backend: ScriptedBackend, outcome: Outcome) -> None:
        if self._request.ended is None:
            self._forget()
            self._dispatch.finish(outcome, self._timeline.now)
            self._worker._idle[backend.name].append((self._connection, self._timeline.now))
            self._end(outcome.status)

    def _break_off(self) -> None:
        """The Backend dies in the middle of the answer's body: the client sees it."""
        if self._request.ended is None:
            self._forget()
            self._request.broke_off = True
            self._dispatch.finish(BROKEN_OFF, self._timeline.now)
            self._end(0)

    def _end(self, status: int) -> None:
        self._request.status = status
        self._request.ended = self._timeline.now

    def _who_could_have_answered(self) -> str:
        """A Backend that was well all the time, if the policy would have let it be tried; empty if there was none."""
        request, pool = self._request, self._worker.pool
        retries = self._worker._settings.retries
        if not request.head.idempotent or request.attempts >= retries.attempts or self._budget_was_spent:
            return ""
        for name, backend in self._worker._backends.items():
            known = pool.by_name[name]
            is_open_to_us = known.may_be_tried_in_panic() and name not in request.tried
            if is_open_to_us and backend.could_answer and backend.well_since <= request.begun - UNNOTICED:
                return f"{name} could have answered after {request.tried} at {self._timeline.now:.3f}"
        return ""
