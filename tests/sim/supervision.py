"""The supervisor of a simulation: the real Registry and Health, probes on the timeline, news that take their time."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Protocol

from proxy.controlplane.pools.change import TOLD, Change
from proxy.controlplane.pools.governor import Refused
from proxy.controlplane.pools.records import BackendRecord
from proxy.controlplane.pools.registry import Registry
from proxy.controlplane.rounds import LOOK
from proxy.core.messages import AdminState, BackendState, BreakerNews, Report, Snapshot
from proxy.core.pools.breaker import BreakerState
from proxy.core.pools.health import HealthState, Probe
from proxy.core.settings import Settings
from tests.sim.backends import ScriptedBackend
from tests.sim.timeline import Timeline

DELAY = 0.002
"""Seconds that a message takes from one process to another."""
REPORT = 1.0
"""Seconds between two Reports."""


class Supervised(Protocol):
    """A worker, as the supervisor sees it."""

    number: int

    def heed(self, states: Mapping[tuple[str, str], BackendState]) -> None: ...
    def follow(self, news: BreakerNews) -> None: ...
    def probe_passed(self, backend: str) -> None: ...
    def report(self) -> Report: ...


class Supervision:
    """Probes for all workers, and what one of them says to the others."""

    def __init__(
        self, settings: Settings, backends: Mapping[str, ScriptedBackend], timeline: Timeline, rng: random.Random
    ) -> None:
        self.registry = Registry(settings, 0.0)
        self._backends = backends
        self._timeline = timeline
        self._rng = rng
        self._rounds = dict.fromkeys(backends, 0)
        self.changes: list[tuple[float, Change]] = []
        """Everything that changed, and when."""
        self.heeded: Callable[[], None] = lambda: None
        """Called each time a worker has taken a Snapshot."""
        self.workers: Sequence[Supervised] = ()
        self.registry.told = lambda: [worker.number for worker in self.workers]

    def begin(self, workers: Sequence[Supervised]) -> None:
        self.workers = workers
        for record in self.registry.records():
            self._probe_in(record, record.health.policy.first_delay(self._rng))
        for worker in workers:
            worker.heed(self.registry.snapshot().backends)
            self._timeline.after(REPORT, partial(self._hear, worker))
        self._timeline.after(REPORT, self._round)
        self._timeline.after(LOOK, self._look)

    def _tell(self, order: Callable[[Supervised], None], but: int | None = None) -> None:
        for worker in self.workers:
            if worker.number != but:
                self._timeline.after(DELAY, partial(order, worker))

    # Probes

    def _probe_in(self, record: BackendRecord, delay: float) -> None:
        """Probe then, unless told to hurry before."""
        name = record.settings.name
        self._rounds[name] += 1
        self._timeline.after(delay, partial(self._probe, record, self._rounds[name]))

    def _probe(self, record: BackendRecord, round_number: int) -> None:
        name = record.settings.name
        if round_number != self._rounds[name]:
            return
        self._rounds[name] += 1
        now = self._timeline.now
        ok, duration = self._backends[name].probed(now, record.health.policy.timeout)
        self._timeline.after(duration, partial(self._probed, record, Probe(now + duration, ok, duration, "")))

    def _probed(self, record: BackendRecord, probe: Probe) -> None:
        self._carry_out(self.registry.take_probe(record.key, probe))
        is_disputed = record.breaker().state is not BreakerState.CLOSED
        if probe.ok and is_disputed:
            self._tell(lambda worker: worker.probe_passed(record.settings.name))
        delay = record.health.next_delay(self._rng)
        if is_disputed and record.health.state is HealthState.UP:
            delay = min(delay, record.health.policy.fast_interval)
        self._probe_in(record, delay)

    def _round(self) -> None:
        """What follows from the passing of time."""
        now = self._timeline.now
        self._carry_out(self.registry.tick(now) + self.registry.compare(now))
        self._timeline.after(REPORT, self._round)

    def _look(self) -> None:
        """Whether a switch is due."""
        self._carry_out(self.registry.follow_places(self._timeline.now))
        self._timeline.after(LOOK, self._look)

    def _carry_out(self, changes: list[Change]) -> None:
        self.changes += [(self._timeline.now, change) for change in changes]
        for news in [change.news for change in changes if change.news is not None]:
            self._tell(partial(_follow, news))
        if any(change.subject in TOLD for change in changes):
            self._publish()

    def _publish(self) -> None:
        snapshot = self.registry.snapshot()
        self._tell(lambda worker: self._take_snapshot(worker, snapshot))

    def _take_snapshot(self, worker: Supervised, snapshot: Snapshot) -> None:
        """The worker acts on it, and says so; that takes its time too."""
        worker.heed(snapshot.backends)
        self.heeded()
        self._timeline.after(DELAY, partial(self._heard, worker.number, snapshot.version))

    def _heard(self, worker: int, version: int) -> None:
        self._carry_out(self.registry.heard(worker, version, self._timeline.now))

    # What workers and people say

    def hear(self, news: BreakerNews) -> None:
        """A worker's Breaker has changed; it is known here a moment later."""
        self._timeline.after(DELAY, partial(self._take, news))

    def _take(self, news: BreakerNews) -> None:
        if self.registry.is_worth_relaying(news):
            self._tell(lambda worker: worker.follow(news), but=news.worker)
        self._carry_out(self.registry.take_breaker_news(news))
        if news.state is BreakerState.OPEN:
            record = self.registry.pools[news.pool].backends[news.backend]
            self._probe_in(record, record.health.policy.fast_interval)

    def _hear(self, worker: Supervised) -> None:
        self._carry_out(self.registry.take_report(worker.report()))
        self._timeline.after(REPORT, partial(self._hear, worker))

    def set_admin(self, name: str, state: AdminState) -> None:
        """A person decides."""
        pool = next(iter(self.registry.pools.values()))
        self._carry_out(self.registry.set_admin(pool.backends[name], state, self._timeline.now))

    def order(self, name: str) -> None:
        """A person has this one be active."""
        pool = next(iter(self.registry.pools.values()))
        with contextlib.suppress(Refused):
            self._carry_out(self.registry.order(pool, name, self._timeline.now))


def _follow(news: BreakerNews, worker: Supervised) -> None:
    worker.follow(news)
