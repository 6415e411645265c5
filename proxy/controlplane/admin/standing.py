"""How Pools and Backends stand, as metrics: who serves, who does not and why. Part of `metrics`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from proxy.controlplane.admin.exposition import Family, Row
from proxy.controlplane.pools.registry import Registry
from proxy.controlplane.pools.sentences import PoolState, state_of
from proxy.core.pools.breaker import BreakerState
from proxy.core.pools.model import Unavailable

BACKEND = ("pool", "backend")
POOL = ("pool",)


def standing(registry: Registry) -> Iterator[Family]:
    """Everything that is said of a Pool or a Backend and is no sum."""
    yield from _pools(registry)
    yield from _backends(registry)


def _pools(registry: Registry) -> Iterator[Family]:
    pools = registry.pools.items()
    yield _gauge("pool_backends", "Backends of a Pool.", POOL, [((name,), len(pool.backends)) for name, pool in pools])
    available = [((name,), pool.available) for name, pool in pools]
    yield _gauge("pool_available_backends", "Backends of a Pool that serve.", POOL, available)
    states = [((name, state.value), state_of(pool) is state) for name, pool in pools for state in PoolState]
    yield _gauge("pool_state", "1 for the state of a Pool.", (*POOL, "state"), states)
    standby = [((name,), pool.is_on_standby) for name, pool in pools]
    yield _gauge("pool_on_standby", "1 while a Backend serves that should stand by.", POOL, standby)
    pending = [((name,), pool.is_switch_pending) for name, pool in pools]
    yield _gauge("pool_switch_pending", "1 while a switch waits for a person's approval.", POOL, pending)
    objectives = [((name,), pool.settings.slo) for name, pool in pools if pool.settings.slo is not None]
    yield _gauge("slo_objective_ratio", "What a Pool is to keep, where its config says so.", POOL, objectives)
    degraded = [((name,), bool(pool.governor.degraded)) for name, pool in pools]
    text = "1 while most Backends do badly alike: no one of them is to blame."
    yield _gauge("pool_degraded", text, POOL, degraded)
    panics = [((name,), pool.panic) for name, pool in pools]
    yield _gauge("pool_panic", "1 while too few Backends are well to believe the verdicts.", POOL, panics)


def _backends(registry: Registry) -> Iterator[Family]:
    records = list(registry.records())
    available = [(r.key, not r.reasons) for r in records]
    yield _gauge("backend_available", "1 where a Backend serves.", BACKEND, available)
    text = "1 for each reason why a Backend does not serve."
    vetoes = [((*r.key, reason.value), reason in r.vetoes) for r in records for reason in Unavailable]
    yield _gauge("backend_unavailable", text, (*BACKEND, "reason"), vetoes)
    text = "Times that a Backend went out by itself, and not because a person wanted it."
    outages = {r.key: r.outages for r in records} | registry.own.past_outages
    yield Family("counter", "failover_backend_outages", text, BACKEND, list(outages.items()))
    yield _gauge("backend_weight", "Weight in force.", BACKEND, [(r.key, r.weight) for r in records])
    breakers = [(r.key, r.breaker().state) for r in records]
    states = [((*key, state.value), is_in is state) for key, is_in in breakers for state in BreakerState]
    text = "1 for the Breaker's state; open in any worker is open."
    yield _gauge("breaker_state", text, (*BACKEND, "state"), states)
    probes = {r.key: (r.probes_passed, r.probes_failed) for r in records} | registry.past_probes
    results = [
        ((*key, result), number)
        for key, numbers in probes.items()
        for result, number in zip(("success", "failure"), numbers, strict=True)
    ]
    yield Family("counter", "failover_probes", "Probes by result.", (*BACKEND, "result"), results)


def _gauge(name: str, text: str, labels: Sequence[str], rows: Iterable[Row]) -> Family:
    return Family("gauge", f"failover_{name}", text, labels, list(rows))
