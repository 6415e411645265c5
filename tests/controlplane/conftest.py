"""A supervisor whose workers the test itself plays, and settings to begin with."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import aiohttp
import pytest
from aiohttp.test_utils import TestClient, TestServer

from proxy.controlplane.admin.dates import Dates
from proxy.controlplane.admin.endpoint import Admin
from proxy.controlplane.availability.accounting import Accounting
from proxy.controlplane.journal.journal import Journal
from proxy.controlplane.pools.records import BackendRecord
from proxy.controlplane.pools.registry import Registry
from proxy.controlplane.pools.switching import Switching
from proxy.controlplane.reload import Json, Reader
from proxy.controlplane.supervisor import Supervisor
from proxy.core.messages import (
    AdminState,
    BackendCounts,
    BreakerNews,
    Decoder,
    Message,
    PoolCounts,
    Report,
    Snapshot,
    Started,
    encode,
)
from proxy.core.pools.breaker import BreakerState
from proxy.core.pools.health import HealthPolicy
from proxy.core.settings import (
    Address,
    AdminSettings,
    BackendSettings,
    JournalSettings,
    ListenerSettings,
    PoolSettings,
    Settings,
)

BRIDGE = Path(__file__).with_name("bridge.py")
ANY_PORT = Address("127.0.0.1", 0)
UNPROBED = HealthPolicy(interval=1e7, fast_interval=1e7, jitter=1.0)
"""Probes so rare that none comes within a test."""

M = TypeVar("M")
OpenApi = Callable[..., Awaitable["Api"]]


def make_settings(*addresses: Address, health: HealthPolicy = UNPROBED, **changes: object) -> Settings:
    """One pool, `app`, with backends `b0`, `b1`, … at these addresses (or at none that answers)."""
    backends = tuple(
        BackendSettings(f"b{number}", address)
        for number, address in enumerate(addresses or (Address("127.0.0.1", 9),) * 2)
    )
    settings = Settings(
        listeners=(ListenerSettings("web", ANY_PORT),),
        pools=(PoolSettings("app", backends, health=health),),
        routes=(),
        admin=AdminSettings(ANY_PORT),
        drain_timeout=5.0,
    )
    return replace(settings, **changes)


def make_report(worker: int = 0, pid: int = 1, **changes: object) -> Report:
    """A Report with nothing counted."""
    report = Report(
        worker=worker,
        pid=pid,
        at=0.0,
        snapshot_version=1,
        connections=0,
        loop_lag=0.0,
        requests={},
        durations={},
        backends={},
        pools={},
        refused={},
        client_aborts=0,
    )
    return replace(report, **changes)


def make_pool_counts(**changes: object) -> PoolCounts:
    counts = PoolCounts(retries={}, budget_exhausted=0, saved=0, held=0, panic=False)
    return replace(counts, **changes)


def opened(worker: int, until: float, at: float = 0.0, *, backend: str = "b0") -> BreakerNews:
    return BreakerNews(worker, "app", backend, BreakerState.OPEN, until, "5 failures in a row", at)


class Make:
    """The builders above, for tests: `make.settings(…)`."""

    settings = staticmethod(make_settings)
    report = staticmethod(make_report)
    pool_counts = staticmethod(make_pool_counts)
    backend_counts = BackendCounts
    opened = staticmethod(opened)


class PlayedWorker:
    """A worker process whose part the test plays."""

    def __init__(self, introduction: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number, pid, listeners = introduction.decode().rstrip("\n").split(" ")
        self.number, self.pid = int(number), int(pid)
        self.listeners = [one.split("=")[0] for one in listeners.split(",") if one]
        self._reader = reader
        self._writer = writer
        self._decoder = Decoder()
        self._heard: list[Message] = []

    def say(self, message: Message) -> None:
        self._writer.write(encode(message))

    def babble(self, data: bytes) -> None:
        self._writer.write(data)

    async def hear(self) -> Message:
        """The next message of the supervisor."""
        while not self._heard:
            data = await asyncio.wait_for(self._reader.read(65536), 10)
            if not data:
                raise EOFError
            self._heard += self._decoder.feed(data)
        return self._heard.pop(0)

    async def hear_a(self, kind: type[M]) -> M:
        """The next message of one kind; others are skipped."""
        while not isinstance(message := await self.hear(), kind):
            pass
        return message

    async def start(self) -> Snapshot:
        """Do what a worker does at its start."""
        snapshot = await self.hear()
        assert isinstance(snapshot, Snapshot)
        self.say(Started(self.number, self.pid, snapshot.version))
        return snapshot

    def end(self) -> None:
        """End the process with status 0."""
        self._writer.close()


class Stage:
    """Runs supervisors and takes in the workers that they start."""

    def __init__(self, tap: Path) -> None:
        self._tap = tap
        self._arrivals: asyncio.Queue[PlayedWorker] = asyncio.Queue()
        self._workers: list[PlayedWorker] = []
        self._running: list[tuple[Supervisor, asyncio.Task[None]]] = []
        self._client: aiohttp.ClientSession | None = None

    async def open(self) -> asyncio.Server:
        self._client = aiohttp.ClientSession()
        return await asyncio.start_unix_server(self._arrived, self._tap)

    async def _arrived(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        worker = PlayedWorker(await reader.readline(), reader, writer)
        self._workers.append(worker)
        self._arrivals.put_nowait(worker)

    async def supervise(self, settings: Settings, read: Reader | None = None) -> Supervisor:
        """Bind and run; workers arrive by `worker`."""
        supervisor = Supervisor(settings, (sys.executable, "-S", "-E", str(BRIDGE), "--tap", str(self._tap)), read=read)
        supervisor.bind()
        self._running.append((supervisor, asyncio.create_task(supervisor.run())))
        return supervisor

    async def worker(self) -> PlayedWorker:
        """The next worker process that has been started."""
        return await asyncio.wait_for(self._arrivals.get(), 10)

    async def serve(self, settings: Settings, read: Reader | None = None) -> tuple[Supervisor, list[PlayedWorker]]:
        """A supervisor that is ready, and its workers in order."""
        supervisor = await self.supervise(settings, read)
        workers = sorted([await self.worker() for _ in range(settings.workers)], key=lambda one: one.number)
        for worker in workers:
            await worker.start()
        await asyncio.wait_for(supervisor.ready.wait(), 10)
        return supervisor, workers

    async def ended(self, supervisor: Supervisor) -> None:
        """Wait until the supervisor has come to its end."""
        task = next(task for one, task in self._running if one is supervisor)
        await asyncio.wait_for(asyncio.shield(task), 10)

    async def ask(
        self, supervisor: Supervisor, path: str, method: str = "GET", **arguments: object
    ) -> tuple[int, object]:
        """Status and body (JSON where it is JSON) of the admin endpoint."""
        assert self._client is not None
        assert supervisor.admin is not None
        url = f"http://{supervisor.admin.address}{path}"
        async with self._client.request(method, url, **arguments) as answer:
            is_json = "json" in answer.content_type
            return answer.status, await (answer.json(content_type=None) if is_json else answer.text())

    async def close(self) -> None:
        for supervisor, task in self._running:
            supervisor.stop(quick=True)
            supervisor.stop()
            await task
        for worker in self._workers:
            worker.end()
        if self._client is not None:
            await self._client.close()


@dataclass
class Control:
    """A supervisor's admin side over a real registry."""

    registry: Registry
    readiness_is: str = "ready"
    problems_are: list[str] = field(default_factory=list)
    reloads: Callable[[], Json] = dict
    """What a reload answers, or raises."""
    orders: list[tuple[str, object]] = field(default_factory=list)

    journal: Journal = field(default_factory=lambda: Journal(JournalSettings(), clock=lambda: 1_700_000_000.0))

    def __post_init__(self) -> None:
        self.switching = Switching(self.registry, lambda _: None)
        self.accounting = Accounting(self.registry.settings, lambda: 1_700_000_000.0)

    def readiness(self) -> str:
        return self.readiness_is

    def restarts(self) -> int:
        return 2

    def problems(self) -> list[str]:
        return self.problems_are

    async def reload(self) -> Json:
        return self.reloads()

    def set_admin(self, record: BackendRecord, state: AdminState) -> None:
        self.orders.append((record.settings.name, state))
        self.registry.set_admin(record, state, 10.0)

    def set_weight(self, record: BackendRecord, weight: int | None) -> None:
        self.orders.append((record.settings.name, weight))
        self.registry.set_weight(record, weight, 10.0)


class Api:
    """A client of an admin endpoint."""

    def __init__(self, settings: Settings) -> None:
        self.control = Control(Registry(settings, 0.0))
        dates = Dates(lambda: 0.0, lambda: 1_700_000_000.0)
        self.admin = Admin(self.control, settings.admin, dates)
        self.client: TestClient

    async def open(self) -> None:
        application = self.admin._runner.app
        self.client = TestClient(TestServer(application))
        await self.client.start_server()

    async def get(self, path: str, **headers: str) -> tuple[int, object]:
        return await self.send("GET", path, headers=headers)

    async def patch(self, path: str, document: object, **headers: str) -> tuple[int, object]:
        return await self.send("PATCH", path, data=json.dumps(document), headers=headers)

    async def send(self, method: str, path: str, **arguments: object) -> tuple[int, object]:
        async with self.client.request(method, path, **arguments) as answer:
            is_json = "json" in answer.content_type
            return answer.status, await (answer.json(content_type=None) if is_json else answer.text())


@pytest.fixture
def make() -> Make:
    return Make()


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    stage = Stage(tmp_path / "tap")
    server = await stage.open()
    yield stage
    await stage.close()
    server.close()
    await server.wait_closed()


@pytest.fixture
async def open_api(make: Make) -> AsyncIterator[OpenApi]:
    """Opens admin endpoints on settings that differ as told."""
    opened: list[Api] = []

    async def open_api(**changes: object) -> Api:
        api = Api(make.settings(**changes))
        await api.open()
        opened.append(api)
        return api

    yield open_api
    for api in opened:
        await api.client.close()


@pytest.fixture
async def api(open_api: OpenApi) -> Api:
    return await open_api()
