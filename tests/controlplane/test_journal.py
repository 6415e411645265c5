from __future__ import annotations

import asyncio
import json
import logging
import threading
from pathlib import Path

import pytest

from proxy.controlplane.journal import journal as module
from proxy.controlplane.journal.files import CURRENT
from proxy.controlplane.journal.journal import Journal
from proxy.core.settings import JournalSettings
from proxy.core.telling.journal import Entry, Kept, Kind, Query

SETTINGS = JournalSettings()


def entry(text: str = "something") -> Entry:
    return Entry(Kind.PROCESS, text)


def ids(journal: Journal) -> list[int]:
    return [one["id"] for one in journal.since(Query(limit=1000))]


async def test_entries_survive_a_restart_and_their_numbers_go_on(tmp_path: Path) -> None:
    first = Journal(SETTINGS, str(tmp_path), clock=lambda: 1_700_000_000.0)
    first.add(entry("one"))
    first.add(entry("two"))
    await first.settle()

    second = Journal(SETTINGS, str(tmp_path), clock=lambda: 1_700_000_060.0)
    second.add(entry("three"))
    await second.settle()

    told = Journal(SETTINGS, str(tmp_path)).since(Query())
    assert [(1, "one"), (2, "two"), (3, "three")] == [(one["id"], one["sentence"]) for one in told]
    assert "2023-11-14T22:14:20.000Z" == told[-1]["time"]


async def test_without_a_folder_it_is_in_memory_only() -> None:
    journal = Journal(SETTINGS)
    journal.add(entry())
    await journal.settle()

    assert ([1], "", 1) == (ids(journal), journal.problem, journal.last_id)


async def test_whoever_listens_hears_each_new_entry_at_once(caplog: pytest.LogCaptureFixture) -> None:
    """One that fails harms nobody else."""
    journal, heard = Journal(SETTINGS), []

    def fail(kept: Kept) -> None:
        raise ValueError(kept)

    journal.subscribe(fail)
    leave = journal.subscribe(lambda kept: heard.append(kept.id))
    journal.add(entry())
    journal.add(entry())
    leave()
    leave()
    journal.add(entry())

    assert [1, 2] == heard
    assert {"an entry of the journal could not be passed on"} == {one.message for one in caplog.records}


async def test_a_disk_that_fails_costs_nothing_but_a_word_and_all_is_written_once_it_is_well(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "AGAIN", 0.01)
    caplog.set_level(logging.INFO)
    blocked = tmp_path / "state"
    blocked.write_text("in the way")
    journal = Journal(SETTINGS, str(blocked))
    for _ in range(3):
        journal.add(entry())
    async with asyncio.timeout(10):
        while not journal.problem:  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.001)

    problem = journal.problem
    blocked.unlink()
    async with asyncio.timeout(10):
        while journal.problem:  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.001)
    await journal.settle()

    assert problem.startswith("the journal can't be written: a restart would forget it: ")
    assert [1, 2, 3] == ids(Journal(SETTINGS, str(blocked)))
    assert [
        "the journal can't be read: it begins anew",
        "the journal can't be written: it is in memory only",
        "the journal can be written again",
    ] == [one.message for one in caplog.records]


async def test_where_no_thread_can_be_started_it_is_written_once_one_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "AGAIN", 0.001)
    failed = asyncio.Event()

    def fail(_: threading.Thread) -> None:
        asyncio.get_running_loop().call_soon(failed.set)
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as limited:
        limited.setattr(threading.Thread, "start", fail)
        journal = Journal(SETTINGS, str(tmp_path))
        journal.add(entry("one"))
        await asyncio.wait_for(failed.wait(), 10)
        assert "can't start new thread" in journal.problem
    journal.add(entry("two"))
    await journal.settle()

    assert ("", [1, 2]) == (journal.problem, ids(Journal(SETTINGS, str(tmp_path))))


async def test_a_disk_that_stays_full_keeps_nobody_from_ending(tmp_path: Path) -> None:
    blocked = tmp_path / "state"
    blocked.write_text("in the way")
    journal = Journal(SETTINGS, str(blocked))
    journal.add(entry())

    await asyncio.wait_for(journal.settle(), 10)
    journal.add(entry())
    await asyncio.wait_for(journal.settle(), 10)

    assert [1, 2] == ids(journal)


async def test_what_pushes_the_oldest_out_is_written_all_the_same(tmp_path: Path) -> None:
    """More new entries than are kept, before the first could be written."""
    journal = Journal(JournalSettings(max_entries=5), str(tmp_path))
    for _ in range(12):
        journal.add(entry())
    await journal.settle()

    assert [8, 9, 10, 11, 12] == ids(journal) == ids(Journal(JournalSettings(max_entries=5), str(tmp_path)))


async def test_another_bound_holds_from_then_on(tmp_path: Path) -> None:
    journal = Journal(SETTINGS, str(tmp_path))
    for _ in range(6):
        journal.add(entry())
    journal.obey(JournalSettings(max_entries=3))
    journal.obey(JournalSettings(max_entries=3))
    await journal.settle()

    assert [4, 5, 6] == ids(journal)
    assert 3 <= (tmp_path / CURRENT).read_text().count("\n") <= 6


async def test_the_next_program_has_what_was_not_written(tmp_path: Path) -> None:
    before = Journal(SETTINGS)
    for _ in range(4):
        before.add(entry())
    after = Journal(SETTINGS, str(tmp_path))

    after.inherit([*before.newest(3), "{"])
    after.inherit(before.newest(3))
    await after.settle()

    assert [2, 3, 4] == ids(after) == ids(Journal(SETTINGS, str(tmp_path)))
    assert 5 == after.add(entry()).id
    await after.settle()


async def test_a_torn_line_is_said_and_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    journal = Journal(SETTINGS, str(tmp_path))
    for _ in range(3):
        journal.add(entry())
    await journal.settle()
    path = tmp_path / CURRENT
    path.write_bytes(path.read_bytes()[:-20])

    again = Journal(SETTINGS, str(tmp_path))

    assert [1, 2] == ids(again)
    assert [("lines of the journal can't be read", 1)] == [
        (one.message, one.fields["lines"])
        for one in caplog.records  # type: ignore[attr-defined]
    ]
    again.add(entry("after the crash"))
    await again.settle()
    assert [1, 2, 3] == [json.loads(line)["id"] for line in path.read_text().splitlines() if line.endswith("}")]
