"""The supervisor: one process that owns the sockets, the workers, the probes and the admin endpoint, and joins them.

It carries out what `registry` decides: a change of state becomes a log line and a Snapshot for all workers. It takes
no decision about a Backend and sees no request. `proxy.cli.run` runs it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
from collections.abc import Iterable, Sequence
from time import monotonic, time

from proxy.controlplane.admin.dates import Dates
from proxy.controlplane.admin.endpoint import Admin
from proxy.controlplane.consequences import Consequences
from proxy.controlplane.journal import process
from proxy.controlplane.journal.chronicle import Chronicle
from proxy.controlplane.keeper import Keeper
from proxy.controlplane.listeners.inheritance import Inheritance
from proxy.controlplane.listeners.listening import arrange
from proxy.controlplane.listeners.sockets import BoundListener, bind_admin, bind_listener, bound_addresses
from proxy.controlplane.notify import Notifier
from proxy.controlplane.own_code import OwnCode
from proxy.controlplane.pools.change import Change
from proxy.controlplane.pools.memory import Memory, recalled
from proxy.controlplane.pools.records import BackendRecord
from proxy.controlplane.pools.registry import Registry
from proxy.controlplane.pools.switching import Switching
from proxy.controlplane.pools.tally import Key
from proxy.controlplane.probing.checker import Checker
from proxy.controlplane.probing.expiry import warn_of_expiry
from proxy.controlplane.reload import Json, Reader, Reloader
from proxy.controlplane.replacement.legacy import Legacy
from proxy.controlplane.replacement.succession import Succession
from proxy.controlplane.rounds import Rounds
from proxy.controlplane.workers.fleet import Fleet
from proxy.controlplane.workers.place import COMMAND
from proxy.core.messages import (
    AdminState,
    Applied,
    BreakerNews,
    ExtensionNews,
    Heard,
    LastCall,
    Message,
    PoolNews,
    ProbePassed,
    ReopenLogs,
    Report,
    Snapshot,
    Started,
)
from proxy.core.pools.breaker import BreakerState
from proxy.core.pools.health import Probe
from proxy.core.settings import Settings
from proxy.logs import say

log = logging.getLogger(__name__)

LAST_MOMENT = 1.0
"""Seconds in which idle connections may ask once more after a TERM, and are told with the answer that they close."""
QUICK_DRAIN = 3.0
"""Seconds that requests in flight have after Ctrl-C."""
FIRST_ROUND = 5.0
"""Seconds for the first probes, where others serve until our workers do."""
WRITTEN_WITHIN = 2.0
"""Seconds for what must be remembered to be written, before this program ends."""


class Supervisor:
    """Joins the parts. Made inside a running loop; `bind` first, then `run`."""

    def __init__(
        self,
        settings: Settings,
        worker: Sequence[str] = COMMAND,
        legacy: Legacy | None = None,
        read: Reader | None = None,
    ) -> None:
        self._worker = worker
        self.reloader = Reloader(self, read)
        self._loop = asyncio.get_running_loop()
        self.registry = Registry(settings, monotonic(), *recalled(settings.state_dir, monotonic()))
        self.registry.own.note_settings(time())
        self.chronicle = Chronicle(settings)
        self.journal, self.accounting = self.chronicle.journal, self.chronicle.accounting
        self._succession, self._replaces = Succession(self, legacy), legacy is not None
        self.predecessors, self.handover = self._succession.predecessors, self._succession.handover
        self._rounds, self._consequences = Rounds(self), Consequences(self)
        self.switching = Switching(self.registry, self.carry_out)
        self.notifier = Notifier(os.environ)
        self.memory = Memory(settings.state_dir, lambda: self.registry.snapshot().backends, self.registry.cuts)
        self._keeper = Keeper(self.registry.take_keys)
        self.recorder = self.chronicle.recorder(self.registry, self.problems)
        self._admin = Admin(self, settings.admin, Dates())
        self._own_code = own = OwnCode(settings, self.carry_out)
        self._checker = Checker(self.registry.records(), random.Random(), self._probed, own)  # noqa: S311 - spreads probes
        # Once bound
        self.listeners: list[BoundListener] = []
        self.admin: BoundListener | None = None
        self.fleet = Fleet([], 0, self, worker)
        # Stages of its life
        self.ready = asyncio.Event()
        self._stopping = asyncio.Event()
        self._hurrying = asyncio.Event()
        self._is_quick = False

    # Life

    def bind(self, inheritance: Inheritance | None = None) -> tuple[list[BoundListener], BoundListener]:
        """Bind the Listeners and the admin endpoint, or raise StartError and leave nothing bound.

        Sockets that others have bound before us, and left to us, are used on: connections wait there.
        """
        settings = self.settings
        inheritance = inheritance or Inheritance()
        with contextlib.ExitStack() as undo, contextlib.closing(inheritance):
            undo.callback(self.predecessors.close)
            self.predecessors.collect(inheritance, bound_addresses(settings.listeners))
            for one in settings.listeners:
                self.listeners.append(bind_listener(one, settings.workers, inheritance))
                undo.callback(self.listeners[-1].undo)
            self.admin = admin = bind_admin(settings.admin.address, inheritance)
            self.predecessors.choose(sock for one in self.listeners for sock in one.sockets)
            undo.pop_all()
        self.fleet = Fleet(self.listeners, settings.workers, self, self._worker)
        return self.listeners, admin

    async def run(self) -> None:
        """Serve until a signal or `stop` ends it, then drain."""
        if self.admin is None:
            raise RuntimeError("bind first")
        warn_of_expiry(self.settings)
        try:
            await self._admin.start(self.admin.sockets[0].dup())
            self.notifier.begin(self._status)
            self._keeper.obey(self.settings)
            self._checker.begin()
            # Not to be cut short: whom we have met must hear from us, also if that is to stop.
            await self.predecessors.lead()
            self.recorder.begin(is_replacement=self._replaces, orphans=len(self.predecessors.pids()))
            self.chronicle.begin()
            self._rounds.begin()
            beginning = self._loop.create_task(self._begin())
            stopping = self._loop.create_task(self._stopping.wait())
            await asyncio.wait({beginning, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if beginning.done():
                beginning.result()
            beginning.cancel()
            await stopping
            await self._wind_down()
        finally:
            self._rounds.end()
            await self.reloader.close()
            await self.handover.close()
            if self.is_stopping:
                self._close_listeners()
            for listener in self.listeners:
                listener.undo()
            await self.fleet.end()
            self.predecessors.close()
            self.notifier.close()
            await self._checker.close()
            if self.is_stopping:
                self.journal.add(process.stopped())
            await self._write_down()
            await self._keeper.close()
            await self._admin.close()
            self.admin.close()

    async def _begin(self) -> None:
        """Start the workers; where others serve already, once the first probes are in, and then let those go."""
        if self.predecessors:
            await self._checker.first_round(FIRST_ROUND)
        self.fleet.start()
        await self.ready.wait()
        self.notifier.ready()
        if self.predecessors:
            say(log, logging.INFO, "handed over", drain=self.settings.replaced_timeout)
            self.predecessors.drain(self.settings.replaced_timeout, closes_idle=False)

    async def _wind_down(self) -> None:
        """Let others notice that we go, take nothing new, finish what runs."""
        self.notifier.stopping()
        self.fleet.tell(LastCall())
        delay, timeout = self._drain_times()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._hurrying.wait(), delay)
        self._close_listeners()
        patience = 0.0 if self._is_quick else min(LAST_MOMENT, timeout)
        self.predecessors.drain(timeout, closes_idle=not patience)
        closing = self._loop.call_later(patience, lambda: self.predecessors.drain(timeout - patience, closes_idle=True))
        await asyncio.gather(self.fleet.drain(timeout, patience), self.predecessors.ended())
        closing.cancel()
        say(log, logging.INFO, "stopped")

    def _close_listeners(self) -> None:
        """Ours of the sockets: as long as one is open, the kernel accepts connections that nobody will serve."""
        for listener in self.listeners:
            listener.close()

    def stop(self, *, quick: bool = False) -> None:
        """Drain and end; asked a second time, end now."""
        if self._stopping.is_set():
            say(log, logging.WARNING, "stopping at once")
            self._hurrying.set()
            self.fleet.kill()
            self.predecessors.kill()
            return
        self._is_quick = quick
        self.journal.add(process.stopping(quick=quick))
        delay, timeout = self._drain_times()
        say(log, logging.INFO, "draining", delay=delay, timeout=timeout)
        self._stopping.set()

    def _drain_times(self) -> tuple[float, float]:
        """`drain_delay` and `drain_timeout` as they count now."""
        settings = self.settings
        if self._is_quick:
            return 0.0, min(QUICK_DRAIN, settings.drain_timeout)
        return settings.drain_delay, settings.drain_timeout

    def reopen_logs(self) -> None:
        """The access log's file may have been renamed: all who write to it begin it anew."""
        self.fleet.tell(ReopenLogs())
        self.predecessors.reopen_logs()

    # What the next program needs

    async def withdraw(self) -> None:
        """Finish what would be cut off by the end of this program, but for the workers."""
        await self._write_down()
        await self._admin.close()

    async def _write_down(self) -> None:
        """What must be remembered; a disk that hangs is not waited for."""
        self.recorder.close()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.gather(self.memory.settle(), self.chronicle.settle()), WRITTEN_WITHIN)

    async def come_back(self) -> None:
        """Begin again what `withdraw` has ended."""
        if self.admin is not None:
            self._admin = Admin(self, self.settings.admin, Dates())
            await self._admin.start(self.admin.sockets[0].dup())
        self.memory.keep()
        self.chronicle.begin()

    def _status(self) -> str:
        """For a service manager: one line."""
        records = list(self.registry.records())
        available = sum(not record.reasons for record in records)
        return f"{self.readiness()}; {available} of {len(records)} backends available"

    # What a reload changes

    @property
    def settings(self) -> Settings:
        """Those in force."""
        return self.registry.settings

    @property
    def is_stopping(self) -> bool:
        """Whether it drains or ends."""
        return self._stopping.is_set()

    def obey(self, settings: Settings) -> int:
        """Put other settings in force; the version under which workers will say that they have. Raises StartError."""
        numbers = self.fleet.numbers(settings.workers)
        arrangement = arrange(self.listeners, self.settings, settings, numbers)
        self.registry.obey(settings, monotonic())
        self.listeners[:] = arrangement.listeners
        for removed in arrangement.removed:
            removed.close()
        self._own_code.obey(settings)
        self._checker.follow(self.registry.records())
        self._admin.obey(settings.admin)
        self._keeper.obey(settings)
        self.chronicle.obey(settings)
        warn_of_expiry(settings)
        self.memory.keep()
        self._consequences.publish()
        version = self.registry.settings_version
        self.fleet.follow(numbers, version, settings.replaced_timeout)
        return version

    # What the admin endpoint asks

    async def reload(self) -> Json:
        """Read the config anew and put it in force; what has changed. Raises Rejected or NotNow."""
        return await self.reloader.reload()

    def readiness(self) -> str:
        """`ready`, or why not."""
        if self._stopping.is_set():
            return "draining"
        if not self.ready.is_set():
            return "ready" if self.predecessors else "starting"
        return "ready" if self.fleet.is_serving else "no worker serves"

    def restarts(self) -> int:
        """How many workers died and were replaced."""
        return self._succession.restarts()

    def problems(self) -> list[str]:
        """What is wrong with the proxy itself."""
        found = (self.memory.problem, self._keeper.problem, *self.chronicle.problems())
        return [problem for problem in found if problem]

    def set_admin(self, record: BackendRecord, state: AdminState) -> None:
        """Carry out the administrator's intent."""
        self.carry_out(self.registry.set_admin(record, state, monotonic()))
        self._checker.follow_admin(record.key)

    def set_weight(self, record: BackendRecord, weight: int | None) -> None:
        """Put a weight in place of the configured one; None takes it away again."""
        self.carry_out(self.registry.set_weight(record, weight, monotonic()))

    # What workers ask and say

    def snapshot(self) -> Snapshot:
        """The state of the world as it is now."""
        return self.registry.snapshot()

    def openings(self) -> Iterable[BreakerNews]:
        """What a worker that begins must be told after its first Snapshot."""
        return self.registry.openings()

    def worker_timeout(self) -> float:
        """Seconds without a word after which a worker is taken for hung."""
        return self.settings.worker_timeout

    def take(self, message: Message) -> None:
        """A worker said this."""
        if isinstance(message, Report):
            self.carry_out(self.registry.take_report(message))
            self.recorder.take_report(message)
        elif isinstance(message, BreakerNews):
            self._take_breaker_news(message)
        elif isinstance(message, PoolNews):
            self.carry_out(self.registry.take_pool_news(message))
        elif isinstance(message, ExtensionNews):
            self._own_code.tell(message.name, message.reason)
        elif isinstance(message, Applied):
            self.reloader.look()
        elif isinstance(message, Heard | Started):
            if isinstance(message, Started):
                self.recorder.worker_serves(message.worker, message.pid)
            self.carry_out(self.registry.heard(message.worker, message.snapshot_version, monotonic()))
            if self.fleet.has_served and not self.ready.is_set():
                say(log, logging.INFO, "ready", workers=len(self.fleet.workers))
                self.ready.set()

    def _take_breaker_news(self, news: BreakerNews) -> None:
        if self.registry.is_worth_relaying(news):
            self.fleet.tell(news, but=news.worker)
        self.carry_out(self.registry.take_breaker_news(news))
        if news.state is BreakerState.OPEN:
            self._checker.hurry((news.pool, news.backend))

    def ended(self, worker: int, pid: int, how: str, *, is_orderly: bool) -> None:
        """A worker's process has ended; `lost` follows."""
        self.recorder.worker_ended(worker, pid, how, is_orderly=is_orderly)

    def lost(self, worker: int) -> None:
        """A worker's process has ended, and everything that it said has been taken."""
        self.registry.lose_worker(worker)
        self.carry_out(self.registry.tick(monotonic()))
        self.reloader.look()

    def retired(self, worker: int) -> None:
        """A worker has finished what it did, and no other takes its place."""
        self.registry.retire_worker(worker)

    # What probes say

    def _probed(self, key: Key, probe: Probe) -> None:
        self.recorder.probed(key, probe)
        self.carry_out(self.registry.take_probe(key, probe))
        record = self.registry.record(key)
        if probe.ok and record is not None and record.breaker().state is not BreakerState.CLOSED:
            self.fleet.tell(ProbePassed(*key))

    def carry_out(self, changes: list[Change]) -> None:
        """See to what follows from these."""
        self._consequences.carry_out(changes)
