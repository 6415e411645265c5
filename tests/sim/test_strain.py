"""What limits and hedges are worth, with the same clients with them and without. Run with -s."""

from __future__ import annotations

import random

from proxy.core.limits.concurrency import ConcurrencyPolicy
from proxy.core.limits.waiting import Priority, WaitingPolicy
from proxy.core.requests.hedging import HedgeAfter, HedgePolicy
from tests.sim.strain import Strained

CAPACITY = 1000.0
"""Requests a second that two Backends with ten places serve in 20 ms each."""


def steady(rng: random.Random) -> float:
    return rng.uniform(0.015, 0.025)


def one_in_ten(rng: random.Random) -> float:
    """Most answers take 5 to 15 ms, and one in ten 300 ms."""
    return 0.3 if rng.random() < 0.1 else rng.uniform(0.005, 0.015)


def overload(seed: int, **policies: object) -> Strained:
    """Calm for a second, twice as much as can be served for 3 s, and calm again."""
    world = Strained(seed, steady, **policies)  # type: ignore[arg-type]
    for rate, since, until in ((0.5, 0.0, 1.0), (2.0, 1.0, 4.0), (0.5, 4.0, 6.0)):
        world.come(rate * CAPACITY, since, until)
    world.run(12.0)
    return world


def test_under_overload_limits_serve_as_many_as_can_be_served_and_then_recover() -> None:
    """Without them everybody waits in the Backends until nobody is served in time: twice as much gets next to nothing."""
    waiting = WaitingPolicy(max_requests=200, max_wait=0.2)
    kinds: dict[str, dict[str, object]] = {
        "nothing": {},
        "max_in_flight 12": {"limit": 12, "waiting": waiting},
        "adaptive": {"concurrency": ConcurrencyPolicy(window=0.1), "waiting": waiting},
    }
    found: dict[str, tuple[float, float]] = {}
    for name, policies in kinds.items():
        world = overload(0, **policies)
        during, after = world.served(2.0, 4.0), world.served(5.0, 6.0)
        p99 = world.quantile(0.99, 5.0, 6.0)
        print(
            f"| {name:16} | served of twice the capacity {during:4.0%} | afterwards {after:4.0%}, p99 {p99 * 1000:.0f} ms |"
        )
        found[name] = (during, after)
        assert (0, 0) == (world.in_flight, world.pool.strain.waiting)

    assert found["nothing"][0] < 0.2
    assert found["max_in_flight 12"][0] > 0.4
    assert found["adaptive"][0] > 0.4
    assert (1.0, 1.0) == (found["max_in_flight 12"][1], found["adaptive"][1])


def test_under_overload_the_low_are_shed_and_the_critical_hardly_feel_it() -> None:
    waiting = WaitingPolicy(max_requests=100, max_wait=0.2)
    world = Strained(0, steady, limit=12, waiting=waiting, has_priorities=True)
    for priority, share in ((Priority.LOW, 0.8), (Priority.NORMAL, 0.8), (Priority.CRITICAL, 0.4)):
        world.come(share * CAPACITY, 0.0, 4.0, priority)
    world.run(10.0)
    low, normal, critical = (world.served(1.0, 4.0, one) for one in (Priority.LOW, Priority.NORMAL, Priority.CRITICAL))
    print(f"of twice the capacity: low {low:.0%}, normal {normal:.0%}, critical {critical:.0%}")

    assert critical > 0.99
    assert low < normal < critical
    ends = world.pool.counts().strain.waits
    assert sum(one.is_shed for one in world.clients) == sum(
        ends.get(end, 0) for end in ("full", "timeout", "displaced")
    )


def test_hedges_take_the_tail_away_within_their_budget() -> None:
    def tail(after: HedgeAfter | None) -> tuple[float, float, float]:
        world = Strained(1, one_in_ten, backends=3, places=100, patience=5.0, hedge=HedgePolicy(after))
        world.come(300.0, 0.0, 12.0)
        world.run(20.0)
        assert 0 == world.in_flight
        extra = (world.taken - len(world.clients)) / len(world.clients)
        return world.quantile(0.95, 2.0, 12.0), world.quantile(0.99, 2.0, 12.0), extra

    without, fixed, learnt = (tail(after) for after in (None, HedgeAfter(seconds=0.03), HedgeAfter(share=0.85)))
    for name, (p95, p99, extra) in {"nothing": without, "30 ms": fixed, "p85": learnt}.items():
        print(
            f"| hedge after {name:8} | p95 {p95 * 1000:4.0f} ms | p99 {p99 * 1000:4.0f} ms | {extra:4.1%} more requests |"
        )

    assert (0.3, 0.3) == (round(without[0], 3), round(without[1], 3))
    for p95, p99, extra in (fixed, learnt):
        assert p95 < 0.06
        assert p99 < 0.32
        # The budget: a fifth, and ten a second of three hundred.
        assert 0 < extra <= 0.2 + 10 / 300
