"""Workers and the supervisor: killed, replaced, drained. Whatever ends, the others serve on."""

from __future__ import annotations

import asyncio
import os
import signal
from itertools import pairwise

import pytest

from tests.e2e.client import BrokenOffError, Client, request
from tests.e2e.load import Load
from tests.e2e.rig import PATIENCE, Proxy, Rig, happens, now, until
from tests.e2e.scripted import Asked, Scripted

REPLACED_WITHIN = 1.0
"""Seconds from a worker's death until its place is taken."""
RELAYED_WITHIN = 0.05
"""Seconds from a Breaker's opening in one worker until the others heed it."""

TRIPS = 15
"""So many take longer than a second: there are Reports in between."""

Series = dict[tuple[str, tuple[tuple[str, str], ...]], float]


async def counters(proxy: Proxy) -> Series:
    """Every series that may only grow."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for sample in await proxy.admin.samples()
        if sample.name.endswith(("_total", "_bucket", "_count", "_sum"))
    }


async def connect_to(rig: Rig, proxy: Proxy, pid: int) -> Client:
    """A connection that this worker has accepted."""
    for _ in range(200):
        client = await rig.connect(proxy.address)
        await client.ask("GET", "/which")
        if proxy.worker_of(client) == pid:
            return client
        client.close()
    raise AssertionError(f"worker {pid} accepts nothing")


async def ends(process: asyncio.subprocess.Process) -> int:
    return await asyncio.wait_for(process.wait(), PATIENCE)


# Workers


async def test_a_killed_worker_is_replaced_within_a_second_and_no_counter_goes_back(rig: Rig) -> None:
    proxy = await rig.start()
    killed, other = proxy.workers()
    history: list[Series] = []

    async def follow() -> None:
        while True:
            history.append(await counters(proxy))
            await asyncio.sleep(0.05)

    on_other = await connect_to(rig, proxy, other)
    async with Load(proxy.address) as load:
        following = asyncio.create_task(follow())
        await load.answered(60)
        await until(lambda: any(total(series) > 100 for series in history))
        died = now()
        os.kill(killed, signal.SIGKILL)
        # Its sockets are still there: what connects now waits for its successor.
        newcomers = await asyncio.gather(*(first_answer(proxy.address) for _ in range(16)))
        replaced = now()
        await load.answered(150)
        following.cancel()
        await asyncio.wait([following])
    kept = await on_other.ask("GET", "/still-here")

    assert [200] * 16 == newcomers
    assert killed not in proxy.workers()
    assert 2 == len(proxy.workers())
    assert replaced - died <= REPLACED_WITHIN
    assert 200 == kept.status
    assert following.cancelled()
    assert [] == went_back(history)
    assert {} == {write: times for write, times in rig.executions().items() if times > 1}
    # What was under way on its connections is lost, and nothing else.
    assert {"BrokenOffError", "ConnectionResetError"} >= {r.error.split(" ")[0] for r in load.records if r.error}


async def first_answer(address: str) -> int:
    async with await Client.connect(address) as client:
        return (await client.ask("GET", "/")).status


def total(series: Series) -> float:
    return sum(value for (name, _), value in series.items() if name == "failover_requests_total")


def went_back(history: list[Series]) -> list[str]:
    """Series that fell or vanished."""
    return [
        f"{key}: {value} → {after.get(key)}"
        for before, after in pairwise(history)
        for key, value in before.items()
        if after.get(key, -1.0) < value
    ]


async def test_a_trip_in_one_worker_reaches_the_other_within_50_ms(rig: Rig) -> None:
    """Seen from outside: the backend of tier 1 serves the other worker's client no longer than that."""

    async def first(asked: Asked) -> None:
        asked.answer(500 if asked.target == "/bad" else 200, "X-Backend: first")

    async def standby(asked: Asked) -> None:
        asked.answer(200, "X-Backend: standby")

    async with Scripted(first) as one, Scripted(standby) as two:
        backends = [{"address": one.address, "tier": 1}, {"address": two.address, "tier": 2}]
        policies = {"breaker": {"consecutive": 3, "open_for": "100ms", "trial_successes": 1}}
        proxy = await rig.start_proxy({"pools": {"app": {"backends": backends, **policies}}})
        tripping, listening = [await connect_to(rig, proxy, pid) for pid in proxy.workers()]
        delays = [await relay_delay(tripping, listening) for _ in range(TRIPS)]

    # The middle one: a busy machine may hold up any single message.
    assert sorted(delays)[TRIPS // 2] <= RELAYED_WITHIN


async def relay_delay(tripping: Client, listening: Client) -> float:
    """Seconds from the trip until the last request of the other client that the failing backend still got."""
    await closed(tripping)
    await closed(listening)
    for _ in range(3):
        await tripping.ask("GET", "/bad")
    tripped = last = now()
    async with asyncio.timeout(PATIENCE):
        while True:
            sent = now()
            if (await listening.ask("POST", "/")).backend == "standby":
                return last - tripped
            last = sent


async def closed(client: Client) -> None:
    """Wait until this client is served by the first backend, so that its worker's Breaker is closed."""
    async with asyncio.timeout(PATIENCE):
        while (await client.ask("GET", "/")).backend != "first":
            pass


# The end


async def test_term_finishes_what_is_under_way_and_takes_nothing_new(rig: Rig) -> None:
    asked_for, go_on = asyncio.Event(), asyncio.Event()

    async def answer_late(asked: Asked) -> None:
        asked_for.set()
        await happens(go_on)
        asked.answer(body=b"late")

    async with Scripted(answer_late) as backend:
        proxy = await rig.start_proxy({"drain_delay": "300ms", "pools": {"app": [backend.address]}})
        busy, idle = [await rig.connect(proxy.address) for _ in range(2)]
        busy.send(request("GET", "/"))
        await happens(asked_for)
        proxy.process.terminate()
        await unready(proxy)
        async with await Client.connect(proxy.address):
            "While others learn that it goes, it still accepts."
        await until_refused(proxy.address)
        assert b"" == await idle.until_closed()
        go_on.set()
        answer = await busy.answer()
        status = await ends(proxy.process)

    assert (200, b"late", "close") == (answer.status, answer.body, answer.field("connection"))
    assert 0 == status


async def unready(proxy: Proxy) -> None:
    async with asyncio.timeout(PATIENCE):
        while (await proxy.admin.text("/readyz"))[0] != 503:
            pass


async def until_refused(address: str) -> None:
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                (await Client.connect(address)).close()
            except ConnectionRefusedError:
                return
            await asyncio.sleep(0.01)


async def test_drain_timeout_ends_what_does_not_end_by_itself(rig: Rig) -> None:
    asked_for = asyncio.Event()

    async def never_answer(asked: Asked) -> None:
        asked_for.set()
        await asked.until_closed()

    async with Scripted(never_answer) as backend:
        proxy = await rig.start_proxy({"drain_timeout": "200ms", "pools": {"app": [backend.address]}})
        client = await rig.connect(proxy.address)
        client.send(request("GET", "/"))
        await happens(asked_for)
        proxy.process.terminate()
        status = await ends(proxy.process)
        with pytest.raises((BrokenOffError, ConnectionResetError)):
            await client.answer()

    assert 0 == status


async def test_workers_serve_on_when_the_supervisor_is_killed(rig: Rig) -> None:
    proxy = await rig.start()
    workers = proxy.workers()
    try:
        async with Load(proxy.address) as load:
            await load.answered(30)
            proxy.process.kill()
            await proxy.process.wait()
            await rig.kill("red")
            await load.answered(200)
    finally:
        for pid in workers:
            os.kill(pid, signal.SIGKILL)

    assert [] == load.failed("GET")
    assert {} == {write: times for write, times in rig.executions().items() if times > 1}
