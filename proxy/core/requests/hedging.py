"""When a second Backend is asked beside a slow one: after a fixed time, or at a percentile of what answers take.

Latencies of the last 10 to 20 seconds are counted in buckets, each a tenth wider than the one before, so memory is
bounded and a percentile is right to a tenth. What is counted is the time until an answer can be judged; of an Attempt
that lost to its hedge it is known only that it took longer. Which request may be hedged, `dispatch` decides.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from math import log

WINDOW = 10.0
"""Seconds of one of the two halves that are looked at."""
LEAST = 0.0005
"""Seconds; the first bucket takes all that is quicker."""
GROWTH = 1.1
BUCKETS = 128
"""The last one takes all above 90 s."""
KEEP_FOR = 0.25
"""Seconds for which a percentile is not worked out anew."""

_LOG_GROWTH = log(GROWTH)


@dataclass(frozen=True, slots=True)
class HedgeAfter:
    """A time, or a percentile of the latencies."""

    seconds: float = 0.0
    share: float = 0.0
    """0.95 for `p95`; 0: it is a time."""


@dataclass(frozen=True, slots=True)
class HedgePolicy:
    """Whether a slow request is sent to a second Backend as well."""

    after: HedgeAfter | None = None
    """None: never."""
    min_requests: int = 100
    """Requests in the window below which no percentile is believed."""


class HedgeResult(enum.StrEnum):
    """What came of the wish to hedge; what the metric calls it."""

    WON = "won"
    LOST = "lost"
    FAILED = "failed"
    """The second Attempt failed, and the first one went on."""
    NO_BUDGET = "no_budget"
    NOBODY = "nobody"
    """No other Backend was there for it, or had room."""


class Hedging:
    """What one Pool in one worker knows of latencies, and what came of its hedges."""

    __slots__ = ("_after", "_before", "_current", "_known_until", "_policy", "_turns_at", "counts")

    def __init__(self, policy: HedgePolicy, counts: dict[str, int], now: float) -> None:
        self._policy = policy
        self.counts = counts
        """By HedgeResult."""
        self._current, self._before = [0] * BUCKETS, [0] * BUCKETS
        self._turns_at = now + WINDOW
        self._after: float | None = None
        self._known_until = now

    def __repr__(self) -> str:
        return f"<Hedging after {self._after}>"

    def obey(self, policy: HedgePolicy) -> None:
        """Follow other numbers; what was learnt stays."""
        self._policy = policy
        self._known_until = 0.0

    def note(self, result: HedgeResult) -> None:
        """Count what came of one hedge."""
        self.counts[result] = self.counts.get(result, 0) + 1

    def observe(self, latency: float, now: float) -> None:
        """An answer could be judged after so many seconds, or not yet."""
        if now >= self._turns_at:
            self._turn(now)
        self._current[_bucket(latency)] += 1

    def _turn(self, now: float) -> None:
        is_old = now >= self._turns_at + WINDOW
        self._before = [0] * BUCKETS if is_old else self._current
        self._current = [0] * BUCKETS
        self._turns_at = now + WINDOW

    def after(self, now: float) -> float | None:
        """Seconds after which a request is hedged; None: none is, now."""
        wanted = self._policy.after
        if wanted is None or not wanted.share:
            return None if wanted is None else wanted.seconds
        if now >= self._known_until:
            if now >= self._turns_at:
                self._turn(now)
            self._after = self._percentile(wanted.share)
            self._known_until = now + KEEP_FOR
        return self._after

    def _percentile(self, share: float) -> float | None:
        """The upper bound of the bucket in which it lies."""
        counts = [a + b for a, b in zip(self._current, self._before, strict=True)]
        total = sum(counts)
        if total < self._policy.min_requests:
            return None
        rank, seen, bucket = share * total, counts[0], 0
        while seen < rank:
            bucket += 1
            seen += counts[bucket]
        return LEAST * GROWTH**bucket


def _bucket(latency: float) -> int:
    if latency <= LEAST:
        return 0
    return min(BUCKETS - 1, int(log(latency / LEAST) / _LOG_GROWTH) + 1)


def hedging_for(hedging: Hedging | None, policy: HedgePolicy, counts: dict[str, int], now: float) -> Hedging | None:
    """What a Pool needs under this policy: what it has, something new, or nothing where nothing is hedged."""
    if policy.after is None:
        return None
    if hedging is None:
        return Hedging(policy, counts, now)
    hedging.obey(policy)
    return hedging
