"""Clients that are kept where they are: by a cookie, through drains, failures, reloads and restarts."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from tests.e2e.client import PATIENCE
from tests.e2e.load import Load
from tests.e2e.rig import NAMES, POLICIES, Json, Proxy, Rig, until
from tests.e2e.scripted import Asked, Scripted
from tests.e2e.visitor import COOKIE, Visitor, places, visitors

CROWD = 30


def sticky(**changes: object) -> Json:
    return {"cookie": COOKIE, "ttl": "1h", **changes}


async def start(rig: Rig, **changes: object) -> Proxy:
    """Three backends and a proxy that keeps its clients on them."""
    await rig.start_backends(*NAMES)
    pool = {**POLICIES, "backends": rig.addresses(), "sticky": sticky(), **changes}
    return await rig.start_proxy({"state_dir": str(rig.folder / "state"), "pools": {"app": pool}})


async def test_a_client_stays_on_its_backend_and_goes_elsewhere_when_that_dies(rig: Rig) -> None:
    proxy = await start(rig)
    crowd = visitors(proxy.address, CROWD)
    async with Load(proxy.address, writes=False) as load:
        first = await places(crowd)
        again = await places(crowd)
        await rig.kill("red")
        after = await places(crowd)
        settled = await places(crowd)
        await rig.revive("red")
        await until(lambda: "from=down to=up" in proxy.log)
        back = await places(crowd)
        await load.answered(20)
    moved = [one for one, home in zip(after, first, strict=True) if home == "red"]
    print(f"of {CROWD} clients {len(moved)} lost their backend; {len(load.records)} other reads")

    assert first == again
    assert set(NAMES) == set(first)
    assert [home for home in first if home != "red"] == [
        one for one, home in zip(after, first, strict=True) if home != "red"
    ]
    assert "red" not in after
    assert (after, after) == (settled, back)
    assert [2 if home == "red" else 1 for home in first] == [len(one.given) for one in crowd]
    assert [] == [one.failed for one in crowd if one.failed] + load.failed("GET")


async def test_who_drains_keeps_its_clients_gets_no_new_ones_and_loses_them_in_maint(rig: Rig) -> None:
    proxy = await start(rig, sticky=sticky(ttl="8s"))
    crowd = visitors(proxy.address, CROWD)
    first = await places(crowd)
    told = await proxy.admin.patch("red", state="drain")
    await until_told(proxy, "red")
    drained = await proxy.admin.backend("red")
    kept, newcomers = await places(crowd), await places(visitors(proxy.address, CROWD))
    await proxy.admin.patch("red", state="maint")
    await until_told(proxy, "red")
    after = await places(crowd)

    assert first == kept
    assert "red" not in newcomers
    assert (False, False) == (told["drained"], drained["drained"])
    assert drained["clients_until"] is not None
    assert ("red" in first, "red" in after) == (True, False)
    assert None is (await until_drained(proxy, "red"))["clients_until"]
    assert [] == [one.failed for one in crowd if one.failed]


async def until_told(proxy: Proxy, name: str) -> None:
    """Wait until every worker follows; newcomers show it."""
    async with asyncio.timeout(PATIENCE):
        while name in await places(visitors(proxy.address, 12)):
            pass


async def until_drained(proxy: Proxy, name: str) -> Json:
    """Wait until the workers' Reports say so."""
    async with asyncio.timeout(PATIENCE):
        while not (document := await proxy.admin.backend(name))["drained"]:
            pass
    return document


async def test_clients_are_kept_over_reloads_killed_workers_and_restarts(rig: Rig) -> None:
    proxy = await start(rig)
    crowd = visitors(proxy.address, CROWD)
    first = await places(crowd)
    pool = {**POLICIES, "backends": list(reversed(rig.addresses())), "sticky": sticky()}
    await proxy.reload(pools={"app": pool})
    reloaded = await places(crowd)
    before = proxy.workers()
    os.kill(before[0], signal.SIGKILL)
    await until(lambda: before[0] not in proxy.workers() and len(proxy.workers()) == 2)
    survived = await places(crowd)
    proxy.process.send_signal(signal.SIGTERM)
    await proxy.process.wait()
    restarted = await rig.start_proxy({"state_dir": str(rig.folder / "state"), "pools": {"app": pool}})
    for one in crowd:
        one.address = restarted.address
    again = await places(crowd)
    without_red = {**pool, "backends": [one for one in rig.addresses() if one["name"] != "red"]}
    await restarted.reload(pools={"app": without_red})
    removed = await places(crowd)

    assert [first] * 3 == [reloaded, survived, again]
    assert [home for home in first if home != "red"] == [
        one for one, home in zip(removed, first, strict=True) if home != "red"
    ]
    assert "red" not in removed
    assert [] == [one.failed for one in crowd if one.failed]


# What is on the wire


@pytest.fixture
async def pair() -> AsyncIterator[list[Scripted]]:
    """Two backends that tell who they are and what cookies they saw."""

    def teller(name: str) -> Scripted:
        async def tell(asked: Asked) -> None:
            await asked.body()
            fields = ["Cache-Control: no-store"] if asked.target == "/private" else []
            asked.answer(200, f"X-Backend: {name}", f"X-Seen: {asked.field('cookie')}", *fields, body=b"ok")

        return Scripted(tell)

    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(teller(name)) for name in ("red", "green")]


def named(pair: list[Scripted]) -> list[Json]:
    return [{"name": name, "address": one.address} for name, one in zip(("red", "green"), pair, strict=True)]


async def test_what_clients_and_backends_see_of_the_cookie(rig: Rig, pair: list[Scripted]) -> None:
    key = "k" * 32
    (rig.folder / "key").write_text(key)
    pool = {"backends": named(pair), "sticky": sticky(sign_with={"file": "key"}, ttl="10m", same_site="strict")}
    proxy = await rig.start_proxy({"pools": {"app": pool}})
    visitor = Visitor(proxy.address)
    first, second = await visitor.ask(), await visitor.ask()
    private = await Visitor(proxy.address).ask("/private")

    attributes = visitor.given[0].partition("; ")[2]
    assert "Max-Age=600; Path=/; HttpOnly; SameSite=Strict" == attributes
    assert ("private", "no-store") == (first.field("cache-control"), private.field("cache-control"))
    assert (None, None) == (second.field("set-cookie"), second.field("cache-control"))
    assert ("None", "theme=dark; lang=en") == (first.field("x-seen"), second.field("x-seen"))
    assert key not in proxy.log


JUNK = ("x", "A" * 48, "0" * 30_000, "a=b", '"quoted"', "\xff\xfe")


async def test_a_cookie_that_is_not_ours_or_not_of_now_is_ignored_and_replaced(rig: Rig, pair: list[Scripted]) -> None:
    pool = {"backends": named(pair), "sticky": sticky(ttl="1s")}
    proxy = await rig.start_proxy({"state_dir": str(rig.folder / "state"), "pools": {"app": pool}})
    visitor = Visitor(proxy.address)
    await visitor.ask()
    flipped = visitor.cookie[:-1] + ("A" if visitor.cookie[-1] != "A" else "B")
    forged = [Visitor(proxy.address, value) for value in (flipped, *JUNK)]
    answers = [await one.ask() for one in forged]
    while len(visitor.given) < 2:
        # Over, or half over: either way it gets another.
        await visitor.ask()

    assert {("theme=dark; lang=en", 200)} == {(answer.field("x-seen"), answer.status) for answer in answers}
    assert {1} == {len(one.given) for one in forged}
    assert len(set(visitor.given)) == 2


# Splits


def split_pools(rig: Rig) -> Json:
    one, *others = rig.addresses()
    return {"canary": {**POLICIES, "backends": [one]}, "stable": {**POLICIES, "backends": others}}


def routes(canary: int, **changes: object) -> list[Json]:
    split = {"canary": f"{canary}%", "stable": f"{100 - canary}%"}
    return [{"name": "shop", "split": split, "sticky": sticky(), **changes}]


async def test_a_split_keeps_each_client_in_its_pool_and_moves_as_few_as_it_must(rig: Rig) -> None:
    await rig.start_backends(*NAMES)
    proxy = await rig.start_proxy(
        {"state_dir": str(rig.folder / "state"), "pools": split_pools(rig), "routes": routes(20)}
    )
    crowd = visitors(proxy.address, 2 * CROWD)
    first, again = await places(crowd), await places(crowd)
    await proxy.reload(routes=routes(60))
    more = await places(crowd)
    await proxy.reload(routes=routes(20))
    less = await places(crowd)
    await rig.kill("red")
    without = await places(crowd)
    await rig.revive("red")
    async with asyncio.timeout(PATIENCE):
        # Whose Breaker has opened must pass some probes first.
        while (back := await places(crowd)).count("red") < less.count("red"):
            pass
    print(f"canary: {first.count('red')} of {len(crowd)} at 20 %, {more.count('red')} at 60 %")

    assert first == again
    assert first.count("red") < more.count("red")
    assert [] == [(was, now) for was, now in zip(first, more, strict=True) if now not in (was, "red")]
    assert [one == "red" for one in first] == [one == "red" for one in less]
    assert "red" not in without
    assert [one == "red" for one in less] == [one == "red" for one in back]
    assert [] == [one.failed for one in crowd if one.failed]


async def test_a_split_without_cookies_passes_over_a_pool_that_is_down(rig: Rig) -> None:
    await rig.start_backends(*NAMES)
    proxy = await rig.start_proxy({"pools": split_pools(rig), "routes": plain()})
    async with Load(proxy.address, writes=False) as load:
        await load.answered(60)
        await rig.kill("red")
        await load.answered(150)
        await rig.revive("red")
        await until(lambda: "health changed pool=canary backend=red from=down to=up" in proxy.log)
        begin = len(load.records)
        await load.answered(100)
    late = Counter(one.answer.backend for one in load.records[begin:] if one.answer is not None)
    print(f"{len(load.failed('GET'))} of {len(load.records)} failed; after its return the canary had {late['red']}")

    assert [] == load.failed("GET")
    assert late["red"] > 10


def plain() -> list[Json]:
    return [{"name": "shop", "split": {"canary": "50%", "stable": "50%"}}]
