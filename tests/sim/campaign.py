"""Random failure scenarios for all policies together: one seed, one pool, one story of a few seconds."""

from __future__ import annotations

import random
from dataclasses import dataclass

from proxy.core.messages import AdminState
from proxy.core.pools.active import FailoverPolicy
from proxy.core.pools.damping import DampingPolicy
from proxy.core.pools.locality import LocalityPolicy
from proxy.core.pools.outlier import OutlierPolicy
from proxy.core.pools.warmup import WarmupPolicy
from proxy.core.requests.hedging import HedgeAfter, HedgePolicy
from tests.sim.backends import Mode
from tests.sim.simulation import Simulation

WAYS = [mode for mode in Mode if mode is not Mode.WELL]
TROUBLE = 4.0
"""Seconds in which things happen."""
CALM = 3.0
"""Seconds after it, with load, in which all are well."""
RATE = 20.0


def policies(rng: random.Random) -> dict[str, object]:
    """A pool's policies, drawn at random."""
    chosen: dict[str, object] = {
        "damping": rng.choice([None, DampingPolicy(half_life=1.0, suppress=3500, longest=2.0)]),
        "warmup": rng.choice([WarmupPolicy(), WarmupPolicy(2.0)]),
        "outlier": rng.choice([OutlierPolicy(detect=False), OutlierPolicy(min_requests=10, eject_for=1.0)]),
        "hedge": rng.choice([HedgePolicy(), HedgePolicy(HedgeAfter(0.01)), HedgePolicy(HedgeAfter(share=0.9), 20)]),
        "balance": rng.choice(["round_robin", "least_requests", "peak_ewma", "random", "hash"]),
    }
    kind = rng.choice(["plain", "locality", "passive", "by hand"])
    if kind == "locality":
        chosen |= {"region": "eu", "locality": LocalityPolicy(rng.choice([0.5, 0.7, 1.0]))}
    elif kind == "passive":
        chosen["failover"] = FailoverPolicy(after=rng.choice([0.0, 0.3]), failback_after=rng.choice([0.0, 1.0]))
    elif kind == "by hand":
        chosen["failover"] = FailoverPolicy(automatic=False, failback=False)
    return chosen


@dataclass(frozen=True)
class Story:
    """What happened to whom, to be told when an invariant does not hold."""

    seed: int
    lines: tuple[str, ...]

    def __str__(self) -> str:
        return "\n".join([f"seed {self.seed}", *self.lines])


def play(seed: int, calm: float = CALM) -> tuple[Simulation, Story]:
    """One scenario from its seed to its end; all are well for so many seconds after it."""
    rng = random.Random(seed)
    number = rng.randint(2, 5)
    chosen = policies(rng)
    sim = Simulation(
        seed,
        backends=number,
        tiers=[rng.randint(1, 2) for _ in range(number)],
        regions=[rng.choice(["eu", "us", "ap"]) for _ in range(number)],
        workers=rng.randint(1, 3),
        is_quiet=True,
        **chosen,
    )
    lines = [f"{name} = {value!r}" for name, value in chosen.items()]
    lines += [_trouble(sim, rng) for _ in range(rng.randint(1, 5))]
    sim.run(TROUBLE + calm, rate=RATE, leaving=0.02, streams=0.02)
    return sim, Story(seed, tuple(lines))


def _trouble(sim: Simulation, rng: random.Random) -> str:
    """One thing that goes wrong, or that a person does."""
    name = rng.choice(list(sim.backends))
    at = rng.uniform(0.5, TROUBLE - 0.5)
    until = min(TROUBLE, at + rng.choice([0.1, 0.5, 1.5]))
    what = rng.choice(["fault", "fault", "fault", "liar", "brown-out", "admin", "order"])
    if what in {"fault", "liar"}:
        mode = rng.choice(WAYS)
        sim.backends[name].lies = sim.backends[name].lies or what == "liar"
        sim.turns(name, mode, at, until)
        what = f"{what} {mode.name}"
    elif what == "brown-out":
        sim.browns_out(name, at, until, rng.choice([0.2, 0.5]))
    elif what == "admin":
        sim.set_admin(name, rng.choice([AdminState.DRAIN, AdminState.MAINT]), at)
        sim.set_admin(name, AdminState.READY, until)
    else:
        sim.timeline.at(at, lambda: sim.supervision.order(name))
    return f"{at:.2f} to {until:.2f}: {what} {name}"
