"""A brown-out: a backend fails or dawdles a little, and its health check is as green as ever. Its peers give it away."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.load import Load
from tests.e2e.rig import NAMES, POLICIES, Proxy, Rig, now, until

WITHIN = 10.0
"""Seconds in which it has to be found."""
SOON = {"eject_for": "2s", "eject_for_max": "2s"}


async def start(rig: Rig, **changes: Any) -> Proxy:
    await rig.start_backends(*NAMES)
    pool = {**POLICIES, "outlier": SOON, "backends": rig.addresses(), **changes}
    return await rig.start_proxy({"pools": {"app": pool}})


@pytest.mark.parametrize("mode", ["some", "slow"])
async def test_a_brown_out_with_a_green_health_check_is_found_and_lifted(rig: Rig, mode: str) -> None:
    proxy = await start(rig)
    async with Load(proxy.address, writes=False) as load:
        await load.answered(300)
        began = now()
        await rig.spoil("red", mode, spares_health=True)
        await until(lambda: "share changed pool=app backend=red" in proxy.log)
        found = now() - began
        await until(lambda: "outlier changed pool=app backend=red" in proxy.log)
        ejected = now() - began
        document = await proxy.admin.backend("red")
        begin = len(load.records)
        await load.answered(100)
        end = len(load.records)
        await rig.spoil("red", "none")
        await until(lambda: 'to="100%"' in proxy.log)
        back = now() - began
        await load.answered(100)
    out = [record for record in load.records[begin:end] if record.answer and record.answer.backend == "red"]
    print(
        f"{mode}: less weight after {found:.1f} s, ejected after {ejected:.1f} s, back with all of it after {back:.1f} s; "
        f"{len(load.records)} reads, {len(load.failed('GET'))} failed; of 100 while it was out, {len(out)} went to it"
    )

    assert [] == load.failed("GET")
    assert found < WITHIN
    assert ejected < 1.5 * WITHIN
    assert (False, ["outlier"], "up") == (document["available"], document["reasons"], document["health"]["state"])
    assert document["vetoes"][0]["until"] is not None
    # A trial or two.
    assert len(out) <= 10


async def test_where_all_degrade_alike_nobody_is_ejected_and_the_pool_says_so(rig: Rig) -> None:
    proxy = await start(rig)
    async with Load(proxy.address, writes=False) as load:
        await load.answered(300)
        for name in NAMES:
            await rig.spoil(name, "slow", spares_health=True)
        await until(lambda: "degraded changed pool=app" in proxy.log)
        document = await proxy.admin.get("/v1/pools/app")
        await load.answered(300)
        changed = [line for line in proxy.log.splitlines() if "outlier changed" in line]
    print(f"all slow: {document['degraded']}; {len(load.records)} reads, {len(load.failed('GET'))} failed")

    assert [] == changed
    assert [] == load.failed("GET")
    assert document["degraded"].startswith("half of the requests take ")
    assert [1.0] * 3 == [backend["weight_share"] for backend in document["backends"]]
