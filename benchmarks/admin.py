"""Measures what the admin endpoint costs with very many backends: how long an answer takes, and what clients see of it.

While requests come at a fixed rate, the two longest answers are fetched again and again and the events are read.
"""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

from benchmarks.cases import AdminCase
from benchmarks.load import LoadResult, LoadSpec
from benchmarks.measurement import Measurement, Pace
from benchmarks.peers.contract import Setup
from benchmarks.stage import Stage, next_line, peer_on, sample_backends, stage_for, talking

_PATIENCE = 60.0
_BETWEEN = 0.25
"""Seconds between two questions."""
_ASKED = ("/v1/pools", "/metrics")


def measure_admin(case: AdminCase, done: Measurement, pace: Pace) -> None:
    """Fill in the slowest answers, and the latency of requests with and without anybody asking."""
    ports: list[int] = []
    with stage_for() as stage, sample_backends(case.backends, stage) as backends:

        def setup(folder: Path, port: int, admin_port: int) -> Setup:
            ports.append(admin_port)
            return Setup(folder, port, admin_port, backends)

        with peer_on(stage, done.peer, setup) as proxy:
            spec = LoadSpec(
                port=proxy.port,
                requests="small",
                connections=32,
                proxy_pid=proxy.pid,
                measure=case.seconds,
                rate=case.rate,
            )
            _, quiet = _load(spec, 0, 0, stage)
            with _reading_events(ports[-1]):
                slowest, asked = _load(replace(spec), ports[-1], case.questions, stage)
    done.errors = asked.errors
    done.figures = {
        "pools_ms": slowest["/v1/pools"] * 1000,
        "scrape_ms": slowest["/metrics"] * 1000,
        "failed": sum(asked.errors.values()) + sum(quiet.errors.values()),
        "p999_ms": asked.latency_us.get("p99.9", 0.0) / 1000,
        "quiet_p999_ms": quiet.latency_us.get("p99.9", 0.0) / 1000,
        "requests": asked.requests,
    }


def _load(spec: LoadSpec, admin_port: int, questions: int, stage: Stage) -> tuple[dict[str, float], LoadResult]:
    """Ask so often while the window is open; the slowest answer to each question."""
    slowest = dict.fromkeys(_ASKED, 0.0)
    with talking("load", asdict(spec), stage) as load:
        next_line(load, stage)  # the window is open
        for _ in range(questions):
            for path in _ASKED:
                slowest[path] = max(slowest[path], _ask(admin_port, path))
            time.sleep(_BETWEEN)
        return slowest, LoadResult(**json.loads(next_line(load, stage)))


def _ask(admin_port: int, path: str) -> float:
    """Seconds to the last byte."""
    began = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", admin_port, timeout=_PATIENCE)
    connection.request("GET", path)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    assert answer.status == 200, path
    return time.perf_counter() - began


@contextmanager
def _reading_events(admin_port: int) -> Iterator[None]:
    """A dashboard that is open."""
    connection = http.client.HTTPConnection("127.0.0.1", admin_port, timeout=_PATIENCE)
    connection.request("GET", "/v1/events")
    answer = connection.getresponse()
    over = threading.Event()

    def read() -> None:
        while not over.is_set() and answer.readline():
            pass

    reading = threading.Thread(target=read)
    reading.start()
    try:
        yield
    finally:
        over.set()
        reading.join(_PATIENCE)
        connection.close()
