"""Promises of `proxy.ledger.sqlite` and `proxy.ledger.schema`."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.core.writes.idempotency import Entry, Kept, KeyState
from proxy.ledger import batch, sqlite
from proxy.ledger.schema import FILE, open_ledger
from proxy.ledger.store import StoreBusyError, StoreError, StoreFullError
from tests.ledger.ledgers import Ledger, claim, done, open_store

ANSWER = Kept(b"HTTP/1.1 201 Created\r\n\r\n", b"body", b"x: y\r\n")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Ledger]:
    store = open_store(tmp_path)
    yield store
    store.close()


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Ledger]:
    """Of another process."""
    store = open_store(tmp_path, 1)
    yield store
    store.close()


def claimed(store: Ledger, key: bytes = b"key", now: float = 0.0, **changes: object) -> Entry:
    entry = store.take(claim(key, **changes), None, now)
    assert entry is not None
    return entry


def state_of(store: Ledger, key: bytes = b"key", now: float = 1.0) -> KeyState | None:
    entry = store.look(key, now)
    return None if entry is None else entry.state


# One truth


def test_what_one_process_has_claimed_another_one_finds(store: Ledger, other: Ledger) -> None:
    ours = claimed(store)

    assert ours == other.look(b"key", 1.0)
    assert (KeyState.RUNNING, "b0", b"print") == (ours.state, ours.backend, ours.fingerprint)


def test_only_the_first_gets_a_new_key(store: Ledger, other: Ledger) -> None:
    claimed(store)

    assert None is other.take(claim(), None, 0.0)


def test_an_answer_is_the_same_for_all_and_over_a_restart(tmp_path: Path, store: Ledger) -> None:
    store.finish(claimed(store), ANSWER)
    store.close()

    later = open_store(tmp_path, 2)
    found = later.look(b"key", 1.0)

    assert found is not None
    assert (KeyState.DONE, ANSWER) == (found.state, later.kept(found))
    later.close()


def test_an_answer_that_was_not_kept_is_none(store: Ledger) -> None:
    entry = claimed(store)
    store.finish(entry, None)

    assert (KeyState.DONE, None) == (state_of(store), store.kept(entry))


def test_another_backend_is_noted_before_it_gets_the_write(store: Ledger, other: Ledger) -> None:
    first = claimed(store)

    second = store.take(claim(backend="b1"), first, 1.0)

    assert second is not None
    assert ("b1", second) == (second.backend, other.look(b"key", 1.0))


def test_what_was_surely_not_sent_is_forgotten(store: Ledger) -> None:
    store.let_go(claimed(store), None)

    assert None is state_of(store)


def test_what_may_have_been_executed_is_taken_over_by_one_repeat_only(store: Ledger, other: Ledger) -> None:
    store.let_go(claimed(store), KeyState.UNKNOWN)
    found = other.look(b"key", 1.0)
    assert found is not None
    assert KeyState.UNKNOWN is found.state

    assert other.take(claim(), found, 1.0) is not None
    assert None is store.take(claim(), found, 1.0)
    assert KeyState.RUNNING is state_of(store)


def test_late_news_of_an_earlier_carrier_is_dropped(store: Ledger, other: Ledger) -> None:
    late = claimed(store)
    store.let_go(late, KeyState.UNKNOWN)
    found = other.look(b"key", 1.0)
    ours = other.take(claim(), found, 1.0)
    assert ours is not None
    other.finish(ours, ANSWER)

    store.let_go(late, None)
    store.finish(late, Kept(b"", b"wrong"))

    assert ANSWER == store.kept(ours)


def test_what_is_done_stays_so_when_its_carrier_is_ended_meanwhile(store: Ledger) -> None:
    """It had its answer written, and could not wait for that to be done."""
    entry = claimed(store)
    store.finish(entry, ANSWER)

    store.let_go(entry, KeyState.UNKNOWN)

    assert (KeyState.DONE, ANSWER) == (state_of(store), store.kept(entry))


def test_what_is_done_is_never_taken_over(store: Ledger) -> None:
    entry = claimed(store)
    store.finish(entry, ANSWER)

    assert None is store.take(claim(), entry, 1.0)


# Processes that die


def test_what_a_dead_process_had_under_way_is_of_unknown_outcome(store: Ledger, other: Ledger) -> None:
    claimed(other)
    assert KeyState.RUNNING is state_of(store)

    other.close()

    assert KeyState.UNKNOWN is state_of(store)


CARRIER = """
import random, sys
from pathlib import Path
from tests.ledger.ledgers import Ledger, claim, done, open_store
store = open_store(Path(sys.argv[1]), 7)
store.take(claim(), None, 0.0)
print("claimed", flush=True)
sys.stdin.read()
"""


def test_what_a_killed_process_had_noted_is_there(tmp_path: Path, store: Ledger) -> None:
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


def test_a_key_is_forgotten_after_its_time(store: Ledger) -> None:
    store.finish(claimed(store, keep_for=10.0), ANSWER)

    assert (KeyState.DONE, None) == (state_of(store, now=9.9), state_of(store, now=10.0))


def test_a_forgotten_key_is_new_again(store: Ledger) -> None:
    first = claimed(store, keep_for=10.0)
    store.finish(first, ANSWER)

    again = claimed(store, now=10.0)

    assert (KeyState.RUNNING, None) == (state_of(store, now=10.0), store.kept(again))


def test_a_running_write_is_never_forgotten(store: Ledger) -> None:
    claimed(store, keep_for=10.0)

    assert KeyState.RUNNING is state_of(store, now=1000.0)
    assert None is store.take(claim(), None, 1000.0)


def test_beyond_the_bound_a_new_key_is_refused_and_an_old_one_is_not(store: Ledger) -> None:
    first = claimed(store, b"1", most=2)
    store.let_go(first, KeyState.UNKNOWN)
    claimed(store, b"2", most=2)

    with pytest.raises(StoreFullError):
        store.take(claim(b"3", most=2), None, 0.0)
    assert store.take(claim(b"1", most=2), store.look(b"1", 1.0), 1.0) is not None
    assert store.take(claim(b"3", pool="another", most=2), None, 0.0) is not None


def test_what_is_forgotten_makes_room(store: Ledger) -> None:
    store.let_go(claimed(store, b"1", most=1), None)

    assert claimed(store, b"2", most=1)


# Failures


def test_while_another_process_writes_ours_waits_without_holding_up_anything(tmp_path: Path, store: Ledger) -> None:
    entry = claimed(store)
    with writer(tmp_path):
        writes = [store.claim(claim(b"2"), None, 0.0, store.wake), store.settle(entry, ANSWER, store.wake)]
        for write in writes:
            assert None is write.send(None)
        store.let_go(entry, None)
        store.turns.turn()
        assert (KeyState.RUNNING, None) == (state_of(store), state_of(store, b"2"))

    store.turns.turn()

    assert 1 + len(writes) == store.woken
    assert (True, None) == (done(writes[0]) is not None, done(writes[1]))
    assert (None, KeyState.RUNNING) == (state_of(store), state_of(store, b"2"))


def test_a_process_that_holds_the_ledger_too_long_is_a_failure_and_what_is_late_stays(
    tmp_path: Path, store: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry, now = claimed(store), [5.0]
    monkeypatch.setattr(batch, "monotonic", lambda: now[0])
    with writer(tmp_path):
        store.let_go(entry, KeyState.UNKNOWN)
        write = store.claim(claim(b"2"), None, 0.0, store.wake)
        write.send(None)
        now[0] += batch.BUSY_LIMIT + 0.1
        store.turns.turn()
        with pytest.raises(StoreBusyError):
            done(write)
        assert KeyState.RUNNING is state_of(store)

    store.tend()

    assert (KeyState.UNKNOWN, None) == (state_of(store), state_of(store, b"2"))


def test_what_nobody_waits_for_any_more_is_not_claimed(tmp_path: Path, store: Ledger) -> None:
    with writer(tmp_path):
        write = store.claim(claim(), None, 0.0, store.wake)
        write.send(None)
        write.close()
    store.turns.turn()

    assert None is state_of(store)


def test_a_write_that_finds_no_room_harms_no_other_of_its_turn(tmp_path: Path, store: Ledger) -> None:
    claimed(store, b"0", most=1)
    with writer(tmp_path):
        full = store.claim(claim(b"1", most=1), None, 0.0, store.wake)
        fine = store.claim(claim(b"2"), None, 0.0, store.wake)
        full.send(None)
        fine.send(None)
    store.turns.turn()

    with pytest.raises(StoreFullError):
        done(full)
    assert done(fine) is not None


@contextlib.contextmanager
def writer(folder: Path) -> Iterator[None]:
    """Another process that writes."""
    connection = sqlite3.connect(folder / FILE, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    yield
    connection.execute("ROLLBACK")
    connection.close()


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
            store.look(b"key", 0.0)
    (tmp_path / "file").unlink()
    with pytest.raises(StoreError):
        store.look(b"key", 0.0)
    now[0] = 1.1
    assert None is store.look(b"key", 0.0)

    assert ["the ledger fails: keyed writes are refused", "the ledger works again"] == [
        r.message for r in caplog.records
    ]
    store.close()


def test_a_ledger_that_is_no_ledger_is_refused(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"not a database, but of some length" * 100)
    store = open_store(tmp_path)

    with pytest.raises(StoreError, match="not a database"):
        store.look(b"key", 0.0)


def test_a_ledger_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    connection = open_ledger(tmp_path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()

    with pytest.raises(StoreError, match="newer version"):
        open_ledger(tmp_path)


def test_what_could_not_be_noted_when_the_ledger_failed_is_noted_later(
    tmp_path: Path, store: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = claimed(store)
    assert store._connection is not None
    store._connection.execute("DROP TRIGGER left")
    store._connection.execute("CREATE TRIGGER broken BEFORE UPDATE ON entries BEGIN SELECT raise(FAIL, 'disk'); END")

    store.let_go(entry, KeyState.UNKNOWN)
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


def test_nobody_else_may_read_a_ledger(tmp_path: Path, store: Ledger) -> None:
    claimed(store)

    assert [0o600] * 4 == [path.stat().st_mode & 0o777 for path in sorted(tmp_path.iterdir())]


def test_a_ledger_can_be_closed_twice(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    claimed(store)

    store.close()
    store.close()
    shutil.rmtree(tmp_path)
