"""One worker's place: its number and its sockets stay, its process is replaced when it dies.

It knows a process and its channels; what messages mean is the supervisor's matter. `fleet` owns all of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import site
import socket
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

from proxy.controlplane.listeners.sockets import BoundListener
from proxy.controlplane.notify import VARIABLES
from proxy.controlplane.workers.channel import Channel, RouteBook
from proxy.controlplane.workers.handing import Handing
from proxy.controlplane.workers.sharing import SharedMemory
from proxy.core.messages import Applied, BreakerNews, Drain, Message, Snapshot, Started, ToAll
from proxy.logs import say

log = logging.getLogger(__name__)

COMMAND = (sys.executable, "-P", "-m", "proxy.dataplane.worker")
"""-P: something else named `proxy` in the current folder must not be run in our place."""
PACKAGES = str(Path(__file__).parents[3])
"""Where our package is."""
ALLOCATOR = {
    "MALLOC_MMAP_THRESHOLD_": "33554432",
    "MALLOC_TOP_PAD_": "1048576",
    "MALLOC_TRIM_THRESHOLD_": "16777216",
}
"""glibc's allocator (mallopt(3)) keeps so many bytes of freed memory. By itself it gives the buffers of each large
body back to the kernel and faults them in again: 40 % of the CPU of a 1 MB answer (`docs/performance.md`)."""
SETTLED_AFTER = 3.0
"""Seconds after its start from which the death of a worker that serves begins a new series."""
BACK_OFF = 0.25
"""Seconds before the second restart of a series; the first comes at once, each later one takes twice as long."""
BACK_OFF_MAX = 8.0
PAUSE_FROM = 1.0
"""From this wait on, a dead worker's sockets refuse, so that its share of new connections goes to the others."""
LOUD_FROM = 3
"""Deaths in a series from which on the log says so."""
START_LIMIT = 30
"""Seconds for a worker to begin to serve."""
HANG_UP_LIMIT = 2.0
"""Seconds between the end of a process and of its control socket, whichever is first."""


class Owner(Protocol):
    """What a worker's place and the Fleet ask of the supervisor, and tell it."""

    def snapshot(self) -> Snapshot:
        """The state of the world as it is now."""

    def openings(self) -> Iterable[BreakerNews]:
        """What a worker that begins must be told after its first Snapshot."""

    def worker_timeout(self) -> float:
        """Seconds without a word (Reports come every second) after which a worker is taken for hung and killed."""

    def take(self, message: Message) -> None:
        """A worker said this."""

    def ended(self, worker: int, pid: int, how: str, *, is_orderly: bool) -> None:
        """How a worker's process has ended, and whether it was told to; `lost` follows."""

    def lost(self, worker: int) -> None:
        """A worker's process has ended, and everything that it said has been taken."""

    def retired(self, worker: int) -> None:
        """A worker has finished what it did, and no other takes its place."""


def _environment() -> dict[str, str]:
    """Ours, so that a worker finds our package where it is not installed but run from its source.

    Not what a service manager means for us alone.
    """
    environment = ALLOCATOR | {name: value for name, value in os.environ.items() if name not in VARIABLES}
    if PACKAGES not in site.getsitepackages():
        paths = [environment.get("PYTHONPATH", ""), PACKAGES]
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    return environment


def next_delay(deaths: int) -> float:
    """Seconds before the restart that follows the last of so many deaths in a series."""
    return 0.0 if deaths <= 1 else min(BACK_OFF * 2.0 ** (deaths - 2), BACK_OFF_MAX)


class Worker:
    """One worker's place: its number and sockets stay, its process is replaced."""

    def __init__(
        self,
        number: int,
        listeners: Sequence[BoundListener],
        command: Sequence[str],
        owner: Owner,
        *,
        memory: SharedMemory,
        book: RouteBook,
    ) -> None:
        self.number = number
        self._memory = memory
        self._book = book
        self._listeners = listeners
        self._command = command
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        # Of the process that runs now
        self._process: asyncio.subprocess.Process | None = None
        self._channel: Channel | None = None
        self._handing: Handing | None = None
        self._silence = 0
        self._began_at = 0.0
        self.is_serving = False
        self.settings_version = 0
        """Of the settings that it has put in force."""
        # Of the series of processes
        self._deaths = 0
        self.restarts = 0
        self.has_served = False
        # Orders
        self._drain: Drain | None = None
        self._stopping = asyncio.Event()
        self._is_killed = False

    def __repr__(self) -> str:
        return f"<Worker {self.number} {'serving' if self.is_serving else 'not serving'} restarts={self.restarts}>"

    @property
    def pid(self) -> int | None:
        """The process's number while it runs."""
        return self._process.pid if self._process is not None else None

    # Orders

    def send(self, message: ToAll) -> None:
        """Tell the process, if one runs; one that begins later gets the whole state anyway."""
        if self._channel is not None:
            self._channel.send(message)

    def hand(self, settings_version: int) -> None:
        """Give the process the sockets that are its own under these settings."""
        if self._handing is not None:
            pairs = [(one.name, sock) for one in self._listeners for sock in one.of(self.number)]
            self._handing.send(settings_version, pairs)

    def drain(self, order: Drain) -> None:
        """Have the process finish what it does, and start no other."""
        self._drain = order
        self._stopping.set()
        if self._channel is not None:
            self._channel.send(order)

    def kill(self) -> None:
        """End the process now, and start no other."""
        self._is_killed = True
        self._stopping.set()
        self._kill_process()

    def renew(self) -> None:
        """End the process now; another takes its place."""
        self._kill_process()

    @property
    def is_told(self) -> bool:
        """Whether a process acts on what it is told, or will as soon as it reads it."""
        return self._channel is not None

    def _kill_process(self) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    # The series of processes

    async def run(self) -> None:
        """Run a process, and another when it dies, until drained or killed."""
        while True:
            try:
                await self._run_once()
            except Exception:
                # Out of memory or descriptors, mostly. Whatever it was must not leave this place empty for good.
                log.exception("a worker could not be run", extra={"fields": {"worker": self.number}})
            if self._stopping.is_set():
                return
            await self._wait_before_restart()
            if self._stopping.is_set():
                return
            self.restarts += 1

    async def _wait_before_restart(self) -> None:
        settled = self.is_serving and self._loop.time() - self._began_at >= SETTLED_AFTER
        self.is_serving = False
        self._deaths = 1 if settled else self._deaths + 1
        delay = next_delay(self._deaths)
        if self._deaths >= LOUD_FROM:
            fields = {"worker": self.number, "deaths": self._deaths, "next_start_in": delay}
            say(log, logging.ERROR, "a worker dies again and again", **fields)
        if delay < PAUSE_FROM:
            await self._pause(delay)
            return
        for listener in self._listeners:
            listener.pause(self.number)
        say(log, logging.WARNING, "worker stays away", worker=self.number, seconds=delay)
        await self._pause(delay)
        if not self._stopping.is_set():
            for listener in self._listeners:
                listener.resume(self.number)

    async def _pause(self, delay: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), delay)

    # One process

    async def _run_once(self) -> None:
        """Start a process and see it through to its end."""
        gone = asyncio.Event()
        self._memory.begin(self.number)
        ours, theirs = socket.socketpair()
        handing = Handing()
        try:
            ours.setblocking(False)
            self._process = await self._spawn(theirs, handing.theirs)
        except BaseException:
            ours.close()
            handing.close()
            raise
        finally:
            theirs.close()
            handing.theirs.close()
        self._began_at, self._silence, pid = self._loop.time(), 0, self._process.pid
        self.settings_version = 0
        _, self._channel = await self._loop.create_unix_connection(
            lambda: Channel(self._received, gone.set, self._book), sock=ours
        )
        self._handing = handing
        watchdog = self._loop.create_task(self._watch())
        try:
            self._brief(self._channel)
            status = await self._see_through(self._process, gone)
        finally:
            watchdog.cancel()
            self._channel.close()
            handing.close()
            self._process = self._channel = self._handing = None
            self._memory.clear(self.number)
        self._note_end(pid, status)
        self._owner.lost(self.number)

    async def _spawn(self, control: socket.socket, doors: socket.socket) -> asyncio.subprocess.Process:
        """A fresh interpreter, in a session of its own: Ctrl-C is the supervisor's to handle."""
        inherited = [control.fileno(), self._memory.fd, doors.fileno()]
        arguments = ["--id", str(self.number)]
        for name, fd in zip(("--control", "--counts", "--doors"), inherited, strict=True):
            arguments += [name, str(fd)]
        for listener in self._listeners:
            for sock in listener.of(self.number):
                arguments += ["--listener", f"{listener.name}={sock.fileno()}"]
                inherited.append(sock.fileno())
        return await asyncio.create_subprocess_exec(
            *self._command,
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            pass_fds=inherited,
            start_new_session=True,
            env=_environment(),
        )

    def _brief(self, channel: Channel) -> None:
        """What a process must know that has just begun, and orders that came meanwhile."""
        snapshot = self._owner.snapshot()
        channel.send(snapshot)
        # They may have changed since it inherited them.
        self.hand(snapshot.settings_version)
        for news in self._owner.openings():
            channel.send(news)
        if self._drain is not None:
            channel.send(self._drain)
        if self._is_killed:
            self._kill_process()

    async def _see_through(self, process: asyncio.subprocess.Process, gone: asyncio.Event) -> int:
        """Wait for the process to end and for its last words; its exit status."""
        ended = self._loop.create_task(process.wait())
        hung_up = self._loop.create_task(gone.wait())
        await asyncio.wait({ended, hung_up}, return_when=asyncio.FIRST_COMPLETED)
        # Either follows the other at once. A process that hung up and lives on can't be led any more.
        await asyncio.wait({ended, hung_up}, timeout=HANG_UP_LIMIT)
        hung_up.cancel()
        if not ended.done():
            say(log, logging.ERROR, "a worker closed its control socket and lives on: killed", worker=self.number)
            self._kill_process()
        return await ended

    async def _watch(self) -> None:
        """Kill a process that does not begin to serve, or hangs.

        Seconds are counted one by one, so that a machine that was suspended does not look like a silent worker.
        """
        while True:
            await asyncio.sleep(1.0)
            self._silence += 1
            limit = self._owner.worker_timeout() if self.is_serving else START_LIMIT
            if self._silence > limit:
                fields = {"worker": self.number, "pid": self.pid, "seconds": self._silence}
                say(log, logging.ERROR, "a worker is silent: killed", **fields)
                self._kill_process()
                return

    def _received(self, message: Message) -> None:
        self._silence = 0
        if self._handing is not None:
            self._handing.again()
        if isinstance(message, Started):
            self.is_serving = self.has_served = True
            say(log, logging.INFO, "worker serves", worker=self.number, pid=message.pid)
        elif isinstance(message, Applied):
            self.settings_version = message.settings_version
        try:
            self._owner.take(message)
        except Exception:
            log.exception("a worker's message was not understood", extra={"fields": {"worker": self.number}})

    def _note_end(self, pid: int, status: int) -> None:
        how = f"signal {signal.Signals(-status).name}" if status < 0 else f"status {status}"
        if self._stopping.is_set():
            say(log, logging.INFO, "worker ended", worker=self.number, how=how)
        else:
            say(log, logging.WARNING, "worker died", worker=self.number, how=how)
        self._owner.ended(self.number, pid, how, is_orderly=self._stopping.is_set())
