"""A region is lost, backends flap, or all of them are gone for a moment: no read fails, and what was measured is printed."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.e2e.load import Load
from tests.e2e.rig import NAMES, POLICIES, Changes, Proxy, Rig, now, until

REGIONS = {"red": "eu", "green": "eu", "blue": "us", "black": "ap"}


async def start(rig: Rig, *names: str, **changes: Any) -> Proxy:
    await rig.start_backends(*names)
    backends = [{**one, "region": REGIONS[one["name"]]} for one in rig.addresses()]
    return await rig.start_proxy({"pools": {"app": {**POLICIES, "backends": backends, **changes}}})


def served(load: Load, begin: int) -> dict[str, int]:
    """Who answered how many requests, from that record on."""
    names = [record.answer.backend for record in load.records[begin:] if record.answer]
    return {name: names.count(name) for name in sorted({name for name in names if name})}


def report(what: str, load: Load) -> None:
    reads = [record for record in load.records if record.method == "GET"]
    slowest = max(record.seconds for record in reads) * 1000
    print(f"{what}: {len(reads)} reads, {len(load.failed('GET'))} failed, slowest {slowest:.0f} ms")


async def test_a_region_that_is_lost_is_served_by_the_rest(rig: Rig) -> None:
    proxy = await start(rig, *REGIONS, region="eu", locality={"prefer": "region", "spill_below": "70%"})
    async with Load(proxy.address, writes=False) as load:
        await load.answered(100)
        before = served(load, 0)
        await asyncio.gather(rig.kill("red"), rig.kill("green"))
        await load.answered(150)
        begin = len(load.records)
        await load.answered(100)
        lost = served(load, begin)
        await asyncio.gather(rig.revive("red"), rig.revive("green"))
        await until(lambda: proxy.log.count("to=closed") + proxy.log.count("from=down to=up") >= 2)
        await load.answered(200)
        begin = len(load.records)
        await load.answered(60)
        back = served(load, begin)
    report(f"region lost: before {before}, lost {lost}, back {back}", load)

    assert {"red", "green"} == set(before)
    assert {"blue", "black"} == set(lost)
    assert {"red", "green"} == set(back)
    assert [] == load.failed("GET")


async def test_a_backend_that_flaps_is_damped_and_then_let_back_in(rig: Rig) -> None:
    damping = {"half_life": "1s", "suppress": 2500, "reuse": 1000, "longest": "4s"}
    proxy = await start(rig, *NAMES, damping=damping)
    async with Load(proxy.address, writes=False) as load, Changes(proxy.admin.address).watched() as changes:
        await load.answered(60)
        flaps = 0
        while "to=damped" not in proxy.log:
            flaps += 1
            await rig.spoil("red", "refuse")
            await changes.until("red", available=False)
            await rig.spoil("red", "none")
            await changes.until("red", available=True)
        vetoes = [line for line in proxy.log.splitlines() if "damping changed" in line]
        await load.answered(100)
    report(f"flapping: damped after {flaps} flaps", load)

    assert [] == load.failed("GET")
    assert flaps <= 3
    # Out for its flapping, and let back in: it was available again only then.
    assert ["to=damped", "to=quiet"] == [word for line in vetoes for word in line.split() if word.startswith("to=")]


@pytest.mark.parametrize("seconds", [0.5, 2.0])
async def test_all_backends_may_be_gone_for_a_while(rig: Rig, seconds: float) -> None:
    # A read that is under way at one backend after the other, just as each of them goes, uses up three attempts.
    proxy = await start(rig, *NAMES, hold={"for": "5s"}, retries={"attempts": 6})
    async with Load(proxy.address, writes=False) as load:
        await load.answered(100)
        await asyncio.gather(*(rig.spoil(name, "refuse") for name in NAMES))
        gone_at = now()
        await until(lambda: now() - gone_at >= seconds)
        await asyncio.gather(*(rig.spoil(name, "none") for name in NAMES))
        await load.answered(300)
        held = await proxy.admin.counter("failover_held_requests_total")
    report(f"all gone for {seconds:g} s: {held:.0f} held", load)

    assert [] == load.failed("GET")
    assert held > 0
