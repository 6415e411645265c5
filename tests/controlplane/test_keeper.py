"""Promises of `proxy.controlplane.keeper`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from proxy.controlplane import keeper
from proxy.controlplane.keeper import Keeper
from proxy.core.settings import IdempotencyPolicy, Settings
from proxy.ledger.schema import FILE
from proxy.ledger.upkeep import KeyCounts
from tests.controlplane.conftest import Make
from tests.ledger.ledgers import claim, open_store


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "EVERY", 0.01)


def settings_in(folder: Path, make: Make) -> Settings:
    settings = make.settings(state_dir=str(folder))
    return replace(settings, pools=tuple(replace(pool, idempotency=IdempotencyPolicy()) for pool in settings.pools))


class Told:
    """What the keeper tells, and a way to wait for it."""

    def __init__(self) -> None:
        self.keys: Mapping[str, KeyCounts] = {}
        self.rounds = 0
        self._news = asyncio.Event()

    def __call__(self, keys: Mapping[str, KeyCounts]) -> None:
        self.keys = keys
        self.rounds += 1
        self._news.set()

    async def next(self) -> None:
        self._news.clear()
        await asyncio.wait_for(self._news.wait(), 10)


async def test_it_counts_the_keys_of_each_pool(tmp_path: Path, make: Make) -> None:
    told = Told()
    looking = Keeper(told)
    looking.obey(settings_in(tmp_path, make))
    store = open_store(tmp_path)
    await told.next()
    store.take(claim(), None, 0.0)
    async with asyncio.timeout(10):
        while not told.keys:
            await told.next()
    await looking.close()
    store.close()

    assert {"app": KeyCounts(kept=1, running=1)} == told.keys


async def test_without_a_pool_that_heeds_keys_it_does_nothing(tmp_path: Path, make: Make) -> None:
    told = Told()
    looking = Keeper(told)

    looking.obey(make.settings(state_dir=str(tmp_path)))
    await looking.close()

    assert (0, []) == (told.rounds, list(tmp_path.iterdir()))


async def test_a_reload_may_be_the_first_to_need_it_and_begins_it_once(tmp_path: Path, make: Make) -> None:
    told = Told()
    looking = Keeper(told)
    looking.obey(make.settings(state_dir=str(tmp_path)))

    for _ in range(2):
        looking.obey(settings_in(tmp_path, make))
    await told.next()
    await looking.close()

    assert (tmp_path / FILE).exists()


async def test_a_ledger_that_fails_is_a_problem_until_it_works_again(
    tmp_path: Path, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    told = Told()
    caplog.set_level("INFO")
    in_the_way = tmp_path / "state"
    in_the_way.write_text("no folder")
    looking = Keeper(told)
    looking.obey(settings_in(in_the_way, make))
    async with asyncio.timeout(10):
        while not looking.problem:  # noqa: ASYNC110 - a thread finds out
            await asyncio.sleep(0.01)
    problem = looking.problem
    in_the_way.unlink()
    await told.next()
    await looking.close()

    assert problem.startswith("the ledger of keyed writes fails: ")
    assert "" == looking.problem
    assert ["the ledger can't be looked after", "the ledger can be looked after again"] == [
        record.message for record in caplog.records
    ]
