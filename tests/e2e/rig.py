"""Real processes for end-to-end tests: sample backends, the proxy with its workers, and what can be done to them.

Everything that a Rig starts ends with it, however the test ends. Ports are always free ones.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from proxy.samples.children import Children, SampleBackend
from proxy.samples.watch import Standing, Watch
from tests.e2e.client import PATIENCE, Client

CONSECUTIVE = 3
OPEN_FOR = 1.0
FIRST_BYTE = 0.3
POLICIES: dict[str, Any] = {
    "timeouts": {"connect": "250ms", "first_byte": f"{FIRST_BYTE * 1000:g}ms"},
    "health": {"path": "/healthz", "interval": "500ms", "fast_interval": "100ms", "timeout": "250ms", "fall": 2},
    "breaker": {"consecutive": CONSECUTIVE, "open_for": f"{OPEN_FOR:g}s", "open_for_max": f"{OPEN_FOR:g}s"},
}
"""A pool that learns of failures quickly; its breakers stay open for the same time again and again."""
NAMES = ("red", "green", "blue")

Json = dict[str, Any]


now = time.monotonic
"""The clock of every measurement here; the loop's own stands still while a callback runs."""


async def happens(event: asyncio.Event) -> None:
    """Wait for an event; fail after `PATIENCE`."""
    await asyncio.wait_for(event.wait(), PATIENCE)


async def until(happened: Callable[[], bool], within: float = PATIENCE) -> None:
    """Wait for something that has no event of its own; fail after so many seconds."""
    async with asyncio.timeout(within):
        while not happened():  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.01)


class Admin:
    """The admin endpoint of a running proxy."""

    def __init__(self, address: str, session: aiohttp.ClientSession) -> None:
        self.address = address
        self._session = session

    async def get(self, path: str) -> Json:
        """GET a document."""
        async with self._session.get(f"http://{self.address}{path}") as answer:
            document: Json = await answer.json(content_type=None)
            return document

    async def text(self, path: str) -> tuple[int, str]:
        """GET a page: its status and text."""
        async with self._session.get(f"http://{self.address}{path}") as answer:
            return answer.status, await answer.text()

    async def samples(self) -> list[Sample]:
        """Everything on the metrics page."""
        _, page = await self.text("/metrics")
        return [sample for family in text_string_to_metric_families(page) for sample in family.samples]

    async def counter(self, name: str, **labels: str) -> float:
        """The sum of a metric over all series with these labels."""
        samples = await self.samples()
        return sum(one.value for one in samples if one.name == name and labels.items() <= one.labels.items())

    async def patch(self, backend: str, pool: str = "app", **change: object) -> Json:
        """Change a backend."""
        url = f"http://{self.address}/v1/pools/{pool}/backends/{backend}"
        async with self._session.patch(url, json=change) as answer:
            document: Json = await answer.json()
            if answer.status != 200:
                raise AssertionError(document)
            return document

    async def reload(self) -> tuple[int, Json]:
        """Have the config read anew; status and document."""
        async with self._session.post(f"http://{self.address}/v1/reload") as answer:
            return answer.status, await answer.json(content_type=None)

    async def post(self, order: str, document: Json, pool: str = "app") -> Json:
        """Order a switch of an active-passive pool."""
        async with self._session.post(f"http://{self.address}/v1/pools/{pool}/{order}", json=document) as answer:
            told: Json = await answer.json()
            if answer.status != 200:
                raise AssertionError(told)
            return told

    async def backend(self, name: str, pool: str = "app") -> Json:
        """One backend's document."""
        return await self.get(f"/v1/pools/{pool}/backends/{name}")


class Proxy:
    """A running proxy."""

    def __init__(self, process: asyncio.subprocess.Process, told: Json, admin: Admin, log: Path, config: Path) -> None:
        self.process = process
        self.config = config
        self.listeners: dict[str, str] = told["listeners"]
        self.admin = admin
        self._log = log

    @property
    def address(self) -> str:
        """Of the first listener."""
        return next(iter(self.listeners.values()))

    def rewrite(self, **changes: Any) -> None:
        """Give its config file other values at the top; a reload is to follow."""
        self.config.write_text(json.dumps(json.loads(self.config.read_text()) | changes))

    async def reload(self, **changes: Any) -> Json:
        """Change its config file and have it read anew; what has changed."""
        self.rewrite(**changes)
        status, document = await self.admin.reload()
        if status != 200:
            raise AssertionError(document)
        return document

    @property
    def log(self) -> str:
        """All that it and its workers have said."""
        return self._log.read_text()

    def workers(self) -> list[int]:
        """Process ids of the workers that run now."""
        pid = self.process.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    async def kill(self) -> None:
        """Kill the supervisor and its workers, none of which is to serve on."""
        workers = self.workers()
        self.process.kill()
        await self.process.wait()
        for pid in workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    async def worker_with(self, client: Client, address: str = "") -> int:
        """The worker that has accepted this connection, or does so now; of another listener if so said."""
        await until(lambda: self._holder(client, address) is not None)
        return self.worker_of(client, address)

    def worker_of(self, client: Client, address: str = "") -> int:
        """The worker that has accepted this connection; of another listener than the first if so said."""
        pid = self._holder(client, address)
        assert pid is not None, f"no worker has the connection from port {client.port}"
        return pid

    def _holder(self, client: Client, address: str) -> int | None:
        inode = _inode(int((address or self.address).rpartition(":")[2]), client.port)
        for pid in self.workers():
            for link in Path(f"/proc/{pid}/fd").iterdir():
                with contextlib.suppress(FileNotFoundError):
                    if str(link.readlink()) == f"socket:[{inode}]":
                        return pid
        return None


def _inode(port: int, peer: int) -> str | None:
    """Of the socket between these two ports (proc(5), /proc/net/tcp)."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    wanted = [f"{port:04X}", f"{peer:04X}"]
    return next((row[9] for row in rows if [end.rpartition(":")[2] for end in row[1:3]] == wanted), None)


class Rig:
    """Starts things, and breaks them."""

    def __init__(self, children: Children, folder: Path, session: aiohttp.ClientSession) -> None:
        self._children = children
        self._session = session
        self.folder = folder
        self.backends: dict[str, SampleBackend] = {}
        self._clients: list[Client] = []
        self.expected: list[str] = []
        """Parts of lines of the log that speak of a mistake which the test makes on purpose."""

    # Starting

    async def start_backends(self, *names: str, delay_ms: int = 2, certificate: str = "") -> None:
        """Start sample backends that note each write that they execute; with a `certificate` they speak TLS."""
        options = ["--executions", str(self.folder / "executions"), "--delay-ms", str(delay_ms)]
        options += ["--certificate", certificate] if certificate else []
        started = await asyncio.gather(*(self._children.backend(name, *options) for name in names))
        self.backends |= {one.name: one for one in started}

    async def start_proxy(self, config: Json) -> Proxy:
        """Start the proxy; what the config leaves out is two workers and free ports."""
        config = {"workers": 2, "listeners": {"web": "127.0.0.1:0"}, "admin": "127.0.0.1:0"} | config
        path, log = self.folder / "proxy.json", self.folder / "proxy.log"
        path.write_text(json.dumps(config))
        addresses = self.folder / "addresses.json"
        addresses.unlink(missing_ok=True)
        with log.open("w") as output:
            process, told = await self._children.proxy(path, addresses, output)
        return Proxy(process, told, Admin(told["admin"], self._session), log, path)

    async def start(self, **changes: Any) -> Proxy:
        """Start three backends and a proxy before them, with `POLICIES`."""
        await self.start_backends(*NAMES)
        return await self.start_proxy({"pools": {"app": {**POLICIES, "backends": self.addresses(), **changes}}})

    async def connect(self, address: str) -> Client:
        """Open a connection that is closed with the Rig."""
        self._clients.append(await Client.connect(address))
        return self._clients[-1]

    def close(self) -> None:
        """Close the connections, end the backends at once, and show what was logged; `Children` ends the rest."""
        for backend in self.backends.values():
            if backend.process.returncode is None:
                backend.process.kill()
        for client in self._clients:
            client.close()
        for log in self.folder.glob("*.log"):
            print(f"{log.name}:", log.read_text(), sep="\n")

    def mistakes(self) -> list[str]:
        """Lines of logs that speak of a mistake of ours."""
        lines = [line for log in self.folder.glob("*.log") for line in log.read_text().splitlines()]
        lines = [line for line in lines if "Traceback" in line or " error " in line.lower()]
        return [line for line in lines if not any(part in line for part in self.expected)]

    def addresses(self) -> list[Json]:
        """The backends as a config lists them."""
        return [{"name": one.name, "address": one.address} for one in self.backends.values()]

    # Breaking

    async def kill(self, name: str) -> None:
        """Kill a backend in the midst of what it does."""
        self.backends[name].process.kill()
        await self.backends[name].process.wait()

    async def revive(self, name: str) -> None:
        """Start a killed backend again where it was."""
        port = self.backends[name].address.rpartition(":")[2]
        options = ("--port", port, "--executions", str(self.folder / "executions"), "--delay-ms", "2")
        self.backends[name] = await self._children.backend(name, *options)

    async def spoil(self, name: str, mode: str, *, spares_health: bool = False) -> None:
        """Set a fault, or lift it with `none`."""
        url = f"http://{self.backends[name].control}/_fault"
        async with self._session.put(url, json={"mode": mode, "spares_health": spares_health}) as answer:
            answer.raise_for_status()

    async def freeze(self, name: str) -> None:
        """Stop a process; the kernel goes on accepting for it."""
        self.backends[name].process.send_signal(signal.SIGSTOP)

    async def thaw(self, name: str) -> None:
        """Let it go on."""
        self.backends[name].process.send_signal(signal.SIGCONT)

    async def mend(self, name: str) -> None:
        """Undo whatever was done to a backend."""
        if self.backends[name].process.returncode is not None:
            await self.revive(name)
        await self.thaw(name)
        await self.spoil(name, "none")

    # Looking

    def executions(self) -> Counter[str]:
        """How often each write was executed, over all backends and all their lives."""
        file = self.folder / "executions"
        return Counter(map(json.loads, file.read_text().splitlines())) if file.exists() else Counter()


@contextlib.asynccontextmanager
async def rigged(folder: Path) -> AsyncIterator[Rig]:
    """A Rig whose files are in `folder`."""
    async with aiohttp.ClientSession() as session, Children() as children:
        rig = Rig(children, folder, session)
        try:
            yield rig
        finally:
            rig.close()
        if rig.mistakes():
            raise AssertionError(f"the proxy made mistakes: {rig.mistakes()}")


class Changes:
    """Every change of a backend's standing, with the time at which the admin API showed it."""

    def __init__(self, admin: str, pool: str = "app") -> None:
        self._watch = Watch(admin, pool, self._note)
        self.seen: list[tuple[float, str, Standing]] = []

    def _note(self, name: str, standing: Standing, cause: str) -> None:
        self.seen.append((now(), name, standing))

    @contextlib.asynccontextmanager
    async def watched(self) -> AsyncIterator[Changes]:
        """Poll within `async with`."""
        task = asyncio.create_task(self._watch.run())
        try:
            yield self
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def until(self, name: str, *, available: bool) -> float:
        """When a backend is out, or back."""
        waited = await self._watch.until(name, available=available, within=PATIENCE)
        if waited is None:
            raise AssertionError(f"{name} did not become {'available' if available else 'unavailable'}: {self.seen}")
        return now()

    def availability(self, name: str) -> list[bool]:
        """Whether it was available, change by change."""
        seen = [standing.available for _, known, standing in self.seen if known == name]
        return [one for number, one in enumerate(seen) if number == 0 or seen[number - 1] is not one]
