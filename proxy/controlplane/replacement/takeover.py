"""Workers that another supervisor has left behind: found, led while they serve on, and let go once others serve.

After a crash they are orphans of the dead one; after a replacement, of the program before. Either way they listen for
us as `core.takeover` describes, give us their sockets and counts, and finish what they do. The supervisor owns one
Predecessors.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import struct
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from proxy.controlplane.listeners.inheritance import Heirloom, Inheritance
from proxy.core.messages import Report
from proxy.core.takeover import LINE_MAX, Offer, Order, Word, from_line, mark, read_name, to_line
from proxy.logs import say

log = logging.getLogger(__name__)

ANSWER_LIMIT = 2.0
"""Seconds for an orphan to make its offer."""
ASK_AGAIN = 0.05
"""Seconds between two looks for orphans that are expected."""
GRACE = 2.0
"""Seconds over the time that they have, before those that still live are killed."""
OFFER_MAX = 65536
"""Bytes of an offer, and of the first counts behind it."""
SOCKETS_MAX = 253
"""Descriptors that one message may carry (unix(7), SCM_RIGHTS)."""
LISTENING = "00010000"
"""The flags of a socket that listens, in /proc/net/unix."""


@dataclass(slots=True)
class Meeting:
    """An orphan that has made its offer."""

    pid: int
    connection: socket.socket
    inodes: frozenset[int]
    """Of its sockets."""
    rest: bytes
    """What it said after the offer."""


def meet_orphans(inheritance: Inheritance, pids: Collection[int], marks: Collection[str] = ()) -> list[Meeting]:
    """The orphaned workers with these process ids, and those that serve at addresses with these marks.

    Another proxy's are not disturbed: its own supervisor may be looking for them just now. Sockets go into the
    inheritance.
    """
    names = [name for name, pid, served in _orphans() if pid in pids or not served.isdisjoint(marks)]
    return [meeting for name in names if (meeting := _meet(name, inheritance)) is not None]


def _orphans() -> Iterator[tuple[str, int, frozenset[str]]]:
    """All that wait on this machine: names, process ids, marks."""
    for line in Path("/proc/self/net/unix").read_text(errors="replace").splitlines():
        flags, name = line.split(" ")[3], line.rpartition(" ")[2]
        known = read_name(name[1:]) if flags == LISTENING and name.startswith("@") else None
        if known is not None:
            yield name, *known


def _meet(name: str, inheritance: Inheritance) -> Meeting | None:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(ANSWER_LIMIT)
        connection.connect(f"\0{name[1:]}")
        pid, user = _peer_of(connection)
        if user == os.geteuid():
            return _hear_offer(pid, connection, inheritance)
    except (OSError, ValueError) as error:
        say(log, logging.WARNING, "an orphaned worker does not answer", socket=name, error=error)
    connection.close()
    return None


def _peer_of(connection: socket.socket) -> tuple[int, int]:
    """Process and user at the other end; nobody can feign them."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid, user, _ = struct.unpack("3i", credentials)
    return pid, user


def _hear_offer(pid: int, connection: socket.socket, inheritance: Inheritance) -> Meeting:
    """Raises ValueError for what is none; the connection is left open.

    The sockets are still accepted on: whatever sets one of them to block (`settimeout`, `dup`) stops a worker.
    """
    data, descriptors, _, _ = socket.recv_fds(connection, OFFER_MAX, SOCKETS_MAX)
    inodes = frozenset(os.fstat(fd).st_ino for fd in descriptors)
    for fd in descriptors:
        os.set_inheritable(fd, False)
        inheritance.add(Heirloom(socket.socket(fileno=fd)))
    try:
        while b"\n" not in data and (more := connection.recv(OFFER_MAX)):
            data += more
        line, _, rest = data.partition(b"\n")
        promised = from_line(Offer, line).sockets
    except (OSError, ValueError):
        promised = -1
    if promised == len(descriptors):
        return Meeting(pid, connection, inodes, rest)
    raise ValueError("the offer is not whole")


class Predecessor(asyncio.Protocol):
    """One worker of the supervisor before us."""

    def __init__(self, pid: int, told: Callable[[int, Report], None], ended: Callable[[int], None]) -> None:
        self.pid = pid
        self._told = told
        self._ended = ended
        self._loop = asyncio.get_running_loop()
        # Not the number alone: it may be another process's by the time that we kill it.
        self._pidfd = os.pidfd_open(pid)
        self._loop.add_reader(self._pidfd, self._note_end)
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._order: Order | None = None
        self._reopens = False
        self.over = asyncio.Event()
        self._has_ended = False

    def __repr__(self) -> str:
        return f"<Predecessor {self.pid}{' over' if self.over.is_set() else ''}>"

    @property
    def is_led(self) -> bool:
        """Whether it hears us."""
        return self._transport is not None

    async def lead(self, meeting: Meeting) -> None:
        """Go on with the connection that the meeting began."""
        self._buffer = meeting.rest
        await self._loop.create_unix_connection(lambda: self, sock=meeting.connection)
        self.data_received(b"")

    def drain(self, order: Order) -> None:
        """Have it finish what it does."""
        self._order = order
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(to_line(order))

    def reopen_logs(self) -> None:
        """Its access log's file may have been renamed; one that we do not lead yet is told when we do."""
        self._reopens = True
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(to_line(Order(None, reopens_logs=True)))

    def kill(self) -> None:
        """End it now."""
        if not self.over.is_set():
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def close(self) -> None:
        """Let it be, and go."""
        if not self.over.is_set():
            self._let_go()
        if self._transport is not None:
            self._transport.abort()

    def _let_go(self) -> None:
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)

    def _note_end(self) -> None:
        """Its process has ended. It is our child if we are the program after its supervisor."""
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, os.WNOHANG)
        self._let_go()
        self.over.set()
        if self._transport is None:
            self._end()

    def _end(self) -> None:
        """Nothing that it said counts from now on: its totals are with those that have ended."""
        if not self._has_ended:
            self._has_ended = True
            self._ended(self.pid)

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        if self._reopens:
            self.reopen_logs()
        if self._order is not None:
            self.drain(self._order)

    def data_received(self, data: bytes) -> None:
        if self._has_ended:
            return
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        try:
            for line in lines:
                self._told(self.pid, from_line(Word, line).report)
        except ValueError as error:
            say(log, logging.WARNING, "a worker before us is not understood", pid=self.pid, error=error)
        if len(self._buffer) > LINE_MAX and self._transport is not None:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self.over.is_set():
            self._end()


class Predecessors:
    """All of them."""

    def __init__(self, told: Callable[[int, Report], None], ended: Callable[[int], None]) -> None:
        self._told = told
        self._ended = ended
        self._loop = asyncio.get_running_loop()
        self._meetings: list[Meeting] = []
        self._workers: dict[int, Predecessor] = {}
        self._end: asyncio.TimerHandle | None = None

    def __bool__(self) -> bool:
        return bool(self._meetings or self.pids())

    def pids(self) -> tuple[int, ...]:
        """Process ids of those that live."""
        return tuple(pid for pid, one in self._workers.items() if not one.over.is_set())

    # The beginning

    def expect(self, pids: Iterable[int]) -> None:
        """These are left to us, whatever they hold."""
        for pid in pids:
            self._worker(pid)

    def collect(self, inheritance: Inheritance, addresses: Iterable[Any]) -> None:
        """Meet the orphans that are expected or serve at these addresses; their sockets go into the inheritance."""
        self._meetings = meet_orphans(inheritance, self._workers, [mark(one) for one in addresses])

    def choose(self, used: Iterable[socket.socket]) -> None:
        """Leave those orphans alone of whose sockets none is used: they are another proxy's."""
        ours = {os.fstat(one.fileno()).st_ino for one in used}
        chosen = []
        for meeting in self._meetings:
            if meeting.pid in self._workers or ours & meeting.inodes:
                chosen.append(meeting)
            else:
                meeting.connection.close()
        self._meetings = chosen

    async def lead(self) -> None:
        """Take the lead of all; of those that are expected and have not answered yet, within `ANSWER_LIMIT`."""
        late = self._loop.time() + ANSWER_LIMIT
        while True:
            meetings, self._meetings = self._meetings, []
            for meeting in meetings:
                worker = self._worker(meeting.pid)
                if worker is None:
                    meeting.connection.close()
                else:
                    await worker.lead(meeting)
            missing = {pid for pid in self.pids() if not self._workers[pid].is_led}
            if not missing or self._loop.time() > late:
                break
            await asyncio.sleep(ASK_AGAIN)
            with contextlib.closing(Inheritance()) as known:
                self._meetings = await asyncio.to_thread(meet_orphans, known, missing)
        if self._workers:
            say(log, logging.INFO, "taking over", workers=len(self._workers), silent=len(missing))

    def _worker(self, pid: int) -> Predecessor | None:
        """None if it has ended meanwhile."""
        if pid not in self._workers:
            try:
                self._workers[pid] = Predecessor(pid, self._told, self._ended)
            except ProcessLookupError:
                self._ended(pid)
        return self._workers.get(pid)

    # The end

    def drain(self, seconds: float, *, closes_idle: bool) -> None:
        """Have all finish what they do within so many seconds; a later order may only hasten it."""
        for worker in self._workers.values():
            worker.drain(Order(seconds, closes_idle))
        at = self._loop.time() + seconds + GRACE
        if self._end is None or at < self._end.when():
            self._cancel_end()
            self._end = self._loop.call_at(at, self.kill)

    def reopen_logs(self) -> None:
        """The access log's file may have been renamed."""
        for worker in self._workers.values():
            worker.reopen_logs()

    def kill(self) -> None:
        """End all now."""
        late = self.pids()
        if late:
            say(log, logging.WARNING, "workers from before did not end in time: killed", pids=",".join(map(str, late)))
        for pid in late:
            self._workers[pid].kill()

    def kill_one(self, pid: int) -> None:
        """End one of them now."""
        if pid in self._workers:
            self._workers[pid].kill()

    async def ended(self) -> None:
        """Wait for the end of all; `drain` bounds it."""
        for worker in list(self._workers.values()):
            await worker.over.wait()

    def close(self) -> None:
        """Leave those that still live to themselves."""
        self._cancel_end()
        for meeting in self._meetings:
            meeting.connection.close()
        for worker in self._workers.values():
            worker.close()

    def _cancel_end(self) -> None:
        if self._end is not None:
            self._end.cancel()
