"""Measures a proxy under steady traffic: CPU per request, requests a second, latencies, errors."""

from __future__ import annotations

from pathlib import Path

from benchmarks.cases import LoadCase
from benchmarks.load import LoadResult, LoadSpec
from benchmarks.measurement import Measurement, Pace
from benchmarks.peers.contract import Setup
from benchmarks.processes import StartError
from benchmarks.stage import make_certificate, peer_on, run_load, sample_backends, stage_for

_WARMUP_PER_CONNECTION = 0.001
"""Seconds: with thousands of connections a proxy is busy for a while with opening its own."""


def measure_load(case: LoadCase, done: Measurement, pace: Pace) -> None:
    """Fill in what the proxy of this measurement needed for the traffic of the case."""
    with stage_for(case.workers) as stage, sample_backends(case.backends, stage) as backends:

        def setup(folder: Path, port: int, admin_port: int) -> Setup:
            certificate = make_certificate(folder) if case.tls else None
            return Setup(folder, port, admin_port, backends, case.routes, case.workers, certificate, keyed=case.keyed)

        with peer_on(stage, done.peer, setup) as proxy:
            spec = LoadSpec(
                port=proxy.port,
                requests=case.requests,
                connections=case.connections,
                proxy_pid=proxy.pid,
                warmup=pace.warmup + case.connections * _WARMUP_PER_CONNECTION,
                measure=pace.measure,
                rate=case.rate,
                close_each=case.close_each,
                ca_file=proxy.ca_file,
            )
            result = run_load(spec, stage)
    done.errors = result.errors
    if not result.requests:
        raise StartError(f"no request succeeded: {result.errors}")
    done.figures = figures_of(result)


def figures_of(result: LoadResult) -> dict[str, float]:
    """The figures by their names."""
    latency = result.latency_us
    return {
        "cpu_us": result.cpu_ns / result.requests / 1000,
        "rps": result.requests / result.seconds,
        "p50_us": latency["p50"],
        "p99_us": latency["p99"],
        "p999_us": latency["p99.9"],
        "max_us": latency["max"],
        "client": result.client_cpu * 100,
    }
