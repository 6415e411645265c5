"""Promises of `proxy.controlplane.rounds`."""

from __future__ import annotations

import asyncio
import time

from proxy.controlplane.admin.dates import Dates
from proxy.controlplane.availability.accounting import Accounting
from proxy.controlplane.journal.journal import Journal
from proxy.controlplane.journal.recorder import Recorder
from proxy.controlplane.pools.change import Change
from proxy.controlplane.pools.registry import Registry
from proxy.controlplane.rounds import LOOK, Rounds
from proxy.core.settings import JournalSettings
from tests.controlplane.conftest import Make


class Owner:
    """A supervisor without workers."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self.fleet = self.predecessors = self
        accounting = Accounting(registry.settings)
        self.recorder = Recorder(Journal(JournalSettings()), registry, accounting, tuple, Dates())

    def carry_out(self, changes: list[Change]) -> None:
        pass

    def told(self) -> list[int]:
        return []

    def pids(self) -> tuple[int, ...]:
        return ()


async def test_the_lag_of_the_supervisors_loop_is_the_longest_of_a_second(make: Make) -> None:
    owner = Owner(Registry(make.settings(), 0.0))
    rounds = Rounds(owner)
    rounds.begin()
    try:
        await asyncio.sleep(0)
        time.sleep(LOOK + 0.2)  # noqa: ASYNC251 - the loop shall stand still
        async with asyncio.timeout(20):
            while owner.registry.own.loop_lag < 0.19:  # noqa: ASYNC110 - a gauge says nothing when it moves
                await asyncio.sleep(0.01)
    finally:
        rounds.end()

    assert owner.registry.own.loop_lag < 20
