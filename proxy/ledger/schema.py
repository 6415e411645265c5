"""The tables of a ledger in SQLite, and how a connection to it is opened. Used by `sqlite` and `upkeep`."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from proxy.ledger.store import StoreBusyError, StoreError

FILE = "ledger.db"
LOCKS = "ledger.lock"
VERSION = 2
BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
LARGEST_LOG = 20_000
"""Pages of the write-ahead log after which a worker itself moves it into the file. The supervisor does so long before;
only workers that it has left alone come to that."""

TABLES = """
CREATE TABLE IF NOT EXISTS entries(
  n INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, pool TEXT NOT NULL, fingerprint BLOB NOT NULL,
  state INTEGER NOT NULL, backend TEXT NOT NULL, owner INTEGER NOT NULL, turn INTEGER NOT NULL, expires REAL NOT NULL);
CREATE INDEX IF NOT EXISTS open_entries ON entries(state, pool) WHERE state < 4;
CREATE INDEX IF NOT EXISTS expiry ON entries(expires);
CREATE TABLE IF NOT EXISTS answers(
  n INTEGER PRIMARY KEY, head BLOB NOT NULL, body BLOB NOT NULL, trailer BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS counts(pool TEXT PRIMARY KEY, entries INTEGER NOT NULL);
CREATE TRIGGER IF NOT EXISTS entered AFTER INSERT ON entries BEGIN
  INSERT INTO counts VALUES (new.pool, 1) ON CONFLICT(pool) DO UPDATE SET entries = entries + 1;
END;
CREATE TRIGGER IF NOT EXISTS left AFTER DELETE ON entries BEGIN
  UPDATE counts SET entries = entries - 1 WHERE pool = old.pool;
  DELETE FROM answers WHERE n = old.n;
END;
CREATE TABLE IF NOT EXISTS queue(
  q INTEGER PRIMARY KEY AUTOINCREMENT, token TEXT NOT NULL UNIQUE, key BLOB NOT NULL, pool TEXT NOT NULL,
  route TEXT NOT NULL, accepted REAL NOT NULL, due REAL NOT NULL, deadline REAL NOT NULL, state INTEGER NOT NULL,
  tries INTEGER NOT NULL, executed INTEGER NOT NULL, request BLOB, size INTEGER NOT NULL, client TEXT NOT NULL,
  scheme TEXT NOT NULL, keep_for REAL NOT NULL, expires REAL NOT NULL);
CREATE INDEX IF NOT EXISTS queue_keys ON queue(key);
CREATE INDEX IF NOT EXISTS queue_waiting ON queue(pool, q) WHERE state = 0;
CREATE INDEX IF NOT EXISTS queue_over ON queue(expires) WHERE state > 0;
CREATE TABLE IF NOT EXISTS leader(one INTEGER PRIMARY KEY, owner INTEGER NOT NULL);
"""


def open_ledger(folder: Path, *, timeout: float = 0.0) -> sqlite3.Connection:
    """Open the ledger in this folder; make it where there is none. Raises StoreError.

    `timeout`: seconds that a call may block while another process writes.
    """
    with failing():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / FILE).touch(mode=0o600)
        # Statements are our transactions; several are joined by an explicit BEGIN.
        connection = sqlite3.connect(folder / FILE, timeout=timeout, isolation_level=None, check_same_thread=False)
    try:
        with failing():
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            # A queued request may hold credentials: what is deleted is overwritten.
            connection.execute("PRAGMA secure_delete = ON")
            connection.execute(f"PRAGMA wal_autocheckpoint = {LARGEST_LOG}")
            _make_tables(connection)
    except StoreError:
        connection.close()
        raise
    return connection


def _make_tables(connection: sqlite3.Connection) -> None:
    if _version(connection) == VERSION:
        return
    with writing(connection):
        version = _version(connection)
        if version > VERSION:
            raise StoreError(f"{FILE} was made by a newer version of this program")
        if version < VERSION:
            for statement in _statements(TABLES):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {VERSION}")


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _statements(script: str) -> Iterator[str]:
    """One by one: `executescript` would end our transaction."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


@contextlib.contextmanager
def writing(connection: sqlite3.Connection) -> Iterator[None]:
    """Several statements that count together or not at all."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


@contextlib.contextmanager
def failing() -> Iterator[None]:
    """Say with StoreError what SQLite and the disk say."""
    try:
        yield
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", None) in BUSY:
            raise StoreBusyError(str(error)) from error
        raise StoreError(str(error)) from error
    except OSError as error:
        raise StoreError(error.strerror or str(error)) from error
