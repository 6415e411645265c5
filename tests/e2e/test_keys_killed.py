"""The proxy itself is killed at random moments, and clients repeat with the same keys: each write is executed once.

`make cuts` does it with more seeds.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
from collections import Counter

import pytest

from tests.e2e.client import Answer, BrokenOffError, Client
from tests.e2e.rig import Proxy, Rig, until
from tests.e2e.scripted import Asked, Scripted

CLIENTS = 10
WRITES = 40
"""Of each client."""
KILLS = 8


class Gateway:
    """Honours keys; each answer tells which charge of which gateway it was."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.charges: dict[str, int] = {}
        self.asked: Counter[str] = Counter()

    async def __call__(self, asked: Asked) -> None:
        await asked.body()
        key = asked.field("idempotency-key") or "none"
        self.asked[key] += 1
        charge = self.charges.setdefault(key, len(self.charges) + 1)
        await asyncio.sleep(0.001 * (charge % 7))
        asked.answer(201, body=f"charge {charge} of {self.name}".encode())


class Street:
    """A proxy that is killed and started anew, and the clients that live through it."""

    def __init__(self, rig: Rig, backends: list[str]) -> None:
        self._rig = rig
        pool = {
            "backends": backends,
            "idempotency": {},
            "balance": "round_robin",
            "health": {"interval": "1h", "fast_interval": "1h", "jitter": "100%"},
            "breaker": {"consecutive": 1000, "min_requests": 1000},
        }
        self._config = {"workers": 2, "state_dir": str(rig.folder / "state"), "pools": {"app": pool}}
        self.address = ""
        self.answers: dict[str, list[Answer]] = {}

    async def open(self) -> Proxy:
        proxy = await self._rig.start_proxy(self._config)
        self.address = proxy.address
        return proxy

    async def write(self, key: str) -> Answer:
        """Repeat, as real clients do, until the gateway has answered."""
        async with asyncio.timeout(60):
            while True:
                with contextlib.suppress(OSError, BrokenOffError):
                    async with await Client.connect(self.address) as client:
                        answer = await client.ask("POST", "/pay", f"Idempotency-Key: {key}", body=b"5 EUR")
                    if answer.status == 201:
                        self.answers.setdefault(key, []).append(answer)
                        return answer
                await asyncio.sleep(0.01)

    async def shop(self, client: int) -> None:
        for number in range(WRITES):
            await self.write(f"{client}-{number}")


def kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


async def torment(street: Street, proxy: Proxy, rng: random.Random) -> Counter[str]:
    """Kill a worker, or the supervisor and its workers one by one; what was killed."""
    killed: Counter[str] = Counter()
    for _ in range(KILLS):
        await asyncio.sleep(rng.uniform(0.05, 0.4))
        workers = proxy.workers()
        if rng.random() < 0.5 and workers:
            kill(rng.choice(workers))
            killed["worker"] += 1
            continue
        proxy.process.kill()
        await proxy.process.wait()
        for pid in rng.sample(workers, len(workers)):
            await asyncio.sleep(rng.uniform(0.0, 0.05))
            kill(pid)
        await until(lambda workers=workers: not any(os.path.exists(f"/proc/{pid}") for pid in workers))  # noqa: PTH110
        killed["proxy"] += 1
        proxy = await street.open()
    return killed


@pytest.mark.parametrize("seed", [1, 2, 3] if os.environ.get("CUTS") == "full" else [1])
async def test_a_proxy_that_is_killed_at_random_moments_has_no_write_executed_twice(rig: Rig, seed: int) -> None:
    rng = random.Random(seed)
    gateways = [Gateway("red"), Gateway("blue")]
    async with Scripted(gateways[0]) as red, Scripted(gateways[1]) as blue:
        street = Street(rig, [red.address, blue.address])
        proxy = await street.open()
        shopping = asyncio.gather(*(street.shop(client) for client in range(CLIENTS)))
        killed = await torment(street, proxy, rng)
        await shopping
        for key in list(street.answers):
            await street.write(key)

    keys = {f"{client}-{number}" for client in range(CLIENTS) for number in range(WRITES)}
    assert keys == street.answers.keys()
    assert [] == sorted(gateways[0].charges.keys() & gateways[1].charges.keys())
    assert dict.fromkeys(keys, 1) == {
        key: len({answer.body for answer in found}) for key, found in street.answers.items()
    }
    assert ["true"] * len(keys) == [found[-1].field("idempotency-replayed") for found in street.answers.values()]
    asked = sum(gateway.asked.total() for gateway in gateways)
    print(f"seed {seed}: {len(keys)} writes, {dict(killed)} killed, {asked} requests at the gateways")
