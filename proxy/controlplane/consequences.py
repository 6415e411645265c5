"""What follows from each Change: it is logged, counted, written into the journal, and workers are told.

The supervisor owns it, and hands it whatever `registry` has changed.
"""

from __future__ import annotations

import asyncio
import logging
from time import monotonic
from typing import Protocol

from proxy.controlplane.journal.recorder import Recorder
from proxy.controlplane.pools.change import TOLD, Change, log_change
from proxy.controlplane.pools.memory import Memory
from proxy.controlplane.pools.registry import Registry
from proxy.controlplane.pools.switching import Switching
from proxy.controlplane.workers.fleet import Fleet

log = logging.getLogger(__name__)

PACE = 20e-6
"""Seconds between two Snapshots, for each Backend: where a thousand fail one after the other, workers have other work
too. What can't wait (`Change.news`) goes on its own."""


class Owner(Protocol):
    """What is needed of the supervisor."""

    registry: Registry
    recorder: Recorder
    switching: Switching
    memory: Memory
    fleet: Fleet


class Consequences:
    """Carries out."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._publishing: asyncio.Handle | None = None
        self._published_at = 0.0

    def carry_out(self, changes: list[Change]) -> None:
        """Log what changed; tell workers and remember it where it did not come from them."""
        owner = self._owner
        for change in changes:
            log_change(change)
            owner.switching.note(change)
            owner.registry.own.note(change)
            if change.news is not None:
                owner.fleet.tell(change.news)
        if any(change.subject in TOLD for change in changes):
            owner.memory.keep()
            if self._publishing is None:
                self._publish_soon()
        if changes:
            self._write_down(changes)

    def _write_down(self, changes: list[Change]) -> None:
        """Last of all, and whatever goes wrong in it is no reason to serve worse."""
        try:
            self._owner.recorder.note(changes, monotonic())
        except Exception:
            log.exception("what has changed could not be written into the journal")

    def _publish_soon(self) -> None:
        loop = asyncio.get_running_loop()
        backends = sum(len(pool.backends) for pool in self._owner.registry.pools.values())
        due = self._published_at + PACE * backends
        self._publishing = loop.call_soon(self.publish) if due <= loop.time() else loop.call_at(due, self.publish)

    def publish(self) -> None:
        """One Snapshot for all that changed in one turn of the loop, or in the pace at which they may follow."""
        self._publishing = None
        self._published_at = asyncio.get_running_loop().time()
        self._owner.fleet.tell(self._owner.registry.snapshot())
