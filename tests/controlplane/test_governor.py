from __future__ import annotations

from dataclasses import replace
from itertools import count

from hypothesis import given
from hypothesis import strategies as st

from proxy.controlplane.pools.change import Change
from proxy.controlplane.pools.registry import Registry
from proxy.core.pools.damping import DampingPolicy
from proxy.core.pools.health import HealthPolicy, Probe
from proxy.core.pools.model import Unavailable
from proxy.core.pools.warmup import WarmupPolicy
from proxy.core.settings import Address, BackendSettings, ListenerSettings, PoolSettings, Settings

QUICK = HealthPolicy(fall=1, rise=1)
DAMPING = DampingPolicy(penalty=1000, half_life=60, suppress=3500, reuse=1500, longest=600)


def make(backends: int = 2, **changes: object) -> Registry:
    members = tuple(BackendSettings(f"b{n}", Address("127.0.0.1", 9)) for n in range(backends))
    pool = PoolSettings("app", members, **{"health": QUICK, "damping": DAMPING, **changes})
    return Registry(Settings((ListenerSettings("web", Address("127.0.0.1", 0)),), (pool,), ()), 0.0)


def probe(registry: Registry, backend: str, at: float, *, ok: bool) -> list[Change]:
    return registry.take_probe(("app", backend), Probe(at, ok=ok, duration=0.001, detail=""))


def flap(registry: Registry, backend: str, *times: float) -> list[Change]:
    """It goes down at the first time, up at the second, and so on."""
    changes = []
    for number, at in enumerate(times):
        changes += probe(registry, backend, at, ok=bool(number % 2))
    return [change for change in changes if change.subject == "damping"]


def test_who_flaps_is_damped_and_all_workers_are_told_until_when() -> None:
    registry = make()
    before = registry.version

    changes = flap(registry, "b0", 0.0, 0.0, 0.0, 0.0)

    assert [Change("damping", "app", "b0", "quiet", "damped", "its flapping has cost it 4000")] == changes
    assert registry.version > before
    assert 80 < registry.snapshot().backends["app", "b0"].damped_until < 90, "log2(4000/1500) half-lives are 84.9 s"
    assert (Unavailable.DAMPED,) == registry.pools["app"].backends["b0"].reasons


def test_it_is_back_when_the_penalty_has_decayed() -> None:
    registry = make()
    flap(registry, "b0", 0.0, 0.0, 0.0, 0.0)

    assert [] == registry.tick(84.0)
    assert [Change("damping", "app", "b0", "damped", "quiet")] == registry.tick(86.0)
    assert () == registry.pools["app"].backends["b0"].reasons


def test_a_single_failure_costs_nothing_more() -> None:
    registry = make()

    assert [] == flap(registry, "b0", 0.0, 10.0)
    assert () == registry.pools["app"].backends["b0"].reasons


def test_without_damping_flapping_costs_nothing_more() -> None:
    registry = make(damping=None)

    assert [] == flap(registry, "b0", *map(float, range(100)))


def test_since_and_until_of_each_reason_are_known() -> None:
    registry = make()
    flap(registry, "b0", 0.0, 1.0, 2.0, 3.0, 4.0)
    record = registry.pools["app"].backends["b0"]

    assert {Unavailable.FAILED_PROBES: 4.0, Unavailable.DAMPED: 3.0} == record.vetoes
    assert record.until(Unavailable.FAILED_PROBES) is None
    assert record.damped_until == record.until(Unavailable.DAMPED)


@given(st.lists(st.tuples(st.integers(0, 4), st.floats(0, 30)), max_size=60))
def test_no_more_are_damped_than_the_cap_allows(flaps: list[tuple[int, float]]) -> None:
    """Half of five: two."""
    registry, now, turns = make(5), 0.0, [count() for _ in range(5)]
    for backend, gap in flaps:
        now += gap
        probe(registry, f"b{backend}", now, ok=bool(next(turns[backend]) % 2))
        damped = [r for r in registry.records() if Unavailable.DAMPED in r.reasons]

        assert len(damped) <= 2


def test_who_is_up_again_begins_slowly_and_who_only_began_does_not() -> None:
    registry = make(warmup=WarmupPolicy(20.0), health=replace(QUICK, initial="down"))
    probe(registry, "b0", 1.0, ok=True)
    probe(registry, "b1", 1.0, ok=True)
    probe(registry, "b0", 5.0, ok=False)
    probe(registry, "b0", 7.0, ok=True)
    states = registry.snapshot().backends

    assert 7.0 == states["app", "b0"].readmitted_at
    assert states["app", "b1"].readmitted_at < 0
