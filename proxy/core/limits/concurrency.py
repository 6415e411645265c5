"""Adaptive concurrency: how many requests a Pool carries before they only make each other slower, found out by itself.

A gradient on latency (as in Netflix's gradient2 and Envoy's adaptive concurrency): while the median of a window stays
near the latency without load, the limit grows by its square root; where it does not, the limit sinks in proportion.
The latency without load is measured anew from time to time, with half of the limit, so that it can't drift up.
Called by `gate`.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, sqrt
from statistics import median

START = 20
"""The limit before anything is known."""
LEAST_SAMPLES = 10
"""Answers below which a window says nothing and goes on."""
MOST_SAMPLES = 1000
"""Answers of a window that are looked at."""
MOST_STEP_DOWN = 0.5
"""No window takes more than this of the limit away."""
CALIBRATE_EVERY = 30.0
"""Seconds between two measurements of the latency without load."""
CALIBRATION = 2
"""Windows that it takes: in the first one the Backends work off what they have."""


@dataclass(frozen=True, slots=True)
class ConcurrencyPolicy:
    """How a Pool finds out how many requests at a time it can carry. The limits are those of one worker."""

    tolerance: float = 1.5
    """The median latency may be so many times the latency without load before the limit sinks."""
    window: float = 0.5
    """Seconds over which latencies are compared; longer where there are few requests."""
    min_limit: int = 5
    """The limit never sinks below this."""
    max_limit: int = 1000
    """It never rises above this."""


class Concurrency:
    """The limit of one Pool in one worker."""

    __slots__ = ("_calibrate_at", "_calibrating", "_limit", "_peak", "_samples", "_window_ends", "floor", "policy")

    def __init__(self, policy: ConcurrencyPolicy, now: float) -> None:
        self.policy = policy
        self._limit = self._bounded(START)
        self.floor = inf
        """The median latency without load, as far as it is known."""
        self._samples: list[float] = []
        self._peak = 0
        self._calibrating = 0
        self._calibrate_at = now + CALIBRATE_EVERY
        self._window_ends = now + policy.window

    def __repr__(self) -> str:
        return f"<Concurrency {self.limit} floor={self.floor * 1000:.1f}ms>"

    def _bounded(self, limit: float) -> float:
        return min(max(limit, self.policy.min_limit), self.policy.max_limit)

    def obey(self, policy: ConcurrencyPolicy) -> None:
        """Follow other numbers; what was learnt stays."""
        self.policy = policy
        self._limit = self._bounded(self._limit)

    @property
    def limit(self) -> int:
        """Requests at a time, now."""
        return int(self._bounded(self._limit / 2) if self._calibrating else self._limit)

    def observe(self, latency: float, in_flight: int, now: float) -> None:
        """An answer has come after so many seconds, with so many requests in flight."""
        if len(self._samples) < MOST_SAMPLES:
            self._samples.append(latency)
        self._peak = max(self._peak, in_flight)
        if now >= self._window_ends:
            self._turn(now)

    def observe_failure(self, duration: float, in_flight: int, now: float) -> None:
        """A failure says something only where it took long: a refused connection is no quick answer."""
        if duration > self.floor:
            self.observe(duration, in_flight, now)

    def _turn(self, now: float) -> None:
        """A window ends."""
        if len(self._samples) < LEAST_SAMPLES:
            return
        self._window_ends = now + self.policy.window
        found, peak = median(self._samples), self._peak
        self._samples, self._peak = [], 0
        if self._calibrating:
            self._calibrating -= 1
            if not self._calibrating:
                self.floor = found
            return
        self.floor = min(self.floor, found)
        self._step(found, peak)
        if now >= self._calibrate_at:
            self._calibrate_at = now + CALIBRATE_EVERY
            self._calibrating = CALIBRATION

    def _step(self, found: float, peak: int) -> None:
        allowed = self.policy.tolerance * self.floor
        gradient = max(MOST_STEP_DOWN, allowed / found) if found > allowed else 1.0
        # What is not used says nothing of more.
        if gradient < 1.0 or peak * 2 >= self._limit:
            self._limit = self._bounded(self._limit * gradient + sqrt(self._limit))
