"""Who does clearly worse than its peers: shares of failed and of slow requests, over the last few seconds.

Statistics only: what follows from it is decided in `detector`. Slow is what takes a multiple of the peers' median, so
that a few long streams, which every Backend has, are nothing. Shares are compared by a robust test, the median of the
others and their median absolute deviation, so that one or two that are bad do not hide each other.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from operator import sub
from statistics import median
from typing import NamedTuple

from proxy.core.messages import DURATION_BUCKETS

DEVIATIONS = 4.0
"""Above the median by so many deviations is far out: of shares that are alike, one in 10,000 is."""
SCALE = 1.4826
"""By which the median absolute deviation estimates a standard deviation."""
LEAST_DIFFERENCE = 0.005
"""Seconds: less than this is within what a histogram's buckets can tell."""
LEAST_SHARE = 0.02
"""A share below which chance is taken to be this large: one failure of thirty says nothing."""


class Totals(NamedTuple):
    """What one Backend did since the beginning, over all workers."""

    ended: int
    failed: int
    buckets: tuple[int, ...]
    """Durations, as in `DURATION_BUCKETS`."""
    unanswered: tuple[int, ...] = ()
    """Requests that wait for an answer now: for one to two seconds, for two to three, and so on."""

    def since(self, before: Totals) -> Totals:
        """What came in between; nothing where counts went back."""
        buckets = tuple(map(sub, self.buckets, before.buckets))
        return Totals(self.ended - before.ended, self.failed - before.failed, buckets, self.unanswered)

    def with_unanswered(self, within: float) -> Totals:
        """The same with those that wait, as far as they began in the last so many seconds.

        They take at least as long as they have waited: a Backend that hangs shows before its requests time out.
        """
        buckets = list(self.buckets)
        waiting = [number for seconds, number in enumerate(self.unanswered, 1) if seconds + 1 <= within]
        for seconds, number in enumerate(waiting, 1):
            buckets[bisect_right(DURATION_BUCKETS, seconds)] += number
        return Totals(self.ended + sum(waiting), self.failed, tuple(buckets))


@dataclass(frozen=True, slots=True)
class Seen:
    """What one Backend did in the last few seconds."""

    ended: int
    errors: float
    """Share of what failed."""
    buckets: tuple[int, ...]

    @classmethod
    def of(cls, totals: Totals) -> Seen:
        """From the counts of that time, which must not be empty."""
        return cls(totals.ended, totals.failed / totals.ended, totals.buckets)

    @property
    def half(self) -> float:
        """Seconds within which half of it ended."""
        return quantile(self.buckets, 0.5)

    def slower_than(self, bound: int) -> float:
        """The share of it that took longer than one of `DURATION_BUCKETS`."""
        return sum(self.buckets[bound + 1 :]) / max(1, sum(self.buckets))


def quantile(buckets: Sequence[int], share: float) -> float:
    """Seconds within which this share of durations lies, by straight line within a bucket; 0 without any."""
    rank = share * sum(buckets)
    below, lower = 0, 0.0
    for count, upper in zip(buckets, DURATION_BUCKETS, strict=False):
        if count and below + count >= rank:
            return lower + (upper - lower) * (rank - below) / count
        below, lower = below + count, upper
    return lower if rank else 0.0


def worse_than_peers(
    seen: Mapping[str, Seen], alike: Mapping[str, object], margin: float, latency_factor: float
) -> Iterator[tuple[str, str]]:
    """Names of those that do clearly worse than the others, and what is wrong with them.

    Errors are compared with all others; latencies only among those that are `alike` (of one place: the way to another
    region takes its time).
    """
    for name, own in seen.items():
        others = [one for other, one in seen.items() if other != name]
        near = [one for other, one in seen.items() if other != name and alike[other] == alike[name]]
        why = _more_errors(own, others, margin) or _slower(own, near, margin, latency_factor)
        if why:
            yield name, why


def _more_errors(own: Seen, others: Sequence[Seen], margin: float) -> str:
    usual = _exceeded(own.errors, [one.errors for one in others], margin, own.ended)
    return "" if usual is None else f"{own.errors:.0%} of its requests fail, {usual:.0%} of its peers'"


def _slower(own: Seen, others: Sequence[Seen], margin: float, factor: float) -> str:
    if not others:
        return ""
    half = quantile(tuple(map(sum, zip(*(one.buckets for one in others), strict=True))), 0.5)
    # The next bound of a bucket: above it, the counts are exact.
    slow = bisect_left(DURATION_BUCKETS, max(factor * half, half + LEAST_DIFFERENCE))
    share = own.slower_than(slow)
    usual = _exceeded(share, [one.slower_than(slow) for one in others], margin, own.ended)
    if usual is None:
        return ""
    return f"{share:.0%} of its requests take over {DURATION_BUCKETS[slow] * 1000:.3g} ms, {usual:.0%} of its peers'"


def _exceeded(own: float, others: Sequence[float], margin: float, number: int) -> float | None:
    """The usual share among the others, where this one is clearly above it; None where it is not."""
    if not others:
        return None
    usual = median(others)
    spread = DEVIATIONS * SCALE * median(abs(one - usual) for one in others)
    base = max(usual, LEAST_SHARE)
    chance = DEVIATIONS * sqrt(base * (1.0 - base) / number) if base < 1.0 else 0.0
    return usual if own > usual + max(margin, spread, chance) else None
