"""Pools and Backends as JSON, as the API shows them and the command line reads them."""

from __future__ import annotations

from typing import Any

from proxy.controlplane.admin.dates import Dates
from proxy.controlplane.pools.records import BackendRecord, PoolRecord
from proxy.controlplane.pools.registry import Registry
from proxy.controlplane.pools.tally import PoolTotals, quantile
from proxy.core.active import ActivePassive, Pending
from proxy.core.breaker import BreakerState
from proxy.core.health import PROBES_KEPT, Probe
from proxy.core.model import Unavailable
from proxy.ledger.upkeep import KeyCounts

Json = dict[str, Any]

LAST_IN_LIST = 5
"""Probe results of each Backend in the list of all Pools; a Pool and a Backend alone show all that are kept."""


class View:
    """Turns records into JSON."""

    def __init__(self, registry: Registry, dates: Dates) -> None:
        self._registry = registry
        self._dates = dates

    def pools(self) -> Json:
        """All Pools."""
        return {"pools": [self.pool(pool, LAST_IN_LIST) for pool in self._registry.pools.values()]}

    def pool(self, pool: PoolRecord, last: int = PROBES_KEPT) -> Json:
        """One Pool with its Backends."""
        name, everything = pool.settings.name, self._registry.tally.totals()
        totals = everything.pools.get(name, PoolTotals())
        return {
            "name": name,
            **self._place(pool.governor.place),
            "balance": pool.settings.balance,
            "region": pool.settings.region,
            "available": pool.available,
            "total": len(pool.backends),
            "panic": pool.panic,
            "degraded": pool.governor.degraded or None,
            "retries_total": sum(totals.retries.values()),
            "retry_budget_exhausted_total": totals.budget_exhausted,
            "saved_requests_total": totals.saved,
            "held_requests_total": totals.held,
            "unknown_outcomes_total": sum(
                n for (_, pool_name), n in everything.unknown_outcomes.items() if pool_name == name
            ),
            "keys": self._keys(pool),
            "backends": [self.backend(record, last) for record in pool.backends.values()],
        }

    def _keys(self, pool: PoolRecord) -> Json | None:
        """Idempotency keys in the ledger; null where the pool heeds none."""
        if pool.settings.idempotency is None:
            return None
        counts = self._registry.keys.get(pool.settings.name, KeyCounts())
        queue = {
            "bytes": counts.queue_bytes,
            "oldest_seconds": counts.queue_oldest,
            "delivered": counts.delivered,
            "failed": counts.failed,
        }
        return {
            "kept": counts.kept,
            "most": pool.settings.idempotency.max_entries,
            "running": counts.running,
            "unknown": counts.unknown,
            "queued": counts.queued,
            "queue": queue,
        }

    def _place(self, place: ActivePassive | None) -> Json:
        """Who is active, where only one is, and the switch that waits for a person."""
        if place is None:
            return {"mode": "active-active", "active": None, "switching_to": None, "pinned": False, "pending": None}
        return {
            "mode": "active-passive",
            "active": place.active,
            "switching_to": place.successor,
            "pinned": place.is_pinned,
            "pending": None if place.pending is None else self._pending(place.pending),
        }

    def _pending(self, pending: Pending) -> Json:
        since = self._dates.iso(pending.since)
        return {"to": pending.to, "cause": pending.cause, "evidence": pending.evidence, "since": since}

    def backend(self, record: BackendRecord, last: int = PROBES_KEPT) -> Json:
        """One Backend."""
        totals = self._registry.tally.backend(record.key)
        pool, name = record.key
        return {
            "name": name,
            "url": _url(record),
            "pool": pool,
            "tier": record.settings.tier,
            "weight": record.weight,
            "configured_weight": record.settings.weight,
            "weight_share": record.share * record.word.part,
            "region": record.settings.region,
            "available": not record.reasons,
            "reasons": list(record.reasons),
            "vetoes": [self._veto(record, reason, since) for reason, since in record.vetoes.items()],
            "since": self._dates.iso(record.since),
            "admin_state": record.admin,
            "own_state": record.own_state,
            "drained": self._registry.is_drained(record),
            "health": self._health(record, last),
            "breaker": self._breaker(record),
            "in_flight": totals.in_flight,
            "idle_connections": totals.idle_connections,
            "requests_total": totals.requests,
            "failures_total": totals.failures,
            "latency_ms": self._latency(record),
        }

    def _veto(self, record: BackendRecord, reason: Unavailable, since: float) -> Json:
        """One reason, since when it holds, and when it ends where that is known."""
        until = record.until(reason)
        return {
            "reason": reason,
            "since": self._dates.iso(since),
            "until": None if until is None else self._dates.iso(until),
        }

    def _health(self, record: BackendRecord, last: int) -> Json:
        health = record.health
        shown = list(health.last)[-last:]
        return {"state": health.state, "since": self._dates.iso(health.since), "last": [self._probe(p) for p in shown]}

    def _probe(self, probe: Probe) -> Json:
        milliseconds = round(probe.duration * 1000, 3)
        return {"at": self._dates.iso(probe.at), "ok": probe.ok, "ms": milliseconds, "detail": probe.detail}

    def _breaker(self, record: BackendRecord) -> Json:
        breaker = record.breaker()
        is_open = breaker.state is BreakerState.OPEN
        return {
            "state": breaker.state,
            "until": self._dates.iso(breaker.until) if is_open else None,
            "reason": breaker.reason or None,
        }

    def _latency(self, record: BackendRecord) -> Json:
        """Of about the last minute; null where nothing was sent in it."""
        buckets = self._registry.tally.recent_durations(record.key)
        return {name: _milliseconds(quantile(buckets, share)) for name, share in (("p50", 0.5), ("p99", 0.99))}


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 3)


def _url(record: BackendRecord) -> str:
    address = record.settings.address
    return str(address) if address.path else f"{'https' if address.tls else 'http'}://{address}"
