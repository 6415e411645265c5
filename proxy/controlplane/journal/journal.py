"""The journal: takes entries in, numbers them, tells whoever listens at once, and has them written to `state_dir`.

Nobody waits for the disk. While it fails, entries stay in memory and are written when it is well again; without a
`state_dir` they are in memory only. What an entry says is `recorder`'s matter; the supervisor owns the Journal.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from proxy.controlplane.aside import aside
from proxy.controlplane.journal.files import Files
from proxy.core.settings import JournalSettings
from proxy.core.telling.journal import Entry, Json, Kept, Query, Ring, read_line
from proxy.logs import say

log = logging.getLogger(__name__)

AGAIN = 1.0
"""Seconds after which a write that failed is tried again, for the first time; twice as long each time."""
AGAIN_MAX = 30.0
BATCH = 1000
"""Entries that are written at a time."""

Listener = Callable[[Kept], None]


class Journal:
    """All entries that are kept."""

    def __init__(self, settings: JournalSettings, state_dir: str = "", clock: Callable[[], float] = time.time) -> None:
        self.now = clock
        self._ring = Ring(settings.max_entries)
        self._listeners: list[Listener] = []
        self._files = Files(Path(state_dir), settings.max_entries) if state_dir else None
        self._unwritten: deque[Kept] = deque(maxlen=settings.max_entries)
        self._writing: asyncio.Task[None] | None = None
        self._hurry = asyncio.Event()
        self.problem = ""
        """Why the newest entries are not on the disk; empty if they are."""
        if self._files is not None:
            self._recall(self._files)

    def __repr__(self) -> str:
        return f"<Journal {self._ring} {len(self._unwritten)} unwritten>"

    def _recall(self, files: Files) -> None:
        """What earlier programs have written. One that can't be read keeps nobody from serving."""
        try:
            entries, torn = files.read()
        except OSError as error:
            say(log, logging.ERROR, "the journal can't be read: it begins anew", file=files.path, error=error)
            return
        self._ring.recall(entries)
        if torn:
            say(log, logging.WARNING, "lines of the journal can't be read", file=files.path, lines=torn)

    def inherit(self, lines: Iterable[str]) -> None:
        """What the program before us had, where it is not on the disk."""
        entries = [kept for line in lines if (kept := read_line(line.encode())) is not None]
        for kept in self._ring.recall(entries):
            self._write_soon(kept)

    def obey(self, settings: JournalSettings) -> None:
        """Keep so many from now on."""
        self._ring.obey(settings.max_entries)
        if settings.max_entries != self._unwritten.maxlen:
            self._unwritten = deque(self._unwritten, maxlen=settings.max_entries)
        if self._files is not None:
            self._files.most = settings.max_entries

    # Entries

    @property
    def last_id(self) -> int:
        """Of the newest entry that there has ever been; 0 before the first."""
        return self._ring.last_id

    def add(self, entry: Entry) -> Kept:
        """Take in an entry; it has its number and its date from now on."""
        kept = self._ring.add(entry, self.now())
        self._write_soon(kept)
        for listener in list(self._listeners):
            try:
                listener(kept)
            except Exception:
                # Who listens must not keep the state of Backends from being carried out.
                log.exception("an entry of the journal could not be passed on")
        return kept

    def since(self, query: Query) -> list[Json]:
        """What is asked for, the newest last."""
        return [kept.document() for kept in self._ring.find(query)]

    def page(self, query: Query) -> str:
        """The same as the JSON of the API's answer."""
        entries = ",".join(kept.text for kept in self._ring.find(query))
        return f'{{"entries":[{entries}],"last_id":{self.last_id}}}'

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Tell each new entry at once, on the loop; what is returned ends that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener) if listener in self._listeners else None

    def newest(self, most: int) -> list[str]:
        """So many of the newest as lines, for the next program."""
        return [kept.text for kept in self._ring.newest(most)]

    # The disk

    def _write_soon(self, kept: Kept) -> None:
        if self._files is None:
            return
        self._unwritten.append(kept)
        if self._writing is None:
            self._hurry.clear()
            self._writing = asyncio.create_task(self._write(self._files))

    async def settle(self) -> None:
        """Wait until everything is written, or can't be."""
        self._hurry.set()
        if self._writing is not None:
            await asyncio.shield(self._writing)

    async def _write(self, files: Files) -> None:
        delay = AGAIN
        while self._unwritten:
            batch = list(self._unwritten)[:BATCH]
            self._note(files, await _try(files, batch))
            if not self.problem:
                # Some of them may have been pushed out meanwhile.
                while self._unwritten and self._unwritten[0].id <= batch[-1].id:
                    self._unwritten.popleft()
                delay = AGAIN
                continue
            if self._hurry.is_set():
                break
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._hurry.wait(), delay)
            delay = min(2 * delay, AGAIN_MAX)
        self._writing = None

    def _note(self, files: Files, error: str) -> None:
        """Say when it begins and when it ends, and not each time that it lasts."""
        if error and not self.problem:
            say(log, logging.ERROR, "the journal can't be written: it is in memory only", file=files.path, error=error)
        elif self.problem and not error:
            say(log, logging.INFO, "the journal can be written again", file=files.path)
        self.problem = f"the journal can't be written: a restart would forget it: {error}" if error else ""


async def _try(files: Files, entries: list[Kept]) -> str:
    """Write; what went wrong, or nothing."""
    try:
        await aside(partial(files.append, entries))
    except OSError as error:
        return str(error)
    return ""
