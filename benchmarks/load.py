"""The load client, one process on the core that the proxy does not have: `python -m benchmarks.load '{…}'`.

Closed loop: so many connections, each sends its next request when it has its answer. Open loop: so many requests a
second, whatever the proxy does. It reads the proxy's CPU clock itself, at the very edges of its window.
"""

from __future__ import annotations

import asyncio
import gc
import json
import ssl
import sys
import time
from array import array
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import uvloop

from benchmarks.accounting import CpuMeter
from benchmarks.client import Client
from benchmarks.pacing import Pacer
from benchmarks.traffic import HOST, requests_of

_SWEEP = 0.05
_RECONNECT_AFTER = 0.01


@dataclass(frozen=True, slots=True)
class LoadSpec:
    """What to send, how, and for how long."""

    port: int
    requests: str
    """A name that `traffic.requests_of` knows."""
    connections: int
    """Connections opened before the window; the open loop opens more, up to `most_connections`, as it needs them."""
    proxy_pid: int
    warmup: float = 0.5
    measure: float = 2.0
    rate: float = 0.0
    """Requests a second; 0 is the closed loop."""
    close_each: bool = False
    ca_file: str = ""
    """Speak TLS and trust this certificate."""
    timeout: float = 5.0
    """A request without an answer by then has failed."""
    count: int = 0
    """End the window after so many requests instead of after `measure` seconds."""
    most_connections: int = 1000


@dataclass(slots=True)
class LoadResult:
    """What came of it, in the window."""

    requests: int
    seconds: float
    cpu_ns: int
    """Of all processes of the proxy."""
    client_cpu: float
    """Share of a core that this client took; near 1 it was the bottleneck."""
    errors: dict[str, int]
    latency_us: dict[str, float]
    longest_gap: float
    """Seconds between two successful answers, at most."""


class Tally:
    """Counts what finishes while the window is open."""

    def __init__(self) -> None:
        self.is_open = False
        self.latencies = array("d")
        self.errors: Counter[str] = Counter()
        self.gap = 0.0
        self.last_success = 0.0

    def open(self, now: float) -> None:
        self.is_open = True
        self.last_success = now

    def close(self, now: float) -> None:
        self.is_open = False
        self.gap = max(self.gap, now - self.last_success)

    def add(self, client: Client, error: str, now: float) -> None:
        if not self.is_open:
            return
        if error:
            self.errors[f"{client.verb.decode().strip()} {error}".strip()] += 1
            return
        self.latencies.append(now - client.sent_at)
        self.gap = max(self.gap, now - self.last_success)
        self.last_success = now


def percentiles(latencies: array[float]) -> dict[str, float]:
    """Microseconds below which the named shares of the answers came."""
    if not latencies:
        return {}
    ordered = sorted(latencies)
    shares = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999, "max": 1.0}
    return {name: ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1e6 for name, share in shares.items()}


class Dialler:
    """Opens connections to the proxy."""

    def __init__(self, spec: LoadSpec) -> None:
        self._port = spec.port
        self._tls = ssl.create_default_context(cafile=spec.ca_file) if spec.ca_file else None

    async def connect(self, owner: ClosedLoop | OpenLoop) -> Client | None:
        try:
            _, client = await asyncio.get_running_loop().create_connection(
                lambda: Client(owner),
                "127.0.0.1",
                self._port,
                ssl=self._tls,
                server_hostname=HOST if self._tls else None,
            )
        except OSError:
            return None
        return client


class ClosedLoop:
    """Each connection sends when it has its answer."""

    def __init__(self, spec: LoadSpec, requests: Iterator[bytes], tally: Tally) -> None:
        self._requests = requests
        self._close_each = spec.close_each
        self._dialler = Dialler(spec)
        self.tally = tally
        self.clients: set[Client] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, connections: int) -> None:
        for _ in range(connections):
            await self._open()

    async def _open(self) -> None:
        started = time.perf_counter()
        while (client := await self._dialler.connect(self)) is None:
            self.tally.add(_REFUSED, "refused", started)
            await asyncio.sleep(_RECONNECT_AFTER)
        self.clients.add(client)
        # With a connection for each request, its opening is part of what the client waits for.
        client.send(next(self._requests), started if self._close_each else time.perf_counter())

    def finished(self, client: Client, error: str) -> None:
        now = time.perf_counter()
        self.tally.add(client, error, now)
        if client.is_open and not self._close_each:
            client.send(next(self._requests), now)
        elif client in self.clients:
            self.clients.discard(client)
            self._replace()

    def lost(self, client: Client) -> None:
        if client in self.clients:
            self.clients.discard(client)
            self._replace()

    def _replace(self) -> None:
        task = asyncio.ensure_future(self._open())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class OpenLoop:
    """Sends when a request is due, on an idle connection or a new one; the wait for one counts as latency."""

    def __init__(self, spec: LoadSpec, requests: Iterator[bytes], tally: Tally) -> None:
        self._requests = requests
        self._most = spec.most_connections
        self._dialler = Dialler(spec)
        self.tally = tally
        self.clients: set[Client] = set()
        self._idle: list[Client] = []
        self._waiting: deque[float] = deque()
        self._opening = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, connections: int) -> None:
        for _ in range(connections):
            self._opening += 1
            await self._open()

    def due(self, intended: float) -> None:
        while self._idle:
            client = self._idle.pop()
            if client.is_open:
                client.send(next(self._requests), intended)
                return
        self._waiting.append(intended)
        if self._opening + len(self.clients) < self._most and self._opening < len(self._waiting):
            self._opening += 1
            task = asyncio.ensure_future(self._open())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _open(self) -> None:
        client = await self._dialler.connect(self)
        self._opening -= 1
        if client is not None:
            self.clients.add(client)
            self._next(client)
        elif self._waiting:
            self._waiting.popleft()
            self.tally.add(_REFUSED, "refused", time.perf_counter())

    def _next(self, client: Client) -> None:
        if not client.is_open:
            self.clients.discard(client)
            client.close()
        elif self._waiting:
            client.send(next(self._requests), self._waiting.popleft())
        else:
            self._idle.append(client)

    def finished(self, client: Client, error: str) -> None:
        self.tally.add(client, error, time.perf_counter())
        self._next(client)

    def lost(self, client: Client) -> None:
        self.clients.discard(client)


class _Nobody:
    """The owner of a connection that never came to be."""

    def finished(self, client: Client, error: str) -> None: ...

    def lost(self, client: Client) -> None: ...


_REFUSED = Client(_Nobody())


async def _sweep(loop: ClosedLoop | OpenLoop, patience: float) -> None:
    """Give up on requests that have waited too long: one timer for all instead of one for each."""
    while True:
        await asyncio.sleep(_SWEEP)
        deadline = time.perf_counter() - patience
        for client in [each for each in loop.clients if each.is_busy and each.sent_at < deadline]:
            client.give_up("no answer in time")


async def _window(spec: LoadSpec, tally: Tally) -> LoadResult:
    await asyncio.sleep(spec.warmup)
    meter = CpuMeter(spec.proxy_pid)
    own, start = time.process_time(), time.perf_counter()
    tally.open(start)
    print(json.dumps({"window": "open"}), flush=True)
    while time.perf_counter() - start < spec.measure or len(tally.latencies) < spec.count:
        left = 0.1 if spec.count else spec.measure - (time.perf_counter() - start)
        await asyncio.sleep(max(left, 0.001))
    cpu, end = meter.used_ns(), time.perf_counter()
    tally.close(end)
    return LoadResult(
        requests=len(tally.latencies),
        seconds=end - start,
        cpu_ns=cpu,
        client_cpu=(time.process_time() - own) / (end - start),
        errors=dict(tally.errors),
        latency_us=percentiles(tally.latencies),
        longest_gap=tally.gap,
    )


async def generate(spec: LoadSpec, requests: Iterator[bytes]) -> LoadResult:
    """Send the load, and count in the window."""
    tally = Tally()
    pacer: Pacer | None = None
    if spec.rate:
        paced = OpenLoop(spec, requests, tally)
        await paced.start(spec.connections)
        pacer = Pacer(spec.rate, paced.due)
        sweep = asyncio.ensure_future(_sweep(paced, spec.timeout))
    else:
        closed = ClosedLoop(spec, requests, tally)
        await closed.start(spec.connections)
        sweep = asyncio.ensure_future(_sweep(closed, spec.timeout))
    try:
        return await _window(spec, tally)
    finally:
        sweep.cancel()
        if pacer:
            pacer.stop()


def main() -> None:
    """Send what the argument says, and print what came of it."""
    spec = LoadSpec(**json.loads(sys.argv[1]))
    requests = requests_of(spec.requests)
    gc.freeze()
    gc.disable()  # a pause of the client must not look like one of the proxy
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps(asdict(runner.run(generate(spec, requests)))))


if __name__ == "__main__":
    main()
