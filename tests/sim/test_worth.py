"""What each policy is worth: the same scenarios with it and without it, and how many requests were lost. Run with -s."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from proxy.core.pools.active import FailoverPolicy
from proxy.core.pools.breaker import BreakerPolicy
from proxy.core.pools.damping import DampingPolicy
from proxy.core.pools.outlier import OutlierPolicy
from proxy.core.pools.warmup import WarmupPolicy
from proxy.core.requests.fallback import StalePolicy
from proxy.core.requests.hedging import HedgeAfter, HedgePolicy
from proxy.core.requests.retry import RetryPolicy
from proxy.core.settings import HoldPolicy
from tests.sim.backends import Mode
from tests.sim.simulation import Simulation

SLOW = 0.3
"""Seconds after which a client is taken to have lost its patience."""


@dataclass(frozen=True)
class Worth:
    """A policy, what it is compared with, and the trouble that it is for."""

    with_it: dict[str, Any]
    without: dict[str, Any]
    trouble: Callable[[Simulation], None]


def brown_out(sim: Simulation) -> None:
    sim.browns_out("b0", 5.0, 40.0, 0.3)


def flapping(sim: Simulation) -> None:
    for turn in range(12):
        sim.turns("b0", Mode.REFUSING, 5.0 + 3.0 * turn, 5.5 + 3.0 * turn)


def gone(sim: Simulation) -> None:
    for name in sim.backends:
        sim.turns(name, Mode.REFUSING, 10.0, 10.8)


def dead(sim: Simulation) -> None:
    sim.turns("b0", Mode.REFUSING, 10.0, 30.0)


def cold(sim: Simulation) -> None:
    """Back after a failure, it is slow until it had ten seconds to warm up."""
    sim.turns("b0", Mode.REFUSING, 5.0, 12.0)
    sim.backends["b0"].slowness = lambda now: 0.4 if 12.0 <= now < 24.0 else 0.0


def flaky(sim: Simulation) -> None:
    for name in sim.backends:
        sim.browns_out(name, 5.0, 40.0, 0.05)


def hanging(sim: Simulation) -> None:
    """It takes requests and says nothing, and its health check is green."""
    sim.backends["b0"].lies = True
    sim.turns("b0", Mode.HANGING, 5.0, 40.0)


def cutting(sim: Simulation) -> None:
    """Every answer breaks off, and its health check is green."""
    sim.backends["b0"].lies = True
    sim.turns("b0", Mode.HALF, 5.0, 20.0)


def first_tier_gone(sim: Simulation) -> None:
    for name in ("b0", "b1"):
        sim.turns(name, Mode.REFUSING, 10.0, 30.0)


def slow_tail(sim: Simulation) -> None:
    """One answer of twenty takes half a second, at whatever backend."""
    rng = random.Random(sim.seed)
    for backend in sim.backends.values():
        backend.slowness = lambda now: 0.5 if rng.random() < 0.05 else 0.0


def long_gone(sim: Simulation) -> None:
    for name in sim.backends:
        sim.turns(name, Mode.REFUSING, 10.0, 25.0)


BY_HAND = FailoverPolicy(automatic=False, failback=False)
QUICK: dict[str, Any] = {"breaker": BreakerPolicy(open_for=0.5, open_for_max=0.5)}
"""A Breaker that forgets quickly, so that nothing but damping remembers."""
NEVER_OPENS = BreakerPolicy(consecutive=1_000_000, min_requests=1_000_000)
WORTHS = {
    "hedge": Worth({"hedge": HedgePolicy(HedgeAfter(0.05))}, {}, slow_tail),
    "retries": Worth({}, {"retries": RetryPolicy(attempts=1)}, flaky),
    "whole answers": Worth({}, {"retries": RetryPolicy(hold_answer=0)}, cutting),
    "breaker": Worth({}, {"breaker": NEVER_OPENS}, hanging),
    "tiers": Worth({"tiers": [1, 1, 2]}, {"backends": 2}, first_tier_gone),
    "stale_if_error": Worth({"stale": StalePolicy()}, {}, long_gone),
    "outlier": Worth({}, {"outlier": OutlierPolicy(detect=False)}, brown_out),
    "damping": Worth({**QUICK, "damping": DampingPolicy(suppress=2500, half_life=20.0)}, QUICK, flapping),
    "hold": Worth({}, {"hold": HoldPolicy(duration=0.0)}, gone),
    "failover": Worth({"failover": FailoverPolicy()}, {"failover": BY_HAND}, dead),
    "slow_start": Worth({"warmup": WarmupPolicy(12.0)}, {}, cold),
}


def lost(worth: Worth, policies: dict[str, Any], seed: int) -> int:
    """Requests that failed, or took so long that it comes to the same."""
    changes: dict[str, Any] = {"balance": "round_robin", "outlier": OutlierPolicy(detect=False)} | policies
    sim = Simulation(seed, is_quiet=True, **changes)
    worth.trouble(sim)
    sim.run(45.0, rate=60.0, writes=0.3)
    return sum(one.failed or (one.ended or 0.0) - one.begun > SLOW for one in sim.requests)


@pytest.mark.parametrize("policy", WORTHS)
def test_fewer_requests_are_lost_with_the_policy_than_without_it(policy: str) -> None:
    worth = WORTHS[policy]
    own = {"outlier": OutlierPolicy()} if policy == "outlier" else worth.with_it
    with_it = sum(lost(worth, own, seed) for seed in range(3))
    without = sum(lost(worth, worth.without, seed) for seed in range(3))
    print(f"| {policy:14} | lost with it {with_it:5} | without it {without:5} |")

    assert with_it < without
