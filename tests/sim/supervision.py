"""The supervisor of a simulation: the real Registry and Health, probes on the timeline, news that take their time."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Protocol

from proxy.controlplane.records import BackendRecord
from proxy.controlplane.registry import Registry
from proxy.core.breaker import BreakerState
from proxy.core.health import HealthState, Probe
from proxy.core.messages import AdminState, BackendState, BreakerNews, Report
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
        self.workers: Sequence[Supervised] = ()

    def begin(self, workers: Sequence[Supervised]) -> None:
        self.workers = workers
        for record in self.registry.records():
            self._probe_in(record, record.health.policy.first_delay(self._rng))
        for worker in workers:
            self._timeline.after(REPORT, partial(self._hear, worker))

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
        if self.registry.take_probe(record.key, probe):
            self._publish()
        is_disputed = record.breaker().state is not BreakerState.CLOSED
        if probe.ok and is_disputed:
            self._tell(lambda worker: worker.probe_passed(record.settings.name))
        delay = record.health.next_delay(self._rng)
        if is_disputed and record.health.state is HealthState.UP:
            delay = min(delay, record.health.policy.fast_interval)
        self._probe_in(record, delay)

    def _publish(self) -> None:
        states = self.registry.snapshot().backends
        self._tell(lambda worker: worker.heed(states))

    # What workers and people say

    def hear(self, news: BreakerNews) -> None:
        """A worker's Breaker has changed; it is known here a moment later."""
        self._timeline.after(DELAY, partial(self._take, news))

    def _take(self, news: BreakerNews) -> None:
        if self.registry.is_worth_relaying(news):
            self._tell(lambda worker: worker.follow(news), but=news.worker)
        self.registry.take_breaker_news(news)
        if news.state is BreakerState.OPEN:
            record = self.registry.pools[news.pool].backends[news.backend]
            self._probe_in(record, record.health.policy.fast_interval)

    def _hear(self, worker: Supervised) -> None:
        self.registry.take_report(worker.report())
        self._timeline.after(REPORT, partial(self._hear, worker))

    def set_admin(self, name: str, state: AdminState) -> None:
        """A person decides."""
        pool = next(iter(self.registry.pools.values()))
        if self.registry.set_admin(pool.backends[name], state, self._timeline.now):
            self._publish()
