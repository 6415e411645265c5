"""One end of a TCP connection that plays its steps and keeps all that it hears; no loop, no threads, no waiting.

`Stage` calls `send` and `hear` when the socket can; everything else follows from what was heard.
"""

from __future__ import annotations

import random
import socket
import struct
from collections import deque
from collections.abc import Callable, Iterable, Mapping

from tests.e2e.wire.case import Act, Await, Step

Cut = Callable[[bytes], Iterable[bytes]]
"""How bytes that a step sends are cut into writes."""

FED_SINGLY = 1024
"""Bytes at each end of a large message that are fed one by one; what lies between is fed whole."""


def whole(data: bytes) -> list[bytes]:
    return [data]


def singly(data: bytes) -> list[bytes]:
    """Byte by byte; of the middle of a large message nothing new would be learnt."""
    if len(data) <= 2 * FED_SINGLY:
        return [data[i : i + 1] for i in range(len(data))]
    return [*singly(data[:FED_SINGLY]), data[FED_SINGLY:-FED_SINGLY], *singly(data[-FED_SINGLY:])]


def randomly(seed: str) -> Cut:
    """In pieces whose ends a generator with this seed chooses."""
    rng = random.Random(seed)

    def cut(data: bytes) -> list[bytes]:
        if len(data) < 2:
            return [data]
        inner = sorted(rng.sample(range(1, len(data)), min(rng.randint(1, 12), len(data) - 1)))
        return [data[start:end] for start, end in zip([0, *inner], [*inner, len(data)], strict=True)]

    return cut


NO_WAITS: Mapping[Act, Callable[[], bool]] = {}


class Player:
    """One end: steps to play, bytes heard since it began, and how the other side ended, if it has."""

    def __init__(
        self, sock: socket.socket, steps: Iterable[Step], cut: Cut, waits: Mapping[Act, Callable[[], bool]] = NO_WAITS
    ) -> None:
        self.sock = sock
        self.heard = b""
        self.end: str | None = None
        """How the other side ended: "eof" or "reset"."""
        self._steps = deque(steps)
        self._cut = cut
        self._waits = waits
        self._unsent: deque[bytes] = deque()
        self._awaited = 0
        self.is_closed = False
        """Whether this end wants its socket closed; whoever watches the socket does it."""

    @property
    def is_done(self) -> bool:
        """Whether all steps have been played."""
        return not self._steps and not self._unsent

    @property
    def wants_to_send(self) -> bool:
        return bool(self._unsent)

    def advance(self) -> None:
        """Play all steps that need no waiting."""
        while self._steps and not self._unsent and self._play(self._steps[0]):
            self._steps.popleft()

    def _play(self, step: Step) -> bool:
        """Whether the step is done."""
        if isinstance(step, bytes):
            self._unsent.extend(self._cut(step))
            return True
        if isinstance(step, Await):
            found = self.heard.find(step.marker, self._awaited)
            if found >= 0:
                self._awaited = found + len(step.marker)
            return found >= 0
        if step in self._waits:
            return self._waits[step]()
        if step is Act.GONE:
            return self.end is not None
        self._finish(step)
        return True

    def _finish(self, act: Act) -> None:
        if act is Act.END:
            self.sock.shutdown(socket.SHUT_WR)
            return
        if act is Act.RESET:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.is_closed = True

    def send(self) -> None:
        """Send the next piece; to one who has gone, nothing more."""
        piece = self._unsent.popleft()
        try:
            sent = self.sock.send(piece)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._unsent.clear()
            return
        if sent < len(piece):
            self._unsent.appendleft(piece[sent:])

    def hear(self) -> bytes:
        """What has come; empty at the end, or where nothing has."""
        try:
            data = self.sock.recv(65536)
        except BlockingIOError:
            return b""
        except OSError:
            data, self.end = b"", "reset"
        if not data and self.end is None:
            self.end = "eof"
        return data
