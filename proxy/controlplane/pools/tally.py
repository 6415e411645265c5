"""Sums of the workers' Reports. Totals of workers that have ended are kept, so counters never go back.

Pure arithmetic: no clock, no I/O. `registry` feeds it; `metrics` and `view` read it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from operator import sub
from typing import Any, TypeVar, cast

from proxy.controlplane.pools.rates import Rates
from proxy.core.messages import DURATION_BUCKETS, BackendCounts, PoolCounts, Report, StrainCounts
from proxy.core.telling.naming import Names

Key = tuple[str, str]
"""Pool and backend name."""

SAMPLE_EVERY = 10.0
"""Seconds between two samples of the durations; percentiles are of the last five to six of them."""
SAMPLES = 6
MOST_GONE = 1000
"""Series of each kind that are kept under names which no config bears any more."""

K = TypeVar("K")
T = TypeVar("T")


@dataclass(slots=True)
class Histogram:
    """Durations by bucket of `DURATION_BUCKETS`, and one more above; not cumulative."""

    buckets: tuple[int, ...] = (0,) * (len(DURATION_BUCKETS) + 1)
    seconds: float = 0.0

    def add(self, buckets: tuple[int, ...], seconds: float) -> None:
        """Add the counts of another histogram; none at all counts as zeros."""
        if buckets:
            self.buckets = tuple(map(sum, zip(self.buckets, buckets, strict=True)))
            self.seconds += seconds


@dataclass(slots=True)
class BackendTotals:
    """One Backend over all workers; the gauges are of the workers that live."""

    requests: int = 0
    failures: int = 0
    in_flight: int = 0
    unanswered: tuple[int, ...] = ()
    idle_connections: int = 0
    durations: Histogram = field(default_factory=Histogram)
    breaker_transitions: dict[str, int] = field(default_factory=dict)

    def add(self, counts: BackendCounts, *, alive: bool) -> None:
        """Add what one worker counted."""
        self.requests += counts.requests
        self.failures += counts.failures
        self.durations.add(counts.duration_buckets, counts.duration_sum)
        _add(self.breaker_transitions, counts.breaker_transitions)
        if alive:
            self.in_flight += counts.in_flight
            self.unanswered = tuple(map(sum, zip_longest(self.unanswered, counts.unanswered, fillvalue=0)))
            self.idle_connections += counts.idle_connections


@dataclass(slots=True)
class PoolTotals:
    """One Pool over all workers."""

    retries: dict[tuple[str, str], int] = field(default_factory=dict)
    budget_exhausted: int = 0
    saved: int = 0
    held: int = 0
    holding: int = 0
    budget_spent: float = 0.0
    budget_allowed: float = 0.0
    strain: StrainCounts = field(default_factory=StrainCounts)

    @property
    def budget_used(self) -> float:
        """The share of the retry budget that is spent."""
        return self.budget_spent / self.budget_allowed if self.budget_allowed else 0.0

    def add(self, counts: PoolCounts, *, alive: bool) -> None:
        """Add what one worker counted."""
        if alive:
            self.holding += counts.holding
            self.budget_spent += counts.budget_spent
            self.budget_allowed += counts.budget_allowed
        strain = counts.strain if alive else replace(counts.strain, waiting=0, concurrency_limit=None)
        self.strain = self.strain.plus(strain)
        _add(self.retries, counts.retries)
        self.budget_exhausted += counts.budget_exhausted
        self.saved += counts.saved
        self.held += counts.held


@dataclass(slots=True)
class Totals:
    """Everything that workers count, over all of them."""

    requests: dict[tuple[str, str, str, int], int] = field(default_factory=dict)
    durations: dict[tuple[str, str], Histogram] = field(default_factory=dict)
    backends: dict[Key, BackendTotals] = field(default_factory=dict)
    pools: dict[str, PoolTotals] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)
    client_aborts: int = 0
    log_dropped: int = 0
    turned_away: dict[tuple[str, str], int] = field(default_factory=dict)
    unknown_outcomes: dict[tuple[str, str], int] = field(default_factory=dict)
    keyed: dict[tuple[str, str], int] = field(default_factory=dict)
    handshakes: dict[str, int] = field(default_factory=dict)
    degraded: dict[tuple[str, str, str], int] = field(default_factory=dict)
    rate_limited: dict[str, int] = field(default_factory=dict)
    spans: dict[str, int] = field(default_factory=dict)

    def add(self, report: Report, *, alive: bool) -> None:
        """Add one worker's last Report."""
        _add(self.requests, report.requests)
        _add(self.refused, report.refused)
        _add(self.turned_away, report.turned_away)
        _add(self.unknown_outcomes, report.unknown_outcomes)
        _add(self.keyed, report.keyed)
        _add(self.handshakes, report.handshakes)
        _add(self.degraded, report.degraded)
        _add(self.rate_limited, report.rate_limited)
        _add(self.spans, report.spans)
        self.client_aborts += report.client_aborts
        self.log_dropped += report.log_dropped
        for names, (buckets, seconds) in report.durations.items():
            self.durations.setdefault(names, Histogram()).add(buckets, seconds)
        for key, counts in report.backends.items():
            self.backends.setdefault(key, BackendTotals()).add(counts, alive=alive)
        for pool, pool_counts in report.pools.items():
            self.pools.setdefault(pool, PoolTotals()).add(pool_counts, alive=alive)

    def add_missing(self, before: Report, after: Report) -> None:
        """Keep what a worker has counted under names that it has no more since a reload."""
        _add(self.requests, _missing(before.requests, after.requests))
        _add(self.turned_away, _missing(before.turned_away, after.turned_away))
        _add(self.unknown_outcomes, _missing(before.unknown_outcomes, after.unknown_outcomes))
        _add(self.keyed, _missing(before.keyed, after.keyed))
        _add(self.rate_limited, _missing(before.rate_limited, after.rate_limited))
        _add(self.degraded, _missing(before.degraded, after.degraded))
        _add(self.spans, _missing(before.spans, after.spans))
        if after.log_dropped < before.log_dropped:
            # It has no log any more, or a new one.
            self.log_dropped += before.log_dropped
        for names in before.durations.keys() - after.durations.keys():
            self.durations.setdefault(names, Histogram()).add(*before.durations[names])
        for key in before.backends.keys() - after.backends.keys():
            self.backends.setdefault(key, BackendTotals()).add(before.backends[key], alive=False)
        for pool in before.pools.keys() - after.pools.keys():
            self.pools.setdefault(pool, PoolTotals()).add(before.pools[pool], alive=False)

    def forget(self, names: Names) -> None:
        """Drop the oldest of what bears no name of these, so that reloads do not pile it up for ever."""
        forget_oldest(self.requests, lambda key: names.has_traffic(key[0], key[1]))
        forget_oldest(self.durations, lambda key: names.has_traffic(*key))
        forget_oldest(self.unknown_outcomes, lambda key: names.has_traffic(*key))
        forget_oldest(self.rate_limited, names.routes.__contains__)
        forget_oldest(self.degraded, lambda key: names.has_traffic(key[0], key[1]))
        forget_oldest(self.backends, names.backends.__contains__)
        forget_oldest(self.pools, names.pools.__contains__)
        forget_oldest(self.keyed, lambda key: key[0] in names.pools)
        forget_oldest(self.turned_away, lambda key: key[0] in names.listeners)


def forget_oldest(totals: dict[K, Any], is_known: Callable[[K], bool], most: int = MOST_GONE) -> None:
    """Drop the oldest of those that are not known, beyond `most` of them."""
    gone = [key for key in totals if not is_known(key)]
    for key in gone[: max(0, len(gone) - most)]:
        del totals[key]


def _copied(value: T) -> T:
    """The same numbers, to be added to; `deepcopy` would take 40 ms for a thousand Backends."""
    copied: Any = value
    if isinstance(value, dict):
        copied = {key: _copied(one) for key, one in value.items()}
    elif isinstance(value, Histogram | BackendTotals | PoolTotals | Totals):
        copied = type(value)(*[_copied(getattr(value, name)) for name in value.__slots__])
    return cast("T", copied)


def _missing(before: Mapping[K, int], after: Mapping[K, int]) -> dict[K, int]:
    return {key: before[key] for key in before.keys() - after.keys()}


def _add(totals: dict[K, int], counts: Mapping[K, int]) -> None:
    for key, count in counts.items():
        totals[key] = totals.get(key, 0) + count


class Tally:
    """The last Report of each worker that lives, and the sums of those that don't."""

    def __init__(self) -> None:
        self.live: dict[int, Report] = {}
        self.rates = Rates()
        self._ended = Totals()
        self._totals: Totals | None = None
        self._samples: deque[tuple[float, dict[Key, tuple[int, ...]]]] = deque(maxlen=SAMPLES)

    def take(self, report: Report) -> None:
        """Take in a worker's Report; a new process in a worker's place begins at zero."""
        before = self.live.get(report.worker)
        if before is not None and before.pid != report.pid:
            self.lose(report.worker)
        elif before is not None:
            self._ended.add_missing(before, report)
        self.live[report.worker] = report
        self.rates.take(report)
        self._totals = None
        if not self._samples:
            self._samples.append((report.at, {}))
        elif report.at - self._samples[-1][0] >= SAMPLE_EVERY:
            backends = self.totals().backends
            self._samples.append((report.at, {key: one.durations.buckets for key, one in backends.items()}))

    @property
    def ended(self) -> Totals:
        """The sums of workers that have ended. Not to be changed by the caller."""
        return self._ended

    def forget(self, names: Names) -> None:
        """The settings bear these names now."""
        self._ended.forget(names)
        self._totals = None

    def inherit(self, ended: Totals) -> None:
        """Count on from what the program before has left."""
        self._ended = ended
        self._totals = None

    def lose(self, worker: int) -> None:
        """A worker has ended: keep its totals, drop its gauges."""
        report = self.live.pop(worker, None)
        if report is not None:
            self._ended.add(report, alive=False)
            self.rates.lose(worker)
            self._totals = None

    def totals(self) -> Totals:
        """The sums over all workers, living and ended. Not to be changed by the caller."""
        if self._totals is None:
            self._totals = _copied(self._ended)
            for report in self.live.values():
                self._totals.add(report, alive=True)
        return self._totals

    def backend(self, key: Key) -> BackendTotals:
        """The sums of one Backend; zeros before the first Report."""
        return self.totals().backends.get(key) or BackendTotals()

    def in_flight(self, key: Key) -> int:
        """Attempts under way on one Backend; cheaper than all its sums."""
        return sum(report.backends[key].in_flight for report in self.live.values() if key in report.backends)

    def recent_durations(self, key: Key) -> tuple[int, ...]:
        """Attempts of about the last minute by bucket."""
        now = self.backend(key).durations.buckets
        before = self._samples[0][1].get(key) if self._samples else None
        return tuple(map(sub, now, before)) if before else now


def quantile(buckets: Sequence[int], share: float) -> float | None:
    """Seconds under which `share` of the durations lie, by straight line within a bucket; None without any.

    What lies above the last bound is given as that bound.
    """
    rank = share * sum(buckets)
    if not rank:
        return None
    below, lower = 0, 0.0
    for count, upper in zip(buckets, DURATION_BUCKETS, strict=False):
        if count and below + count >= rank:
            return lower + (upper - lower) * (rank - below) / count
        below, lower = below + count, upper
    return DURATION_BUCKETS[-1]
