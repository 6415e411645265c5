"""Where requests wait for a place while all Backends of a Pool are full: who comes next, and who is sent away.

A higher priority comes first. Among equals it is first come, first served, until the one at the head has waited for
longer than `lifo_after`: then the line is too long for all of them, and the newest comes first, because its client
still waits. Called by `gate`; nothing is said here of Backends.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass

WAIT_STEP = 0.01
"""Seconds between two looks of whoever can't be woken when its turn has come."""

HOLD_STEP = 0.025
"""Seconds between two looks for a Backend while a request is held."""


class Priority(enum.IntEnum):
    """What a Route says of its requests: the low ones are shed first."""

    LOW = 0
    NORMAL = 1
    HIGH = 2
    CRITICAL = 3


@dataclass(frozen=True, slots=True)
class WaitingPolicy:
    """How many requests wait while all Backends of a Pool are full, and for how long."""

    max_requests: int = 100
    """Requests of one worker that may wait at a time; 0: none waits."""
    max_wait: float = 1.0
    """Seconds after which one that waits gets 503."""
    lifo_after: float = 0.1
    """Once the oldest has waited for longer than so many seconds, the newest comes first."""


class End(enum.StrEnum):
    """How a request's wait ended; what the metric calls it."""

    SERVED = "served"
    FULL = "full"
    """There was no room to wait."""
    TIMEOUT = "timeout"
    DISPLACED = "displaced"
    """One of higher priority came, and the line was full."""
    LEFT = "left"
    """The client went."""


def _asleep() -> None:
    """Nobody has said yet how to wake whoever waits."""


class Waiter:
    """One request that waits. Called, it has a place for itself until it says what becomes of it."""

    __slots__ = ("end", "is_called", "joined", "priority", "wake")

    def __init__(self, priority: Priority, now: float) -> None:
        self.priority = priority
        self.joined = now
        self.is_called = False
        self.end: End | None = None
        self.wake: Callable[[], None] = _asleep

    def __repr__(self) -> str:
        state = self.end or ("called" if self.is_called else "waiting")
        return f"<Waiter {self.priority.name} since {self.joined:g} {state}>"

    @property
    def is_over(self) -> bool:
        """Whether there is nothing more to wait for."""
        return self.is_called or self.end is not None


class Line:
    """Those who wait, by priority. Each one's end is counted exactly once."""

    __slots__ = ("_waiting", "counts", "policy")

    def __init__(self, policy: WaitingPolicy, counts: dict[str, int] | None = None) -> None:
        self.policy = policy
        # Dicts keep order, and any of them can leave at once.
        self._waiting: dict[Priority, dict[Waiter, None]] = {one: {} for one in sorted(Priority, reverse=True)}
        self.counts = {} if counts is None else counts
        """By End."""

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def __repr__(self) -> str:
        return f"<Line {len(self)} of {self.policy.max_requests}>"

    def is_before(self, priority: Priority) -> bool:
        """Whether somebody waits who comes before a newcomer of this priority."""
        return any(line and known >= priority for known, line in self._waiting.items())

    def join(self, priority: Priority, now: float) -> Waiter | None:
        """Wait from now on; None if there is no room, not even by sending one of lower priority away."""
        if len(self) >= self.policy.max_requests and not self._displace(priority, now):
            self.counts[End.FULL] = self.counts.get(End.FULL, 0) + 1
            return None
        waiter = Waiter(priority, now)
        self._waiting[priority][waiter] = None
        return waiter

    def _displace(self, priority: Priority, now: float) -> bool:
        """Send away who would come last of all, if its priority is lower."""
        for known, line in reversed(self._waiting.items()):
            if line and known < priority:
                last = next(iter(line)) if self._is_overlong(line, now) else next(reversed(line))
                self.end(last, End.DISPLACED)
                last.wake()
                return True
        return False

    def _is_overlong(self, line: dict[Waiter, None], now: float) -> bool:
        return now - next(iter(line)).joined > self.policy.lifo_after

    def next(self, now: float) -> Waiter | None:
        """Who comes next; it waits on until it is called."""
        for line in self._waiting.values():
            if line:
                return next(reversed(line)) if self._is_overlong(line, now) else next(iter(line))
        return None

    def call(self, waiter: Waiter) -> None:
        """It waits no more, and has to say what becomes of it."""
        del self._waiting[waiter.priority][waiter]
        waiter.is_called = True
        waiter.wake()

    def put_back(self, waiter: Waiter) -> None:
        """It was called in vain, and is the first of its priority again."""
        waiter.is_called = False
        line = self._waiting[waiter.priority]
        self._waiting[waiter.priority] = {waiter: None, **line}

    def expire(self, now: float) -> None:
        """Send away who has waited for too long."""
        for line in self._waiting.values():
            for waiter in [one for one in line if now - one.joined >= self.policy.max_wait]:
                self.end(waiter, End.TIMEOUT)
                waiter.wake()

    def end(self, waiter: Waiter, end: End) -> None:
        """Its wait is over like this."""
        if waiter.end is None:
            waiter.end = end
            self._waiting[waiter.priority].pop(waiter, None)
            self.counts[end] = self.counts.get(end, 0) + 1
