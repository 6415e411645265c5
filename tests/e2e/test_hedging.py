"""Hedging: one answer in ten of a backend is slow, and clients don't notice; what it costs, and what is never hedged."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

from tests.e2e.load import Load
from tests.e2e.rig import Proxy, Rig
from tests.e2e.scripted import Asked, Scripted

SLOW = 0.5
"""Seconds that a slow answer takes."""
EVERY = 10
"""So many requests have one slow one among them."""
QUICK_ENOUGH = 0.25


@dataclass
class Tails:
    """Three backends, one of which is slow now and then."""

    asked: Counter[str] = field(default_factory=Counter)
    bodies: Counter[bytes] = field(default_factory=Counter)
    cancelled: int = 0
    slow: int = 0

    def handler(self, name: str, *, has_tail: bool) -> Any:
        async def serve(asked: Asked) -> None:
            body = await asked.body()
            self.asked[asked.method] += 1
            self.bodies[body or asked.target.encode()] += 1
            if has_tail and asked.method == "GET" and self.asked["GET"] % EVERY == 0:
                self.slow += 1
                try:
                    async with asyncio.timeout(SLOW):
                        await asked.reader.read(1)
                        self.cancelled += 1
                        return
                except TimeoutError:
                    pass
            asked.answer(200, f"X-Backend: {name}", body=body or asked.target.encode())

        return serve


async def run(rig: Rig, tails: Tails, hedge: str, number: int) -> tuple[Proxy, Load]:
    """So many requests through a proxy that hedges after so long."""
    async with AsyncExitStack() as stack:
        backends = [
            await stack.enter_async_context(Scripted(tails.handler(name, has_tail=True)))
            for name in ("red", "green", "blue")
        ]
        pool = {
            "backends": [one.address for one in backends],
            "balance": "round_robin",
            "outlier": {"detect": False},
            "hedge": {"after": hedge},
        }
        proxy = await rig.start_proxy({"pools": {"app": pool}})
        async with Load(proxy.address) as load:
            await load.answered(number)
        return proxy, load


def p99(load: Load) -> float:
    seconds = sorted(record.seconds for record in load.records if record.method == "GET")
    return seconds[int(0.99 * len(seconds))]


async def test_one_slow_answer_in_ten_is_not_felt_within_the_budget_and_no_write_is_hedged(rig: Rig) -> None:
    plain, hedged = Tails(), Tails()
    _, without = await run(rig, plain, "none", 200)
    proxy, load = await run(rig, hedged, "60ms", 300)
    reads = sum(record.method == "GET" for record in load.records)
    extra = hedged.asked["GET"] - reads
    print(
        f"p99 {p99(without) * 1000:.0f} ms without, {p99(load) * 1000:.0f} ms with; {hedged.slow} slow answers, "
        f"{hedged.cancelled} cancelled, {extra} hedges for {len(load.records)} requests"
    )
    hedges = {
        result: await proxy.admin.counter("failover_hedges_total", pool="app", result=result)
        for result in ("won", "lost", "failed")
    }

    assert [] == load.failed("GET") + load.failed("POST") + without.failed("GET")
    assert p99(without) >= SLOW
    assert p99(load) < QUICK_ENOUGH
    # The budget: a fifth of the requests, and 10 a second over both workers.
    assert 0 < extra <= 0.2 * len(load.records) + 100
    assert sum(hedges.values()) <= extra
    assert hedged.cancelled > 0
    # Each write once, and each backend without blame.
    writes = {record.id.encode() for record in load.records if record.method == "POST"}
    assert [1] * len(writes) == [hedged.bodies[write] for write in writes]
    failures = await proxy.admin.counter("failover_backend_failures_total", pool="app")
    assert 0 == failures
