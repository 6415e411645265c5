from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from proxy.controlplane.pools.records import BackendRecord
from proxy.controlplane.pools.registry import Registry
from proxy.controlplane.pools.tally import Key
from proxy.controlplane.probing.checker import Checker
from proxy.core.messages import AdminState, BreakerNews, ProbePassed
from proxy.core.pools.breaker import BreakerState
from proxy.core.pools.health import HealthPolicy, HealthState, Probe
from proxy.core.settings import Address, BackendSettings, Settings
from tests.controlplane.conftest import UNPROBED, Make, Stage

KEY = ("app", "b0")
OFTEN = HealthPolicy(interval=0.02, fast_interval=0.01, timeout=5.0)
RARELY = HealthPolicy(interval=3600.0, fast_interval=0.01, timeout=5.0)


class Target:
    """A Backend that can be opened and closed."""

    def __init__(self) -> None:
        self.address = Address()
        self._connections: asyncio.Queue[None] = asyncio.Queue()
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.address.port)
        self.address = Address(*self._server.sockets[0].getsockname())

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.put_nowait(None)
        await reader.read()
        writer.close()

    async def probed(self) -> None:
        """Wait for a connection that comes from now on."""
        while not self._connections.empty():
            self._connections.get_nowait()
        await asyncio.wait_for(self._connections.get(), 10)

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
            self._server = None


@pytest.fixture
async def target() -> AsyncIterator[Target]:
    target = Target()
    await target.open()
    yield target
    await target.close()


class Bench:
    """A Checker over one Backend; its results come in a queue."""

    def __init__(self, settings: Settings) -> None:
        self.registry = Registry(settings, 0.0)
        self.results: asyncio.Queue[Probe] = asyncio.Queue()
        self.checker = Checker(self.registry.records(), random.Random(7), self._ended)

    def _ended(self, key: Key, probe: Probe) -> None:
        self.registry.take_probe(key, probe)
        self.results.put_nowait(probe)

    @property
    def record(self) -> BackendRecord:
        return self.registry.pools["app"].backends["b0"]

    async def result(self) -> Probe:
        return await asyncio.wait_for(self.results.get(), 10)


async def test_a_backend_that_stops_accepting_goes_down_and_comes_back(make: Make, target: Target) -> None:
    bench = Bench(make.settings(target.address, health=OFTEN))
    bench.checker.begin()
    assert (await bench.result()).ok

    await target.close()
    while bench.record.health.state is HealthState.UP:
        await bench.result()
    await target.open()
    while bench.record.health.state is HealthState.DOWN:
        await bench.result()

    assert [True, True] == [probe.ok for probe in list(bench.record.health.last)[-2:]]
    await bench.checker.close()


async def test_the_first_probe_does_not_wait_for_an_interval(make: Make, target: Target) -> None:
    bench = Bench(make.settings(target.address, health=RARELY))

    bench.checker.begin()

    assert (await bench.result()).ok
    await bench.checker.close()


async def test_bad_news_of_traffic_hurry_the_next_probe(make: Make, target: Target) -> None:
    """It would have come in an hour."""
    bench = Bench(make.settings(target.address, health=RARELY))
    bench.checker.begin()
    await bench.result()

    bench.checker.hurry(KEY)

    assert (await bench.result()).ok
    await bench.checker.close()


async def test_hurry_does_not_put_off_a_probe_that_is_near(make: Make, target: Target) -> None:
    """Else a stream of bad news would keep the probes away."""
    bench = Bench(make.settings(target.address, health=replace(RARELY, fast_interval=0.2)))
    bench.checker.begin()
    await bench.result()
    bench.checker.hurry(KEY)

    async def bad_news() -> None:
        while True:
            bench.checker.hurry(KEY)
            await asyncio.sleep(0.01)

    stream = asyncio.create_task(bad_news())
    assert (await bench.result()).ok
    stream.cancel()
    await bench.checker.close()


async def test_probes_are_fast_while_traffic_and_probes_disagree(make: Make, target: Target) -> None:
    """A good probe may be the trial that the Breaker waits for."""
    bench = Bench(make.settings(target.address, health=RARELY))
    bench.registry.take_breaker_news(make.opened(0, until=5.0))
    bench.checker.begin()

    assert [True, True, True] == [(await bench.result()).ok for _ in range(3)]
    await bench.checker.close()


async def test_a_backend_in_maint_is_not_probed(make: Make, target: Target) -> None:
    bench = Bench(make.settings(target.address, target.address, health=OFTEN))
    bench.registry.set_admin(bench.record, AdminState.MAINT, 0.0)

    bench.checker.begin()
    for _ in range(5):
        await bench.result()

    assert [] == list(bench.record.health.last)
    await bench.checker.close()


async def test_a_backend_that_leaves_maint_is_probed_at_once(make: Make, target: Target) -> None:
    bench = Bench(make.settings(target.address, health=RARELY))
    bench.checker.begin()
    await bench.result()
    bench.registry.set_admin(bench.record, AdminState.MAINT, 0.0)
    bench.checker.follow_admin(KEY)

    bench.registry.set_admin(bench.record, AdminState.READY, 0.0)
    bench.checker.follow_admin(KEY)

    assert (await bench.result()).ok
    await bench.checker.close()


async def test_a_probe_under_way_when_maint_begins_gives_no_result(make: Make) -> None:
    reached = asyncio.Event()
    left = asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        reached.set()
        await reader.read()
        left.set()
        writer.close()

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    address = Address(*server.sockets[0].getsockname())
    bench = Bench(make.settings(address, health=replace(OFTEN, path="/")))
    bench.checker.begin()
    await reached.wait()

    bench.registry.set_admin(bench.record, AdminState.MAINT, 0.0)
    bench.checker.follow_admin(KEY)

    await asyncio.wait_for(left.wait(), 10)
    assert [] == list(bench.record.health.last)
    await bench.checker.close()
    server.close()
    await server.wait_closed()


async def test_a_bug_in_taking_a_result_does_not_end_the_probing(
    make: Make, target: Target, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench(make.settings(target.address, health=OFTEN))
    takes = iter([RuntimeError("a bug")])

    def ended(key: Key, probe: Probe) -> None:
        for error in takes:
            raise error
        bench.results.put_nowait(probe)

    checker = Checker(bench.registry.records(), random.Random(7), ended)
    checker.begin()

    assert (await bench.result()).ok
    assert logging.ERROR == caplog.records[0].levelno
    await checker.close()


# With the supervisor


async def test_a_change_of_health_reaches_all_workers(stage: Stage, make: Make, target: Target) -> None:
    supervisor, workers = await stage.serve(make.settings(target.address, health=OFTEN, workers=2))

    await target.close()

    assert [HealthState.DOWN] * 2 == [(await worker.hear()).backends[KEY].health for worker in workers]
    _, backend = await stage.ask(supervisor, "/v1/pools/app/backends/b0")
    assert ["failed_probes"] == backend["reasons"]
    assert ("down", "connection refused") == (backend["health"]["state"], backend["health"]["last"][-1]["detail"])


async def test_good_probes_are_passed_on_while_a_breaker_is_not_closed(
    stage: Stage, make: Make, target: Target
) -> None:
    _, [first, second] = await stage.serve(make.settings(target.address, health=RARELY, workers=2))
    news = make.opened(first.number, until=5.0)

    first.say(news)

    assert news == await second.hear()
    assert [ProbePassed(*KEY)] * 2 == [await worker.hear() for worker in (first, second)]


async def test_good_probes_are_not_passed_on_once_the_breaker_is_closed(
    stage: Stage, make: Make, target: Target
) -> None:
    supervisor, [first, second] = await stage.serve(make.settings(target.address, health=OFTEN, workers=2))
    news = make.opened(first.number, until=5.0)
    first.say(news)
    first.say(replace(news, state=BreakerState.CLOSED))
    await second.hear_a(BreakerNews)
    await second.hear_a(BreakerNews)

    for _ in range(3):  # the second begins after the first has ended
        await target.probed()
    await stage.ask(supervisor, "/v1/pools/app/backends/b0", "PATCH", json={"weight": 2})

    assert 2 == (await second.hear()).backends[KEY].weight


# Reload


def follow(bench: Bench, *backends: BackendSettings, **changes: object) -> None:
    pool = replace(bench.registry.settings.pools[0], backends=backends, **changes)
    bench.registry.obey(replace(bench.registry.settings, pools=(pool,)), 1.0)
    bench.checker.follow(bench.registry.records())


async def test_a_backend_that_a_reload_adds_is_probed_at_once(make: Make, target: Target) -> None:
    bench = Bench(make.settings(health=UNPROBED))
    bench.checker.begin()

    follow(bench, BackendSettings("new", target.address), health=RARELY)

    assert (await bench.result()).ok
    await bench.checker.close()


async def test_a_backend_that_a_reload_removes_is_probed_no_more(make: Make, target: Target) -> None:
    bench = Bench(make.settings(target.address, health=OFTEN))
    bench.checker.begin()
    await bench.result()

    follow(bench, BackendSettings("other", Address("127.0.0.1", 9)), health=UNPROBED)
    while not bench.results.empty():
        bench.results.get_nowait()
    await asyncio.sleep(0)

    assert [] == [task for task in asyncio.all_tasks() if "Watch._probe" in repr(task)]
    assert bench.results.empty()
    await bench.checker.close()


async def test_another_policy_counts_at_once_and_not_after_an_hour(make: Make, target: Target) -> None:
    bench = Bench(make.settings(target.address, health=RARELY))
    bench.checker.begin()
    await bench.result()

    follow(bench, bench.record.settings, health=OFTEN)

    assert (await bench.result()).ok
    assert (await bench.result()).ok
    await bench.checker.close()


async def test_another_address_of_a_name_is_probed_in_place_of_the_old_one(make: Make, target: Target) -> None:
    bench = Bench(make.settings(health=UNPROBED))
    bench.checker.begin()

    follow(bench, replace(bench.record.settings, address=target.address), health=RARELY)

    assert (await bench.result()).ok
    await bench.checker.close()


async def test_a_backend_in_maint_is_not_probed_after_a_reload_either(make: Make, target: Target) -> None:
    bench = Bench(make.settings(target.address, health=OFTEN))
    bench.registry.set_admin(bench.record, AdminState.MAINT, 0.0)
    bench.checker.begin()

    follow(bench, replace(bench.record.settings, weight=3), BackendSettings("new", target.address), health=OFTEN)
    first = await bench.result()

    assert first.ok
    assert [0, 1] == [len(record.health.last) for record in bench.registry.records()]
    await bench.checker.close()


class AtOnce:
    """Probes whose results come all in one turn of the loop."""

    def __init__(self, most: int) -> None:
        self._all = asyncio.Barrier(most)

    async def probe(self, *_: object) -> Probe:
        await self._all.wait()
        return Probe(1.0, ok=False, duration=0.001, detail="refused")


async def test_where_all_fail_at_once_others_have_their_turn_in_between(make: Make) -> None:
    """What follows from each result takes milliseconds in a large pool: together they would hold up the supervisor."""
    settings = make.settings()
    backends = tuple(BackendSettings(f"b{number}", Address("127.0.0.1", 9)) for number in range(20))
    pool = replace(settings.pools[0], backends=backends, health=RARELY)
    registry, turns, seen, done = Registry(replace(settings, pools=(pool,)), 0.0), 0, [], asyncio.Event()

    def ended(key: Key, probe: Probe) -> None:
        seen.append(turns)
        if len(seen) == len(backends):
            done.set()

    checker = Checker(registry.records(), random.Random(7), ended)
    prober = AtOnce(len(backends))
    for watch in checker._watches.values():
        watch._prober = prober
        watch._fire()
    async with asyncio.timeout(20):
        while not done.is_set():
            turns += 1
            await asyncio.sleep(0)
    await checker.close()

    assert len(backends) == len(set(seen))
