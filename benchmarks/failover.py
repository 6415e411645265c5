"""Measures what clients see while one backend of three fails and comes back."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path

from benchmarks.cases import FailoverCase
from benchmarks.load import LoadResult, LoadSpec
from benchmarks.measurement import Measurement, Pace
from benchmarks.peers.contract import Setup
from benchmarks.stage import Stage, next_line, peer_on, stage_for, talking

_BACKENDS = 3
_WARMUP = 2.0
_ANSWER_TIMEOUT = 1.0
_PROBE_INTERVAL = 0.5
"""Short, as one sets them where a failure must not show: the same for all."""
_FLAP_PERIOD = 1.0
_SERVICE_TIME = 0.005
"""Seconds that a backend takes to answer, so that some requests are always in flight on it."""


class FragileBackend:
    """A backend in a process of its own, which can be killed and started anew on the same port."""

    def __init__(self, stage: Stage, ledger: Path) -> None:
        self._stage = stage
        self.ledger = ledger
        self.port = 0
        self._running: ExitStack | None = None
        self.start()

    def start(self) -> None:
        self._running = ExitStack()
        spec = {"ports": [self.port], "ledger": str(self.ledger), "delay": _SERVICE_TIME}
        self._process = self._running.enter_context(talking("backends", spec, self._stage))
        self.port = json.loads(next_line(self._process, self._stage))["ports"][0]

    def kill(self) -> None:
        self._process.kill()
        self.close()

    def close(self) -> None:
        if self._running:
            self._running.close()
            self._running = None

    def become(self, mode: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(mode + "\n")
        self._process.stdin.flush()
        next_line(self._process, self._stage)


def _kill(backend: FragileBackend, seconds: float) -> None:
    backend.kill()
    time.sleep(seconds)
    backend.start()


def _flap(backend: FragileBackend, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        _kill(backend, _FLAP_PERIOD)
        time.sleep(_FLAP_PERIOD)


def _misbehave(mode: str) -> Callable[[FragileBackend, float], None]:
    def fail(backend: FragileBackend, seconds: float) -> None:
        backend.become(mode)
        time.sleep(seconds)
        backend.become("ok")

    return fail


_FAULTS: dict[str, Callable[[FragileBackend, float], None]] = {
    "kill": _kill,
    "flap": _flap,
    "hang": _misbehave("hang"),
    "unwell": _misbehave("unwell"),
}


@contextmanager
def _fragile_backends(stage: Stage) -> Iterator[list[FragileBackend]]:
    with ExitStack() as stack:
        backends = []
        for number in range(_BACKENDS):
            backend = FragileBackend(stage, stage.folder / f"orders-{number}")
            stack.callback(backend.close)
            backends.append(backend)
        yield backends


def measure_failover(case: FailoverCase, done: Measurement, pace: Pace) -> None:
    """Fill in what failed, for how long, and what was done twice."""
    with stage_for() as stage, _fragile_backends(stage) as backends:
        ports = tuple(backend.port for backend in backends)

        def setup(folder: Path, port: int, admin_port: int) -> Setup:
            return Setup(
                folder, port, admin_port, ports, answer_timeout=_ANSWER_TIMEOUT, probe_interval=_PROBE_INTERVAL
            )

        with peer_on(stage, done.peer, setup) as proxy:
            spec = LoadSpec(
                port=proxy.port,
                requests="mixed",
                connections=32,
                proxy_pid=proxy.pid,
                warmup=_WARMUP * pace.failover_scale,
                measure=(case.before + case.faulty + case.after) * pace.failover_scale,
                rate=case.rate,
            )
            result = _run_through(case, spec, stage, backends[0], pace.failover_scale)
        done.errors = result.errors
        done.figures = _figures(result, _done_twice([backend.ledger for backend in backends]))


def _run_through(case: FailoverCase, spec: LoadSpec, stage: Stage, victim: FragileBackend, scale: float) -> LoadResult:
    with talking("load", asdict(spec), stage) as load:
        next_line(load, stage)  # the window is open
        time.sleep(case.before * scale)
        _FAULTS[case.fault](victim, case.faulty * scale)
        return LoadResult(**json.loads(next_line(load, stage)))


def _done_twice(ledgers: list[Path]) -> int:
    """How many times a POST was executed that had been executed before."""
    orders: Counter[str] = Counter()
    for ledger in ledgers:
        orders.update(ledger.read_text().split())
    return sum(count - 1 for count in orders.values())


def _figures(result: LoadResult, duplicates: int) -> dict[str, float]:
    failed = sum(result.errors.values())
    latency = result.latency_us
    return {
        "failed": failed,
        "failed_writes": sum(count for kind, count in result.errors.items() if kind.startswith("POST")),
        "duplicates": duplicates,
        "gap_ms": result.longest_gap * 1000,
        "p999_ms": latency.get("p99.9", 0.0) / 1000,
        "max_ms": latency.get("max", 0.0) / 1000,
        "requests": result.requests + failed,
    }
