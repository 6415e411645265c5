"""Pools and Backends as JSON, as the API shows them and the command line reads them."""

from __future__ import annotations

from proxy.controlplane.admin.dates import Dates
from proxy.controlplane.admin.documents import (
    BackendDocument,
    BreakerDocument,
    HealthDocument,
    KeysDocument,
    Latency,
    PendingDocument,
    PoolDocument,
    PoolHead,
    ProbeDocument,
    RegionDocument,
    Veto,
)
from proxy.controlplane.pools.records import BackendRecord, PoolRecord
from proxy.controlplane.pools.registry import Registry
from proxy.controlplane.pools.sentences import (
    backend_sentence,
    cause,
    ends_by,
    flows_by_region,
    pool_sentence,
    state_of,
)
from proxy.controlplane.pools.tally import PoolTotals, quantile
from proxy.core.pools.active import Pending
from proxy.core.pools.breaker import BreakerState
from proxy.core.pools.health import PROBES_KEPT, Probe
from proxy.core.pools.model import Unavailable
from proxy.ledger.upkeep import KeyCounts

LAST_IN_LIST = 5
"""Probe results of each Backend in the list of all Pools; a Pool and a Backend alone show all that are kept."""


class View:
    """Turns records into documents."""

    def __init__(self, registry: Registry, dates: Dates) -> None:
        self._registry = registry
        self.dates = dates

    # Pools

    def pool(self, pool: PoolRecord, last: int = PROBES_KEPT) -> PoolDocument:
        """One Pool with its Backends."""
        backends = [self.backend(record, last) for record in pool.backends.values()]
        return {**self.head(pool), "backends": backends}

    def head(self, pool: PoolRecord) -> PoolHead:
        """One Pool but for its Backends."""
        name, everything = pool.settings.name, self._registry.tally.totals()
        totals = everything.pools.get(name, PoolTotals())
        flow = self._registry.tally.rates.pool(name)
        place = pool.governor.place
        waiting = None if place is None else place.pending
        return {
            "name": name,
            "state": state_of(pool),
            "sentence": pool_sentence(pool, self._registry.tally),
            "mode": "active-active" if place is None else "active-passive",
            "active": None if place is None else place.active,
            "switching_to": None if place is None else place.successor,
            "pinned": place is not None and place.is_pinned,
            "pending": None if waiting is None else self._pending(waiting),
            "balance": pool.settings.balance,
            "region": pool.settings.region,
            "regions": self._regions(pool),
            "available": pool.available,
            "total": len(pool.backends),
            "panic": pool.panic,
            "degraded": pool.governor.degraded or None,
            "requests_per_second": round(flow.requests, 3),
            "failures_per_second": round(flow.failures, 3),
            "retries_total": sum(totals.retries.values()),
            "retry_budget_exhausted_total": totals.budget_exhausted,
            "saved_requests_total": totals.saved,
            "held_requests_total": totals.held,
            "waiting_requests": totals.holding + totals.strain.waiting,
            "waits_total": totals.strain.waits,
            "hedges_total": totals.strain.hedges,
            "concurrency_limit": totals.strain.concurrency_limit,
            "unknown_outcomes_total": sum(n for (_, of), n in everything.unknown_outcomes.items() if of == name),
            "keys": self._keys(pool),
        }

    def _regions(self, pool: PoolRecord) -> list[RegionDocument]:
        """What there is in each region, and what goes there."""
        records: dict[str, list[BackendRecord]] = {}
        for record in pool.backends.values():
            records.setdefault(record.settings.region, []).append(record)
        flows = flows_by_region(pool, self._registry.tally)
        everything = sum(flow.requests for flow in flows.values())
        return [
            {
                "region": region,
                "available": sum(not record.vetoes for record in members),
                "total": len(members),
                "requests_per_second": round(flows[region].requests, 3),
                "share": round(flows[region].requests / everything, 4) if everything else None,
            }
            for region, members in records.items()
        ]

    def _keys(self, pool: PoolRecord) -> KeysDocument | None:
        """Idempotency keys in the ledger; null where the pool heeds none."""
        if pool.settings.idempotency is None:
            return None
        counts = self._registry.keys.get(pool.settings.name, KeyCounts())
        return {
            "kept": counts.kept,
            "most": pool.settings.idempotency.max_entries,
            "running": counts.running,
            "unknown": counts.unknown,
            "queued": counts.queued,
            "queue": {
                "bytes": counts.queue_bytes,
                "oldest_seconds": counts.queue_oldest,
                "delivered": counts.delivered,
                "failed": counts.failed,
            },
        }

    def _pending(self, pending: Pending) -> PendingDocument:
        since = self.dates.iso(pending.since)
        return {"to": pending.to, "cause": pending.cause, "evidence": pending.evidence, "since": since}

    # Backends

    def backend(self, record: BackendRecord, last: int = PROBES_KEPT) -> BackendDocument:
        """One Backend."""
        totals = self._registry.tally.backend(record.key)
        flow = self._registry.tally.rates.backend(record.key)
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
            "available": not record.vetoes,
            "reasons": list(record.vetoes),
            "vetoes": [self._veto(record, reason, since) for reason, since in record.vetoes.items()],
            "sentence": self.sentence(record),
            "since": self.dates.iso(record.since),
            "admin_state": record.admin,
            "own_state": record.own_state,
            "drained": self._registry.is_drained(record),
            "clients_until": self._clients_until(record),
            "health": self._health(record, last),
            "breaker": self._breaker(record),
            "in_flight": totals.in_flight,
            "idle_connections": totals.idle_connections,
            "requests_total": totals.requests,
            "failures_total": totals.failures,
            "requests_per_second": round(flow.requests, 3),
            "failures_per_second": round(flow.failures, 3),
            "latency_ms": self._latency(record),
        }

    def _clients_until(self, record: BackendRecord) -> str | None:
        until = self._registry.clients_until(record)
        return None if until is None else self.dates.iso(until)

    def sentence(self, record: BackendRecord) -> str:
        """Why it is out, what brings it back and when; or that it serves."""
        return backend_sentence(record, self._registry.pools[record.key[0]], self.dates.now())

    def _veto(self, record: BackendRecord, reason: Unavailable, since: float) -> Veto:
        """One reason, since when it holds, what ends it, and when where that is known."""
        until, pool = record.until(reason), self._registry.pools[record.key[0]]
        return {
            "reason": reason,
            "since": self.dates.iso(since),
            "until": None if until is None else self.dates.iso(until),
            "cause": cause(record, reason, pool),
            "ends_by": ends_by(record, reason, pool, self.dates.now()),
        }

    def _health(self, record: BackendRecord, last: int) -> HealthDocument:
        health = record.health
        shown = list(health.last)[-last:]
        return {"state": health.state, "since": self.dates.iso(health.since), "last": [self._probe(p) for p in shown]}

    def _probe(self, probe: Probe) -> ProbeDocument:
        milliseconds = round(probe.duration * 1000, 3)
        return {"at": self.dates.iso(probe.at), "ok": probe.ok, "ms": milliseconds, "detail": probe.detail}

    def _breaker(self, record: BackendRecord) -> BreakerDocument:
        breaker = record.breaker()
        is_open = breaker.state is BreakerState.OPEN
        return {
            "state": breaker.state,
            "until": self.dates.iso(breaker.until) if is_open else None,
            "reason": breaker.reason or None,
        }

    def _latency(self, record: BackendRecord) -> Latency:
        """Of about the last minute; null where nothing was sent in it."""
        buckets = self._registry.tally.recent_durations(record.key)
        return {"p50": _milliseconds(quantile(buckets, 0.5)), "p99": _milliseconds(quantile(buckets, 0.99))}


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 3)


def _url(record: BackendRecord) -> str:
    address = record.settings.address
    return str(address) if address.path else f"{'https' if address.tls else 'http'}://{address}"
