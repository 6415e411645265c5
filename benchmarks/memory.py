"""Measures what a proxy holds in memory: at the start, per connection, and after many requests."""

from __future__ import annotations

import time
from pathlib import Path

from benchmarks.accounting import Memory, memory_of
from benchmarks.cases import MemoryCase
from benchmarks.load import LoadSpec
from benchmarks.measurement import Measurement, Pace
from benchmarks.peers.contract import Setup
from benchmarks.stage import Running, Stage, next_line, peer_on, run_load, sample_backends, stage_for, talking

_MIB = 1 << 20
_SETTLE = 1.0
"""Seconds after which first probes are done and buffers are given back."""
_FIRST_REQUESTS = 20_000
"""After so many everything that a proxy makes once has been made: growth counts from there."""


def measure_memory(case: MemoryCase, done: Measurement, pace: Pace) -> None:
    """Fill in what the processes of the proxy hold."""
    with stage_for(case.workers) as stage, sample_backends(3, stage) as backends:

        def setup(folder: Path, port: int, admin_port: int) -> Setup:
            return Setup(folder, port, admin_port, backends, workers=case.workers, websockets=case.holds == "websocket")

        with peer_on(stage, done.peer, setup) as proxy:
            if case.holds:
                done.figures = _per_connection(case, proxy, stage)
            elif case.requests:
                done.figures = _after_requests(case, proxy, stage)
            else:
                held = _settled(proxy)
                done.figures = {
                    "pss_mib": held.pss / _MIB,
                    "private_mib": held.private / _MIB,
                    "processes": float(held.processes),
                }


def _settled(proxy: Running) -> Memory:
    time.sleep(_SETTLE)
    return memory_of(proxy.pid)


def _per_connection(case: MemoryCase, proxy: Running, stage: Stage) -> dict[str, float]:
    """What a connection adds once some were there before: the first ones also pay for what all share."""
    first, more = {"port": proxy.port, "kind": case.holds, "connections": 100}, case.connections
    with talking("hold", first, stage) as early:
        next_line(early, stage)
        before = _settled(proxy)
        with talking("hold", first | {"connections": more}, stage) as late:
            next_line(late, stage)
            after = _settled(proxy)
    return {"kib_each": (after.pss - before.pss) / more / 1024, "pss_mib": after.pss / _MIB}


def _after_requests(case: MemoryCase, proxy: Running, stage: Stage) -> dict[str, float]:
    def send(count: int) -> Memory:
        run_load(LoadSpec(proxy.port, "varied", 64, proxy.pid, warmup=0.1, measure=0.0, count=count), stage)
        return _settled(proxy)

    before, after = send(_FIRST_REQUESTS), send(case.requests)
    return {"growth_mib": (after.pss - before.pss) / _MIB, "pss_mib": after.pss / _MIB}
