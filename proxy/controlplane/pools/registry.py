"""The state of the world: what is known of each Pool and Backend, from probes, workers and the administrator.

It decides and remembers; it opens no socket and reads no clock. The supervisor feeds it and carries out what follows.
Each method that takes news in returns the Changes it made, for the log.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType

from proxy.controlplane.pools.change import Change
from proxy.controlplane.pools.governor import Told
from proxy.controlplane.pools.own import OwnCounts
from proxy.controlplane.pools.records import BackendRecord, BreakerView, PoolRecord
from proxy.controlplane.pools.splits import Cut, Splits
from proxy.controlplane.pools.staying import clients_until, lifetimes
from proxy.controlplane.pools.tally import Key, Tally, forget_oldest
from proxy.core.messages import AdminState, BackendState, BreakerNews, PoolNews, Report, Snapshot
from proxy.core.pools.breaker import BreakerState
from proxy.core.pools.health import HealthState, Probe
from proxy.core.settings import Settings
from proxy.core.telling.naming import names_of
from proxy.ledger.upkeep import KeyCounts

HEARD_WITHIN = 0.05
"""Seconds in which every worker has heard that a Breaker closed in one of them."""


class Registry:
    """All Pools, and the versions of what workers were told. `was` and `cuts` are what survived a restart."""

    def __init__(
        self,
        settings: Settings,
        now: float,
        was: Mapping[Key, BackendState] = MappingProxyType({}),
        cuts: Mapping[str, Cut] = MappingProxyType({}),
    ) -> None:
        self.settings = settings
        self.settings_version = 1
        self.settings_since = now
        self.version = 1
        self.tally = Tally()
        self.keys: Mapping[str, KeyCounts] = {}
        self.pools = {pool.name: PoolRecord(pool, now, was) for pool in settings.pools}
        self.own = OwnCounts()
        self.reloads: dict[str, int] = {"success": 0, "failure": 0}
        self.told: Callable[[], Collection[int]] = tuple
        """The workers that act on Snapshots now: whoever leads them says."""
        self.past_probes: dict[Key, tuple[int, int]] = {}
        """Good and bad ones of Backends that a reload has removed."""
        self._now = now
        self._lifetimes = lifetimes(settings)
        self.splits = Splits(settings, cuts)
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
        before, self.settings, self.settings_since = self.pools, settings, now
        self.pools = {}
        for one in settings.pools:
            pool = before.get(one.name)
            if pool is None:
                pool = PoolRecord(one, now, {})
            else:
                pool.obey(one, now)
            self.pools[one.name] = pool
        self._keep_probes(records)
        self.forget_gone()
        self._lifetimes = lifetimes(settings)
        self.splits.obey(settings)
        self.version += 1
        self.settings_version += 1
        # Whatever follows is in the same Snapshot.
        for pool in self.pools.values():
            pool.review(self.tally, now, Told(self.told(), self.version))

    def forget_gone(self) -> None:
        """Bound what is kept of names that the settings do not bear."""
        names = names_of(self.settings, (route.name for route in self.settings.routes))
        self.tally.forget(names)
        self.own.forget(names)
        forget_oldest(self.past_probes, names.backends.__contains__)

    def _keep_probes(self, before: list[BackendRecord]) -> None:
        """Probes and outages that were counted stay with the name, whether anybody bears it or not."""
        after = {record.key: record for record in self.records()}
        for old in before:
            if after.get(old.key) is not old:
                self.past_probes[old.key] = (old.probes_passed, old.probes_failed)
                self.own.past_outages[old.key] = old.outages
        for key in self.past_probes.keys() & after.keys():
            passed, failed = self.past_probes.pop(key)
            after[key].probes_passed += passed
            after[key].probes_failed += failed
            after[key].outages += self.own.past_outages.pop(key, 0)

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
        return Snapshot(self.version, self.settings_version, self.settings, backends, cuts=self.splits.told())

    def tick(self, now: float) -> list[Change]:
        """Time has passed: about a second."""
        self._now = now
        return [change for pool in self.pools.values() for change in self._review(pool, now)]

    def compare(self, now: float) -> list[Change]:
        """A second has passed: look who does worse than its peers."""
        changes: list[Change] = []
        for pool in self.pools.values():
            found = pool.compare(self.tally, now, self._told())
            self.version += bool(found)
            changes += found
        return changes + self._told_of(self.splits.look(self.pools, self.tally, now))

    def follow_places(self, now: float) -> list[Change]:
        """A moment has passed: a switch may be due."""
        due = [pool for pool in self.pools.values() if pool.governor.place is not None]
        return [change for pool in due for change in self._review(pool, now)]

    def _review(self, pool: PoolRecord, now: float) -> list[Change]:
        changes = pool.review(self.tally, now, self._told())
        self.version += bool(changes)
        return changes

    def _told(self) -> Told:
        return Told(self.told(), self.version + 1)

    # Probes

    def take_probe(self, key: Key, probe: Probe) -> list[Change]:
        """A probe has ended."""
        record = self.record(key)
        if record is None:
            return []
        record.probes_passed += probe.ok
        record.probes_failed += not probe.ok
        changes = self._take_word(record, probe)
        before = record.health.state
        if not record.health.observe(probe):
            return changes
        if before is HealthState.DOWN:
            record.readmitted_at = probe.at
        changes.append(Change("health", *key, before, record.health.state, probe.detail))
        return changes + self._changed(key[0], probe.at)

    def _take_word(self, record: BackendRecord, probe: Probe) -> list[Change]:
        """What the Backend says of itself, where the pool obeys it."""
        pool, before = self.pools[record.key[0]].settings, record.word
        if not pool.obey_backend or probe.word is None or probe.word == before:
            return []
        if before.state != "ready" and probe.word.state == "ready":
            record.readmitted_at = probe.at
        record.word = probe.word
        return [Change("word", *record.key, str(before), str(probe.word)), *self._changed(pool.name, probe.at)]

    # Workers

    def take_breaker_news(self, news: BreakerNews) -> list[Change]:
        """A worker's Breaker changed."""
        record = self.record((news.pool, news.backend))
        if record is None:
            return []
        outlier = news.state is not BreakerState.CLOSED and record.breaker().outlier
        view = BreakerView(news.state, news.until, news.reason, news.at, outlier, news.began)
        before = record.breaker().state
        if news.state is BreakerState.CLOSED:
            record.note_closing(news.at)
        changes = _take_breaker(record, news.worker, view, before)
        return changes + self._review(self.pools[news.pool], news.at)

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
            if record is not None and report.at >= max(record.closed_at, record.ejected_at) + HEARD_WITHIN:
                until, reason, since = counts.breaker_until, counts.breaker_reason, counts.breaker_since
                known = record.breakers.get(report.worker, BreakerView())
                began = known.began if known.state is counts.breaker else 0.0
                view = BreakerView(counts.breaker, until, reason, since, counts.breaker_outlier, began)
                changes += _take_breaker(record, report.worker, view, record.breaker().state)
        for name, pool_counts in report.pools.items():
            if name in self.pools:
                changes += _take_panic(self.pools[name], report.worker, panic=pool_counts.panic)
        return changes + self.heard(report.worker, report.snapshot_version, report.at)

    def heard(self, worker: int, version: int, now: float) -> list[Change]:
        """A worker acts on a Snapshot."""
        for pool in self.pools.values():
            if pool.governor.place is not None:
                pool.governor.place.heard(worker, version)
        return self.tick(now)

    def overdue(self) -> frozenset[int]:
        """A tick has passed: the workers that hang, and keep an active-passive Pool from a switch."""
        places = [pool.governor.place for pool in self.pools.values()]
        return frozenset().union(*(place.overdue() for place in places if place is not None))

    def lose_worker(self, worker: int) -> None:
        """A worker has ended: keep its totals. What follows is seen at the next `tick`."""
        self.tally.lose(worker)
        for pool in self.pools.values():
            if pool.governor.place is not None:
                pool.governor.place.lost(worker)

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
            BreakerNews(worker, *record.key, BreakerState.OPEN, view.until, view.reason, view.since, view.outlier)
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
        if state is AdminState.READY:
            record.readmitted_at = now
        changes = self._changed(record.key[0], now)
        record.told_version = self.version
        return [Change("admin", *record.key, before, state), *changes]

    def is_drained(self, record: BackendRecord) -> bool:
        """Whether an administrator has taken it out, every worker knows, and nothing is in flight on it or will be."""
        if record.admin is AdminState.READY or self.tally.backend(record.key).in_flight:
            return False
        if self.clients_until(record) is not None:
            return False
        return all(report.snapshot_version >= record.told_version for report in self.tally.live.values())

    def clients_until(self, record: BackendRecord) -> float | None:
        """Until when it may have clients of its own, though it drains; None if it has none, or does not drain."""
        return clients_until(record, self._lifetimes.get(record.key[0]), self._now)

    def set_weight(self, record: BackendRecord, weight: int | None, now: float) -> list[Change]:
        """Put a weight in place of the configured one; None takes it away again."""
        before, record.weight_override = record.weight, weight
        if before == record.weight:
            return []
        return [
            Change("weight", *record.key, str(before), str(record.weight)),
            *self._changed(record.key[0], now),
        ]

    def order(self, pool: PoolRecord, to: str | None, now: float, *, force: bool = False) -> list[Change]:
        """Make this Backend the active one; None: carry out what is pending. Raises Refused."""
        changes = pool.governor.order(to, pool.backends, now, self._told(), force=force)
        return changes + self._changed(pool.settings.name, now)

    def go_back(self, pool: PoolRecord, now: float) -> list[Change]:
        """Make the first in line that is well the active one. Raises Refused."""
        changes = pool.governor.go_back(pool.backends, now, self._told())
        return changes + self._changed(pool.settings.name, now)

    def cut(self, route: str, pool: str, now: float) -> list[Change]:
        """Cut a Pool off from a split. Raises Refused."""
        return self._told_of(self.splits.cut(route, pool, now))

    def cuts(self) -> Mapping[str, Cut]:
        """Pools that are cut off from a split, by Route."""
        return self.splits.cuts

    def resume(self, route: str) -> list[Change]:
        """Give the Pool that is cut off from a split its share back. Raises Refused."""
        return self._told_of(self.splits.resume(route))

    def _told_of(self, changes: list[Change]) -> list[Change]:
        self.version += bool(changes)
        return changes

    def _changed(self, pool: str, now: float) -> list[Change]:
        self.version += 1
        return self._review(self.pools[pool], now)


def _take_breaker(record: BackendRecord, worker: int, view: BreakerView, before: BreakerState) -> list[Change]:
    record.breakers[worker] = view
    after = record.breaker().state
    if before is after:
        return []
    return [Change("breaker", *record.key, before, after, view.reason)]


def _take_panic(pool: PoolRecord, worker: int, *, panic: bool) -> list[Change]:
    before = pool.panic
    pool.panics[worker] = panic
    if before is pool.panic:
        return []
    return [Change("panic", pool.settings.name, "", str(before).lower(), str(pool.panic).lower())]
