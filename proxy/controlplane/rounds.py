"""What follows from the passing of time alone: once a second the supervisor looks, and workers that hang are ended."""

from __future__ import annotations

import asyncio
import logging
from time import monotonic
from typing import Protocol

from proxy.controlplane.journal.recorder import Recorder
from proxy.controlplane.pools.change import Change
from proxy.controlplane.pools.registry import Registry
from proxy.controlplane.replacement.takeover import Predecessors
from proxy.controlplane.workers.fleet import Fleet
from proxy.logs import say

log = logging.getLogger(__name__)

TICK = 1.0
"""Seconds between two looks at everything."""
LOOK = 0.1
"""Seconds between two looks whether a switch of an active-passive pool is due."""


class Owner(Protocol):
    """What the rounds need of the supervisor."""

    registry: Registry
    recorder: Recorder
    fleet: Fleet
    predecessors: Predecessors

    def carry_out(self, changes: list[Change]) -> None:
        """Log what changed, and tell the workers."""


class Rounds:
    """Two timers."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._ticking: asyncio.TimerHandle | None = None
        self._looking: asyncio.TimerHandle | None = None
        self._looked_at = monotonic()
        self._lag = 0.0
        owner.registry.told = self._told

    def begin(self) -> None:
        """Look now, and then time and again."""
        self._looked_at = monotonic()
        self._tick()
        self._look()

    def _look(self) -> None:
        self._looking = asyncio.get_running_loop().call_later(LOOK, self._look)
        now = monotonic()
        self._lag = max(self._lag, now - self._looked_at - LOOK)
        self._looked_at = now
        self._owner.carry_out(self._owner.registry.follow_places(now))

    def _tick(self) -> None:
        self._ticking = asyncio.get_running_loop().call_later(TICK, self._tick)
        owner = self._owner
        now = monotonic()
        owner.registry.own.loop_lag, self._lag = self._lag, 0.0
        owner.carry_out(owner.registry.tick(now))
        owner.carry_out(owner.registry.compare(now))
        for worker in owner.registry.overdue():
            say(log, logging.ERROR, "a worker keeps a pool from a switch: killed", worker=worker)
            if worker < 0:
                owner.predecessors.kill_one(-worker)
            else:
                owner.fleet.renew(worker)
        owner.recorder.tick(now)

    def end(self) -> None:
        """Look no more."""
        for timer in (self._ticking, self._looking):
            if timer is not None:
                timer.cancel()

    def _told(self) -> list[int]:
        """The workers that act on Snapshots, or that acted on another supervisor's and can't be told any more."""
        return [*self._owner.fleet.told(), *(-pid for pid in self._owner.predecessors.pids())]
