"""The supervisor: one process that owns the sockets, the workers, the probes and the admin endpoint, and joins them.

It carries out what `registry` decides: a change of state becomes a log line and a Snapshot for all workers. It takes
no decision about a Backend and sees no request. `proxy.cli.run` runs it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import signal
from collections.abc import Iterable, Sequence
from time import monotonic

from proxy.controlplane.admin import Admin
from proxy.controlplane.checker import Checker
from proxy.controlplane.dates import Dates
from proxy.controlplane.fleet import COMMAND, Fleet
from proxy.controlplane.memory import Memory, recall
from proxy.controlplane.registry import BackendRecord, Change, Registry
from proxy.controlplane.sockets import BoundListener, bind_admin, bind_listener
from proxy.controlplane.tally import Key
from proxy.core.breaker import BreakerState
from proxy.core.health import Probe
from proxy.core.messages import AdminState, BreakerNews, Message, PoolNews, ProbePassed, Report, Snapshot, Started
from proxy.core.settings import Settings
from proxy.logs import say

log = logging.getLogger(__name__)

QUICK_DRAIN = 3.0
"""Seconds that requests in flight have after Ctrl-C."""


class Supervisor:
    """Joins the parts. Made inside a running loop; `bind` first, then `run`."""

    def __init__(self, settings: Settings, command: Sequence[str] = COMMAND) -> None:
        self._settings = settings
        self._command = command
        self._loop = asyncio.get_running_loop()
        self.registry = Registry(settings, monotonic(), recall(settings.state_dir))
        self._memory = Memory(settings.state_dir, lambda: self.registry.snapshot().backends)
        self._admin = Admin(self, settings.admin, Dates())
        self._checker = Checker(self.registry.records(), random.Random(), self._probed)  # noqa: S311 - spreads probes
        self._publishing: asyncio.Handle | None = None
        # Once bound
        self.listeners: list[BoundListener] = []
        self.admin: BoundListener | None = None
        self.fleet = Fleet([], 0, self, command)
        # Stages of its life
        self.ready = asyncio.Event()
        self._stopping = asyncio.Event()
        self._hurrying = asyncio.Event()
        self._drain_delay = settings.drain_delay
        self._drain_timeout = settings.drain_timeout

    # Life

    def bind(self) -> tuple[list[BoundListener], BoundListener]:
        """Bind the Listeners and the admin endpoint, or raise StartError and leave nothing bound."""
        settings = self._settings
        with contextlib.ExitStack() as undo:
            for one in settings.listeners:
                self.listeners.append(bind_listener(one, settings.workers))
                undo.callback(self.listeners[-1].close)
            self.admin = admin = bind_admin(settings.admin.address)
            undo.pop_all()
        self.fleet = Fleet(self.listeners, settings.workers, self, self._command)
        return self.listeners, admin

    async def run(self) -> None:
        """Serve until a signal or `stop` ends it, then drain."""
        if self.admin is None:
            raise RuntimeError("bind first")
        try:
            await self._admin.start(self.admin.sockets[0])
            self.fleet.start()
            self._checker.begin()
            await self._stopping.wait()
            await self._wind_down()
        finally:
            self._close_listeners()
            await self.fleet.end()
            await self._checker.close()
            await self._memory.settle()
            await self._admin.close()
            self.admin.close()

    async def _wind_down(self) -> None:
        """Let others notice that we go, take nothing new, finish what runs."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._hurrying.wait(), self._drain_delay)
        self._close_listeners()
        await self.fleet.drain(self._drain_timeout)
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
            return
        if quick:
            self._drain_delay, self._drain_timeout = 0.0, min(QUICK_DRAIN, self._drain_timeout)
        say(log, logging.INFO, "draining", delay=self._drain_delay, timeout=self._drain_timeout)
        self._stopping.set()

    def heed_signals(self) -> None:
        """TERM drains, INT (Ctrl-C) drains quickly; either of them a second time ends at once."""
        self._loop.add_signal_handler(signal.SIGTERM, self.stop)
        self._loop.add_signal_handler(signal.SIGINT, lambda: self.stop(quick=True))
        for unsupported in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
            self._loop.add_signal_handler(unsupported, _refuse, unsupported)

    # What the admin endpoint asks

    def readiness(self) -> str:
        """`ready`, or why not."""
        if self._stopping.is_set():
            return "draining"
        if not self.ready.is_set():
            return "starting"
        return "ready" if self.fleet.is_serving else "no worker serves"

    def restarts(self) -> int:
        """How many workers died and were replaced."""
        return self.fleet.restarts

    def set_admin(self, record: BackendRecord, state: AdminState) -> None:
        """Carry out the administrator's intent."""
        self._carry_out(self.registry.set_admin(record, state, monotonic()))
        self._checker.follow_admin(record.key)

    def set_weight(self, record: BackendRecord, weight: int | None) -> None:
        """Put a weight in place of the configured one; None takes it away again."""
        self._carry_out(self.registry.set_weight(record, weight, monotonic()))

    # What workers ask and say

    def snapshot(self) -> Snapshot:
        """The state of the world as it is now."""
        return self.registry.snapshot()

    def openings(self) -> Iterable[BreakerNews]:
        """What a worker that begins must be told after its first Snapshot."""
        return self.registry.openings()

    def take(self, message: Message) -> None:
        """A worker said this."""
        if isinstance(message, Report):
            self._carry_out(self.registry.take_report(message))
        elif isinstance(message, BreakerNews):
            self._take_breaker_news(message)
        elif isinstance(message, PoolNews):
            self._carry_out(self.registry.take_pool_news(message))
        elif isinstance(message, Started) and self.fleet.has_served and not self.ready.is_set():
            say(log, logging.INFO, "ready", workers=len(self.fleet.workers))
            self.ready.set()

    def _take_breaker_news(self, news: BreakerNews) -> None:
        if self.registry.is_worth_relaying(news):
            self.fleet.tell(news, but=news.worker)
        self._carry_out(self.registry.take_breaker_news(news))
        if news.state is BreakerState.OPEN:
            self._checker.hurry((news.pool, news.backend))

    def lost(self, worker: int) -> None:
        """A worker's process has ended, and everything that it said has been taken."""
        self.registry.lose_worker(worker)

    # What probes say

    def _probed(self, key: Key, probe: Probe) -> None:
        self._carry_out(self.registry.take_probe(key, probe))
        record = self.registry.record(key)
        if probe.ok and record is not None and record.breaker().state is not BreakerState.CLOSED:
            self.fleet.tell(ProbePassed(*key))

    # What follows

    def _carry_out(self, changes: list[Change]) -> None:
        """Log what changed; tell workers and remember it where it did not come from them."""
        for change in changes:
            _log_change(change)
        if any(change.subject in TOLD for change in changes):
            self._memory.keep()
            if self._publishing is None:
                self._publishing = self._loop.call_soon(self._publish)

    def _publish(self) -> None:
        """One Snapshot for all that changed in one turn of the loop."""
        self._publishing = None
        self.fleet.tell(self.registry.snapshot())


TOLD = frozenset({"health", "admin", "weight"})
"""Subjects of Changes that are in a Snapshot."""


ALARMING = frozenset({"down", "open", "true"})
"""What a Change leads to where something fails: health, Breaker, panic."""


def _log_change(change: Change) -> None:
    fields = {"pool": change.pool, "backend": change.backend, "from": change.before, "to": change.after}
    fields["reason"] = change.reason
    shown = {name: value for name, value in fields.items() if value}
    level = logging.WARNING if change.after in ALARMING else logging.INFO
    say(log, level, f"{change.subject} changed", **shown)


def _refuse(unsupported: signal.Signals) -> None:
    say(log, logging.WARNING, "not supported yet: ignored", signal=unsupported.name)
