"""The journal and the accounting as one thing to keep: recalled at the start, written down at the end, handed on.

The supervisor owns the Chronicle; who writes into it is the `recorder`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection

from proxy.controlplane.admin.dates import Dates
from proxy.controlplane.availability.accounting import Accounting
from proxy.controlplane.availability.remembered import Remembered
from proxy.controlplane.journal.journal import Journal
from proxy.controlplane.journal.recorder import Recorder
from proxy.controlplane.pools.registry import Registry
from proxy.core.settings import Settings
from proxy.logs import say

log = logging.getLogger(__name__)

HANDED_ON = 1000
"""Entries that the next program gets from us; it finds the others on the disk, where there is one."""


class Chronicle:
    """What has happened, and how well requests fared."""

    def __init__(self, settings: Settings) -> None:
        self.journal = Journal(settings.journal, settings.state_dir)
        self.accounting = Accounting(settings)
        self._remembered = Remembered(self.accounting, settings.state_dir)
        self._remembered.recall()

    def __repr__(self) -> str:
        return f"<Chronicle {self.journal} {self.accounting}>"

    def recorder(self, registry: Registry, problems: Callable[[], Collection[str]]) -> Recorder:
        """Who writes into it what becomes of these."""
        return Recorder(self.journal, registry, self.accounting, problems, Dates())

    def problems(self) -> list[str]:
        """Why it is not on the disk."""
        return [problem for problem in (self.journal.problem, self._remembered.problem) if problem]

    def obey(self, settings: Settings) -> None:
        """Follow other settings."""
        self.journal.obey(settings.journal)
        self.accounting.obey(settings)

    def begin(self) -> None:
        """Write it down from now on."""
        self._remembered.begin()

    async def settle(self) -> None:
        """Wait until everything is written, or can't be."""
        await asyncio.gather(self.journal.settle(), self._remembered.settle())

    # From one program to the next

    def bequeath(self) -> tuple[tuple[str, ...], str]:
        """The newest entries as lines, and the accounting."""
        return tuple(self.journal.newest(HANDED_ON)), self.accounting.freeze()()

    def inherit(self, lines: tuple[str, ...], accounting: str) -> None:
        """Go on from what the program before us had."""
        self.journal.inherit(lines)
        if not accounting:
            return
        try:
            self.accounting.recall(accounting)
        except ValueError as error:
            say(log, logging.ERROR, "the availability that was handed over can't be read", error=error)
