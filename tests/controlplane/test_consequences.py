"""Promises of `proxy.controlplane.consequences`."""

from __future__ import annotations

import asyncio

import pytest

from proxy.controlplane import consequences
from proxy.controlplane.admin.dates import Dates
from proxy.controlplane.availability.accounting import Accounting
from proxy.controlplane.consequences import Consequences
from proxy.controlplane.journal.journal import Journal
from proxy.controlplane.journal.recorder import Recorder
from proxy.controlplane.pools.change import Change
from proxy.controlplane.pools.memory import Memory
from proxy.controlplane.pools.registry import Registry
from proxy.controlplane.pools.switching import Switching
from proxy.core.messages import AdminState, Snapshot, ToAll
from proxy.core.settings import JournalSettings
from proxy.core.telling.journal import Query
from tests.controlplane.conftest import Make


class Owner:
    """A supervisor whose workers only listen."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self.journal = Journal(JournalSettings())
        self.recorder = Recorder(self.journal, registry, Accounting(registry.settings), tuple, Dates())
        self.switching = Switching(registry, lambda _: None)
        self.memory = Memory("", dict)
        self.fleet = self
        self.heard: asyncio.Queue[ToAll] = asyncio.Queue()

    def tell(self, message: ToAll) -> None:
        self.heard.put_nowait(message)


@pytest.fixture
def owner(make: Make) -> Owner:
    return Owner(Registry(make.settings(), 0.0))


async def test_a_change_reaches_the_workers_and_the_journal(owner: Owner) -> None:
    record = owner.registry.pools["app"].backends["b0"]
    Consequences(owner).carry_out(owner.registry.set_admin(record, AdminState.DRAIN, 1.0))

    snapshot = await asyncio.wait_for(owner.heard.get(), 10)

    assert isinstance(snapshot, Snapshot)
    assert AdminState.DRAIN is snapshot.backends["app", "b0"].admin
    assert ["ready", "up"] == [one["from"] for one in owner.journal.since(Query())]


async def test_what_can_not_be_written_into_the_journal_reaches_the_workers_all_the_same(
    owner: Owner, caplog: pytest.LogCaptureFixture
) -> None:
    record = owner.registry.pools["app"].backends["b0"]
    owner.registry.set_admin(record, AdminState.DRAIN, 1.0)
    wrong = Change("health", "app", "b0", None, None, None)  # type: ignore[arg-type] - a mistake of ours
    record.health.last.append(None)  # type: ignore[arg-type] - as above

    Consequences(owner).carry_out([wrong])

    assert isinstance(await asyncio.wait_for(owner.heard.get(), 10), Snapshot)
    assert "what has changed could not be written into the journal" == caplog.records[-1].message


async def test_workers_hear_of_a_thousand_changes_in_a_few_snapshots_of_which_the_last_has_all(
    owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consequences, "PACE", 0.02)
    told = Consequences(owner)
    pool = owner.registry.pools["app"]
    for _ in range(20):
        for record in pool.backends.values():
            told.carry_out(owner.registry.set_admin(record, AdminState.DRAIN, 1.0))
            await asyncio.sleep(0)
            told.carry_out(owner.registry.set_admin(record, AdminState.READY, 1.0))
            await asyncio.sleep(0)
    told.carry_out(owner.registry.set_admin(pool.backends["b0"], AdminState.MAINT, 1.0))

    snapshots = [await asyncio.wait_for(owner.heard.get(), 10)]
    while snapshots[-1].backends["app", "b0"].admin is not AdminState.MAINT:
        snapshots.append(await asyncio.wait_for(owner.heard.get(), 10))

    assert len(snapshots) < 20
