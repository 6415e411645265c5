"""The programs before and after the one that runs: what came from those, and what goes to these.

It joins `legacy`, `takeover` and `handover` to the supervisor, who owns one Succession and asks it when to do what.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from time import monotonic
from typing import Protocol

from proxy.controlplane.journal.chronicle import Chronicle
from proxy.controlplane.journal.process import not_replaced, replacing
from proxy.controlplane.journal.recorder import Recorder
from proxy.controlplane.listeners.sockets import BoundListener
from proxy.controlplane.notify import Notifier
from proxy.controlplane.pools.registry import Registry
from proxy.controlplane.replacement.handover import Handover, command
from proxy.controlplane.replacement.legacy import Legacy, bequeath, inherit, of_predecessor, sockets_of
from proxy.controlplane.replacement.takeover import Predecessors
from proxy.controlplane.workers.fleet import Fleet
from proxy.core.messages import Report
from proxy.core.settings import Settings


class Owner(Protocol):
    """What a Succession asks of the supervisor."""

    registry: Registry
    chronicle: Chronicle
    fleet: Fleet
    listeners: list[BoundListener]
    admin: BoundListener | None
    notifier: Notifier
    ready: asyncio.Event

    @property
    def settings(self) -> Settings:
        """Those in force."""

    @property
    def recorder(self) -> Recorder:
        """Who writes the journal."""

    @property
    def is_stopping(self) -> bool:
        """Whether it drains or ends."""

    async def withdraw(self) -> None:
        """Finish what would be cut off by the end of this program, but for the workers."""

    async def come_back(self) -> None:
        """Begin again what `withdraw` has ended."""


class Succession:
    """Keeps what is to be kept from one program to the next."""

    def __init__(self, owner: Owner, legacy: Legacy | None) -> None:
        self._owner = owner
        self.predecessors = Predecessors(self._told, self._ended)
        self.handover = Handover(self, command())
        self._restarts_before = 0
        if legacy is not None:
            inherit(owner.registry, legacy, monotonic())
            owner.chronicle.inherit(legacy.journal, legacy.availability)
            self.predecessors.expect(legacy.pids)
            self._restarts_before = legacy.restarts

    def restarts(self) -> int:
        """How many workers died and were replaced, under the programs before, too."""
        return self._restarts_before + self._owner.fleet.restarts

    # Those before

    def _told(self, pid: int, report: Report) -> None:
        """Its counts count; what it thinks of Backends is for its own requests."""
        report = replace(report, pid=pid)
        self._owner.registry.tally.take(of_predecessor(report))
        self._owner.recorder.take_report(report)

    def _ended(self, pid: int) -> None:
        self._owner.registry.lose_worker(-pid)
        self._owner.chronicle.accounting.forget(pid)

    # The next one

    def not_replaceable(self) -> str:
        """Why the program can't be replaced now; empty if it can."""
        if self._owner.is_stopping:
            return "it drains"
        return "" if self._owner.ready.is_set() else "it has not begun to serve"

    def bequeath(self) -> Legacy:
        """What the next program must know."""
        owner = self._owner
        if owner.admin is None:
            raise RuntimeError("bind first")
        journal, availability = owner.chronicle.bequeath()
        return replace(
            bequeath(owner.registry),
            journal=journal,
            availability=availability,
            sockets=sockets_of(owner.settings, owner.listeners, owner.admin),
            pids=(*owner.fleet.pids(), *self.predecessors.pids()),
            restarts=self.restarts(),
        )

    def not_replaced(self, reason: str) -> None:
        """Nothing came of a replacement."""
        self._owner.chronicle.journal.add(not_replaced(reason))

    async def retreat(self) -> None:
        """The next program is about to begin."""
        self._owner.chronicle.journal.add(replacing())
        self._owner.notifier.reloading()
        await self._owner.withdraw()

    async def resume(self) -> None:
        """There is no next program after all."""
        await self._owner.come_back()
        if not self._owner.is_stopping:
            self._owner.notifier.ready()
