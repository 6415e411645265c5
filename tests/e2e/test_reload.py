"""Reloads under load: nothing fails, nothing is closed, nothing is counted twice or forgotten."""

from __future__ import annotations

import asyncio
import signal
from itertools import pairwise
from typing import Any

from tests.e2e.load import Load
from tests.e2e.rig import NAMES, POLICIES, Proxy, Rig, until

RELOADS = 20

Json = dict[str, Any]
Series = dict[tuple[str, tuple[tuple[str, str], ...]], float]


async def counters(proxy: Proxy) -> Series:
    """Every series that may only grow."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for sample in await proxy.admin.samples()
        if sample.name.endswith(("_total", "_bucket", "_count", "_sum"))
    }


def went_back(history: list[Series]) -> list[str]:
    """Series that fell or vanished."""
    return [
        f"{key}: {value} → {after.get(key)}"
        for before, after in pairwise(history)
        for key, value in before.items()
        if after.get(key, -1.0) < value
    ]


def pools(rig: Rig, *names: str, **policies: Any) -> Json:
    chosen = [one for one in rig.addresses() if one["name"] in names]
    return {"app": {**POLICIES, "backends": chosen, **policies}}


async def test_reloads_under_load_cost_no_request(rig: Rig) -> None:
    """Each of them takes another backend out, and changes timeouts, limits and routes."""
    proxy = await rig.start()
    history = []
    async with Load(proxy.address) as load:
        for number in range(RELOADS):
            names = [name for name in NAMES if name != NAMES[number % 3]]
            timeouts = POLICIES["timeouts"] | {"stall": f"{10 + number}s"}
            routes = [{"name": f"extra-{number}", "match": {"path": "/nowhere"}, "pool": "app"}, {"pool": "app"}]
            await proxy.reload(pools=pools(rig, *names, timeouts=timeouts), routes=routes)
            await load.answered(15)
            history.append(await counters(proxy))

    assert ([], []) == (load.failed("GET"), load.failed("POST"))
    assert {} == {write: times for write, times in rig.executions().items() if times > 1}
    assert [] == went_back(history)
    assert RELOADS == await proxy.admin.counter("failover_config_reloads_total", result="success")


async def test_a_bad_file_changes_nothing_and_says_where_it_is_wrong(rig: Rig) -> None:
    proxy = await rig.start()
    before = await proxy.admin.get("/v1/pools/app")
    async with Load(proxy.address) as load:
        await load.answered(20)
        proxy.rewrite(workrs=3, pools={"app": []})
        status, document = await proxy.admin.reload()
        await load.answered(20)
    after = await proxy.admin.get("/v1/pools/app")

    assert 422 == status
    assert {"workrs", "pools.app"} == {mistake["key"] for mistake in document["mistakes"]}
    assert all(mistake["line"] == 1 and mistake["file"] == str(proxy.config) for mistake in document["mistakes"])
    assert [one["name"] for one in before["backends"]] == [one["name"] for one in after["backends"]]
    assert ([], []) == (load.failed("GET"), load.failed("POST"))
    assert 1 == await proxy.admin.counter("failover_config_reloads_total", result="failure")


async def test_what_is_known_of_a_backend_survives_a_reload(rig: Rig) -> None:
    """It does not serve again for a moment because of it."""
    proxy = await rig.start(breaker={"consecutive": 3, "open_for": "60s"})
    async with Load(proxy.address) as load:
        await rig.spoil("red", "503", spares_health=True)
        async with asyncio.timeout(15):
            while (await proxy.admin.backend("red"))["breaker"]["state"] != "open":  # noqa: ASYNC110 - no event
                await asyncio.sleep(0.02)
        await proxy.admin.patch("green", state="drain")
        requests = (await proxy.admin.backend("red"))["requests_total"]
        policies = {"breaker": {"consecutive": 4, "open_for": "60s"}}
        await proxy.reload(pools=pools(rig, *NAMES, **policies))
        await load.answered(60)
        seen = {name: await proxy.admin.backend(name) for name in NAMES}

    assert {"red": ["breaker_open"], "green": ["drain"], "blue": []} == {
        name: one["reasons"] for name, one in seen.items()
    }
    assert seen["red"]["requests_total"] == requests
    assert [] == load.failed("GET")


async def test_hup_reloads(rig: Rig) -> None:
    proxy = await rig.start()
    proxy.rewrite(pools=pools(rig, "red"))

    proxy.process.send_signal(signal.SIGHUP)
    await until(lambda: " reloaded " in proxy.log)

    assert ["red"] == [one["name"] for one in (await proxy.admin.get("/v1/pools/app"))["backends"]]
    assert 'backends="2 removed"' in proxy.log
