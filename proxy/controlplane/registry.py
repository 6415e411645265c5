"""The state of the world: what is known of each Pool and Backend, from probes, workers and the administrator.

It decides and remembers; it opens no socket and reads no clock. The supervisor feeds it and carries out what follows.
Each method that takes news in returns the Changes it made, for the log.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import groupby
from math import inf
from types import MappingProxyType
from typing import NamedTuple

from proxy.controlplane.tally import Key, Tally
from proxy.core.breaker import BreakerState
from proxy.core.health import Health, Probe
from proxy.core.messages import AdminState, BackendState, BreakerNews, PoolNews, Report, Snapshot
from proxy.core.model import ADMIN_VETOES, HEALTH_VETOES, Unavailable
from proxy.core.settings import BackendSettings, PoolSettings, Settings
from proxy.core.tiers import shares
from proxy.ledger.upkeep import KeyCounts

HEARD_WITHIN = 0.05
"""Seconds in which every worker has heard that a Breaker closed in one of them."""
_RANK = {BreakerState.CLOSED: 0, BreakerState.HALF_OPEN: 1, BreakerState.OPEN: 2}


@dataclass(frozen=True, slots=True)
class Change:
    """One change of state."""

    subject: str
    """What changed: `health`, `breaker`, `panic`, `admin` or `weight`."""
    pool: str
    backend: str
    """Empty where the Pool itself changed."""
    before: str
    after: str
    reason: str = ""


class BreakerView(NamedTuple):
    """A Breaker as one worker has it, or as all of them together have it."""

    state: BreakerState = BreakerState.CLOSED
    until: float = 0.0
    reason: str = ""
    since: float = 0.0


class BackendRecord:
    """What is known of one Backend."""

    def __init__(self, pool: PoolSettings, settings: BackendSettings, now: float, was: BackendState | None) -> None:
        self.key: Key = (pool.name, settings.name)
        self.settings = settings
        self.proxy_protocol = pool.send_proxy_protocol
        self.health = Health(pool.health, now, was.health if was else None)
        self.admin = was.admin if was else AdminState.READY
        self.weight_override = was.weight if was else None
        self.told_version = 0
        """The Snapshot that told workers what an administrator wants of it."""
        self.breakers: dict[int, BreakerView] = {}
        """By worker; a dead worker's stays until its successor reports."""
        self.closed_at = -inf
        self.probes_passed = 0
        self.probes_failed = 0
        self.reasons: tuple[Unavailable, ...] = ()
        self.since = now
        """When `reasons` last became empty or stopped being so."""

    def __repr__(self) -> str:
        return f"<BackendRecord {self.key[0]}/{self.key[1]} {', '.join(self.reasons) or 'available'}>"

    @property
    def weight(self) -> int:
        """The weight in force."""
        return self.settings.weight if self.weight_override is None else self.weight_override

    @property
    def state(self) -> BackendState:
        """What workers must heed."""
        return BackendState(self.admin, self.health.state, self.weight_override)

    def breaker(self) -> BreakerView:
        """The Breakers of all workers as one: open in any is open."""
        return max(self.breakers.values(), key=lambda b: (_RANK[b.state], b.until), default=BreakerView())

    def obey(self, pool: PoolSettings, settings: BackendSettings) -> None:
        """Follow other settings for the same address; what is known of it stays."""
        self.settings = settings
        self.proxy_protocol = pool.send_proxy_protocol
        self.health.policy = pool.health

    def follow(self, other: BackendRecord) -> None:
        """Another address bears the name now: what an administrator has said of the name holds on, nothing else."""
        self.admin = other.admin
        self.weight_override = other.weight_override

    def note_closing(self, at: float) -> None:
        """A Breaker closed in one worker, and all others are told so: what they had before is over."""
        self.closed_at = at
        for worker, view in self.breakers.items():
            if view.since < at:
                self.breakers[worker] = BreakerView(since=at)

    def own_vetoes(self, tally: Tally) -> list[Unavailable]:
        """Every reason against this Backend but those that depend on others of its Pool."""
        vetoes = []
        if self.admin is not AdminState.READY:
            vetoes.append(ADMIN_VETOES[self.admin])
        elif not self.weight:
            vetoes.append(Unavailable.DRAIN)
        if self.health.state in HEALTH_VETOES:
            vetoes.append(HEALTH_VETOES[self.health.state])
        if self.breaker().state is not BreakerState.CLOSED:
            vetoes.append(Unavailable.BREAKER_OPEN)
        limit = self.settings.max_in_flight
        if limit is not None and tally.in_flight(self.key) >= limit:
            vetoes.append(Unavailable.FULL)
        return vetoes


class PoolRecord:
    """What is known of one Pool."""

    def __init__(self, settings: PoolSettings, now: float, was: Mapping[Key, BackendState]) -> None:
        self.settings = settings
        self.backends = {
            one.name: BackendRecord(settings, one, now, was.get((settings.name, one.name))) for one in settings.backends
        }
        self.panics: dict[int, bool] = {}
        """By worker."""

    def __repr__(self) -> str:
        return f"<PoolRecord {self.settings.name} {self.available} of {len(self.backends)}>"

    def obey(self, settings: PoolSettings, now: float) -> None:
        """Follow other settings; what is known of each Backend that keeps name and address stays."""
        before, self.settings = self.backends, settings
        self.backends = {one.name: self._following(one, before.get(one.name), now) for one in settings.backends}

    def _following(self, settings: BackendSettings, known: BackendRecord | None, now: float) -> BackendRecord:
        if known is not None and known.settings.address == settings.address:
            known.obey(self.settings, settings)
            return known
        record = BackendRecord(self.settings, settings, now, None)
        if known is not None:
            record.follow(known)
        return record

    @property
    def available(self) -> int:
        """How many Backends serve."""
        return sum(not record.reasons for record in self.backends.values())

    @property
    def panic(self) -> bool:
        """Whether any worker ignores verdicts because too few Backends are well."""
        return any(self.panics.values())

    def refresh(self, tally: Tally, now: float) -> None:
        """Work out each Backend's reasons anew."""
        vetoes = {r.key: r.own_vetoes(tally) for r in self.backends.values()}
        serving = set(self._serving(vetoes))
        for record in self.backends.values():
            reasons = vetoes[record.key]
            if not reasons and record.settings.tier not in serving:
                reasons.append(Unavailable.STANDBY)
            if bool(reasons) != bool(record.reasons):
                record.since = now
            record.reasons = tuple(reasons)

    def _serving(self, vetoes: dict[Key, list[Unavailable]]) -> Iterator[int]:
        """The tiers that get a share of the load."""
        ordered = sorted(self.backends.values(), key=lambda r: r.settings.tier)
        tiers = {tier: list(members) for tier, members in groupby(ordered, key=lambda r: r.settings.tier)}
        parts = [_available_part(members, vetoes) for members in tiers.values()]
        for tier, share in zip(tiers, shares(parts, self.settings.overprovisioning), strict=True):
            if share:
                yield tier


def _available_part(members: list[BackendRecord], vetoes: dict[Key, list[Unavailable]]) -> float:
    """The part of a tier's weight that nothing vetoes."""
    whole = sum(r.settings.weight for r in members)
    return sum(r.settings.weight for r in members if not vetoes[r.key]) / whole if whole else 0.0


class Registry:
    """All Pools, and the versions of what workers were told. `was` is what survived a restart."""

    def __init__(self, settings: Settings, now: float, was: Mapping[Key, BackendState] = MappingProxyType({})) -> None:
        self.settings = settings
        self.settings_version = 1
        self.version = 1
        self.tally = Tally()
        self.keys: Mapping[str, KeyCounts] = {}
        self.pools = {pool.name: PoolRecord(pool, now, was) for pool in settings.pools}
        self.reloads: dict[str, int] = {"success": 0, "failure": 0}
        self.past_probes: dict[Key, tuple[int, int]] = {}
        """Good and bad ones of Backends that a reload has removed."""
        self.refresh(now)

    def refresh(self, now: float) -> None:
        """Work out anew who serves."""
        for pool in self.pools.values():
            pool.refresh(self.tally, now)

    def obey(self, settings: Settings, now: float) -> None:
        """Follow other settings. What is known of Pools and Backends that go is forgotten, but for their totals."""
        if settings.routes == self.settings.routes:
            # The same tuple tells the channels that there is nothing to send anew.
            settings = replace(settings, routes=self.settings.routes)
        records = list(self.records())
        before, self.settings = self.pools, settings
        self.pools = {}
        for one in settings.pools:
            pool = before.get(one.name)
            if pool is None:
                pool = PoolRecord(one, now, {})
            else:
                pool.obey(one, now)
            self.pools[one.name] = pool
            pool.refresh(self.tally, now)
        self._keep_probes(records)
        self.version += 1
        self.settings_version += 1

    def _keep_probes(self, before: list[BackendRecord]) -> None:
        """Probes that were counted stay with the name, whether anybody bears it or not."""
        after = {record.key: record for record in self.records()}
        for old in before:
            if after.get(old.key) is not old:
                self.past_probes[old.key] = (old.probes_passed, old.probes_failed)
        for key in self.past_probes.keys() & after.keys():
            passed, failed = self.past_probes.pop(key)
            after[key].probes_passed += passed
            after[key].probes_failed += failed

    def take_keys(self, keys: Mapping[str, KeyCounts]) -> None:
        """The ledger holds so many keys, by Pool."""
        self.keys = keys

    def records(self) -> Iterator[BackendRecord]:
        """All Backends of all Pools."""
        for pool in self.pools.values():
            yield from pool.backends.values()

    def record(self, key: Key) -> BackendRecord | None:
        """One Backend; None for news of one that is not in the settings any more."""
        pool = self.pools.get(key[0])
        return pool.backends.get(key[1]) if pool else None

    def snapshot(self) -> Snapshot:
        """The whole state that workers act on, settings included."""
        backends = {record.key: record.state for record in self.records()}
        return Snapshot(self.version, self.settings_version, self.settings, backends)

    # Probes

    def take_probe(self, key: Key, probe: Probe) -> list[Change]:
        """A probe has ended."""
        record = self.record(key)
        if record is None:
            return []
        record.probes_passed += probe.ok
        record.probes_failed += not probe.ok
        before = record.health.state
        if not record.health.observe(probe):
            return []
        self._changed(key[0], probe.at)
        return [Change("health", *key, before, record.health.state, probe.detail)]

    # Workers

    def take_breaker_news(self, news: BreakerNews) -> list[Change]:
        """A worker's Breaker changed."""
        record = self.record((news.pool, news.backend))
        if record is None:
            return []
        view = BreakerView(news.state, news.until, news.reason, news.at)
        if news.state is BreakerState.CLOSED:
            record.note_closing(news.at)
        changes = _take_breaker(record, news.worker, view)
        self.pools[news.pool].refresh(self.tally, news.at)
        return changes

    def is_worth_relaying(self, news: BreakerNews) -> bool:
        """Whether other workers must hear this; ask before `take_breaker_news`.

        Trials are each worker's own matter. An opening is news unless another worker's was relayed before: two that
        open in one moment, or that answer an opening with their own, must not lengthen each other's for ever.
        """
        record = self.record((news.pool, news.backend))
        if record is None or news.state is BreakerState.HALF_OPEN:
            return False
        if news.state is BreakerState.CLOSED:
            return True
        others = [b.state for worker, b in record.breakers.items() if worker != news.worker]
        own = record.breakers.get(news.worker, BreakerView()).state
        return own is BreakerState.HALF_OPEN or BreakerState.OPEN not in others

    def take_pool_news(self, news: PoolNews) -> list[Change]:
        """A Pool's panic began or ended in one worker."""
        pool = self.pools.get(news.pool)
        return [] if pool is None else _take_panic(pool, news.worker, panic=news.panic)

    def take_report(self, report: Report) -> list[Change]:
        """A worker's counters, and its view of Breakers and panic, which stands above older news.

        Not above a closing that the worker may not have heard of when it wrote: a Breaker that is open for the
        registry alone would keep the next opening from being relayed.
        """
        self.tally.take(report)
        changes: list[Change] = []
        for key, counts in report.backends.items():
            record = self.record(key)
            if record is not None and report.at >= record.closed_at + HEARD_WITHIN:
                until, reason, since = counts.breaker_until, counts.breaker_reason, counts.breaker_since
                changes += _take_breaker(record, report.worker, BreakerView(counts.breaker, until, reason, since))
        for name, pool_counts in report.pools.items():
            if name in self.pools:
                changes += _take_panic(self.pools[name], report.worker, panic=pool_counts.panic)
        self.refresh(report.at)
        return changes

    def lose_worker(self, worker: int) -> None:
        """A worker has ended: keep its totals."""
        self.tally.lose(worker)

    def retire_worker(self, worker: int) -> None:
        """Nobody takes this worker's place: what it said of Breakers and panic is over."""
        self.lose_worker(worker)
        for pool in self.pools.values():
            pool.panics.pop(worker, None)
            for record in pool.backends.values():
                record.breakers.pop(worker, None)

    def openings(self) -> list[BreakerNews]:
        """What a worker that begins must be told of Breakers that are not closed."""
        return [
            BreakerNews(worker, *record.key, BreakerState.OPEN, view.until, view.reason, view.since)
            for record in self.records()
            for worker, view in record.breakers.items()
            if view.state is not BreakerState.CLOSED and view == record.breaker()
        ]

    # The administrator

    def set_admin(self, record: BackendRecord, state: AdminState, now: float) -> list[Change]:
        """Take over the administrator's intent."""
        before, record.admin = record.admin, state
        if before is state:
            return []
        self._changed(record.key[0], now)
        record.told_version = self.version
        return [Change("admin", *record.key, before, state)]

    def is_drained(self, record: BackendRecord) -> bool:
        """Whether an administrator has taken it out, every worker knows, and nothing is in flight on it."""
        if record.admin is AdminState.READY or self.tally.backend(record.key).in_flight:
            return False
        return all(report.snapshot_version >= record.told_version for report in self.tally.live.values())

    def set_weight(self, record: BackendRecord, weight: int | None, now: float) -> list[Change]:
        """Put a weight in place of the configured one; None takes it away again."""
        before, record.weight_override = record.weight, weight
        if before == record.weight:
            return []
        self._changed(record.key[0], now)
        return [Change("weight", *record.key, str(before), str(record.weight))]

    def _changed(self, pool: str, now: float) -> None:
        self.version += 1
        self.pools[pool].refresh(self.tally, now)


def _take_breaker(record: BackendRecord, worker: int, view: BreakerView) -> list[Change]:
    before = record.breaker()
    record.breakers[worker] = view
    after = record.breaker()
    if before.state is after.state:
        return []
    return [Change("breaker", *record.key, before.state, after.state, view.reason)]


def _take_panic(pool: PoolRecord, worker: int, *, panic: bool) -> list[Change]:
    before = pool.panic
    pool.panics[worker] = panic
    if before is pool.panic:
        return []
    return [Change("panic", pool.settings.name, "", str(before).lower(), str(pool.panic).lower())]
