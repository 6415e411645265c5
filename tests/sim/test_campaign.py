"""A campaign of random failure scenarios: whatever the policies, some things never happen.

`make simulate` plays more of them: SCENARIOS says how many, SIM_SEED with which one to begin.
"""

from __future__ import annotations

import os

import pytest

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


@pytest.mark.parametrize("part", range(PARTS))
def test_whatever_happens_the_invariants_hold(part: int) -> None:
    wrong = [one for seed in range(FIRST + part, FIRST + SCENARIOS, PARTS) for one in wrong_with(seed)]

    assert [] == wrong[:3], f"{len(wrong)} in all"
