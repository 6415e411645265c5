"""Whether a Pool of a split does so much worse than the others that it gets nothing more.

Attempts are compared, over the last few seconds and all workers. The margin is the user's; that it is not by chance is
an exact test (Fisher's), for a canary gets few requests, and strict, for it is asked each second for days. Where the
others fail too, most of the time, nobody is to blame: nothing is cut off.
Pure statistics and memory: `controlplane.pools.splits` feeds it and carries out what follows.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from math import exp, lgamma
from typing import NamedTuple

MOST_CHANCE = 1e-6
"""So likely at most, were all alike: a canary as good as the others is cut off once in months, not each hour."""
MOST_SAMPLES = 100
"""Totals of a window that are kept, however long it is."""
MOST_BAD = 0.5
"""From this share of failures on in the other Pools, to send them more would help nobody."""


@dataclass(frozen=True, slots=True)
class AbortPolicy:
    """When a Pool is cut off from its split."""

    pool: str
    """Which one is watched."""
    worse_by: float = 0.05
    """By so much its share of failed Attempts must be above that of the others."""
    min_requests: int = 50
    """Attempts in the window, there and in the others, without which nothing is said."""
    window: float = 30.0
    """Seconds."""


class Seen(NamedTuple):
    """Attempts since the beginning, or in a time."""

    ended: int = 0
    failed: int = 0

    def since(self, before: Seen) -> Seen:
        """What came in between."""
        return Seen(self.ended - before.ended, self.failed - before.failed)

    @property
    def share(self) -> float:
        """The part that failed."""
        return self.failed / self.ended if self.ended else 0.0

    def __str__(self) -> str:
        return f"{self.failed} of {self.ended} failed ({self.share:.1%})"


class Canary:
    """One Pool that is watched, beside all others of its split together."""

    def __init__(self, policy: AbortPolicy) -> None:
        self.policy = policy
        self._samples: deque[tuple[float, Seen, Seen]] = deque()
        self._last = Seen(), Seen()

    def __repr__(self) -> str:
        return f"<Canary {self.policy.pool}>"

    def look(self, own: Seen, others: Seen, now: float) -> str:
        """Take in totals; what is so much worse, or nothing. Totals that went back begin anew."""
        if own.ended < self._last[0].ended or others.ended < self._last[1].ended:
            self._samples.clear()
        self._last = own, others
        if not self._samples or now >= self._samples[-1][0] + self.policy.window / MOST_SAMPLES:
            self._samples.append((now, own, others))
        while self._samples[0][0] < now - self.policy.window:
            self._samples.popleft()
        _, own_before, others_before = self._samples[0]
        return evidence(own.since(own_before), others.since(others_before), self.policy)

    def begin_anew(self) -> None:
        """What was seen so far counts no more."""
        self._samples.clear()


def evidence(own: Seen, others: Seen, policy: AbortPolicy) -> str:
    """Why the Pool is to be cut off; empty: it is not."""
    if min(own.ended, others.ended) < policy.min_requests or others.share >= MOST_BAD:
        return ""
    if own.share - others.share <= policy.worse_by or chance(own, others) > MOST_CHANCE:
        return ""
    return f"{own}, of the others {others}, in {policy.window:g} s"


def chance(own: Seen, others: Seen) -> float:
    """How likely so many of all failures, or more, would be here if it did not matter where an Attempt went."""
    # Reports come one by one: never more failures than ends.
    here = min(own.failed, own.ended)
    ended, failed = own.ended + others.ended, here + min(others.failed, others.ended)
    part = exp(_ways(failed, here) + _ways(ended - failed, own.ended - here) - _ways(ended, own.ended))
    total = 0.0
    while part > total * 1e-9:
        total += part
        part *= (failed - here) * (own.ended - here) / ((here + 1) * (others.ended - failed + here + 1))
        here += 1
    return total


def _ways(of: int, some: int) -> float:
    """In how many ways some can be chosen; the logarithm."""
    return lgamma(of + 1) - lgamma(some + 1) - lgamma(of - some + 1)
