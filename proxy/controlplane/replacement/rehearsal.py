"""The rehearsal of a replacement: does the new program, with the config as it is now, get as far as to serve?

It runs in a process of its own and changes nothing: it accepts no connection and probes nobody. Started by `handover`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from time import monotonic

from proxy.controlplane.listeners.inheritance import Inheritance
from proxy.controlplane.listeners.sockets import StartError, bind_admin, bind_listener, is_there
from proxy.controlplane.pools.registry import Registry
from proxy.controlplane.replacement.handover import sockets_of
from proxy.controlplane.replacement.legacy import Legacy, inherit
from proxy.controlplane.workers.fleet import Fleet
from proxy.controlplane.workers.place import COMMAND
from proxy.core.messages import BreakerNews, Message, Snapshot, Started
from proxy.core.settings import Settings

LIMIT = 20.0
"""Seconds for a worker to be ready."""


class Rehearsal:
    """Plays the supervisor to one worker that has no listener."""

    def __init__(self, settings: Settings, legacy: Legacy) -> None:
        self._settings = settings
        self._registry = Registry(settings, monotonic())
        inherit(self._registry, legacy, monotonic())
        self._serves = asyncio.Event()
        self._lost = asyncio.Event()

    async def run(self, sockets: Inheritance, command: Sequence[str] = COMMAND) -> None:
        """Raises StartError if it goes wrong."""
        _try_addresses(self._settings, sockets)
        fleet = Fleet([], 1, self, command)
        fleet.start()
        try:
            if not await self._is_ready():
                raise StartError("a worker of the new program could not start")
        finally:
            await fleet.end()

    async def _is_ready(self) -> bool:
        waits = [asyncio.create_task(event.wait()) for event in (self._serves, self._lost)]
        await asyncio.wait(waits, timeout=LIMIT, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        return self._serves.is_set()

    # What a Fleet asks

    def snapshot(self) -> Snapshot:
        return self._registry.snapshot()

    def openings(self) -> Iterable[BreakerNews]:
        return self._registry.openings()

    def worker_timeout(self) -> float:
        return self._settings.worker_timeout

    def take(self, message: Message) -> None:
        if isinstance(message, Started):
            self._serves.set()

    def ended(self, worker: int, pid: int, how: str, *, is_orderly: bool) -> None:
        """Nobody writes that down, here."""

    def lost(self, worker: int) -> None:
        self._lost.set()

    def retired(self, worker: int) -> None:
        """Nobody does, here."""


def _try_addresses(settings: Settings, sockets: Inheritance) -> None:
    """Bind what is not bound yet, and let go of it. What is bound is left alone: connections wait there."""
    for one in settings.listeners:
        if not is_there(f"listener {one.name}", one.address, sockets):
            bind_listener(one, 1).close()
    if not is_there("admin", settings.admin.address, sockets):
        bind_admin(settings.admin.address).close()


async def rehearse(settings: Settings, legacy: Legacy) -> None:
    """Raises StartError if the new program could not take over."""
    await Rehearsal(settings, legacy).run(sockets_of(legacy))
