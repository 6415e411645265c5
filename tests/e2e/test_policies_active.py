"""Active-passive pools: one backend at a time, whoever decides, and no read fails while the place is handed over."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.load import Load, Record
from tests.e2e.rig import POLICIES, Proxy, Rig, now, until

PAIR = ("red", "green")
MEASURED = (
    "{what}: {switches} switches under {rate:g} requests/s, {reads} reads, {failed} failed, slowest {slowest:.0f} ms"
)


async def start(rig: Rig, **failover: Any) -> Proxy:
    """`red` is first in line, `green` stands by."""
    await rig.start_backends(*PAIR)
    backends = [{**one, "tier": tier} for tier, one in enumerate(rig.addresses(), 1)]
    pool = {**POLICIES, "mode": "active-passive", "failover": failover, "hold": {"for": "5s"}, "backends": backends}
    return await rig.start_proxy({"pools": {"app": pool}})


def overlap(records: list[Record]) -> float:
    """Seconds for which both backends were given requests: from the first of the later one to the last of the other."""
    taken = {name: [r.sent_at for r in records if r.answer and r.answer.backend == name] for name in PAIR}
    return 0.0 if not all(taken.values()) else max(taken["red"]) - min(taken["green"])


def report(what: str, load: Load, switches: int) -> None:
    reads = [record for record in load.records if record.method == "GET"]
    slowest = max(record.seconds for record in reads) * 1000
    failed = len(load.failed("GET"))
    print(
        MEASURED.format(what=what, switches=switches, rate=load.rate, reads=len(reads), failed=failed, slowest=slowest)
    )


async def test_by_hand_there_and_back_under_load_no_request_fails(rig: Rig) -> None:
    proxy = await start(rig, failback="manual")
    async with Load(proxy.address) as load:
        await load.answered(60)
        for turn in range(4):
            began = len(load.records)
            document = await proxy.admin.post(*(("failover", {"to": "green"}) if turn % 2 == 0 else ("failback", {})))
            await load.answered(60)
            named = PAIR[(turn + 1) % 2]
            assert named == document["active"]
            late = [r for r in load.records[began:] if r.answer and r.answer.backend != named]
            # Only what was under way when the order came.
            assert len(late) <= 15
    report("by hand", load, 4)

    assert [] == [str(record) for record in load.records if not record.is_good]
    assert {} == {write: times for write, times in rig.executions().items() if times > 1}
    assert 4 == proxy.log.count("active backend switched")


@pytest.mark.parametrize("what", ["kill", "refuse", "close", "503"])
async def test_when_the_active_one_fails_the_other_takes_over_and_no_read_fails(rig: Rig, what: str) -> None:
    proxy = await start(rig, failback="manual")
    async with Load(proxy.address) as load:
        await load.answered(60)
        failed_at = now()
        await (rig.kill("red") if what == "kill" else rig.spoil("red", what))
        await until(lambda: "active backend switched" in proxy.log)
        switched_after = now() - failed_at
        await load.answered(100)
        await rig.mend("red")
        begin = len(load.records)
        await load.answered(60)
    report(f"{what}, switched after {switched_after * 1000:.0f} ms", load, 1)

    assert [] == load.failed("GET")
    assert {"green"} == {r.answer.backend for r in load.records[begin:] if r.answer}
    assert {} == {write: times for write, times in rig.executions().items() if times > 1}
    assert switched_after < 2.0


async def test_in_manual_mode_nothing_happens_until_a_person_approves(rig: Rig) -> None:
    proxy = await start(rig, mode="manual", failback="manual")
    await rig.kill("red")
    await until(lambda: "a switch waits for approval" in proxy.log)
    pending = (await proxy.admin.get("/v1/pools/app"))["pending"]
    document = await proxy.admin.post("failover", {})
    async with Load(proxy.address) as load:
        await load.answered(60)
    report("approved", load, 1)

    assert ("green", "failover") == (pending["to"], pending["cause"])
    assert ("green", None) == (document["active"], document["pending"])
    assert [] == [str(record) for record in load.records if not record.is_good]


async def test_the_first_in_line_gets_its_place_back_by_itself(rig: Rig) -> None:
    proxy = await start(rig, failback={"after": "500ms"})
    async with Load(proxy.address) as load:
        await load.answered(30)
        await rig.spoil("red", "refuse")
        await until(lambda: "cause=failover" in proxy.log)
        await rig.spoil("red", "none")
        await until(lambda: "cause=failback" in proxy.log)
        await load.answered(60)
        begin = len(load.records)
        await load.answered(30)
    report("there and back", load, 2)

    assert [] == load.failed("GET")
    assert {"red"} == {r.answer.backend for r in load.records[begin:] if r.answer}


async def test_no_two_backends_are_given_requests_at_the_same_time(rig: Rig) -> None:
    """Reads only: what a backend was given stands in its own record."""
    proxy = await start(rig, failback="manual")
    async with Load(proxy.address, rate=400.0, writes=False) as load:
        await load.answered(100)
        await proxy.admin.post("failover", {"to": "green"})
        await load.answered(200)
    between = overlap(load.records)
    report(f"sent to both for {max(0.0, between) * 1000:.1f} ms", load, 1)

    # A request is sent a moment before a worker takes it up; held ones were sent before the switch.
    assert between < 0.1
    assert [] == load.failed("GET")
