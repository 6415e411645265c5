"""Measures a reload under load: how long it takes to read and apply a long config, and what clients see of it."""

from __future__ import annotations

import http.client
import json
import time
from dataclasses import asdict
from itertools import cycle
from pathlib import Path

from benchmarks.cases import ReloadCase
from benchmarks.load import LoadResult, LoadSpec
from benchmarks.measurement import Measurement, Pace
from benchmarks.peers.contract import Setup
from benchmarks.stage import Stage, next_line, peer_on, sample_backends, stage_for, talking

_PATIENCE = 60.0
_BETWEEN = 0.5
"""Seconds of peace after each reload, so that the next one meets a proxy that is at rest."""
_MATCHES = ("", ", methods: [GET, HEAD, POST]")
"""Said of every route in turn: each reload changes all of them, and none to another effect."""


def measure_reload(case: ReloadCase, done: Measurement, pace: Pace) -> None:
    """Fill in the time of the slowest reload, and what failed meanwhile."""
    folders: list[Path] = []
    with stage_for() as stage, sample_backends(3, stage) as backends:

        def setup(folder: Path, port: int, admin_port: int) -> Setup:
            folders.append(folder)
            admin_ports.append(admin_port)
            return Setup(folder, port, admin_port, backends, routes=case.routes)

        admin_ports: list[int] = []
        with peer_on(stage, done.peer, setup) as proxy:
            spec = LoadSpec(
                port=proxy.port,
                requests=case.requests,
                connections=32,
                proxy_pid=proxy.pid,
                measure=case.seconds,
                rate=case.rate,
            )
            told, result = _reload_under(spec, case, folders[-1] / "proxy.yaml", admin_ports[-1], stage)
    done.errors = result.errors
    done.figures = {
        "reload_ms": max(one["seconds"] for one in told) * 1000,
        "applied_ms": max(one["applied_in_seconds"] for one in told) * 1000,
        "failed": sum(result.errors.values()),
        "max_ms": result.latency_us.get("max", 0.0) / 1000,
        "p999_ms": result.latency_us.get("p99.9", 0.0) / 1000,
        "requests": result.requests,
    }


def _reload_under(
    spec: LoadSpec, case: ReloadCase, config: Path, admin_port: int, stage: Stage
) -> tuple[list[dict[str, float]], LoadResult]:
    """Reload again and again while the window is open."""
    told = []
    matches = cycle(_MATCHES)
    text = config.read_text()
    next(matches)
    with talking("load", asdict(spec), stage) as load:
        next_line(load, stage)  # the window is open
        for _ in range(case.reloads):
            config.write_text(text.replace("/* }", f"/*{next(matches)} }}"))
            told.append(_reload(admin_port))
            time.sleep(_BETWEEN)
        return told, LoadResult(**json.loads(next_line(load, stage)))


def _reload(admin_port: int) -> dict[str, float]:
    connection = http.client.HTTPConnection("127.0.0.1", admin_port, timeout=_PATIENCE)
    connection.request("POST", "/v1/reload")
    answer = connection.getresponse()
    document = json.loads(answer.read())
    connection.close()
    assert answer.status == 200, document
    assert document["changed"], "every route has another match"
    return {name: float(document[name]) for name in ("seconds", "applied_in_seconds")}
