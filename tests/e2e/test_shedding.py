"""Too many requests: a limit over all workers, who waits before it, who is shed, and how many one client may send."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tests.e2e.client import Answer, Client
from tests.e2e.rig import Proxy, Rig, until
from tests.e2e.scripted import Asked, Scripted


class Keeping(Scripted):
    """A backend that keeps each request until it is let go, and knows the most that it had at a time."""

    def __init__(self) -> None:
        super().__init__(self._keep)
        self.kept: list[tuple[Asked, asyncio.Event]] = []
        self.most = self.now = 0
        self.is_open = False

    async def _keep(self, asked: Asked) -> None:
        self.now += 1
        self.most = max(self.most, self.now)
        gone = asyncio.Event()
        self.kept.append((asked, gone))
        if not self.is_open:
            await gone.wait()
        asked.answer(200, "X-Backend: kept", body=asked.target.encode())
        self.now -= 1

    def release(self, number: int) -> None:
        """Let this one go; they are counted from 0."""
        self.kept[number][1].set()

    def open(self) -> None:
        """Let all go, and keep none any more."""
        self.is_open = True
        for _, gone in self.kept:
            gone.set()


@asynccontextmanager
async def limited(
    rig: Rig, routes: list[dict[str, Any]] | None = None, **pool: Any
) -> AsyncIterator[tuple[Proxy, Keeping]]:
    """A proxy with two workers before one such backend."""
    async with Keeping() as backend:
        config: dict[str, Any] = {"pools": {"app": {"backends": [backend.address], **pool}}}
        if routes is not None:
            config["routes"] = routes
        proxy = await rig.start_proxy(config)
        try:
            yield proxy, backend
        finally:
            backend.open()


async def ask(proxy: Proxy, rig: Rig, target: str = "/", *fields: str) -> asyncio.Task[Answer]:
    """A request on a connection of its own, on its way."""
    client = await rig.connect(proxy.address)
    return asyncio.create_task(client.ask("GET", target, *fields))


async def counts(proxy: Proxy, number: float, name: str, **labels: str) -> None:
    """Wait until a metric says so; Reports come once a second."""
    async with asyncio.timeout(15):
        while await proxy.admin.counter(f"failover_{name}", **labels) != number:  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.05)


async def waits(proxy: Proxy, number: int) -> None:
    """Wait until so many requests wait in the queue."""
    await counts(proxy, number, "waiting_requests")


async def test_a_limit_holds_over_both_workers_and_whoever_waits_gets_its_turn(rig: Rig) -> None:
    most = 4
    async with limited(rig, limits={"max_in_flight": most}, queue={"max_wait": "10s"}) as (proxy, backend):
        answers = [await ask(proxy, rig, f"/{number}") for number in range(24)]
        await until(lambda: len(backend.kept) >= most)
        await waits(proxy, 20)
        workers = {await proxy.worker_with(client) for client in rig._clients}
        held = (backend.most, len(backend.kept))
        backend.open()
        statuses = Counter(answer.status for answer in await asyncio.gather(*answers))
        await counts(proxy, 20, "waits_total", pool="app", result="served")
        print(f"24 requests to {len(workers)} workers: at most {backend.most} at a time, {statuses}")

    assert ((most, most), 2) == (held, len(workers))
    # Two workers that look in the same microsecond may let one more in.
    assert backend.most <= most + 1
    assert {200: 24} == statuses


async def test_who_finds_no_room_to_wait_or_waits_too_long_is_told_to_come_again(rig: Rig) -> None:
    queue = {"max_requests": 1, "max_wait": "300ms"}
    async with limited(rig, limits={"max_in_flight": 1}, queue=queue) as (proxy, backend):
        first = await ask(proxy, rig)
        await until(lambda: len(backend.kept) == 1)
        shed = await asyncio.gather(*[await ask(proxy, rig) for _ in range(4)])
        backend.open()
        good = await first
        after = await (await ask(proxy, rig))
        await counts(proxy, 4, "waits_total", pool="app")
        late = await proxy.admin.counter("failover_waits_total", pool="app", result="timeout")

    assert [503] * 4 == [answer.status for answer in shed]
    assert {"urn:failover-proxy:overloaded"} == {json.loads(answer.body)["type"] for answer in shed}
    assert {"1"} == {answer.field("retry-after") for answer in shed}
    assert {"failover-proxy; error=connection_limit_reached"} == {
        (answer.field("proxy-status") or "").rpartition("; details")[0] for answer in shed
    }
    # One waits in each worker that has some of them.
    assert late in {1, 2}
    assert (200, 200) == (good.status, after.status)


async def test_a_client_that_leaves_the_queue_frees_its_place(rig: Rig) -> None:
    async with limited(rig, limits={"max_in_flight": 1}, queue={"max_wait": "10s"}) as (proxy, backend):
        first = await ask(proxy, rig)
        await until(lambda: len(backend.kept) == 1)
        second = await ask(proxy, rig, "/leaves")
        await waits(proxy, 1)
        third = await ask(proxy, rig, "/stays")
        await waits(proxy, 2)
        second.cancel()
        rig._clients[1].reset()
        await waits(proxy, 1)
        backend.open()
        answers = await asyncio.gather(first, third)

    assert [b"/", b"/stays"] == [answer.body for answer in answers]
    assert ["/", "/stays"] == [asked.target for asked, _ in backend.kept]


async def test_the_critical_come_first_and_the_low_are_shed_for_them(rig: Rig) -> None:
    routes = [
        {"match": {"path": f"/{priority}/*"}, "pool": "app", "priority": priority}
        for priority in ("low", "normal", "critical")
    ]
    queue = {"max_requests": 2, "max_wait": "10s"}
    async with limited(rig, routes, limits={"max_in_flight": 1}, queue=queue) as (proxy, backend):
        first = await ask(proxy, rig, "/normal/0")
        await until(lambda: len(backend.kept) == 1)
        # One connection for each, all of them with one worker, so that they stand in one line.
        clients = [await rig.connect(proxy.address) for _ in range(24)]
        worker = await proxy.worker_with(clients[0])
        same = [client for client in clients if await proxy.worker_with(client) == worker][:4]
        low, other, normal, critical = (
            asyncio.create_task(client.ask("GET", f"/{priority}"))
            for client, priority in zip(same, ("low/1", "low/2", "normal/3", "critical/4"), strict=True)
        )
        shed = [await asyncio.wait_for(one, 10) for one in (other, low)]
        await waits(proxy, 2)
        backend.open()
        answers = await asyncio.gather(first, normal, critical)
        order = [asked.target for asked, _ in backend.kept]

    assert [503, 503] == [answer.status for answer in shed]
    assert [200] * 3 == [answer.status for answer in answers]
    assert ["/normal/0", "/critical/4", "/normal/3"] == order


async def test_a_rate_limit_holds_over_both_workers_and_for_each_client_alone(rig: Rig) -> None:
    limit = {"rate": "1/h", "burst": 6, "key": {"header": "X-Client"}}
    async with limited(rig, [{"name": "all", "pool": "app", "rate_limit": limit}]) as (proxy, backend):
        backend.open()
        clients = [await rig.connect(proxy.address) for _ in range(12)]
        workers = {await proxy.worker_with(client) for client in clients}
        answers = [await client.ask("GET", "/", "X-Client: a") for client in clients]
        again = await clients[-1].ask("GET", "/", "X-Client: a")
        other = await clients[-1].ask("GET", "/", "X-Client: b")
        await until(lambda: len(backend.kept) == 7)
        await counts(proxy, 7, "rate_limited_total", route="all")

    assert 2 == len(workers)
    assert [200] * 6 + [429] * 6 == [answer.status for answer in answers]
    assert (429, 200) == (again.status, other.status)
    assert "urn:failover-proxy:rate_limited" == json.loads(again.body)["type"]
    assert 3000 < int(again.field("retry-after") or "") <= 3600


async def test_adaptive_concurrency_sheds_under_overload_and_recovers(rig: Rig) -> None:
    """A backend that serves four at a time in 20 ms each: 200 a second; twice as many come."""

    async def serve(asked: Asked) -> None:
        async with places:
            await asyncio.sleep(0.02)
        asked.answer(200, "X-Backend: four")

    places = asyncio.Semaphore(4)
    async with Scripted(serve) as backend:
        proxy = await rig.start_proxy({
            "workers": 1,
            "pools": {
                "app": {
                    "backends": [backend.address],
                    "adaptive_concurrency": {"window": "200ms", "min_limit": 2},
                    "queue": {"max_requests": 10, "max_wait": "100ms"},
                }
            },
        })  # fmt: skip
        clients = [await rig.connect(proxy.address) for _ in range(60)]
        calm = [(await clients[0].ask("GET", "/")).status for _ in range(25)]
        loop = asyncio.get_running_loop()
        until_ = loop.time() + 2.5
        took: list[tuple[float, int]] = []

        async def hammer(client: Client) -> None:
            while loop.time() < until_:
                began = loop.time()
                status = (await client.ask("GET", "/")).status
                took.append((loop.time() - began, status))
                if status != 200:
                    await asyncio.sleep(0.05)

        await asyncio.gather(*map(hammer, clients))
        limit = await proxy.admin.counter("failover_concurrency_limit", pool="app")
        after = [(await clients[0].ask("GET", "/")).status for _ in range(5)]
    late = sorted(seconds for seconds, status in took[len(took) // 2 :] if status == 200)
    shed = sum(status == 503 for _, status in took)
    print(f"limit {limit:g}; {len(took)} requests, {shed} shed; served ones took {late[len(late) // 2] * 1000:.0f} ms")

    assert {200} == {*calm, *after}
    assert shed > 0
    assert {200, 503} == {status for _, status in took}
    # Without it, 60 at a time would take 300 ms each.
    assert limit <= 20
    assert late[len(late) // 2] < 0.25
