"""Keeps the accounting in `state_dir`: every few seconds and when a worker has ended, whole, beside the loop.

What was counted since the last time is lost by a crash of the machine; by one of the supervisor alone nothing is, as
the workers that live tell the next one. A disk that fails costs a log line.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from pathlib import Path
from time import monotonic

from proxy.controlplane.aside import aside, replace_file
from proxy.controlplane.availability.accounting import Accounting
from proxy.logs import say

log = logging.getLogger(__name__)

FILE = "availability.json"
EVERY = 10.0
"""Seconds between two writes …"""
SHARE = 0.01
"""… and more, where there is so much to write that it would take a larger share of the time."""


class Remembered:
    """The file."""

    def __init__(self, accounting: Accounting, state_dir: str) -> None:
        self._accounting = accounting
        self._path = Path(state_dir) / FILE if state_dir else None
        self._task: asyncio.Task[None] | None = None
        self._hurry = asyncio.Event()
        self._is_stopping = False
        self.problem = ""
        """Why the file is not up to date; empty if it is."""

    def recall(self) -> None:
        """Go on from what the last run left; one that can't be read begins anew."""
        if self._path is None:
            return
        try:
            self._accounting.recall(self._path.read_text(), _is_alive)
        except FileNotFoundError:
            return
        except (OSError, ValueError) as error:
            text = "the availability of the past can't be read: it begins anew"
            say(log, logging.ERROR, text, file=self._path, error=error)

    def begin(self) -> None:
        """Write now, and time and again."""
        if self._path is not None:
            self._accounting.urgent = self._hurry.set
            self._is_stopping = False
            self._hurry.set()
            self._task = asyncio.create_task(self._run(self._path))

    async def settle(self) -> None:
        """Write once more, and then no more."""
        self._is_stopping = True
        self._hurry.set()
        if self._task is not None:
            await asyncio.shield(self._task)

    async def _run(self, path: Path) -> None:
        pause = EVERY
        is_last = False
        while not is_last:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._hurry.wait(), pause)
            self._hurry.clear()
            is_last = self._is_stopping
            began = monotonic()
            self._note(path, await _try(path, self._accounting.freeze()))
            pause = max(EVERY, (monotonic() - began) / SHARE)

    def _note(self, path: Path, error: str) -> None:
        if error and not self.problem:
            text = "availability can't be written: a restart would forget it"
            say(log, logging.ERROR, text, file=path, error=error)
        elif self.problem and not error:
            say(log, logging.INFO, "availability can be written again", file=path)
        self.problem = f"availability can't be written: a restart would forget it: {error}" if error else ""


async def _try(path: Path, text: Callable[[], str]) -> str:
    """Write; what went wrong, or nothing."""
    try:
        await aside(lambda: replace_file(path, text()))
    except OSError as error:
        return str(error)
    return ""


def _is_alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()
