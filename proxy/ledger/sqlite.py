"""The store of one machine: SQLite in `state_dir`, written by all workers. `dataplane.keyed` calls it.

A commit is in the operating system's hands when it is done, so that it survives the death of every process of ours;
ADR 15 says what a power cut may take.
"""

from __future__ import annotations

import contextlib
import logging
import random
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic
from typing import TypeVar

from proxy.core.writes.idempotency import Entry, Kept, KeyState
from proxy.ledger.batch import Batch, Loop, Statement
from proxy.ledger.owners import Owners
from proxy.ledger.schema import LOCKS, failing, open_ledger
from proxy.ledger.store import Claim, StoreBusyError, StoreError, StoreFullError
from proxy.logs import say

T = TypeVar("T")

log = logging.getLogger(__name__)

OPEN_EVERY = 1.0
"""Seconds between two attempts to open a store that fails."""
_TURN_BITS = 62
FORGETTABLE = frozenset({KeyState.UNKNOWN, KeyState.DONE})
"""What runs or waits is not forgotten, however old."""

_FIND = "SELECT n, fingerprint, state, backend, turn, owner, expires FROM entries WHERE key = ?"
_NEW = """
INSERT INTO entries(key, pool, fingerprint, state, backend, owner, turn, expires)
SELECT ?1, ?2, ?3, 1, ?4, ?5, ?6, ?7 WHERE coalesce((SELECT entries FROM counts WHERE pool = ?2), 0) < ?8
ON CONFLICT(key) DO NOTHING"""
_TAKE_OVER = """
UPDATE entries SET state = 1, backend = ?, owner = ?, turn = ?, expires = ?
WHERE n = ? AND turn = ? AND state < 4"""
_FORGET_EXPIRED = "DELETE FROM entries WHERE key = ? AND expires <= ? AND state IN (2, 4)"
_MAKE_ROOM = """
DELETE FROM entries WHERE n IN (
SELECT n FROM entries WHERE pool = ? AND expires <= ? AND state IN (2, 4) ORDER BY expires LIMIT 10)"""
_DONE = "UPDATE entries SET state = 4 WHERE n = ? AND turn = ?"
_KEEP = "INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?)"
_SET_STATE = "UPDATE entries SET state = ? WHERE n = ? AND turn = ? AND state < 4"
_FORGET = "DELETE FROM entries WHERE n = ? AND turn = ?"


class SqliteStore:
    """A Store; see there."""

    def __init__(self, folder: Path, rng: random.Random, loop: Loop) -> None:
        self._folder = folder
        self._rng = rng
        self._connection: sqlite3.Connection | None = None
        self._owners: Owners | None = None
        self._open_at = 0.0
        self._is_failing = False
        self.batch = Batch(loop, self.connected)

    def __repr__(self) -> str:
        return f"<SqliteStore {self._folder}{' failing' if self._is_failing else ''}>"

    # Store

    async def find(self, key: bytes, now: float) -> Entry | None:
        with self.connected() as connection:
            row = connection.execute(_FIND, (key,)).fetchone()
            if row is None:
                return None
            number, fingerprint, state, backend, turn, owner, expires = row
            if expires <= now and state in FORGETTABLE:
                return None
            if state == KeyState.RUNNING and not self.is_alive(owner):
                state = KeyState.UNKNOWN
            return Entry(number, fingerprint, KeyState(state), backend, turn)

    async def claim(self, claim: Claim, before: Entry | None, now: float, wake: Callable[[], None]) -> Entry | None:
        turn = self.new_turn()
        expires = now + claim.keep_for

        def run(connection: sqlite3.Connection) -> Entry | None:
            owner = self.owner
            if before is None:
                new = (claim.key, claim.pool, claim.fingerprint, claim.backend, owner, turn, expires, claim.most)
                number = insert(connection, new, now)
            else:
                values = (claim.backend, owner, turn, expires, before.number, before.turn)
                number = before.number if connection.execute(_TAKE_OVER, values).rowcount else 0
            return Entry(number, claim.fingerprint, KeyState.RUNNING, claim.backend, turn) if number else None

        return await self.write(run, wake)

    async def settle(self, entry: Entry, answer: Kept | None, wake: Callable[[], None]) -> None:
        def run(connection: sqlite3.Connection) -> None:
            is_ours = connection.execute(_DONE, (entry.number, entry.turn)).rowcount == 1
            if is_ours and answer is not None:
                connection.execute(_KEEP, (entry.number, answer.head, answer.body, answer.trailer))

        await self.batch.add(run, wake)

    async def answer(self, entry: Entry) -> Kept | None:
        with self.connected() as connection:
            row = connection.execute("SELECT head, body, trailer FROM answers WHERE n = ?", (entry.number,)).fetchone()
        return None if row is None else Kept(*row)

    def let_go(self, entry: Entry, state: KeyState | None) -> None:
        if state is None:
            self.batch.add_late(lambda connection: connection.execute(_FORGET, (entry.number, entry.turn)))
        else:
            self.batch.add_late(lambda connection: connection.execute(_SET_STATE, (state, entry.number, entry.turn)))

    # For `queue`

    def new_turn(self) -> int:
        """A number that no other claim has."""
        return self._rng.getrandbits(_TURN_BITS)

    def is_alive(self, owner: int) -> bool:
        """Whether the process that has this number still runs."""
        return self._owners is not None and self._owners.is_alive(owner)

    async def write(self, run: Statement[T], wake: Callable[[], None]) -> T:
        """Write with the others of this turn. A caller that is closed before that has written nothing."""
        write = self.batch.add(run, wake)
        try:
            return await write
        except GeneratorExit:
            self.batch.drop(write)
            raise

    # Opening and closing

    @property
    def owner(self) -> int:
        """This process's number, while the ledger is open."""
        assert self._owners is not None
        return self._owners.own

    @contextlib.contextmanager
    def connected(self) -> Iterator[sqlite3.Connection]:
        """The connection; closed after a failure, since nobody knows what state that has left it in."""
        try:
            with failing():
                if self._connection is None:
                    self._connection, self._owners = self._reopen()
                yield self._connection
        except (StoreBusyError, StoreFullError):
            raise
        except StoreError as error:
            self._note_failure(error)
            raise
        if self._is_failing:
            self._is_failing = False
            say(log, logging.INFO, "the ledger works again", folder=self._folder)

    def _reopen(self) -> tuple[sqlite3.Connection, Owners]:
        if self._is_failing and monotonic() < self._open_at:
            raise StoreError("the ledger can't be opened")
        self._open_at = monotonic() + OPEN_EVERY
        connection = open_ledger(self._folder)
        try:
            # The lock stays while the process lives: writes that it carries must not look abandoned.
            return connection, self._owners or Owners(self._folder / LOCKS, self._rng)
        except OSError:
            connection.close()
            raise

    def _note_failure(self, error: StoreError) -> None:
        if not self._is_failing:
            self._is_failing = True
            say(log, logging.ERROR, "the ledger fails: keyed writes are refused", folder=self._folder, error=error)
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def tend(self) -> None:
        """Note what is late."""
        self.batch.flush()

    def close(self) -> None:
        """Close the ledger; what this process still carries is of unknown outcome from now on."""
        self.batch.flush()
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._owners is not None:
            self._owners.close()
            self._owners = None


def insert(connection: sqlite3.Connection, new: tuple[object, ...], now: float) -> int:
    """The number of the new entry; 0 if the key has one."""
    cursor = connection.execute(_NEW, new)
    if not cursor.rowcount:
        key, pool = new[:2]
        if connection.execute(_FORGET_EXPIRED, (key, now)).rowcount:
            cursor = connection.execute(_NEW, new)
        elif connection.execute(_FIND, (key,)).fetchone() is None:
            # The keeper makes room in time, where there is one.
            if not connection.execute(_MAKE_ROOM, (pool, now)).rowcount:
                raise StoreFullError("max_entries")
            cursor = connection.execute(_NEW, new)
    return cursor.lastrowid or 0 if cursor.rowcount else 0
