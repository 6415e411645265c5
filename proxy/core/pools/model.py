"""A Backend as one worker sees it, and why it may get no new request.

State answers one question in one place: `Backend.unavailable(now)`. Nobody else re-derives health.
"""

from __future__ import annotations

import enum
from bisect import bisect_left
from math import inf

from proxy.core.messages import DURATION_BUCKETS, AdminState, BackendCounts, BackendState
from proxy.core.pools.breaker import Breaker, BreakerPolicy, BreakerState
from proxy.core.pools.counts import SharedCounts
from proxy.core.pools.health import HealthState
from proxy.core.pools.warmup import WarmupPolicy
from proxy.core.settings import BackendSettings


class Unavailable(enum.StrEnum):
    """The one list of reasons why a Backend gets no new request (`behaviour.md`, section 1)."""

    MAINT = "maint"
    DRAIN = "drain"
    UNCHECKED = "unchecked"
    FAILED_PROBES = "failed_probes"
    BREAKER_OPEN = "breaker_open"
    OUTLIER = "outlier"
    FULL = "full"
    STANDBY = "standby"
    NOT_LEADER = "not_leader"
    LAGGING = "lagging"
    DAMPED = "damped"


ADMIN_VETOES = {AdminState.DRAIN: Unavailable.DRAIN, AdminState.MAINT: Unavailable.MAINT}
ASKED_AGAIN = frozenset({None, Unavailable.DRAIN, Unavailable.DAMPED})
HEALTH_VETOES = {HealthState.DOWN: Unavailable.FAILED_PROBES, HealthState.UNCHECKED: Unavailable.UNCHECKED}
BY_TRAFFIC = frozenset({Unavailable.BREAKER_OPEN, Unavailable.OUTLIER})
"""Vetoes that its own traffic has brought about: the cap on ejections counts them, and trials end them."""


class Backend:
    """One address with its state in this worker."""

    __slots__ = (
        "_base_weight",
        "_cells",
        "_counts",
        "_share",
        "_told",
        "admin",
        "breaker",
        "cost",
        "damped_until",
        "duration_buckets",
        "duration_sum",
        "elsewhere",
        "failures",
        "health",
        "in_flight",
        "key",
        "max_in_flight",
        "name",
        "readmitted_at",
        "requests",
        "settings",
        "standby",
        "transitions",
        "turn",
        "unanswered",
        "weight",
    )

    def __init__(  # noqa: PLR0917 - each says something else
        self,
        pool: str,
        settings: BackendSettings,
        breaker: BreakerPolicy,
        now: float,
        workers: int = 1,
        counts: SharedCounts | None = None,
    ) -> None:
        # For the life of the process
        self.key = (pool, settings.name)
        self.name = settings.name
        self.breaker = Breaker(breaker, now)
        self._counts = counts
        self._cells = (
            counts.cells(f"in flight\0{pool}\0{settings.name}\0{settings.address}".encode())
            if counts is not None
            else ()
        )
        self._told = 0
        self.elsewhere = 0
        """In flight in other workers, where a limit makes that count."""
        # As the settings say
        self.settings = settings
        self.max_in_flight = self._limit(workers)
        # As the last Snapshot says
        self.admin = AdminState.READY
        self.health = HealthState.UP
        self._base_weight = settings.weight
        self._share = 1.0
        self.damped_until = -inf
        self.standby = False
        self.readmitted_at = -inf
        # As `weigh` has worked out
        self.weight = float(settings.weight)
        # By this worker's own traffic
        self.in_flight = 0
        self.requests = 0
        self.failures = 0
        self.duration_buckets = [0] * (len(DURATION_BUCKETS) + 1)
        self.duration_sum = 0.0
        self.transitions: dict[str, int] = {}
        self.turn = 0.0
        self.unanswered: tuple[int, ...] = ()
        """Requests that wait for an answer's head, as `BackendCounts` has them."""
        self.cost: tuple[float, float] | None = None
        """What `peak_ewma` has learnt, and when."""

    def __repr__(self) -> str:
        return f"<Backend {self.key[0]}/{self.name} in_flight={self.in_flight} {self.admin} {self.health}>"

    def unavailable(self, now: float) -> Unavailable | None:
        """Why this Backend must not get a new request at `now`; None if it may. Trials are the Pool's to grant."""
        veto = self._own_veto(now)
        if self.standby and veto not in ADMIN_VETOES.values():
            return Unavailable.STANDBY
        return veto

    def _own_veto(self, now: float) -> Unavailable | None:
        """The same, whoever is active."""
        if self.admin is not AdminState.READY:
            return ADMIN_VETOES[self.admin]
        if self.health is not HealthState.UP:
            return HEALTH_VETOES[self.health]
        if not self._base_weight:
            return Unavailable.DRAIN
        if now < self.damped_until:
            return Unavailable.DAMPED
        if not self.breaker.is_closed:
            return Unavailable.OUTLIER if self.breaker.is_outlier else Unavailable.BREAKER_OPEN
        return Unavailable.FULL if self._is_full() else None

    def may_take_over(self, now: float) -> bool:
        """Whether it only stands by: a switch would make it serve."""
        return self.standby and self._own_veto(now) is None

    def may_be_tried(self, now: float) -> bool:
        """Whether a trial may be sent: the Breaker is the only veto, and it has a free trial slot."""
        return self.unavailable(now) in BY_TRAFFIC and self.breaker.may_admit(now) and not self._is_full()

    def may_be_asked_again(self, now: float) -> bool:
        """Whether it may get the repeat of a write that it may have executed: for it that is nothing new.

        So it need not be the active one, and it may drain. A Breaker that waits for a trial takes this as one.
        """
        veto = self._own_veto(now)
        if veto in BY_TRAFFIC:
            return self.breaker.may_admit(now) and not self._is_full()
        return veto in ASKED_AGAIN

    def keeps_clients(self, now: float) -> bool:
        """Whether those that belong to it already may come: to drain keeps out none but new ones."""
        if (
            self.standby
            or self.admin is AdminState.MAINT
            or self.health is not HealthState.UP
            or now < self.damped_until
        ):
            return False
        return self.breaker.is_closed and not self._is_full()

    def may_be_tried_in_panic(self) -> bool:
        """Whether panic may send requests here: everything but drain, maint, full and standby is ignored."""
        return not self.standby and self.admin is AdminState.READY and not self._is_full() and self._base_weight > 0

    # How many at a time

    def _is_full(self) -> bool:
        return self.max_in_flight is not None and self.in_flight + self.elsewhere >= self.max_in_flight

    def _limit(self, workers: int) -> int | None:
        """The limit over all workers, where this one can see what the others do; else its part, at least one."""
        limit = self.settings.max_in_flight
        return limit if limit is None or self._counts is not None else max(1, limit // workers)

    def tell(self) -> None:
        """Let the other workers know what is in flight here."""
        if self._counts is not None:
            told = 0 if self.max_in_flight is None else self.in_flight
            if told != self._told:
                self._counts.add(self._cells, told - self._told)
                self._told = told

    def tell_no_more(self) -> None:
        """It has left its Pool: what is still in flight here concerns no other worker, whoever bears its name next."""
        if self._counts is not None:
            self._counts.add(self._cells, -self._told)
            self._counts, self._told = None, 0

    def look_around(self) -> bool:
        """See what the other workers have in flight; whether it is full by that, or not full any more."""
        if self._counts is None:
            return False
        was_full = self._is_full()
        self.elsewhere = self._counts.others(self._cells)
        return self._is_full() is not was_full

    def heed(self, state: BackendState) -> None:
        """Take over what a Snapshot says."""
        self.admin = state.word if state.admin is AdminState.READY else state.admin
        self.health = state.health
        self._base_weight = self.settings.weight if state.weight is None else state.weight
        self.weight = float(self._base_weight)
        self.damped_until = state.damped_until
        self.standby = state.standby
        self._share = state.share
        # A Breaker that closed here is known here first.
        self.readmitted_at = max(self.readmitted_at, state.readmitted_at)

    def weigh(self, warmup: WarmupPolicy, now: float) -> float:
        """Work out the weight that counts at `now`; when to do so again."""
        self.weight = self._base_weight * self._share
        readmitted_at = max(self.readmitted_at, self.damped_until)
        next_step = warmup.next_step(readmitted_at, now)
        if next_step < inf:
            self.weight *= warmup.part(now - readmitted_at)
        return next_step

    def changes_at(self, now: float) -> float:
        """When its vetoes change by the passing of time alone."""
        breaker_until = self.breaker.until if self.breaker.state is BreakerState.OPEN else inf
        return min((at for at in (breaker_until, self.damped_until) if at > now), default=inf)

    def obey(self, settings: BackendSettings, breaker: BreakerPolicy, now: float, workers: int) -> None:
        """Follow other settings for the same address. State, counts and what is in flight stay."""
        self.settings = settings
        self._base_weight = settings.weight
        self.weight = float(settings.weight)
        self.max_in_flight = self._limit(workers)
        self.tell()
        self.turn = 0.0
        self.breaker.obey(breaker, now)

    def absorb(self, other: Backend) -> None:
        """Take over the totals of a Backend of the same name that has left, so that no total goes back."""
        self.requests += other.requests
        self.failures += other.failures
        self.duration_sum += other.duration_sum
        self.duration_buckets = [a + b for a, b in zip(self.duration_buckets, other.duration_buckets, strict=True)]
        for state, count in other.transitions.items():
            self.transitions[state] = self.transitions.get(state, 0) + count

    def record(self, duration: float) -> None:
        """Count an Attempt that ended after `duration` seconds."""
        self.duration_buckets[bisect_left(DURATION_BUCKETS, duration)] += 1
        self.duration_sum += duration

    def counts(self, idle_connections: int) -> BackendCounts:
        """The totals for a Report."""
        breaker = self.breaker
        return BackendCounts(
            in_flight=self.in_flight,
            unanswered=self.unanswered,
            idle_connections=idle_connections,
            requests=self.requests,
            failures=self.failures,
            duration_buckets=tuple(self.duration_buckets),
            duration_sum=self.duration_sum,
            breaker=breaker.state,
            breaker_until=breaker.until,
            breaker_reason=breaker.reason,
            breaker_since=breaker.since,
            breaker_outlier=breaker.is_outlier,
            breaker_transitions=dict(self.transitions),
        )
