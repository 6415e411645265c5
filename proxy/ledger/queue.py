"""Accepted writes in SQLite, beside the keys of `sqlite`: put in once, handed out in order, kept for a while after.

`dataplane.keyed` puts in, `dataplane.delivery` takes out. What a write's key says (`entries`) is the truth about it;
a row here says what is to be sent, and since when.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass

from proxy.core.settings import QueuePolicy
from proxy.core.writes.idempotency import Entry, Kept, KeyState
from proxy.core.writes.queueing import Parcel, Queued, QueuedState
from proxy.ledger.sqlite import SqliteStore, insert
from proxy.ledger.store import Claim, StoreError, StoreFullError

_PUT = """
INSERT INTO queue(token, key, pool, route, accepted, due, deadline, state, tries, executed, request, size, client,
                  scheme, keep_for, expires)
VALUES (?, ?, ?, ?, ?, 0, ?, 0, 0, 0, ?, ?, ?, ?, ?, 0)"""
_ROOM = "SELECT count(*), coalesce(sum(size), 0) FROM queue WHERE route = ? AND state = 0"
_TO_QUEUED = "UPDATE entries SET state = 3, backend = '' WHERE n = ? AND turn = ?"
_BY_KEY = "SELECT token FROM queue WHERE key = ? ORDER BY q DESC LIMIT 1"
_LOOK = """
SELECT queue.state, queue.accepted, queue.tries, queue.executed, entries.state, head, body, trailer
FROM queue LEFT JOIN entries ON entries.key = queue.key LEFT JOIN answers ON answers.n = entries.n
WHERE token = ?"""
_DUE = """
SELECT q, key, request, client, scheme, route, tries FROM queue
WHERE pool = ? AND state = 0 AND due <= ? AND deadline > ? ORDER BY q LIMIT 1"""
_DELIVERED = "UPDATE queue SET state = 1, request = NULL, size = 0, expires = ? + keep_for WHERE q = ? AND state = 0"
_LOST = """
UPDATE queue SET state = 2, request = NULL, size = 0, executed = 1, expires = ? + keep_for WHERE q = ? AND state = 0"""
_PARK = "UPDATE queue SET due = ?, tries = tries + 1 WHERE q = ?"
_LEADER = "SELECT owner FROM leader"
_RESIGN = "DELETE FROM leader WHERE owner = ?"
_LEAD = "INSERT OR REPLACE INTO leader(one, owner) VALUES (1, ?)"


@dataclass(frozen=True, slots=True)
class Due:
    """A write whose turn it is."""

    number: int
    key: bytes
    parcel: Parcel
    tries: int


class Queue:
    """The accepted writes of all Routes."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store

    def __repr__(self) -> str:
        return f"<Queue in {self._store}>"

    async def put(
        self,
        parcel: Parcel,
        claim: Claim,
        before: Entry | None,
        policy: QueuePolicy,
        *,
        now: float,
        wake: Callable[[], None],
    ) -> str | None:
        """Accept a write that was sent to nobody: its token; None if its key was taken. Raises StoreFullError."""
        token = secrets.token_hex(16)

        def run(connection: sqlite3.Connection) -> str | None:
            number, size = connection.execute(_ROOM, (parcel.route,)).fetchone()
            if number >= policy.max_requests or size + len(parcel.request) > policy.max_bytes:
                raise StoreFullError("the queue is full")
            if before is None:
                turn = self._store.new_turn()
                values = (claim.key, claim.pool, claim.fingerprint, "", self._store.owner, turn, now, claim.most)
                entry_number = insert(connection, values, now)
                if not entry_number:
                    return None
                connection.execute(_TO_QUEUED, (entry_number, turn))
            elif not connection.execute(_TO_QUEUED, (before.number, before.turn)).rowcount:
                return None
            place = (token, claim.key, claim.pool, parcel.route, now, now + policy.max_age)
            what = (parcel.request, len(parcel.request), parcel.client, parcel.scheme, claim.keep_for)
            connection.execute(_PUT, (*place, *what))
            return token

        return await self._store.write(run, wake)

    async def token_of(self, key: bytes) -> str:
        """The token of the write with this key; empty if there is none."""
        with self._store.connected() as connection:
            row = connection.execute(_BY_KEY, (key,)).fetchone()
        return "" if row is None else str(row[0])

    async def look(self, token: str) -> Queued | None:
        """What is known of the write with this token."""
        with self._store.connected() as connection:
            row = connection.execute(_LOOK, (token,)).fetchone()
        if row is None:
            return None
        state, accepted, tries, executed, key_state, *answer = row
        if key_state == KeyState.DONE:
            state = QueuedState.DELIVERED
        may_be_executed = bool(executed) or key_state in (KeyState.RUNNING, KeyState.UNKNOWN)
        kept = None if answer[0] is None else Kept(*answer)
        return Queued(QueuedState(state), accepted, tries, may_be_executed, kept)

    # Taking out

    def may_lead(self) -> bool:
        """Whether this process delivers: one at a time does, as long as it lives."""
        try:
            with self._store.connected() as connection:
                row = connection.execute(_LEADER).fetchone()
                if row is not None and self._store.is_alive(row[0]):
                    return bool(row[0] == self._store.owner)
                connection.execute(_LEAD, (self._store.owner,))
                # Whoever wrote last leads; the others see that the next time they look.
                return False
        except StoreError:
            return False

    def resign(self) -> None:
        """Let another process deliver."""
        try:
            with self._store.connected() as connection:
                if connection.execute(_LEADER).fetchone() == (self._store.owner,):
                    self._store.batch.add_late(lambda connection: connection.execute(_RESIGN, (self._store.owner,)))
        except StoreError:
            return

    def next_due(self, pool: str, now: float) -> Due | None:
        """The first write of this Pool whose turn it is; None if none can be had."""
        try:
            with self._store.connected() as connection:
                row = connection.execute(_DUE, (pool, now, now)).fetchone()
        except StoreError:
            return None
        if row is None:
            return None
        number, key, request, client, scheme, route, tries = row
        return Due(number, key, Parcel(request, client, scheme, route), tries)

    def note_delivered(self, due: Due, now: float) -> None:
        """It has been answered; the request is not needed any more."""
        self._store.batch.add_late(lambda connection: connection.execute(_DELIVERED, (now, due.number)))

    def note_lost(self, due: Due, now: float) -> None:
        """Its key is forgotten, which was there when it was accepted: it may have been executed, so nobody gets it."""
        self._store.batch.add_late(lambda connection: connection.execute(_LOST, (now, due.number)))

    def park(self, due: Due, until: float) -> None:
        """Its outcome is not known: it waits for its own Backend, and the others go on."""
        self._store.batch.add_late(lambda connection: connection.execute(_PARK, (until, due.number)))
