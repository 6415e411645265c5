"""A Backend as one worker sees it, and why it may get no new request.

State answers one question in one place: `Backend.unavailable(now)`. Nobody else re-derives health.
"""

from __future__ import annotations

import enum
from bisect import bisect_left

from proxy.core.breaker import Breaker, BreakerPolicy
from proxy.core.health import HealthState
from proxy.core.messages import DURATION_BUCKETS, AdminState, BackendCounts, BackendState
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
HEALTH_VETOES = {HealthState.DOWN: Unavailable.FAILED_PROBES, HealthState.UNCHECKED: Unavailable.UNCHECKED}


class Backend:
    """One address with its state in this worker."""

    __slots__ = (
        "admin",
        "breaker",
        "cost",
        "duration_buckets",
        "duration_sum",
        "failures",
        "health",
        "in_flight",
        "key",
        "max_in_flight",
        "name",
        "requests",
        "settings",
        "transitions",
        "turn",
        "weight",
    )

    def __init__(
        self, pool: str, settings: BackendSettings, breaker: BreakerPolicy, now: float, workers: int = 1
    ) -> None:
        # For the life of the process
        self.key = (pool, settings.name)
        self.name = settings.name
        self.breaker = Breaker(breaker, now)
        # As the settings say
        self.settings = settings
        self.max_in_flight = _share_of(settings.max_in_flight, workers)
        # As the last Snapshot says
        self.admin = AdminState.READY
        self.health = HealthState.UP
        self.weight = settings.weight
        # By this worker's own traffic
        self.in_flight = 0
        self.requests = 0
        self.failures = 0
        self.duration_buckets = [0] * (len(DURATION_BUCKETS) + 1)
        self.duration_sum = 0.0
        self.transitions: dict[str, int] = {}
        self.turn = 0.0
        self.cost: tuple[float, float] | None = None
        """What `peak_ewma` has learnt, and when."""

    def __repr__(self) -> str:
        return f"<Backend {self.key[0]}/{self.name} in_flight={self.in_flight} {self.admin} {self.health}>"

    def unavailable(self, now: float) -> Unavailable | None:
        """Why this Backend must not get a new request at `now`; None if it may. Trials are the Pool's to grant."""
        if self.admin is not AdminState.READY:
            return ADMIN_VETOES[self.admin]
        if self.health is not HealthState.UP:
            return HEALTH_VETOES[self.health]
        if not self.weight:
            return Unavailable.DRAIN
        if not self.breaker.is_closed:
            return Unavailable.BREAKER_OPEN
        if self.max_in_flight is not None and self.in_flight >= self.max_in_flight:
            return Unavailable.FULL
        return None

    def may_be_tried(self, now: float) -> bool:
        """Whether a trial may be sent: the Breaker is the only veto, and it has a free trial slot."""
        return self.unavailable(now) is Unavailable.BREAKER_OPEN and self.breaker.may_admit(now) and not self._is_full()

    def may_be_tried_in_panic(self) -> bool:
        """Whether panic may send requests here: everything but drain, maint and full is ignored."""
        return self.admin is AdminState.READY and not self._is_full() and self.weight > 0

    def _is_full(self) -> bool:
        return self.max_in_flight is not None and self.in_flight >= self.max_in_flight

    def heed(self, state: BackendState) -> None:
        """Take over what a Snapshot says."""
        self.admin = state.admin
        self.health = state.health
        self.weight = self.settings.weight if state.weight is None else state.weight

    def obey(self, settings: BackendSettings, breaker: BreakerPolicy, now: float, workers: int) -> None:
        """Follow other settings for the same address. State, counts and what is in flight stay."""
        self.settings = settings
        self.weight = settings.weight
        self.max_in_flight = _share_of(settings.max_in_flight, workers)
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
            idle_connections=idle_connections,
            requests=self.requests,
            failures=self.failures,
            duration_buckets=tuple(self.duration_buckets),
            duration_sum=self.duration_sum,
            breaker=breaker.state,
            breaker_until=breaker.until,
            breaker_reason=breaker.reason,
            breaker_since=breaker.since,
            breaker_transitions=dict(self.transitions),
        )


def _share_of(limit: int | None, workers: int) -> int | None:
    """This worker's part of a limit that holds over all workers; at least one."""
    return None if limit is None else max(1, limit // workers)
