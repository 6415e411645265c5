"""All backends of a pool are gone under load: no read fails where something stands in, and what was measured is printed."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from tests.e2e.client import Client
from tests.e2e.load import Load
from tests.e2e.rig import NAMES, POLICIES, Rig, until
from tests.e2e.test_access_log import Log

SHORT: dict[str, Any] = {**POLICIES, "hold": {"for": "100ms"}}


async def start(rig: Rig, **route: Any) -> Any:
    await rig.start_backends(*NAMES, "black")
    addresses = rig.addresses()
    pools = {"app": {**SHORT, "backends": addresses[:3]}, "spare": {**SHORT, "backends": addresses[3:]}}
    return await rig.start_proxy(
        {
            "pools": pools,
            "routes": [{"name": "web", "pool": "app", **route}],
            "access_log": str(rig.folder / "access.txt"),
        }
    )


async def test_another_pool_serves_while_all_of_the_own_are_gone(rig: Rig) -> None:
    proxy = await start(rig, fallback="spare")
    async with Load(proxy.address) as load:
        await load.answered(60)
        for name in NAMES:
            await rig.kill(name)
        await load.answered(150)
        for name in NAMES:
            await rig.revive(name)
        await until(lambda: bool(load.records[-1].answer) and load.records[-1].answer.backend in NAMES)
        await load.answered(30)
    executions = rig.executions()
    said = Counter(
        "degraded=pool" in (record.answer.field("proxy-status") or "") for record in load.records if record.answer
    )
    slowest = max(record.seconds for record in load.records) * 1000
    print(
        f"all of a pool gone: {len(load.failed('GET'))} reads failed, another pool served {said[True]}, {slowest:.0f} ms"
    )

    assert [] == load.failed("GET")
    assert {} == {write: times for write, times in executions.items() if times > 1}
    assert [] == load.untold()
    assert said[True] > 50


async def test_the_last_good_answer_and_then_a_page_are_given_when_nobody_is_left(rig: Rig, tmp_path: Path) -> None:
    (rig.folder / "sorry.html").write_text("<p>Sorry</p>")
    proxy = await start(rig, stale_if_error={"for": "10m"}, fallback={"file": "sorry.html"})
    async with await Client.connect(proxy.address) as client:
        good = await client.ask("GET", "/page")
        for name in NAMES:
            await rig.kill(name)
        stale = [await client.ask("GET", "/page") for _ in range(5)]
        page = await client.ask("GET", "/never-asked-before")
        personal = await client.ask("GET", "/page", "Authorization: Bearer x")
        lines = await Log(rig.folder).lines(8)
        await until_counted(proxy, 7)
    print("stale:", stale[0].fields)

    assert (200, None) == (good.status, good.field("proxy-status"))
    assert {(200, good.body)} == {(answer.status, answer.body) for answer in stale}
    assert all("degraded=stale" in (answer.field("proxy-status") or "") and answer.field("age") for answer in stale)
    assert {(503, b"<p>Sorry</p>", "text/html; charset=utf-8")} == {
        (answer.status, answer.body, answer.field("content-type")) for answer in (page, personal)
    }
    assert ["DG" in line["flags"] for line in lines] == [False] + [True] * 7


async def until_counted(proxy: Any, wanted: int) -> None:
    """The metric has all of them, once the workers have reported."""
    counted = 0.0
    while counted < wanted:
        counted = await proxy.admin.counter("failover_degraded_answers_total", route="web", pool="app")
    assert wanted == counted
