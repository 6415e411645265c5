"""Slow start: a Backend that is back gets little at first, and its whole weight only when it had time to warm up.

Pure arithmetic on the moment of its readmission, for `model`; never at our own start, where all would be slow alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

LEAST = 0.1
"""The part of its weight that a Backend begins with."""
STEPS = 20
"""In how many steps the weight grows: each makes every worker look anew at who may serve."""
SHORTEST_STEP = 0.1
"""Seconds."""


@dataclass(frozen=True, slots=True)
class WarmupPolicy:
    """How a Backend's weight grows after its readmission."""

    duration: float = 0.0
    """Seconds until it has its whole weight again; 0: at once."""

    def part(self, age: float) -> float:
        """The part of its weight that a Backend gets which was readmitted `age` seconds ago."""
        if not self.duration or age >= self.duration:
            return 1.0
        return LEAST + (1.0 - LEAST) * max(age, 0.0) / self.duration

    def next_step(self, readmitted_at: float, now: float) -> float:
        """When to look again; infinite where nothing grows any more."""
        ends = readmitted_at + self.duration
        return inf if not self.duration or now >= ends else min(ends, now + max(SHORTEST_STEP, self.duration / STEPS))
