"""`make demo`: kills, hangs and spoils backends one after the other under load, and counts what the clients see.

Real processes on free ports of this machine: the proxy with two workers, three sample backends, an open-loop client.
Exits with 1 if a client saw a failure that another backend could have prevented, if a write ran twice, or if a backend
was not taken out or not taken back.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import uvloop

from proxy.samples.children import Children, SampleBackend, StartError
from proxy.samples.client import OpenLoopClient
from proxy.samples.screen import Screen
from proxy.samples.summary import Figures, Round, summarise
from proxy.samples.watch import Watch

RATE = 250.0
"""Requests a second."""
NAMES = ("red", "green", "blue")
CALM = 1.5
"""Seconds of undisturbed load before each fault."""
WITHIN = 8.0
"""Seconds within which a backend has to be out, and back."""


def configuration(backends: list[SampleBackend]) -> str:
    """Build the proxy's config: quick probes and short openings, so that a fault can be seen in seconds."""
    pool = {
        "timeouts": {"connect": "250ms", "first_byte": "500ms"},
        "health": {"path": "/healthz", "interval": "500ms", "fast_interval": "100ms", "timeout": "250ms", "fall": 2},
        "breaker": {"open_for": "1s"},
        "backends": [{"name": backend.name, "url": f"http://{backend.address}"} for backend in backends],
    }
    return json.dumps(
        {
            "workers": 2,
            "listeners": {"web": "127.0.0.1:0"},
            "admin": {"address": "127.0.0.1:0"},
            "pools": {"app": pool},
        }
    )


class Injection(NamedTuple):
    """A fault: what is said, how it is brought about, how it is lifted."""

    title: str
    backend: str
    begin: Callable[[], Awaitable[object]]
    lift: Callable[[], Awaitable[object]]
    lifted: str


@dataclass(slots=True)
class Stage:
    """Everything that runs."""

    children: Children
    folder: Path
    screen: Screen
    backends: dict[str, SampleBackend]

    @property
    def executions(self) -> Path:
        """The file in which backends note each write that they execute."""
        return self.folder / "executions"

    @property
    def log(self) -> Path:
        """The file into which the proxy logs."""
        return self.folder / "proxy.log"

    async def start(self, name: str, port: str = "0") -> None:
        """Start a backend, or start it again."""
        options = ["--port", port, "--executions", str(self.executions), "--delay-ms", "2"]
        self.backends[name] = await self.children.backend(name, *options)

    async def kill(self, name: str) -> None:
        """Kill a backend in the midst of what it does."""
        self.backends[name].process.kill()
        await self.backends[name].process.wait()

    async def revive(self, name: str) -> None:
        """Start a killed backend again where it was."""
        await self.start(name, self.backends[name].address.rpartition(":")[2])

    async def stop(self, name: str, number: signal.Signals) -> None:
        """Stop a process, or let it go on."""
        self.backends[name].process.send_signal(number)

    async def spoil(self, name: str, mode: str) -> None:
        """Set a fault in a backend whose health path stays green."""
        fault = {"mode": mode, "spares_health": True}
        async with (
            aiohttp.ClientSession(raise_for_status=True) as session,
            session.put(f"http://{self.backends[name].control}/_fault", json=fault),
        ):
            pass


def injections(stage: Stage) -> list[Injection]:
    """Everything that is done to the backends, in turn."""
    red, green, blue = NAMES
    return [
        Injection("kill -9", red, lambda: stage.kill(red), lambda: stage.revive(red), "is started again"),
        Injection(
            "hang (kill -STOP)",
            green,
            lambda: stage.stop(green, signal.SIGSTOP),
            lambda: stage.stop(green, signal.SIGCONT),
            "goes on (kill -CONT)",
        ),
        Injection(
            "503 to everything but probes",
            blue,
            lambda: stage.spoil(blue, "503"),
            lambda: stage.spoil(blue, "none"),
            "is well",
        ),
        Injection(
            "half an answer, then gone",
            red,
            lambda: stage.spoil(red, "half"),
            lambda: stage.spoil(red, "none"),
            "is well",
        ),
    ]


async def play(stage: Stage) -> Figures:
    """Start everything, bring about each fault and count."""
    told = await _start(stage)
    client = OpenLoopClient(told["listeners"]["web"], RATE)
    watch = Watch(told["admin"], "app", stage.screen.standing)
    stage.screen.say(f"load: {RATE:g} requests a second to http://{told['listeners']['web']}, one in 20 a POST")
    async with asyncio.TaskGroup() as group:
        background = [group.create_task(task) for task in (client.run(), watch.run(), stage.screen.show(client))]
        rounds = [await _round(stage.screen, watch, injection) for injection in injections(stage)]
        await asyncio.sleep(CALM)
        for task in background:
            task.cancel()
    executions = Counter(stage.executions.read_text().splitlines())
    repeated = [write for write, times in executions.items() if times > 1]
    return Figures(client.tally, client.connections, rounds, watch.pool, repeated)


async def _start(stage: Stage) -> dict[str, Any]:
    for name in NAMES:
        await stage.start(name)
    config = stage.folder / "demo.json"
    config.write_text(configuration(list(stage.backends.values())))
    with stage.log.open("w") as log:
        _, told = await stage.children.proxy(config, stage.folder / "addresses.json", log)
    return told


async def _round(screen: Screen, watch: Watch, injection: Injection) -> Round:
    """One fault from its beginning until the backend is back."""
    await asyncio.sleep(CALM)
    screen.fault(f"{injection.backend}: {injection.title}")
    await injection.begin()
    out = await watch.until(injection.backend, available=False, within=WITHIN)
    await asyncio.sleep(CALM)
    await injection.lift()
    screen.recovery(f"{injection.backend} {injection.lifted}")
    back = await watch.until(injection.backend, available=True, within=WITHIN)
    return Round(injection.title, out, back)


async def run(screen: Screen) -> int:
    """Play, sum up; the exit code."""
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    with tempfile.TemporaryDirectory(prefix="failover-proxy-") as folder:
        async with Children() as children:
            stage = Stage(children, Path(folder), screen, {})
            try:
                figures = await play(stage)
            except (StartError, ExceptionGroup) as error:
                _complain(stage, error.exceptions[0] if isinstance(error, ExceptionGroup) else error)
                return 1
    screen.clear()
    print(summarise(figures, screen))
    return 0 if figures.is_good else 1


def _complain(stage: Stage, error: Exception) -> None:
    stage.screen.clear()
    print(f"error: {error}", file=sys.stderr)
    if stage.log.exists():
        print("The proxy's log ends with:", *stage.log.read_text().splitlines()[-20:], sep="\n  ", file=sys.stderr)


def main() -> int:
    """Run the demo; the exit code."""
    is_terminal = sys.stdout.isatty()
    try:
        return uvloop.run(
            run(Screen(is_terminal=is_terminal, is_coloured=is_terminal and not os.environ.get("NO_COLOR")))
        )
    except asyncio.CancelledError:
        return 130


if __name__ == "__main__":
    sys.exit(main())
