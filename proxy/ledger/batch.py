"""What one turn of a worker's loop has to write, in one transaction at its end: a commit costs more than what is in it.

Whoever waits for a write is woken when it is committed, so that nothing is sent before. `sqlite` owns the Batch. While
another process writes, which takes some 50 µs, it looks again a millisecond later; nobody is held up.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager
from time import monotonic
from typing import Any, Generic, Protocol, TypeVar

from proxy.ledger.schema import writing
from proxy.ledger.store import StoreBusyError, StoreError

T = TypeVar("T")

AGAIN = 0.001
BUSY_LIMIT = 1.0
"""Seconds that another process may hold the ledger before that counts as a failure."""

Statement = Callable[[sqlite3.Connection], T]
"""Runs within the transaction. A StoreError that it raises is its own result, and harms no other's."""


class Loop(Protocol):
    """What a Batch needs of an event loop."""

    def call_soon(self, callback: Callable[[], object]) -> object:
        """Call at the end of this turn."""

    def call_later(self, delay: float, callback: Callable[[], object]) -> object:
        """Call when so many seconds have passed."""


class Write(Generic[T]):
    """One write that waits for the end of the turn. To await it is to be stepped until it is done."""

    __slots__ = ("_result", "error", "is_done", "run", "wake")

    def __init__(self, run: Statement[T], wake: Callable[[], None] | None) -> None:
        self.run = run
        self.wake = wake
        self.is_done = False
        self.error: StoreError | None = None
        self._result: list[T] = []

    def __repr__(self) -> str:
        return f"<Write {'done' if self.is_done else 'waiting'}>"

    def attempt(self, connection: sqlite3.Connection) -> None:
        """Run it; what comes of it counts once the transaction is committed."""
        self.error, self._result = None, []
        try:
            self._result = [self.run(connection)]
        except StoreError as error:
            self.error = error

    def __await__(self) -> Generator[None, None, T]:
        while not self.is_done:
            yield
        if self.error is not None:
            raise self.error
        return self._result[0]


class Batch:
    """The writes of one worker that wait for the end of this turn of its loop."""

    def __init__(self, loop: Loop, connect: Callable[[], AbstractContextManager[sqlite3.Connection]]) -> None:
        self._loop = loop
        self._connect = connect
        self._writes: list[Write[Any]] = []
        self._is_due = False
        self._busy_since: float | None = None

    def __repr__(self) -> str:
        return f"<Batch {len(self._writes)} waiting>"

    def add(self, run: Statement[T], wake: Callable[[], None]) -> Write[T]:
        """Write at the end of this turn, for somebody who waits for it."""
        write = Write(run, wake)
        self._append(write)
        return write

    def add_late(self, run: Statement[object]) -> None:
        """Write at the end of this turn, or later, until it succeeds: nobody waits."""
        self._append(Write(run, None))

    def _append(self, write: Write[Any]) -> None:
        self._writes.append(write)
        if not self._is_due:
            self._is_due = True
            self._loop.call_soon(self.flush)

    def drop(self, write: Write[Any]) -> None:
        """Nobody waits for this any more, and it must not be written."""
        if write in self._writes:
            self._writes.remove(write)

    def flush(self) -> None:
        """Write now."""
        self._is_due = False
        writes, self._writes = self._writes, []
        if not writes:
            return
        try:
            with self._connect() as connection, writing(connection):
                for write in writes:
                    write.attempt(connection)
        except StoreBusyError as error:
            self._put_off(writes, error)
        except StoreError as error:
            self._busy_since = None
            self._fail(writes, error)
        else:
            self._busy_since = None
            _tell(writes)

    def _put_off(self, writes: list[Write[Any]], error: StoreBusyError) -> None:
        now = monotonic()
        self._busy_since = self._busy_since or now
        if now - self._busy_since > BUSY_LIMIT:
            self._busy_since = None
            self._fail(writes, error)
            return
        self._writes = writes + self._writes
        self._is_due = True
        self._loop.call_later(AGAIN, self.flush)

    def _fail(self, writes: list[Write[Any]], error: StoreError) -> None:
        """Those who wait are told; what nobody waits for stays for the next time."""
        self._writes = [write for write in writes if write.wake is None] + self._writes
        for write in writes:
            write.error = error
        _tell([write for write in writes if write.wake is not None])


def _tell(writes: list[Write[Any]]) -> None:
    for write in writes:
        write.is_done = True
    for write in writes:
        if write.wake is not None:
            write.wake()
