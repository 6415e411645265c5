"""A Backend that accepts requests and says nothing is found by its peers, long before its requests time out."""

from __future__ import annotations

from proxy.core.pools.health import HealthPolicy
from proxy.core.pools.outlier import OutlierPolicy
from proxy.core.settings import Timeouts
from tests.sim.backends import Mode
from tests.sim.simulation import Simulation

PATIENT = Timeouts(connect=0.5, first_byte=15.0)
HUNG_AT = 10.0


def hangs(seed: int, outlier: OutlierPolicy) -> tuple[int, float]:
    """How many requests were sent to it after it hung, and when it got the last of them before its first time-out."""
    sim = Simulation(
        seed, is_quiet=True, balance="round_robin", timeouts=PATIENT, outlier=outlier, health=HealthPolicy(initial="up")
    )
    sim.backends["b0"].lies = True
    sim.turns("b0", Mode.HANGING, HUNG_AT)
    sim.run(HUNG_AT + 15.0, rate=100.0, writes=0.2)
    sent = [at for at in sim.backends["b0"].requests if HUNG_AT <= at < HUNG_AT + 15.0]
    return len(sent), max(sent) - HUNG_AT


def test_a_backend_that_hangs_is_taken_out_before_its_requests_time_out(seed: int) -> None:
    with_it, last = hangs(seed, OutlierPolicy())
    without, _ = hangs(seed, OutlierPolicy(detect=False))
    print(f"hung with 15 s to time out: {with_it} requests sent there, the last after {last:.1f} s; without {without}")

    assert last < 10.0
    assert with_it < without / 2
