"""A canary that fails is cut off by itself, in all workers, and stays so until a person gives it its share back."""

from __future__ import annotations

import asyncio
import os
import signal

from tests.e2e.client import PATIENCE
from tests.e2e.load import Load
from tests.e2e.rig import NAMES, POLICIES, Json, Proxy, Rig, now, until
from tests.e2e.visitor import places, visitors

CROWD = 24
SHARE = 0.3
RULE = {"pool": "canary", "worse_by": "5%", "min_requests": 20, "window": "10s"}
STAYS = {
    "breaker": {"consecutive": 1000, "failure_rate": "100%", "min_requests": 100_000},
    "outlier": {"detect": False},
}
"""Nothing but the rule takes the canary out."""


def route(**changes: object) -> Json:
    split = {"stable": "70%", "canary": "30%", "abort_on": RULE}
    return {"name": "shop", "split": split, "sticky": {"cookie": "fo_node", "ttl": "1h"}, **changes}


async def start(rig: Rig) -> Proxy:
    await rig.start_backends(*NAMES)
    one, *others = rig.addresses()
    pools = {
        "canary": {**POLICIES, **STAYS, "backends": [one]},
        "stable": {**POLICIES, **STAYS, "backends": others},
    }
    return await rig.start_proxy({"state_dir": str(rig.folder / "state"), "pools": pools, "routes": [route()]})


async def cut_off(proxy: Proxy) -> Json | None:
    document = await proxy.admin.get("/v1/splits")
    found: Json | None = document["splits"][0]["cut_off"]
    return found


async def order(proxy: Proxy, what: str) -> Json:
    async with proxy.admin._session.post(f"http://{proxy.admin.address}/v1/splits/shop/{what}") as answer:
        document: Json = await answer.json()
        return document


async def test_a_canary_that_fails_under_load_is_cut_off_and_its_clients_move_at_once(rig: Rig) -> None:
    proxy = await start(rig)
    crowd = visitors(proxy.address, CROWD)
    first = await places(crowd)
    async with Load(proxy.address, writes=False) as load:
        await load.answered(100)
        began, sent = now(), len(load.records)
        await rig.spoil("red", "503", spares_health=True)
        await until(lambda: 'split changed pool=canary from="30%"' in proxy.log)
        cut_after, failing = now() - began, len(load.records) - sent
        async with asyncio.timeout(PATIENCE):
            while "red" in await places(visitors(proxy.address, 8)):
                pass
        begin = len(load.records)
        moved = await places(crowd)
        await load.answered(100)
    failed = load.failed("GET")
    late = [record for record in load.records[begin:] if record.answer is None or record.answer.backend == "red"]
    document = await cut_off(proxy)
    print(
        f"cut off after {cut_after:.1f} s and {failing} reads, of which {len(failed)} failed (a share of {SHARE:.0%}); "
        f"{document and document['evidence']}"
    )

    assert "red" in first
    assert "red" not in moved
    assert [] == late
    assert {"red"} == {record.answer and record.answer.backend for record in load.records if not record.is_good}
    assert len(failed) <= 2 * SHARE * (failing + load.rate)
    assert document is not None
    assert "canary" == document["pool"]
    # Who was well off stays there.
    assert [one for one in first if one != "red"] == [
        one for one, home in zip(moved, first, strict=True) if home != "red"
    ]
    await survives(rig, proxy)


async def survives(rig: Rig, proxy: Proxy) -> None:
    """The cut outlives a worker and a replacement of the program; a person ends it, and so does another split."""
    dead = proxy.workers()[0]
    os.kill(dead, signal.SIGKILL)
    await until(lambda: dead not in proxy.workers() and len(proxy.workers()) == 2)
    after_death = await places(visitors(proxy.address, CROWD))
    proxy.process.send_signal(signal.SIGUSR2)
    await until(lambda: "handed over" in proxy.log)
    after_replacement = await places(visitors(proxy.address, CROWD))
    await rig.spoil("red", "none")
    told = await order(proxy, "resume")
    async with asyncio.timeout(PATIENCE):
        while "red" not in await places(visitors(proxy.address, CROWD)):
            pass

    assert "red" not in after_death + after_replacement
    assert None is told["cut_off"]


async def test_a_reload_that_changes_the_split_gives_the_share_back_and_another_does_not(rig: Rig) -> None:
    proxy = await start(rig)
    async with proxy.admin._session.post(
        f"http://{proxy.admin.address}/v1/splits/shop/cut", json={"pool": "canary"}
    ) as answer:
        assert 200 == answer.status
    async with asyncio.timeout(PATIENCE):
        while "red" in await places(visitors(proxy.address, 8)):
            pass
    await proxy.reload(routes=[route(preserve_host=False)])
    same = await places(visitors(proxy.address, CROWD))
    await proxy.reload(routes=[route(split={"stable": "60%", "canary": "40%", "abort_on": RULE})])
    other = await places(visitors(proxy.address, CROWD))

    assert ("red" in same, "red" in other) == (False, True)
