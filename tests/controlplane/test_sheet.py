from __future__ import annotations

import asyncio
import json
import time

from proxy.controlplane.admin.dates import Dates
from proxy.controlplane.admin.sheet import AT_A_TIME, Entry, Sheet, difference, draw, names
from proxy.controlplane.admin.view import LAST_IN_LIST, View
from proxy.controlplane.pools.registry import Registry
from proxy.core.messages import DURATION_BUCKETS, BackendCounts
from proxy.core.pools.health import Probe
from proxy.core.settings import Address, PoolSettings
from tests.controlplane.conftest import UNPROBED, Make

CPU_SECONDS = 0.3
"""Bound on a list of a thousand: it takes 0.04 on a quiet core; the machine that tests may be slow, and busy."""


def many(make: Make, number: int) -> tuple[Registry, View]:
    """So many backends, with probes and traffic."""
    registry = Registry(make.settings(*(Address("127.0.0.1", 9),) * number), 0.0)
    for second in range(3):
        counts = BackendCounts(requests=second * 9, duration_buckets=(second,) * (len(DURATION_BUCKETS) + 1))
        backends = {record.key: counts for record in registry.records()}
        registry.take_report(make.report(at=float(second), backends=backends))
        for record in registry.records():
            record.health.observe(Probe(float(second), ok=True, duration=0.001, detail="connected"))
    return registry, View(registry, Dates(lambda: 3.0, lambda: 1_700_000_000.0))


async def test_a_sheet_holds_what_the_view_shows(make: Make) -> None:
    registry, view = many(make, 3)

    entry = (await draw(registry, view))["app"]

    assert json.loads(json.dumps(view.pool(registry.pools["app"], LAST_IN_LIST))) == json.loads(entry.whole())


async def test_others_have_their_turn_while_it_is_drawn(make: Make) -> None:
    registry, view = many(make, 4 * AT_A_TIME)
    drawing = asyncio.create_task(draw(registry, view))
    turns = 0
    while not drawing.done():
        turns += 1
        await asyncio.sleep(0)

    assert turns >= 4


async def test_a_pool_that_a_reload_removes_meanwhile_is_left_out(make: Make) -> None:
    registry, view = many(make, 2 * AT_A_TIME)
    drawing = asyncio.create_task(draw(registry, view))
    await asyncio.sleep(0)
    other = PoolSettings("other", registry.settings.pools[0].backends[:1], health=UNPROBED)
    registry.obey(make.settings(pools=(other,)), 3.0)

    assert {} == await drawing


async def test_a_thousand_backends_are_drawn_in_a_moment(make: Make) -> None:
    registry, view = many(make, 1000)
    took = []
    for _ in range(4):
        began = time.process_time()
        await draw(registry, view)
        took.append(time.process_time() - began)

    assert min(took) < CPU_SECONDS


# What has changed


def sheet(**pools: dict[str, bytes]) -> Sheet:
    return {name: Entry(b'{"name": "%b"' % name.encode(), backends) for name, backends in pools.items()}


def test_nothing_differs_where_nothing_has_changed() -> None:
    assert difference(sheet(app={"a": b"1"}), sheet(app={"a": b"1"})) is None


def test_pools_and_backends_that_differ_are_told_and_no_others() -> None:
    before = sheet(app={"a": b"1", "b": b"1"}, other={"a": b"1"})
    after = sheet(app={"a": b"1", "b": b"2"}, other={"a": b"1"})

    assert {"pools": [{"name": "app", "backends": [2]}]} == json.loads(difference(before, after) or b"")


def test_a_pool_may_differ_without_its_backends() -> None:
    after = {"app": Entry(b'{"name": "app", "panic": true', {"a": b"1"})}

    assert {"pools": [{"name": "app", "panic": True, "backends": []}]} == json.loads(
        difference(sheet(app={"a": b"1"}), after) or b""
    )


def test_who_there_is_is_told_in_order() -> None:
    assert [("b", ["y", "x"]), ("a", [])] == names(sheet(b={"y": b"1", "x": b"1"}, a={}))
