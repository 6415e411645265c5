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
from typing import Any

from proxy.core.writes.idempotency import KeyState
from proxy.core.writes.queueing import QueuedState
from proxy.ledger.owners import Owners
from proxy.ledger.schema import FILE, LOCKS, failing, open_ledger, writing
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
    queue_bytes: int = 0
    queue_oldest: float = 0.0
    """Seconds since the oldest queued one was accepted."""
    delivered: int = 0
    """Of the queued ones that are not forgotten yet."""
    failed: int = 0


_OVER = """
UPDATE queue SET state = ?, request = NULL, size = 0, executed = ?, expires = ? + keep_for WHERE q = ? AND state = 0"""
_QUEUES = """
SELECT pool, sum(size), min(CASE state WHEN 0 THEN accepted END), sum(state = 1), sum(state = 2)
FROM queue GROUP BY pool"""
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
                _give_up(connection, now)
                _forget(connection, now)
                self._move_log(connection)
            return _counts(connection, now)

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


def _give_up(connection: sqlite3.Connection, now: float) -> None:
    """Queued writes that have waited too long have failed. One that is on its way is left to its carrier.

    Only of one whose key still says so is it sure that nobody got it: a key that is forgotten was carried once.
    """
    overdue = "SELECT q, entries.n, entries.state FROM queue LEFT JOIN entries ON entries.key = queue.key"
    # In one transaction: a worker may claim one of them at any time.
    with writing(connection):
        wanted = f"{overdue} WHERE queue.state = 0 AND deadline <= ? AND entries.state IS NOT 1 LIMIT ?"
        for number, entry, state in connection.execute(wanted, (now, BATCH)).fetchall():
            became = QueuedState.DELIVERED if state == KeyState.DONE else QueuedState.FAILED
            connection.execute(_OVER, (became, state != KeyState.QUEUED, now, number))
            connection.execute("DELETE FROM entries WHERE n = ? AND state = 3", (entry,))


def _forget(connection: sqlite3.Connection, now: float) -> None:
    expired = "SELECT n FROM entries WHERE expires <= ? AND state IN (2, 4) ORDER BY expires LIMIT ?"
    for _ in range(BATCHES):
        if connection.execute(f"DELETE FROM entries WHERE n IN ({expired})", (now, BATCH)).rowcount < BATCH:  # noqa: S608
            break
    connection.execute("DELETE FROM queue WHERE state > 0 AND expires <= ?", (now,))


def _counts(connection: sqlite3.Connection, now: float) -> dict[str, KeyCounts]:
    counts: dict[str, dict[str, Any]] = {
        pool: {"kept": entries} for pool, entries in connection.execute("SELECT pool, entries FROM counts")
    }
    open_ones = "SELECT pool, state, count(*) FROM entries WHERE state < 4 GROUP BY state, pool"
    for pool, state, number in connection.execute(open_ones):
        counts.setdefault(pool, {})[_NAMES[state]] = number
    for pool, size, since, delivered, failed in connection.execute(_QUEUES):
        oldest = 0.0 if since is None else round(max(0.0, now - since), 3)
        queue = {"queue_bytes": size, "queue_oldest": oldest, "delivered": delivered, "failed": failed}
        counts.setdefault(pool, {}).update(queue)
    return {pool: KeyCounts(**numbers) for pool, numbers in counts.items()}
