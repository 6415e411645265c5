"""With no backend left: requests wait a moment, and then the client is told the truth."""

from __future__ import annotations

from tests.e2e.client import Client
from tests.e2e.load import Load
from tests.e2e.rig import NAMES, POLICIES, Rig, until


async def test_requests_wait_for_the_last_backend_that_is_away_for_a_moment(rig: Rig) -> None:
    await rig.start_backends("red")
    proxy = await rig.start_proxy({"pools": {"app": {**POLICIES, "backends": rig.addresses(), "hold": {"for": "10s"}}}})
    async with Load(proxy.address) as load:
        await load.answered(30)
        await rig.spoil("red", "refuse")
        await until(lambda: load.pending > 15)
        await rig.spoil("red", "none")
        await load.answered(60)
    executions = rig.executions()

    assert [] == load.failed("GET")
    assert {} == {write: times for write, times in executions.items() if times > 1}
    assert set() == load.ids("no")
    assert [] == load.untold()


async def test_a_write_that_reached_nobody_is_said_to_be_not_executed(rig: Rig) -> None:
    await rig.start_backends(*NAMES)
    policies = POLICIES | {"hold": {"for": "100ms"}}
    proxy = await rig.start_proxy({"pools": {"app": {**policies, "backends": rig.addresses()}}})
    async with Load(proxy.address) as load:
        await load.answered(30)
        for name in NAMES:
            await rig.spoil(name, "refuse")
        await until(lambda: len(load.ids("no")) > 10)
        for name in NAMES:
            await rig.spoil(name, "none")
        await until(lambda: load.records[-1].is_good)
    executions = rig.executions()
    told = [record.answer for record in load.records if record.executed == "no"]

    assert set() == load.ids("no") & executions.keys()
    assert [] == load.untold()
    assert {} == {write: times for write, times in executions.items() if times > 1}
    assert {"1"} == {answer.field("retry-after") for answer in told if answer is not None}
    assert {502, 503} >= {answer.status for answer in told if answer is not None}


async def test_the_last_real_answer_goes_to_the_client(rig: Rig) -> None:
    """A backend's own 503 with its words is better than one of ours."""
    proxy = await rig.start()
    for name in NAMES:
        await rig.spoil(name, "503", spares_health=True)
    async with await Client.connect(proxy.address) as client:
        answer = await client.ask("GET", "/")

    assert (503, f"{answer.backend} is unwell\n".encode()) == (answer.status, answer.body)
    assert "failover-proxy; attempts=3" == answer.field("proxy-status")


async def test_every_backend_is_taken_back_after_an_outage_of_all(rig: Rig) -> None:
    proxy = await rig.start()
    async with Load(proxy.address, writes=False) as load:
        for name in NAMES:
            await rig.kill(name)
        await until(lambda: any(record.answer and record.answer.status >= 500 for record in load.records))
        for name in NAMES:
            await rig.revive(name)
        begin = len(load.records)
        await until(lambda: set(NAMES) <= {r.answer.backend for r in load.records[begin:] if r.answer})
        begin = len(load.records)
        await load.answered(60)

    assert [] == [str(record) for record in load.records[begin:] if not record.is_good]
