"""Switches of active-passive Pools that a person orders: begun, and waited for until every worker has followed.

Whether an order can be carried out is the `governor`'s matter. The supervisor owns one; the admin endpoint asks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic

from proxy.controlplane.pools.change import Change
from proxy.controlplane.pools.records import PoolRecord
from proxy.controlplane.pools.registry import Registry

LONGEST = 10.0
"""Seconds that an order is waited for; workers that hang are ended before."""


class Switching:
    """Carries out orders."""

    def __init__(self, registry: Registry, carry_out: Callable[[list[Change]], None]) -> None:
        self._registry = registry
        self._carry_out = carry_out
        self._filled = asyncio.Event()

    def note(self, change: Change) -> None:
        """Something changed; perhaps it is what somebody waits for."""
        if change.subject == "active":
            self._filled.set()
            self._filled = asyncio.Event()

    async def failover(self, pool: PoolRecord, to: str | None, *, force: bool = False) -> None:
        """Make this Backend the active one; None: the one that waits for approval. Raises Refused."""
        self._carry_out(self._registry.order(pool, to, monotonic(), force=force))
        await self._until_filled(pool)

    async def failback(self, pool: PoolRecord) -> None:
        """Make the first in line that is well the active one. Raises Refused."""
        self._carry_out(self._registry.go_back(pool, monotonic()))
        await self._until_filled(pool)

    def cut(self, route: str, pool: str) -> None:
        """Cut a Pool off from a split. Raises Refused."""
        self._carry_out(self._registry.cut(route, pool, monotonic()))

    def resume(self, route: str) -> None:
        """Give the Pool that is cut off from a split its share back. Raises Refused."""
        self._carry_out(self._registry.resume(route))

    async def _until_filled(self, pool: PoolRecord) -> None:
        """Wait for the switch; what the Pool says afterwards is the truth, also where that takes too long."""
        place = pool.governor.place
        try:
            async with asyncio.timeout(LONGEST):
                while place is not None and place.active is None:
                    await self._filled.wait()
        except TimeoutError:
            return
