"""Breakers to test with."""

from __future__ import annotations

from proxy.core.pools.breaker import Breaker, BreakerPolicy, BreakerState, Verdict

CLOSED, OPEN, HALF_OPEN = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN
GOOD, BAD, NEUTRAL = Verdict.GOOD, Verdict.BAD, Verdict.NEUTRAL
POLICY = BreakerPolicy()
RATE_ONLY = BreakerPolicy(consecutive=1000)


def feed(breaker: Breaker, verdicts: str, now: float = 0.0) -> Breaker:
    """End one Attempt after the other at `now`: `+` is good, `-` bad, `.` neutral."""
    for sign in verdicts:
        breaker.settle(breaker.admit(now), {"+": GOOD, "-": BAD, ".": NEUTRAL}[sign], now)
    return breaker


def tripped(policy: BreakerPolicy = POLICY, now: float = 0.0) -> Breaker:
    return feed(Breaker(policy, now), "-" * policy.consecutive, now)
