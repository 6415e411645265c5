"""Looks after the ledger of keyed writes, once a second, and knows how many keys there are. Run by the supervisor.

Without it workers go on: they forget and note deaths by themselves where they meet such a key, only more slowly.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from proxy.core.settings import Settings
from proxy.ledger.store import StoreError
from proxy.ledger.upkeep import KeyCounts, Upkeep
from proxy.logs import say

log = logging.getLogger(__name__)

EVERY = 1.0
"""Seconds between two rounds."""


class Keeper:
    """The ledger's keeper; idle where no Pool heeds keys."""

    def __init__(self, tell: Callable[[Mapping[str, KeyCounts]], None]) -> None:
        self._tell = tell
        self._task: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()
        self.problem = ""
        """What is wrong with the ledger, as of the last round; empty if nothing is."""

    def obey(self, settings: Settings) -> None:
        """Look after the ledger from now on, where these settings need one. Once begun, it goes on."""
        if self._task is None and any(pool.idempotency is not None for pool in settings.pools):
            upkeep = Upkeep(Path(settings.state_dir), random.Random())  # noqa: S311 - a lock's place in a file
            self._task = asyncio.create_task(self._run(upkeep))

    async def close(self) -> None:
        """End after the round that runs."""
        self._stopping.set()
        if self._task is not None:
            await self._task

    async def _run(self, upkeep: Upkeep) -> None:
        while not self._stopping.is_set():
            await self._round(upkeep)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), EVERY)
        upkeep.close()

    async def _round(self, upkeep: Upkeep) -> None:
        try:
            self._tell(await asyncio.to_thread(upkeep.run, time.time()))
        except StoreError as error:
            if not self.problem:
                say(log, logging.ERROR, "the ledger can't be looked after", error=error)
            self.problem = f"the ledger of keyed writes fails: {error}"
        else:
            if self.problem:
                say(log, logging.INFO, "the ledger can be looked after again")
            self.problem = ""
