"""One soak: traffic, kills, a look every second, and two looks at rest that must not differ."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from proxy.samples.children import Children
from tests.e2e.rig import Proxy, Rig, now
from tests.soak.gauges import HEADING, Holding, look, workers_of
from tests.soak.traffic import KINDS, Tally, run

BACKENDS = ("red", "green", "blue")
LASTING, DOOMED = 0, 1
"""The worker that lives from beginning to end, and the one that is killed again and again."""
KILL_BACKEND, KILL_WORKER = 4.0, 11.0
"""Seconds between two kills."""
REST = 30.0
"""Seconds within which everything must have come to rest; the clocks of `POLICIES` are all much shorter."""
POLICIES: dict[str, Any] = {
    "timeouts": {
        "connect": "500ms", "first_byte": "2s", "stall": "3s", "backend_idle": "2s", "tunnel_idle": "5s",
        "request_head": "2s", "client_idle": "4s",
    },
    "health": {"interval": "500ms", "fast_interval": "100ms", "timeout": "400ms", "fall": 2},
    "breaker": {"open_for": "500ms", "open_for_max": "1s"},
    "ejection": {"panic_below": "50%"},
}  # fmt: skip


@dataclass(slots=True)
class Report:
    """What a soak has found."""

    seed: int
    tally: Tally = field(default_factory=Tally)
    series: list[dict[str, Holding]] = field(default_factory=list)
    rests: list[dict[str, Holding]] = field(default_factory=list)
    killed: dict[str, int] = field(default_factory=dict)

    def grown(self, name: str) -> tuple[int, int, float]:
        """Descriptors, tasks and MiB that a process holds more at the end than at the first rest."""
        first, last = self.rests[0][name], self.rests[-1][name]
        return last.descriptors - first.descriptors, last.tasks - first.tasks, last.memory - first.memory

    def lines(self) -> list[str]:
        """The final table."""
        rows = [one[name].row(name) for one in self.rests for name in sorted(one)]
        kinds = [f"{kind:10} {self.tally.good[kind]:8} {self.tally.failed[kind]:8}" for kind in KINDS]
        total = f"{'all':10} {self.tally.good.total():8} {self.tally.failed.total():8}"
        return [
            f"seed {self.seed}, killed: {self.killed}",
            "",
            f"{'kind':10} {'good':>8} {'failed':>8}",
            *kinds,
            total,
            "",
            "at rest:",
            HEADING,
            *rows,
            *(f"WRONG: {one}" for one in self.tally.wrong[:20]),
        ]


class Fleet:
    """The backends of a soak, which are killed and come back where they were."""

    def __init__(self, children: Children) -> None:
        self._children = children
        self._processes: dict[str, asyncio.subprocess.Process] = {}
        self.addresses: dict[str, str] = {}

    async def start(self, name: str) -> None:
        port = self.addresses.get(name, ":0").rpartition(":")[2]
        process = await self._children.start(
            "-m", "tests.soak.backend", "--port", port, orphaned=signal.SIGKILL, stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        self.addresses[name] = json.loads(await process.stdout.readline())["address"]
        self._processes[name] = process

    async def kill(self, name: str) -> None:
        self._processes[name].kill()
        await self._processes[name].wait()


@contextlib.asynccontextmanager
async def going_on(*works: Any) -> AsyncIterator[None]:
    """These go on meanwhile; what fails in them fails here."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
    for end in ends:
        if isinstance(end, Exception):
            raise end


async def kill_backends(fleet: Fleet, rng: random.Random, report: Report) -> None:
    """One at a time, and never for long."""
    while True:
        await asyncio.sleep(rng.uniform(0.5, 1.5) * KILL_BACKEND)
        name = rng.choice(BACKENDS)
        report.killed[name] = report.killed.get(name, 0) + 1
        replacing = asyncio.ensure_future(replace(fleet, name, rng.uniform(0.1, 1.0)))
        try:
            await asyncio.shield(replacing)
        except asyncio.CancelledError:
            # Ended in between, it would leave a backend dead.
            await replacing
            raise


async def replace(fleet: Fleet, name: str, seconds: float) -> None:
    await fleet.kill(name)
    await asyncio.sleep(seconds)
    await fleet.start(name)


async def kill_workers(proxy: Proxy, rng: random.Random, report: Report) -> None:
    while True:
        await asyncio.sleep(rng.uniform(0.5, 1.5) * KILL_WORKER)
        if (pid := workers_of(proxy).get(DOOMED)) is not None:
            report.killed["worker"] = report.killed.get("worker", 0) + 1
            os.kill(pid, signal.SIGKILL)


async def watch(proxy: Proxy, begun: float, report: Report, say: Callable[[str], None]) -> None:
    """A look every second, told every fifth."""
    while True:
        holdings = await look(proxy, now() - begun)
        report.series.append(holdings)
        if len(report.series) % 5 == 1:
            for name in sorted(holdings):
                say(holdings[name].row(name))
        await asyncio.sleep(1)


async def rest(proxy: Proxy, begun: float) -> dict[str, Holding]:
    """Wait until no client is connected and no connection to a backend is kept; then look."""
    async with asyncio.timeout(REST):
        calm = 0
        while calm < 3:
            await asyncio.sleep(0.5)
            holdings = await look(proxy, now() - begun)
            workers = [one for name, one in holdings.items() if name != "supervisor"]
            is_calm = len(workers) == 2 and not any(one.connections or one.idle for one in workers)
            calm = calm + 1 if is_calm else 0
    return holdings


async def soak(rig: Rig, seconds: float, seed: int, say: Callable[[str], None]) -> Report:
    """Traffic for so long in all, with a rest after the first tenth, but at most after half a minute, and at the end."""
    report, rng = Report(seed), random.Random(seed)
    async with Children() as children:
        fleet = Fleet(children)
        await asyncio.gather(*(fleet.start(name) for name in BACKENDS))
        backends = [{"name": name, "address": address} for name, address in fleet.addresses.items()]
        proxy = await rig.start_proxy({"defaults": POLICIES, "pools": {"app": {"backends": backends}}})
        begun = now()
        first = min(max(seconds / 10, 8.0), 30.0)
        say(HEADING)
        for number, length in enumerate((first, seconds - first)):
            async with going_on(
                kill_backends(fleet, rng, report),
                kill_workers(proxy, rng, report),
                watch(proxy, begun, report, say),
            ):
                await run(proxy.address, seed * 2 + number, report.tally, length)
            report.rests.append(await rest(proxy, begun))
    return report
