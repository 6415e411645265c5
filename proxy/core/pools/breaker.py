"""The circuit Breaker of one Backend: it judges that Backend by its own traffic alone.

The state machine, its listeners and its storage are pybreaker's; what it does not have is here: the detector
(consecutive failures, or a failure rate over a window with a minimum volume), the admission of trials, an opening time
that doubles, and a generation per Attempt so that late news from before a change of state is dropped. Time is an
argument. Successes while closed, which is nearly every request, never touch pybreaker.
"""

from __future__ import annotations

import enum
import random
from collections.abc import Callable
from dataclasses import astuple, dataclass
from datetime import datetime
from typing import NamedTuple, cast

import pybreaker

BUCKETS = 10
"""Into how many parts the window is cut; the oldest tenth is forgotten at a time."""


class BreakerState(enum.StrEnum):
    """The three states, named as everywhere."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class Verdict(enum.Enum):
    """What an Attempt says about its Backend."""

    GOOD = "good"
    BAD = "bad"
    NEUTRAL = "neutral"
    """Nothing: the client left, or it was the client's mistake."""


GOOD, BAD, NEUTRAL = Verdict
"""By these names on the hot path: `Verdict.GOOD` costs 74 ns each time, a global 7 (CPython 3.11)."""


class Ticket(NamedTuple):
    """Permission for one Attempt; handed back to `Breaker.settle` exactly once."""

    generation: int
    is_trial: bool


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """When a Breaker opens, for how long, and what closes it again."""

    consecutive: int = 5
    """Failures in a row that open it."""
    failure_rate: float = 0.5
    """Share of failures in the window that opens it …"""
    window: float = 10.0
    """… over this many seconds …"""
    min_requests: int = 20
    """… when at least so many requests ended in it."""
    open_for: float = 5.0
    """Seconds it stays open the first time; doubles with each failed trial."""
    open_for_max: float = 60.0
    """Longest time it stays open."""
    trials: int = 1
    """Trial requests at a time while half-open."""
    trial_successes: int = 2
    """Good trials in a row that close it."""

    def __reduce__(self) -> tuple[object, ...]:
        """By its values: where it is compiled, pickle would set them one by one, and frozen means no."""
        return (BreakerPolicy, astuple(self))


class Transition(NamedTuple):
    """A change of state, as listeners get it."""

    before: BreakerState
    after: BreakerState
    at: float
    until: float
    """When trials begin, for an opening; 0 otherwise."""
    reason: str
    began: float = 0.0
    """When what has opened it began; 0 where a trial failed, or others have said so."""


class _Storage(pybreaker.CircuitMemoryStorage):
    """pybreaker's memory storage without its wall-clock opening time: the Breaker keeps its own."""

    @property
    def opened_at(self) -> datetime | None:
        return None

    @opened_at.setter
    def opened_at(self, value: datetime | None) -> None:
        """Ignore the wall clock."""


class _Listener(pybreaker.CircuitBreakerListener):
    """Hands pybreaker's changes of state to the Breaker."""

    def __init__(self, changed: Callable[[str], None]) -> None:
        self._changed = changed

    def state_change(self, cb: pybreaker.CircuitBreaker, old_state: object, new_state: object) -> None:
        self._changed(cast("pybreaker.CircuitBreakerState", new_state).name)


class Breaker:
    """Two-step breaker: `admit` gives a Ticket, `settle` takes it back with a Verdict."""

    __slots__ = (
        "_bad",
        "_bucket",
        "_bucket_ends",
        "_failing_since",
        "_good",
        "_machine",
        "_openings",
        "_trials_good",
        "_trials_running",
        "consecutive",
        "generation",
        "is_closed",
        "is_outlier",
        "listener",
        "policy",
        "reason",
        "since",
        "state",
        "ticket",
        "until",
    )

    def __init__(self, policy: BreakerPolicy, now: float, listener: Callable[[Transition], None] | None = None) -> None:
        self.policy = policy
        self.listener = listener
        self.state = BreakerState.CLOSED
        self.is_closed = True
        self.is_outlier = False
        """Whether an ejection has opened it, until it is closed again."""
        self.generation = 0
        self.ticket = Ticket(0, is_trial=False)
        self.since = now
        self.until = 0.0
        self.reason = ""
        self.consecutive = 0
        self._failing_since = now
        self._openings = 0
        self._trials_running = 0
        self._trials_good = 0
        self._good = [0] * BUCKETS
        self._bad = [0] * BUCKETS
        self._bucket = 0
        self._bucket_ends = now + policy.window / BUCKETS
        self._machine = pybreaker.CircuitBreaker(
            fail_max=policy.consecutive,
            state_storage=_Storage(pybreaker.STATE_CLOSED),
            listeners=[_Listener(self._machine_changed)],
        )

    def __repr__(self) -> str:
        return f"<Breaker {self.state} generation={self.generation} consecutive={self.consecutive}>"

    def obey(self, policy: BreakerPolicy, now: float) -> None:
        """Use other numbers from now on. The state, what was counted, and an opening that runs stay as they are."""
        self.policy = policy
        self._bucket_ends = min(self._bucket_ends, now + policy.window / BUCKETS)

    # Admission

    def may_admit(self, now: float) -> bool:
        """Whether `admit` would give a Ticket."""
        if self.is_closed:
            return True
        return now >= self.until and self._trials_running < self.policy.trials

    def admit(self, now: float) -> Ticket:
        """Permit one Attempt; call only after `may_admit`, or where panic or the cap overrides it.

        An open Breaker whose time is over becomes half-open here, and the Ticket is a trial's.
        """
        if self.is_closed:
            return self.ticket
        if self.state is BreakerState.OPEN and now >= self.until:
            self._change(BreakerState.HALF_OPEN, now, "open_for is over")
        if self.state is BreakerState.HALF_OPEN and self._trials_running < self.policy.trials:
            self._trials_running += 1
            return Ticket(self.generation, is_trial=True)
        return Ticket(self.generation, is_trial=False)

    # Settlement

    def settle(self, ticket: Ticket, verdict: Verdict, now: float, *, may_open: bool = True) -> None:
        """Take a Ticket back. News from before the last change of state is dropped.

        `may_open` False: the pool's ejection cap is reached, so failures are counted but do not open the Breaker.
        """
        if now >= self._bucket_ends:
            self._turn(now)
        if verdict is GOOD and self.is_closed and ticket is self.ticket:
            self._good[self._bucket] += 1
            self.consecutive = 0
            return
        if ticket.generation != self.generation:
            return
        if ticket.is_trial:
            self._settle_trial(verdict, now)
        elif not self.is_closed or verdict is NEUTRAL:
            if verdict is GOOD and self.state is BreakerState.OPEN:
                # Only panic and the last resort get here: who answers may prove it at once.
                self.until = min(self.until, now)
        elif verdict is GOOD:
            self._good[self._bucket] += 1
            self.consecutive = 0
        else:
            self._bad[self._bucket] += 1
            if not self.consecutive:
                self._failing_since = now
            self.consecutive += 1
            reason = self._should_open()
            if reason and may_open:
                in_a_row = self.consecutive >= self.policy.consecutive
                self._open(now, reason, self._failing_since if in_a_row else now - self.policy.window)

    def _settle_trial(self, verdict: Verdict, now: float) -> None:
        self._trials_running -= 1
        if verdict is Verdict.BAD:
            self._open(now, "a trial failed")
        elif verdict is Verdict.GOOD:
            self._count_good_trial(now, f"{self.policy.trial_successes} trials passed")

    def _count_good_trial(self, now: float, reason: str) -> None:
        self._trials_good += 1
        if self._trials_good >= self.policy.trial_successes:
            self._change(BreakerState.CLOSED, now, reason)
            self._openings = 0

    def _should_open(self) -> str:
        policy = self.policy
        if self.consecutive >= policy.consecutive:
            return f"{self.consecutive} failures in a row"
        bad = sum(self._bad)
        ended = bad + sum(self._good)
        if ended >= policy.min_requests and bad >= policy.failure_rate * ended:
            return f"{bad} of {ended} requests failed in {policy.window:g}s"
        return ""

    def _open(self, now: float, reason: str, began: float = 0.0) -> None:
        self.until = now + self.next_open_for()
        self._openings += 1
        self._change(BreakerState.OPEN, now, reason, began)

    def next_open_for(self) -> float:
        """Seconds the next opening lasts: doubles each time without a close in between."""
        return min(self.policy.open_for * 2.0 ** min(self._openings, 30), self.policy.open_for_max)

    def jitter(self, rng: random.Random) -> None:
        """Lengthen an opening that has just begun by up to a tenth, so that Breakers do not try in step."""
        if self.state is BreakerState.OPEN:
            self.until += rng.random() * 0.1 * (self.until - self.since)

    # What others know

    def probe_passed(self, now: float) -> None:
        """A good probe while only unsafe requests come: the probe is the trial (`behaviour.md`, section 1)."""
        if self.state is BreakerState.OPEN and now >= self.until:
            self._change(BreakerState.HALF_OPEN, now, "open_for is over")
        if self.state is BreakerState.HALF_OPEN and not self._trials_running:
            self._count_good_trial(now, "probes passed in place of trials")

    def follow(self, state: BreakerState, until: float, reason: str, now: float, *, outlier: bool = False) -> None:
        """Do as another worker's Breaker of the same Backend did, or as the OutlierDetector says."""
        if state is BreakerState.OPEN and (self.state is not BreakerState.OPEN or until > self.until):
            self.is_outlier = outlier if self.is_closed else self.is_outlier
            self.until = until
            self._openings += self.state is not BreakerState.OPEN
            self._change(BreakerState.OPEN, now, reason)
        elif state is BreakerState.CLOSED and not self.is_closed:
            self._change(BreakerState.CLOSED, now, reason)
            self._openings = 0

    # The state machine

    def _change(self, state: BreakerState, now: float, reason: str, began: float = 0.0) -> None:
        before = self.state
        self.since, self.reason = now, reason
        if state is BreakerState.OPEN:
            self._machine.open()
        elif state is BreakerState.HALF_OPEN:
            self._machine.half_open()
        else:
            self._machine.close()
        if self.listener is not None:
            until = self.until if state is BreakerState.OPEN else 0.0
            self.listener(Transition(before, self.state, now, until, reason, began))

    def _machine_changed(self, current: str) -> None:
        """Begin a new generation: nothing that was counted or admitted before counts any more."""
        self.state = BreakerState(current)
        self.is_closed = self.state is BreakerState.CLOSED
        self.is_outlier = self.is_outlier and not self.is_closed
        self.generation += 1
        self.ticket = Ticket(self.generation, is_trial=False)
        self.consecutive = self._trials_running = self._trials_good = 0
        self._good = [0] * BUCKETS
        self._bad = [0] * BUCKETS

    def _turn(self, now: float) -> None:
        """Forget the parts of the window that have passed."""
        width = self.policy.window / BUCKETS
        passed = int((now - self._bucket_ends) / width) + 1
        for _ in range(min(passed, BUCKETS)):
            self._bucket = (self._bucket + 1) % BUCKETS
            self._good[self._bucket] = self._bad[self._bucket] = 0
        self._bucket_ends += passed * width
