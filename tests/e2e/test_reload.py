"""Reloads under load: nothing fails, nothing is closed, nothing is counted twice or forgotten."""

from __future__ import annotations

import asyncio
import signal
from typing import Any

from tests.e2e.client import PATIENCE, Client
from tests.e2e.load import Load
from tests.e2e.long import LongLived, long_backend, routes
from tests.e2e.rig import NAMES, POLICIES, Proxy, Rig, until
from tests.e2e.test_processes import counters, went_back
from tests.e2e.test_replace import counted

RELOADS = 20

Json = dict[str, Any]


def pools(rig: Rig, *names: str, **policies: Any) -> Json:
    chosen = [one for one in rig.addresses() if one["name"] in names]
    return {"app": {**POLICIES, "backends": chosen, **policies}}


async def test_twenty_reloads_under_load_cost_nothing(rig: Rig) -> None:
    """No request, no WebSocket, no download, no count; no write is executed twice.

    Each of them takes another backend out, brings one back, and changes timeouts and routes.
    """
    await rig.start_backends(*NAMES)
    history = []
    async with long_backend() as backend:
        proxy = await rig.start_proxy(routes(backend, {"pools": pools(rig, *NAMES)}))
        async with LongLived(proxy.address) as long, Load(proxy.address) as load:
            for number in range(RELOADS):
                names = [name for name in NAMES if name != NAMES[number % 3]]
                timeouts = POLICIES["timeouts"] | {"stall": f"{10 + number}s"}
                config = routes(backend, {"pools": pools(rig, *names, timeouts=timeouts)})
                config["routes"].insert(0, {"name": f"extra-{number}", "match": {"path": "/no"}, "pool": "app"})
                await proxy.reload(**config)
                await load.answered(15)
                history.append(await counters(proxy))
            await long.moved(3)
        broken = long.broken
        await counted(proxy, len(load.records))
        history.append(await counters(proxy))

    assert [] == broken
    assert ([], []) == (load.failed("GET"), load.failed("POST"))
    assert {} == {write: times for write, times in rig.executions().items() if times > 1}
    assert [] == went_back(history)
    assert RELOADS == await proxy.admin.counter("failover_config_reloads_total", result="success")
    assert 0 == await proxy.admin.counter("failover_worker_restarts_total")
    await nothing_in_flight(proxy)


async def nothing_in_flight(proxy: Proxy) -> None:
    """As the next Reports say: the last ones may be from just before the end of what was under way."""
    async with asyncio.timeout(PATIENCE):
        while await proxy.admin.counter("failover_backend_in_flight"):  # noqa: ASYNC110 - a page has no events
            await asyncio.sleep(0.05)


async def test_what_is_under_way_on_a_route_that_is_removed_goes_on_to_its_end(rig: Rig) -> None:
    await rig.start_backends("red")
    async with long_backend() as backend:
        proxy = await rig.start_proxy(routes(backend, {"pools": pools(rig, "red")}))
        async with LongLived(proxy.address, sockets=4, downloads=4) as long:
            await proxy.reload(pools=pools(rig, "red"), routes=[{"pool": "app"}])
            await long.moved(15)
            in_flight = await proxy.admin.counter("failover_backend_in_flight", pool="long")
        newcomer = await Client.connect(proxy.address)
        async with newcomer:
            answer = await newcomer.ask("GET", "/long/download")

    assert ([], 8) == (long.broken, in_flight)
    assert "red" == answer.backend


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


async def reported_total(proxy: Proxy, name: str) -> int:
    """The requests of a backend that gets no more, once every worker has told of all: they report each second."""
    before, total = -1, 0
    while not total or total != before:
        await asyncio.sleep(1.1)
        before, total = total, (await proxy.admin.backend(name))["requests_total"]
    return total


async def test_what_is_known_of_a_backend_survives_a_reload(rig: Rig) -> None:
    """It does not serve again for a moment because of it."""
    proxy = await rig.start(breaker={"consecutive": 3, "open_for": "60s"})
    async with Load(proxy.address) as load:
        await rig.spoil("red", "503", spares_health=True)
        async with asyncio.timeout(15):
            while (await proxy.admin.backend("red"))["breaker"]["state"] != "open":  # noqa: ASYNC110 - no event
                await asyncio.sleep(0.02)
        await proxy.admin.patch("green", state="drain")
        requests = await reported_total(proxy, "red")
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
