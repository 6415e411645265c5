"""A campaign of random failure scenarios: whatever the policies, some things never happen.

`make simulate` plays more of them: SCENARIOS says how many, SIM_SEED with which one to begin.
"""

from __future__ import annotations

import os

import pytest

from proxy.core.pools.model import Unavailable
from tests.sim.campaign import play

SCENARIOS = int(os.environ.get("SCENARIOS", "200"))
PARTS = 20
"""Into so many tests, so that they can be shared out."""
FIRST = int(os.environ.get("SIM_SEED", "0"))


def wrong_with(seed: int) -> list[str]:
    """Every invariant that does not hold in one scenario."""
    sim, story = play(seed)
    ejected = max(worker.most_ejected for worker in sim.workers)
    allowed = max(1, int(sim.settings.ejection.max_ejected * len(sim.backends)))
    broken = {
        "a read failed that another backend could have answered": sim.preventable,
        "a write was executed twice": sim.executed_twice,
        "a client was told a lie about a write": sim.told_lies,
        "a request got no end": sim.unended,
        "an attempt was not settled": sim.in_flight or sim.holding,
        "more were ejected than the cap allows": ejected > allowed,
        "two backends were active at once": sim.settings.failover is not None and sim.most_active > 1,
        "nobody serves though all are well": sim.supervision.registry.pools["app"].available == 0,
    }
    return [f"{what}: {found}\n{story}" for what, found in broken.items() if found]


LONG_CALM = 100.0
"""Seconds: a breaker that has opened again and again stays open for up to a minute."""


@pytest.mark.parametrize("part", range(5))
def test_no_veto_lasts_once_all_is_well_and_requests_come(part: int) -> None:
    """Whatever has taken a backend out, it is back: but for who stands by, which is no trouble of its own."""
    lasting = []
    for seed in range(FIRST + part, FIRST + max(10, SCENARIOS // 50), 5):
        sim, story = play(seed, LONG_CALM)
        for name, record in sim.supervision.registry.pools["app"].backends.items():
            reasons = [reason for reason in record.reasons if reason is not Unavailable.STANDBY]
            lasting += [f"{name} is out ({reasons})\n{story}"] if reasons else []

    assert [] == lasting[:3], f"{len(lasting)} in all"


@pytest.mark.parametrize("part", range(PARTS))
def test_whatever_happens_the_invariants_hold(part: int) -> None:
    wrong = [one for seed in range(FIRST + part, FIRST + SCENARIOS, PARTS) for one in wrong_with(seed)]

    assert [] == wrong[:3], f"{len(wrong)} in all"
