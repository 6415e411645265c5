"""Promises of `proxy.ledger.sqlite` and `proxy.ledger.schema`."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.core.idempotency import Entry, Kept, KeyState
from proxy.ledger import sqlite
from proxy.ledger.schema import FILE, open_ledger
from proxy.ledger.sqlite import SqliteStore
from proxy.ledger.store import StoreBusyError, StoreError, StoreFullError
from tests.ledger.ledgers import claim, done, open_store

ANSWER = Kept(b"HTTP/1.1 201 Created\r\n\r\n", b"body", b"x: y\r\n")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    store = open_store(tmp_path)
    yield store
    store.close()


@pytest.fixture
def other(tmp_path: Path) -> Iterator[SqliteStore]:
    """Of another process."""
    store = open_store(tmp_path, 1)
    yield store
    store.close()


def claimed(store: SqliteStore, key: bytes = b"key", now: float = 0.0, **changes: object) -> Entry:
    entry = done(store.claim(claim(key, **changes), None, now))
    assert entry is not None
    return entry


def state_of(store: SqliteStore, key: bytes = b"key", now: float = 1.0) -> KeyState | None:
    entry = done(store.find(key, now))
    return None if entry is None else entry.state


# One truth


def test_what_one_process_has_claimed_another_one_finds(store: SqliteStore, other: SqliteStore) -> None:
    ours = claimed(store)

    assert ours == done(other.find(b"key", 1.0))
    assert (KeyState.RUNNING, "b0", b"print") == (ours.state, ours.backend, ours.fingerprint)


def test_only_the_first_gets_a_new_key(store: SqliteStore, other: SqliteStore) -> None:
    claimed(store)

    assert None is done(other.claim(claim(), None, 0.0))


def test_an_answer_is_the_same_for_all_and_over_a_restart(tmp_path: Path, store: SqliteStore) -> None:
    done(store.settle(claimed(store), ANSWER))
    store.close()

    later = open_store(tmp_path, 2)
    found = done(later.find(b"key", 1.0))

    assert found is not None
    assert (KeyState.DONE, ANSWER) == (found.state, done(later.answer(found)))
    later.close()


def test_an_answer_that_was_not_kept_is_none(store: SqliteStore) -> None:
    entry = claimed(store)
    done(store.settle(entry, None))

    assert (KeyState.DONE, None) == (state_of(store), done(store.answer(entry)))


def test_another_backend_is_noted_before_it_gets_the_write(store: SqliteStore, other: SqliteStore) -> None:
    first = claimed(store)

    second = done(store.claim(claim(backend="b1"), first, 1.0))

    assert second is not None
    assert ("b1", second) == (second.backend, done(other.find(b"key", 1.0)))


def test_what_was_surely_not_sent_is_forgotten(store: SqliteStore) -> None:
    store.let_go(claimed(store), unknown=False)

    assert None is state_of(store)


def test_what_may_have_been_executed_is_taken_over_by_one_repeat_only(store: SqliteStore, other: SqliteStore) -> None:
    store.let_go(claimed(store), unknown=True)
    found = done(other.find(b"key", 1.0))
    assert found is not None
    assert KeyState.UNKNOWN is found.state

    assert done(other.claim(claim(), found, 1.0)) is not None
    assert None is done(store.claim(claim(), found, 1.0))
    assert KeyState.RUNNING is state_of(store)


def test_late_news_of_an_earlier_carrier_is_dropped(store: SqliteStore, other: SqliteStore) -> None:
    late = claimed(store)
    store.let_go(late, unknown=True)
    found = done(other.find(b"key", 1.0))
    ours = done(other.claim(claim(), found, 1.0))
    assert ours is not None
    done(other.settle(ours, ANSWER))

    store.let_go(late, unknown=False)
    done(store.settle(late, Kept(b"", b"wrong")))

    assert ANSWER == done(store.answer(ours))


def test_what_is_done_is_never_taken_over(store: SqliteStore) -> None:
    entry = claimed(store)
    done(store.settle(entry, ANSWER))

    assert None is done(store.claim(claim(), entry, 1.0))


# Processes that die


def test_what_a_dead_process_had_under_way_is_of_unknown_outcome(store: SqliteStore, other: SqliteStore) -> None:
    claimed(other)
    assert KeyState.RUNNING is state_of(store)

    other.close()

    assert KeyState.UNKNOWN is state_of(store)


CARRIER = """
import random, sys
from pathlib import Path
from tests.ledger.ledgers import claim, done, open_store
store = open_store(Path(sys.argv[1]), 7)
done(store.claim(claim(), None, 0.0))
print("claimed", flush=True)
sys.stdin.read()
"""


def test_what_a_killed_process_had_noted_is_there(tmp_path: Path, store: SqliteStore) -> None:
    """The commit is in the kernel's hands before the call returns, and so is the lock that says who lives."""
    command = [sys.executable, "-c", CARRIER, str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert b"claimed\n" == process.stdout.readline()
        assert KeyState.RUNNING is state_of(store)
        process.send_signal(signal.SIGKILL)
        process.wait()

    assert KeyState.UNKNOWN is state_of(store)


# Bounds


def test_a_key_is_forgotten_after_its_time(store: SqliteStore) -> None:
    done(store.settle(claimed(store, keep_for=10.0), ANSWER))

    assert (KeyState.DONE, None) == (state_of(store, now=9.9), state_of(store, now=10.0))


def test_a_forgotten_key_is_new_again(store: SqliteStore) -> None:
    first = claimed(store, keep_for=10.0)
    done(store.settle(first, ANSWER))

    again = claimed(store, now=10.0)

    assert (KeyState.RUNNING, None) == (state_of(store, now=10.0), done(store.answer(again)))


def test_a_running_write_is_never_forgotten(store: SqliteStore) -> None:
    claimed(store, keep_for=10.0)

    assert KeyState.RUNNING is state_of(store, now=1000.0)
    assert None is done(store.claim(claim(), None, 1000.0))


def test_beyond_the_bound_a_new_key_is_refused_and_an_old_one_is_not(store: SqliteStore) -> None:
    first = claimed(store, b"1", most=2)
    store.let_go(first, unknown=True)
    claimed(store, b"2", most=2)

    with pytest.raises(StoreFullError):
        done(store.claim(claim(b"3", most=2), None, 0.0))
    assert done(store.claim(claim(b"1", most=2), done(store.find(b"1", 1.0)), 1.0)) is not None
    assert done(store.claim(claim(b"3", pool="another", most=2), None, 0.0)) is not None


def test_what_is_forgotten_makes_room(store: SqliteStore) -> None:
    store.let_go(claimed(store, b"1", most=1), unknown=False)

    assert claimed(store, b"2", most=1)


# Failures


def test_a_ledger_that_another_process_writes_is_busy_and_not_waited_for(tmp_path: Path, store: SqliteStore) -> None:
    entry = claimed(store)
    with sqlite3.connect(tmp_path / FILE, isolation_level=None) as writer:
        writer.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreBusyError):
            done(store.claim(claim(b"2"), None, 0.0))
        with pytest.raises(StoreBusyError):
            done(store.settle(entry, ANSWER))
        store.let_go(entry, unknown=True)
        assert KeyState.RUNNING is state_of(store)
        writer.execute("ROLLBACK")
    writer.close()

    store.tend()

    assert KeyState.UNKNOWN is state_of(store)


def test_a_ledger_that_can_not_be_opened_fails_loudly_once_and_is_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(sqlite, "monotonic", lambda: now[0])
    (tmp_path / "file").write_text("no folder")
    store = open_store(tmp_path / "file")
    caplog.set_level("INFO")

    for _ in range(3):
        with pytest.raises(StoreError):
            done(store.find(b"key", 0.0))
    (tmp_path / "file").unlink()
    with pytest.raises(StoreError):
        done(store.find(b"key", 0.0))
    now[0] = 1.1
    assert None is done(store.find(b"key", 0.0))

    assert ["the ledger fails: keyed writes are refused", "the ledger works again"] == [
        r.message for r in caplog.records
    ]
    store.close()


def test_a_ledger_that_is_no_ledger_is_refused(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"not a database, but of some length" * 100)
    store = open_store(tmp_path)

    with pytest.raises(StoreError, match="not a database"):
        done(store.find(b"key", 0.0))


def test_a_ledger_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    connection = open_ledger(tmp_path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()

    with pytest.raises(StoreError, match="newer version"):
        open_ledger(tmp_path)


def test_what_could_not_be_noted_when_the_ledger_failed_is_noted_later(
    tmp_path: Path, store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = claimed(store)
    assert store._connection is not None
    store._connection.execute("DROP TRIGGER left")
    store._connection.execute("CREATE TRIGGER broken BEFORE UPDATE ON entries BEGIN SELECT raise(FAIL, 'disk'); END")

    store.let_go(entry, unknown=True)
    assert KeyState.RUNNING is state_of_other(tmp_path)
    with sqlite3.connect(tmp_path / FILE) as mender:
        mender.execute("DROP TRIGGER broken")
    mender.close()
    monkeypatch.setattr(sqlite, "monotonic", lambda: 1e9)
    store.tend()

    assert KeyState.UNKNOWN is state_of(store)


def state_of_other(folder: Path) -> KeyState | None:
    store = open_store(folder, 5)
    found = state_of(store)
    store.close()
    return found


def test_nobody_else_may_read_a_ledger(tmp_path: Path, store: SqliteStore) -> None:
    claimed(store)

    assert [0o600] * 4 == [path.stat().st_mode & 0o777 for path in sorted(tmp_path.iterdir())]


def test_a_ledger_can_be_closed_twice(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    claimed(store)

    store.close()
    store.close()
    shutil.rmtree(tmp_path)
