"""Promises of `proxy.controlplane.journal.chronicle`, and of what is handed from one program to the next."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from proxy.controlplane.journal.chronicle import Chronicle
from proxy.controlplane.replacement.legacy import Legacy
from proxy.core.portable import dump, load
from proxy.core.telling.journal import Entry, Kind, Query
from tests.controlplane.conftest import Make


def handed_on(chronicle: Chronicle) -> Legacy:
    """What the next program reads."""
    journal, availability = chronicle.bequeath()
    return load(Legacy, json.loads(json.dumps(dump(Legacy(journal=journal, availability=availability)))))


def good(chronicle: Chronicle) -> int:
    return int(chronicle.accounting.document()["pools"][0]["windows"]["1h"]["good"])


async def test_the_next_program_goes_on_without_a_folder_too(make: Make) -> None:
    """And a worker of the program before counts on where it was."""
    before, after = Chronicle(make.settings()), Chronicle(make.settings())
    before.journal.add(Entry(Kind.POOL, "one", "app"))
    before.accounting.take(make.report(0, 7, requests={("all", "app", "GET", 200): 5}))
    legacy = handed_on(before)

    after.inherit(legacy.journal, legacy.availability)
    after.accounting.take(make.report(-7, 7, requests={("all", "app", "GET", 200): 6}))

    assert (["one"], 6) == ([one["sentence"] for one in after.journal.since(Query())], good(after))
    assert 2 == after.journal.add(Entry(Kind.POOL, "two", "app")).id


async def test_a_program_from_before_the_journal_leaves_nothing(make: Make) -> None:
    after = Chronicle(make.settings())
    after.inherit(Legacy().journal, Legacy().availability)

    assert ([], 0) == (after.journal.since(Query()), good(after))


async def test_what_can_not_be_read_of_it_is_said(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    after = Chronicle(make.settings())
    after.inherit(("{",), "{")

    assert ["the availability that was handed over can't be read"] == [one.message for one in caplog.records]


async def test_what_is_wrong_with_the_disk_is_told_of_both(make: Make, tmp_path: Path) -> None:
    blocked = tmp_path / "state"
    blocked.write_text("in the way")
    chronicle = Chronicle(replace(make.settings(), state_dir=str(blocked)))
    chronicle.begin()
    chronicle.journal.add(Entry(Kind.POOL, "one", "app"))
    await chronicle.settle()

    assert ["availability can't be written", "the journal can't be written"] == sorted(
        problem.partition(":")[0] for problem in chronicle.problems()
    )
