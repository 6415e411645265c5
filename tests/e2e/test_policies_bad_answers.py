"""Backends that answer badly, or are said to be worse than they are: no read fails, and what was measured is printed."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from tests.e2e.client import PATIENCE
from tests.e2e.load import Load
from tests.e2e.rig import Proxy, Rig, until
from tests.e2e.scripted import Asked, Scripted

POOL: dict[str, Any] = {
    "timeouts": {"connect": "250ms", "first_byte": "2s"},
    "health": {"interval": "500ms", "fast_interval": "100ms", "timeout": "250ms", "fall": 2},
    "breaker": {"consecutive": 3, "open_for": "500ms", "open_for_max": "1s"},
}
FIELDS = b"HTTP/1.1 200 OK\r\nX-Backend: bad\r\n"
HALVES = {
    "counted": FIELDS + b"Content-Length: 1000\r\n\r\nhalf of",
    "chunked": FIELDS + b"Transfer-Encoding: chunked\r\n\r\n7\r\nhalf of\r\n",
    "junk": b"\x16\x03\x01 SSH-2.0-whatever\r\n\r\n",
}
TENTHS = (2, 5, 8)
"""Which of ten connections each backend closes: all at once would be an outage."""
Handler = Callable[[Asked], Awaitable[None]]


async def well(asked: Asked) -> None:
    """Say what was asked for."""
    body = await asked.body()
    asked.answer(200, "X-Backend: well", body=body or asked.target.encode())


def says(data: bytes) -> Handler:
    """Send this to everybody, and cut."""

    async def handler(asked: Asked) -> None:
        await asked.body()
        asked.send(data)
        await asked.writer.drain()
        asked.writer.close()

    return handler


def closes_every_tenth(which: int) -> Handler:
    """Each connection carries three requests; each tenth is closed without an answer, at each backend another."""
    carried: Counter[int] = Counter()

    async def handler(asked: Asked) -> None:
        carried[asked.connection] += 1
        if asked.connection % 10 == which:
            asked.abort()
            return
        await well(asked)
        if carried[asked.connection] == 3:
            asked.writer.close()

    return handler


async def unwell_health(asked: Asked) -> None:
    """Fail every probe, and serve everything else."""
    if asked.target == "/healthz":
        asked.answer(500)
    else:
        await well(asked)


@contextlib.asynccontextmanager
async def served(rig: Rig, *handlers: Handler, **changes: Any) -> AsyncIterator[tuple[Proxy, list[Scripted]]]:
    """A proxy before backends that do so."""
    async with contextlib.AsyncExitStack() as stack:
        backends = [await stack.enter_async_context(Scripted(handler)) for handler in handlers]
        names = [{"name": f"b{number}", "address": one.address} for number, one in enumerate(backends)]
        yield await rig.start_proxy({"pools": {"app": {**POOL, **changes, "backends": names}}}), backends


def report(what: str, load: Load) -> None:
    reads = [record for record in load.records if record.method == "GET"]
    slowest = max(record.seconds for record in reads) * 1000
    print(f"{what}: {len(reads)} reads, {len(load.failed('GET'))} failed, slowest {slowest:.0f} ms")


async def retried(proxy: Proxy) -> float:
    """How many requests were tried again with success, once the workers have reported some."""
    found = 0.0
    async with asyncio.timeout(PATIENCE):
        while not found:
            found = await proxy.admin.counter("failover_retries_total", pool="app", result="success")
    return found


@pytest.mark.parametrize("what", HALVES)
async def test_a_backend_that_spoils_every_answer_fails_no_read(rig: Rig, what: str) -> None:
    async with served(rig, says(HALVES[what]), well, well) as (proxy, backends):
        async with Load(proxy.address, writes=False) as load:
            await load.answered(60)
            await until(lambda: "backend=b0 from=closed to=open" in proxy.log)
            await load.answered(60)
        saved = await retried(proxy)
    report(f"{what}: spoilt {len(backends[0].asked)} answers, {saved:.0f} tried again with success", load)

    assert [] == load.failed("GET")
    assert len(backends[0].asked) < 30


async def test_where_every_probe_fails_and_the_traffic_is_fine_the_traffic_is_believed(rig: Rig) -> None:
    health = {**POOL["health"], "path": "/healthz"}
    async with served(rig, unwell_health, unwell_health, unwell_health, health=health) as (proxy, _):
        async with Load(proxy.address) as load:
            await load.answered(30)
            await until(lambda: proxy.log.count("health changed") >= 3 and "panic changed" in proxy.log)
            await load.answered(150)
        document = await proxy.admin.get("/v1/pools/app")
    report("every probe fails", load)

    assert [] == [str(record) for record in load.records if not record.is_good]
    assert document["panic"] is True
    assert [["failed_probes"]] * 3 == [one["reasons"] for one in document["backends"]]


async def test_every_backend_may_close_a_tenth_of_its_connections(rig: Rig) -> None:
    three = [closes_every_tenth(which) for which in TENTHS]
    async with served(rig, *three) as (proxy, backends), Load(proxy.address) as load:
        await load.answered(300)
    pairs = zip(TENTHS, backends, strict=True)
    closed = sum(one.connection % 10 == which for which, backend in pairs for one in backend.asked)
    report(f"a tenth of the connections closed: {closed} of {sum(len(one.asked) for one in backends)} requests", load)

    assert [] == load.failed("GET")
    assert [] == load.untold()
    assert closed >= 5
