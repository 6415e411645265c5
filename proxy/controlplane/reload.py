"""Reload: the file is read anew and checked whole; a bad one changes nothing, a good one is put in force everywhere.

One reload at a time. What differs is `difference`, what workers keep is `dataplane.reload`; the supervisor owns the
Reloader and lends it what it changes. HUP and the admin endpoint ask for a reload.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from time import time
from typing import Any, Protocol

from proxy.controlplane.difference import Difference, difference
from proxy.controlplane.journal import process
from proxy.controlplane.journal.journal import Journal
from proxy.controlplane.listeners.sockets import StartError
from proxy.controlplane.notify import Notifier
from proxy.controlplane.pools.registry import Registry
from proxy.controlplane.workers.channel import EncodedRoutes
from proxy.controlplane.workers.fleet import Fleet
from proxy.core.settings import Settings
from proxy.core.telling.journal import PERSON, SIGNAL
from proxy.logs import say

log = logging.getLogger(__name__)

APPLIED_WITHIN = 5.0
"""Seconds in which every worker should have taken the new settings; who has not is named in the answer."""

FREE_WITHIN = 1.0
"""Seconds in which workers have closed the sockets of a Listener that a reload has removed."""
LOOK_EVERY = 0.05

SWITCH = 0.0005
"""Seconds for which the reading of a long file may keep the interpreter from the loop; Python's default is 5 ms."""

Json = dict[str, Any]
Reader = Callable[[Settings], Settings]
"""Reads the settings anew, in a thread; those in force tell what can't be changed while it runs. Raises Rejected."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with the new settings."""

    message: str
    file: str = ""
    line: int = 0
    column: int = 0
    key: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return ": ".join(part for part in (place, "error", self.key, self.message) if part)

    def document(self) -> Json:
        """As JSON, with the line that a terminal shows."""
        places = {"file": self.file, "line": self.line, "column": self.column, "key": self.key}
        return places | {"message": self.message, "text": str(self)}


class Rejected(Exception):  # noqa: N818 - says what became of the settings
    """The new settings can't be used; those in force stay. Holds everything that is wrong."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__(faults)
        self.faults = tuple(faults)


class NotNow(Exception):  # noqa: N818 - says when
    """The proxy can't reload as it is now; the text says why."""


class Owner(Protocol):
    """What a Reloader asks of the supervisor."""

    registry: Registry
    fleet: Fleet
    journal: Journal

    @property
    def notifier(self) -> Notifier:
        """The service manager, who is told that we reload."""

    @property
    def ready(self) -> asyncio.Event:
        """Set once it serves."""

    @property
    def is_stopping(self) -> bool:
        """Whether the proxy is about to end."""

    def obey(self, settings: Settings) -> int:
        """Put these in force; the version under which workers will say that they have. Raises StartError."""


class Reloader:
    """Carries out reloads, one after another."""

    def __init__(self, owner: Owner, read: Reader | None) -> None:
        self._owner = owner
        self._read = read
        self._turn = asyncio.Lock()
        self._news = asyncio.Event()
        self._tasks: set[asyncio.Task[object]] = set()
        self._obeyed_at = -FREE_WITHIN
        self._waits: asyncio.Task[None] | None = None
        """A reload for a signal that has not begun to read."""

    # Who asks

    def begin(self) -> None:
        """Reload; what comes of it is in the log. One that still waits for its turn does for all who ask till then."""
        if self._waits is None:
            self._waits = asyncio.get_running_loop().create_task(self._quietly())
            self._keep(self._waits)

    async def reload(self) -> Json:
        """Reload, whether or not whoever asks stays; the answer. Raises Rejected or NotNow."""
        task = asyncio.get_running_loop().create_task(self._reload(PERSON))
        self._keep(task)
        return await asyncio.shield(task)

    def _keep(self, task: asyncio.Task[Any]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """The proxy ends: so does what is under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _quietly(self) -> None:
        try:
            await self._reload(SIGNAL)
        except NotNow as error:
            say(log, logging.WARNING, "no reload", reason=error)
        except Rejected:
            return
        except Exception:
            log.exception("a reload failed by our own mistake; the settings in force stay")

    # The reload

    async def _reload(self, who: str) -> Json:
        if self._read is None:
            self._waits = None
            raise NotNow("this proxy was not started from a file")
        async with self._turn:
            if asyncio.current_task() is self._waits:
                self._waits = None
            if self._owner.is_stopping:
                raise NotNow("the proxy is draining")
            self._owner.notifier.reloading()
            try:
                return await self._carry_out(self._read, who)
            except Rejected as rejected:
                self._note_failure()
                say(log, logging.WARNING, "reload rejected: nothing has changed", mistakes=len(rejected.faults))
                self._owner.journal.add(process.rejected(rejected.faults, who))
                for fault in rejected.faults:
                    say(log, logging.WARNING, "mistake in the config", text=fault)
                raise
            except NotNow:
                raise
            except Exception as error:
                self._note_failure()
                self._owner.journal.add(process.rejected([f"a mistake of our own ({type(error).__name__})"], who))
                raise
            finally:
                if self._owner.ready.is_set() and not self._owner.is_stopping:
                    self._owner.notifier.ready()

    def _note_failure(self) -> None:
        registry = self._owner.registry
        registry.reloads["failure"] += 1
        registry.own.is_last_reload_good = False

    async def _carry_out(self, read: Reader, who: str) -> Json:
        clock = asyncio.get_running_loop().time
        began = clock()
        registry, book = self._owner.registry, self._owner.fleet.book
        before = registry.settings
        prepared = await asyncio.to_thread(_prepare, read, before, book.encoded)
        if self._owner.is_stopping:
            raise NotNow("the proxy is draining")
        was_read = clock()
        found, book.encoded = prepared.found, prepared.encoded
        version = await self._obey(prepared.settings)
        late = await self._wait(version)
        seconds = clock() - began
        registry.reloads["success"] += 1
        registry.own.note_settings(time())
        self._log(found, seconds, late)
        self._owner.journal.add(process.reloaded(found, seconds, late, who))
        for entry in process.splits_changed(before, prepared.settings, who):
            self._owner.journal.add(entry)
        timing = {"seconds": round(seconds, 4), "applied_in_seconds": round(clock() - was_read, 4)}
        return {"changed": bool(found), **timing, "late_workers": late, **found.document()}

    async def _obey(self, settings: Settings) -> int:
        """Put these in force. Raises Rejected, if need be once the addresses that we have just given up are free."""
        clock = asyncio.get_running_loop().time
        while True:
            try:
                version = self._owner.obey(settings)
            except StartError as error:
                if clock() >= self._obeyed_at + FREE_WITHIN:
                    raise Rejected([Fault(str(error))]) from None
            else:
                self._obeyed_at = clock()
                return version
            await asyncio.sleep(LOOK_EVERY)
            if self._owner.is_stopping:
                raise NotNow("the proxy is draining")

    def _log(self, found: Difference, seconds: float, late: list[int]) -> None:
        fields = found.summary() or {"changes": "none"}
        say(log, logging.INFO, "reloaded", seconds=f"{seconds:.3f}", **fields)
        if late:
            say(log, logging.WARNING, "workers have not yet taken the new settings", workers=late)

    # What workers say

    def look(self) -> None:
        """A worker has put settings in force, or has ended."""
        self._news.set()

    async def _wait(self, version: int) -> list[int]:
        """Wait for all workers; those that have not taken the settings in time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(APPLIED_WITHIN):
                while self._owner.fleet.late(version):
                    self._news.clear()
                    await self._news.wait()
        return self._owner.fleet.late(version)


@dataclass(frozen=True, slots=True)
class _Prepared:
    """New settings, and what takes a while to make of them."""

    settings: Settings
    found: Difference
    encoded: EncodedRoutes


def _prepare(read: Reader, before: Settings, encoded: EncodedRoutes) -> _Prepared:
    """Everything that takes long, in a thread. Raises Rejected."""
    with _gently():
        settings = read(before)
        if settings.routes == before.routes:
            # The same tuple says that there is nothing to be sent anew.
            settings = replace(settings, routes=before.routes)
        return _Prepared(settings, difference(before, settings), encoded.following(settings.routes))


@contextlib.contextmanager
def _gently() -> Iterator[None]:
    """The loop goes on beside us, and its probes have deadlines: let it have the interpreter ten times as often.

    To look for garbage among 100,000 new objects, again and again, would be a third of the work, and in vain.
    """
    interval, collects = sys.getswitchinterval(), gc.isenabled()
    sys.setswitchinterval(SWITCH)
    gc.disable()
    try:
        yield
    finally:
        sys.setswitchinterval(interval)
        if collects:
            gc.enable()
