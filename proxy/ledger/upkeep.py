"""What somebody must do for a ledger from time to time: forget, note deaths, move the log into the file, count.

`controlplane.keeper` calls it, in a thread: it may wait for the disk, which a worker must not.
"""

from __future__ import annotations

import contextlib
import random
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from proxy.core.idempotency import KeyState
from proxy.ledger.owners import Owners
from proxy.ledger.schema import FILE, LOCKS, failing, open_ledger
from proxy.ledger.store import StoreBusyError

PATIENCE = 0.25
"""Seconds to wait for workers, each of which writes for some 30 µs at a time."""
BATCH = 100
"""Entries that are forgotten at a time: workers must wait while that lasts."""
BATCHES = 200
"""Of one round."""
LOG_WORTH_MOVING = 1024**2
LOG_TOO_LONG = 64 * 1024**2
"""Bytes of the write-ahead log above which writers are held up for a moment, so that it can begin anew."""


@dataclass(frozen=True, slots=True)
class KeyCounts:
    """The keys of one Pool."""

    kept: int = 0
    """All of them."""
    running: int = 0
    unknown: int = 0
    queued: int = 0


_NAMES = {KeyState.RUNNING: "running", KeyState.UNKNOWN: "unknown", KeyState.QUEUED: "queued"}


class Upkeep:
    """Looks after the ledger in one folder. One thread at a time."""

    def __init__(self, folder: Path, rng: random.Random) -> None:
        self._folder = folder
        self._rng = rng
        self._connection: sqlite3.Connection | None = None
        self._owners: Owners | None = None

    def __repr__(self) -> str:
        return f"<Upkeep {self._folder}>"

    def run(self, now: float) -> dict[str, KeyCounts]:
        """One round at wall time `now`; the keys of each Pool. Raises StoreError."""
        with self._open() as connection, failing():
            # What did not get its turn this time gets it in the next round.
            with contextlib.suppress(StoreBusyError), failing():
                self._note_deaths(connection)
                _forget(connection, now)
                self._move_log(connection)
            return _counts(connection)

    def _note_deaths(self, connection: sqlite3.Connection) -> None:
        owners = connection.execute("SELECT DISTINCT owner FROM entries WHERE state = 1").fetchall()
        for (owner,) in owners:
            if self._owners is not None and not self._owners.is_alive(owner):
                connection.execute("UPDATE entries SET state = 2 WHERE state = 1 AND owner = ?", (owner,))

    def _move_log(self, connection: sqlite3.Connection) -> None:
        log = self._folder / f"{FILE}-wal"
        length = log.stat().st_size if log.exists() else 0
        if length > LOG_WORTH_MOVING:
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        if length > LOG_TOO_LONG:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        if self._connection is None:
            self._connection = open_ledger(self._folder, timeout=PATIENCE)
        try:
            with failing():
                self._owners = self._owners or Owners(self._folder / LOCKS, self._rng)
            yield self._connection
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the files."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._owners is not None:
            self._owners.close()
            self._owners = None


def _forget(connection: sqlite3.Connection, now: float) -> None:
    expired = "SELECT n FROM entries WHERE expires <= ? AND state IN (2, 4) ORDER BY expires LIMIT ?"
    for _ in range(BATCHES):
        if connection.execute(f"DELETE FROM entries WHERE n IN ({expired})", (now, BATCH)).rowcount < BATCH:  # noqa: S608
            return


def _counts(connection: sqlite3.Connection) -> dict[str, KeyCounts]:
    counts: dict[str, dict[str, int]] = {
        pool: {"kept": entries} for pool, entries in connection.execute("SELECT pool, entries FROM counts")
    }
    open_ones = "SELECT pool, state, count(*) FROM entries WHERE state < 4 GROUP BY state, pool"
    for pool, state, number in connection.execute(open_ones):
        counts.setdefault(pool, {})[_NAMES[state]] = number
    return {pool: KeyCounts(**numbers) for pool, numbers in counts.items()}
