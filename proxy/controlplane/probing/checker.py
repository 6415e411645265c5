"""Probes all Backends, once for all workers: when to probe, and for how long not to.

What a result means is decided by `core.health`; how one probe is made is in `probe`. The supervisor owns the Checker.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Iterable
from functools import partial

from proxy.controlplane.own_code import OwnCode
from proxy.controlplane.pools.records import BackendRecord
from proxy.controlplane.pools.tally import Key
from proxy.controlplane.probing.probe import Prober
from proxy.core.messages import AdminState
from proxy.core.pools.breaker import BreakerState
from proxy.core.pools.health import HealthState, Probe

log = logging.getLogger(__name__)


class Watch:
    """The probes of one Backend: one timer, or one probe under way, or neither while in maint."""

    def __init__(
        self,
        record: BackendRecord,
        prober: Prober,
        rng: random.Random,
        ended: Callable[[Probe], None],
        turn: asyncio.Lock,
    ) -> None:
        self._record = record
        self._prober = prober
        self._rng = rng
        self._ended = ended
        self._turn = turn
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self.has_probed = asyncio.Event()

    @property
    def is_probing(self) -> bool:
        """Whether a probe will come, or is under way."""
        return self._timer is not None or self._task is not None

    def begin(self) -> None:
        """Probe from now on, the first time (almost) at once."""
        if self._timer is None and self._task is None:
            self._set(self._record.health.policy.first_delay(self._rng))

    def follow(self) -> None:
        """The policy has changed: the next probe follows it, and comes at once."""
        if self._timer is not None:
            self._timer.cancel()
            self._set(self._record.health.policy.first_delay(self._rng))

    def end(self) -> None:
        """Probe no more; a probe under way gives no result."""
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()
        self._timer = self._task = None

    def hurry(self) -> None:
        """Traffic says that something is wrong: look within `fast_interval`."""
        soon = self._record.health.policy.fast_interval
        if self._timer is not None and self._timer.when() > self._loop.time() + soon:
            self._timer.cancel()
            self._set(soon)

    def _set(self, delay: float) -> None:
        self._timer = self._loop.call_later(delay, self._fire)

    def _fire(self) -> None:
        self._timer = None
        self._task = self._loop.create_task(self._probe())

    async def _probe(self) -> None:
        try:
            record = self._record
            address, policy = record.settings.address, record.health.policy
            found = await self._prober.probe(address, policy, record.proxy_protocol, record.tls)
            # What follows from a result costs the more the larger the pool is. Where a whole pool fails, its results
            # come all in one turn of the loop: others must have theirs in between.
            async with self._turn:
                self._ended(found)
                await asyncio.sleep(0)
        except Exception:
            # A bug must not end the probing of this Backend for good.
            log.exception(
                "a probe went wrong in a way that nobody foresaw",
                extra={"fields": dict(zip(("pool", "backend"), self._record.key, strict=True))},
            )
        self.has_probed.set()
        if self._task is not None:
            self._task = None
            self._set(self._next_delay())

    def _next_delay(self) -> float:
        """As Health says; fast while real traffic and probes disagree, where a probe may serve as a trial."""
        delay = self._record.health.next_delay(self._rng)
        disputed = self._record.breaker().state is not BreakerState.CLOSED
        if disputed and self._record.health.state is HealthState.UP:
            return min(delay, self._record.health.policy.fast_interval)
        return delay


class Checker:
    """All Watches. `ended` is called with each result and must hand it to the record's Health."""

    def __init__(
        self,
        records: Iterable[BackendRecord],
        rng: random.Random,
        ended: Callable[[Key, Probe], None],
        own: OwnCode | None = None,
    ) -> None:
        self._prober = Prober(own)
        self._turn = asyncio.Lock()
        self._rng = rng
        self._ended = ended
        self._records = {record.key: record for record in records}
        self._policies = {key: record.health.policy for key, record in self._records.items()}
        self._watches = {key: self._watch(record) for key, record in self._records.items()}

    def _watch(self, record: BackendRecord) -> Watch:
        return Watch(record, self._prober, self._rng, partial(self._ended, record.key), self._turn)

    def begin(self) -> None:
        """Begin to probe every Backend that is not in maint."""
        for key in self._watches:
            self.follow_admin(key)

    def follow(self, records: Iterable[BackendRecord]) -> None:
        """After a reload: probe those that are new, at once, and those that are gone no more."""
        before, self._records = self._records, {record.key: record for record in records}
        for key, record in before.items():
            if self._records.get(key) is not record:
                self._watches.pop(key).end()
        for key, record in self._records.items():
            if key not in self._watches:
                self._watches[key] = self._watch(record)
                self.follow_admin(key)
            elif record.health.policy != self._policies[key]:
                self._watches[key].follow()
        self._policies = {key: record.health.policy for key, record in self._records.items()}

    def follow_admin(self, key: Key) -> None:
        """Stop or resume the probes of a Backend as its admin state says."""
        if self._records[key].admin is AdminState.MAINT:
            self._watches[key].end()
        else:
            self._watches[key].begin()

    def hurry(self, key: Key) -> None:
        """Traffic says that something is wrong with this Backend."""
        if key in self._watches:
            self._watches[key].hurry()

    async def first_round(self, limit: float) -> None:
        """Wait until every Backend has been probed once, but no longer than `limit` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit):
                for watch in list(self._watches.values()):
                    if watch.is_probing:
                        await watch.has_probed.wait()

    async def close(self) -> None:
        """End all probes."""
        for watch in self._watches.values():
            watch.end()
