"""What the supervisor and its workers say to each other, and how it becomes bytes.

Snapshots go down: whole and versioned, so that a restarted worker just gets the last one. Reports and events go up.
Both ends are our own processes on a private socketpair, so the encoding is pickle behind a length.
"""

from __future__ import annotations

import enum
import pickle
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from math import inf
from typing import TypeVar

from proxy.core.pools.breaker import BreakerState
from proxy.core.pools.health import HealthState
from proxy.core.settings import RouteSettings, Settings

DURATION_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds, in seconds, of every histogram of durations; a last bucket takes what is above."""


class AdminState(enum.StrEnum):
    """The administrator's intent for a Backend."""

    READY = "ready"
    DRAIN = "drain"
    MAINT = "maint"


@dataclass(frozen=True, slots=True)
class BackendState:
    """What the supervisor knows of a Backend and a worker must heed."""

    admin: AdminState = AdminState.READY
    health: HealthState = HealthState.UP
    weight: int | None = None
    """Set by the administrator in place of the configured one."""
    word: AdminState = AdminState.READY
    """What the Backend itself wants."""
    readmitted_at: float = -inf
    """Since when it has been back, for slow start."""
    damped_until: float = -inf
    """It flapped, and stays out until then."""
    share: float = 1.0
    """The part of its weight that counts: less for one that does worse than its peers."""
    standby: bool = False
    """In an active-passive Pool: it is not the active one."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The whole state that workers act on. A worker takes it if `version` is higher than what it has."""

    version: int
    settings_version: int
    settings: Settings | None
    """None where the worker has `settings_version` already."""
    backends: dict[tuple[str, str], BackendState]
    """By pool and backend name."""
    routes_version: int = 0
    """Of the Routes that came before in RouteParts and are not in `settings`; 0 where they are in `settings`."""
    cuts: dict[str, str] = field(default_factory=dict)
    """Pools that are cut off from a split, by the Route's name."""


@dataclass(frozen=True, slots=True)
class RoutePart:
    """Some of very many Routes, in order: to take in 10,000 at once would keep a worker from its clients for long."""

    version: int
    is_first: bool
    routes: tuple[RouteSettings, ...]


@dataclass(frozen=True, slots=True)
class BreakerNews:
    """A Breaker changed: an event from one worker, relayed by the supervisor to the others; or an ejection."""

    worker: int
    """-1: the supervisor itself has decided."""
    pool: str
    backend: str
    state: BreakerState
    until: float
    """Monotonic time at which trials begin."""
    reason: str
    at: float
    outlier: bool = False
    """Whether it is an ejection: it did worse than its peers."""
    began: float = 0.0
    """When the failures began that have opened it; 0 where that is not known."""


@dataclass(frozen=True, slots=True)
class ProbePassed:
    """A good probe of a Backend whose Breaker is not closed somewhere."""

    pool: str
    backend: str


@dataclass(frozen=True, slots=True)
class PoolNews:
    """A pool's panic began or ended in one worker."""

    worker: int
    pool: str
    panic: bool
    at: float


@dataclass(frozen=True, slots=True)
class ExtensionNews:
    """A user's own code went wrong in one worker, and what is built in stands in for it."""

    worker: int
    name: str
    """Its dotted path."""
    reason: str
    at: float


@dataclass(frozen=True, slots=True)
class Drain:
    """Order to a worker: close the listeners, finish what runs within `timeout` seconds, end."""

    timeout: float
    closes_idle: bool = True
    """Whether idle connections are closed at once, and not after one more request or `client_idle`."""


@dataclass(frozen=True, slots=True)
class ReopenLogs:
    """Order to a worker: the access log's file may have been renamed."""


@dataclass(frozen=True, slots=True)
class Doors:
    """Goes with listening sockets, in their order: a worker accepts on these and on no others."""

    settings_version: int
    """Of the settings that speak of these Listeners: to be heeded once they are in force."""
    is_first: bool
    is_last: bool
    """Of the messages that together name all."""
    names: tuple[str, ...]
    """Of the Listeners."""


@dataclass(frozen=True, slots=True)
class LastCall:
    """Order to a worker: tell clients with each answer that their connection closes. All else goes on."""


@dataclass(frozen=True, slots=True)
class Started:
    """A worker serves: it has its listeners and its first Snapshot."""

    worker: int
    pid: int
    snapshot_version: int


@dataclass(frozen=True, slots=True)
class Applied:
    """A worker acts on these settings from now on."""

    worker: int
    settings_version: int
    seconds: float
    """How long it took, in which nothing was served."""


@dataclass(frozen=True, slots=True)
class Heard:
    """A worker has taken a Snapshot, and acts on it from now on."""

    worker: int
    snapshot_version: int


@dataclass(frozen=True, slots=True)
class BackendCounts:
    """Totals of one Backend in one worker since that worker's start; gauges are of now."""

    in_flight: int = 0
    idle_connections: int = 0
    requests: int = 0
    failures: int = 0
    duration_buckets: tuple[int, ...] = ()
    """Attempts per bucket of `DURATION_BUCKETS`, and one more for everything above; not cumulative."""
    duration_sum: float = 0.0
    breaker: BreakerState = BreakerState.CLOSED
    breaker_until: float = 0.0
    breaker_reason: str = ""
    breaker_since: float = 0.0
    breaker_outlier: bool = False
    """Whether an ejection has opened it."""
    breaker_transitions: dict[str, int] = field(default_factory=dict)
    """By the state that was entered."""
    unanswered: tuple[int, ...] = ()
    """Of those in flight: that wait for an answer's head for one to two seconds, for two to three, and so on."""

    def plus(self, other: BackendCounts) -> BackendCounts:
        """Those of this Backend, and of one of the same name that has left, in one."""
        return replace(
            self,
            in_flight=self.in_flight + other.in_flight,
            idle_connections=self.idle_connections + other.idle_connections,
            requests=self.requests + other.requests,
            failures=self.failures + other.failures,
            duration_buckets=tuple(map(sum, zip(self.duration_buckets, other.duration_buckets, strict=True))),
            duration_sum=self.duration_sum + other.duration_sum,
            breaker_transitions=_sums(self.breaker_transitions, other.breaker_transitions),
        )


@dataclass(frozen=True, slots=True)
class StrainCounts:
    """What was limited, and what was hedged, in one Pool of one worker."""

    waits: dict[str, int] = field(default_factory=dict)
    """By result (`core.waiting.End`): requests that found all Backends full."""
    waiting: int = 0
    """Of them, those who wait now."""
    hedges: dict[str, int] = field(default_factory=dict)
    """By result (`core.hedging.HedgeResult`)."""
    concurrency_limit: int | None = None
    """What adaptive concurrency allows now; None: there is none."""

    def plus(self, other: StrainCounts) -> StrainCounts:
        """Those of this Pool, and of one of the same name, in one."""
        limits = [one.concurrency_limit for one in (self, other) if one.concurrency_limit is not None]
        return StrainCounts(
            waits=_sums(self.waits, other.waits),
            waiting=self.waiting + other.waiting,
            hedges=_sums(self.hedges, other.hedges),
            concurrency_limit=sum(limits) if limits else None,
        )


@dataclass(frozen=True, slots=True)
class PoolCounts:
    """Totals of one Pool in one worker since that worker's start; `panic` is of now."""

    retries: dict[tuple[str, str], int]
    """By reason (a kind or status) and result (`success`, `failure`)."""
    budget_exhausted: int
    saved: int
    """Requests that would have failed without another Attempt."""
    held: int
    panic: bool
    holding: int = 0
    """Requests that wait now."""
    budget_spent: float = 0.0
    """Retries of the last seconds, """
    budget_allowed: float = 0.0
    """and how many there might have been."""
    strain: StrainCounts = field(default_factory=StrainCounts)

    def plus(self, other: PoolCounts) -> PoolCounts:
        """Those of this Pool, and of one of the same name that has left, in one."""
        return replace(
            self,
            retries=_sums(self.retries, other.retries),
            budget_exhausted=self.budget_exhausted + other.budget_exhausted,
            saved=self.saved + other.saved,
            held=self.held + other.held,
            holding=self.holding + other.holding,
            strain=self.strain.plus(other.strain),
        )


@dataclass(frozen=True, slots=True)
class Report:
    """All counters of one worker, once a second; totals, so that a lost Report loses nothing."""

    worker: int
    pid: int
    at: float
    snapshot_version: int
    connections: int
    loop_lag: float
    """Seconds, the largest since the last Report."""
    requests: dict[tuple[str, str, str, int], int]
    """By route, pool, method and status."""
    durations: dict[tuple[str, str], tuple[tuple[int, ...], float]]
    """By route and pool: requests per bucket (as in `BackendCounts`) and the sum of seconds."""
    backends: dict[tuple[str, str], BackendCounts]
    pools: dict[str, PoolCounts]
    refused: dict[str, int]
    """Client messages that were refused, by status."""
    client_aborts: int
    turned_away: dict[tuple[str, str], int] = field(default_factory=dict)
    """Connections that were closed without being served, by Listener and reason."""
    tasks: int = 0
    """Of asyncio; connections need none, so they are few and do not grow."""
    keyed: dict[tuple[str, str], int] = field(default_factory=dict)
    """By pool and result: requests with an idempotency key."""
    unknown_outcomes: dict[tuple[str, str], int] = field(default_factory=dict)
    """By route and pool: writes that may have been executed though they failed."""
    log_dropped: int = 0
    """Lines of the access log that were lost: no room, or no file."""
    spans: dict[str, int] = field(default_factory=dict)
    """Of requests whose spans were `exported`, or `dropped`."""
    final: bool = False
    """The worker's last Report before it ends."""
    degraded: dict[tuple[str, str, str], int] = field(default_factory=dict)
    """By route, the Pool that could not serve, and what stood in for it (`pool`, `stale`, `fixed`)."""
    degraded_ends: dict[tuple[str, str, str, int], int] = field(default_factory=dict)
    """The same: by route, the Pool that could not serve, the one in `requests`, and the status (502: broke off)."""
    handshakes: dict[str, int] = field(default_factory=dict)
    """Clients' TLS handshakes, by result."""
    rate_limited: dict[str, int] = field(default_factory=dict)
    """By route: requests of clients that sent too many."""
    broken: dict[tuple[str, str], int] = field(default_factory=dict)
    """By route and pool: answers that began well and broke off."""
    saved: dict[tuple[str, str], int] = field(default_factory=dict)
    """By route and pool: requests that would have failed without another Attempt."""


Message = (
    Snapshot
    | RoutePart
    | BreakerNews
    | ProbePassed
    | PoolNews
    | ExtensionNews
    | Doors
    | LastCall
    | Drain
    | ReopenLogs
    | Started
    | Applied
    | Heard
    | Report
)
ToAll = Snapshot | BreakerNews | ProbePassed | LastCall | ReopenLogs
"""What all workers are told, and one that begins later need not hear."""

K = TypeVar("K")


def _sums(one: dict[K, int], other: dict[K, int]) -> dict[K, int]:
    return {key: one.get(key, 0) + other.get(key, 0) for key in one | other}


_LENGTH = struct.Struct("!I")


def encode(message: Message) -> bytes:
    """One message as bytes: four bytes of length, then the pickle."""
    data = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    return _LENGTH.pack(len(data)) + data


class Decoder:
    """Turns a stream of bytes, cut anywhere, back into messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Message]:
        """Yield each message that is now complete."""
        self.take(data)
        while (message := self.next()) is not None:
            yield message

    def take(self, data: bytes) -> None:
        """Take in bytes."""
        self._buffer += data

    def next(self) -> Message | None:
        """The next message, if it is complete."""
        if len(self._buffer) < _LENGTH.size:
            return None
        end = _LENGTH.size + _LENGTH.unpack_from(self._buffer)[0]
        if len(self._buffer) < end:
            return None
        message: Message = pickle.loads(self._buffer[_LENGTH.size : end])  # noqa: S301 - from our own process
        del self._buffer[:end]
        return message
