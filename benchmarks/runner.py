"""Carries out the cases: backends and load client on one core, each proxy in turn on the other, round after round."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmarks.cases import LoadCase
from benchmarks.load import LoadResult, LoadSpec
from benchmarks.peers import PEERS
from benchmarks.peers.contract import Setup, Unsupported
from benchmarks.processes import StartFailed, free_ports, running, wait_until_it_listens

_START_PATIENCE = 30.0


@dataclass(frozen=True, slots=True)
class Cores:
    """Who runs where."""

    proxy: frozenset[int]
    load: frozenset[int]

    @classmethod
    def of_this_machine(cls, workers: int = 1) -> Cores:
        """The proxy gets a core for each worker, the rest goes to load and backends; with too few they share."""
        cores = sorted(os.sched_getaffinity(0))
        return cls(frozenset(cores[:workers]), frozenset(cores[workers:] or cores))


@dataclass(frozen=True, slots=True)
class Pace:
    """How long each measurement takes, and how many rounds there are."""

    rounds: int = 3
    warmup: float = 0.7
    measure: float = 2.0


@dataclass(slots=True)
class Measurement:
    """One proxy in one round of one case."""

    case: str
    peer: str
    round: int
    load: LoadResult | None = None
    trouble: str = ""
    """Why there is no figure."""
    figures: dict[str, float] = field(default_factory=dict)
    """What memory and failover cases found."""


@contextmanager
def sample_backends(count: int, cores: Cores, folder: Path) -> Iterator[tuple[int, ...]]:
    """So many backends in one process; their ports."""
    argv = [sys.executable, "-m", "benchmarks.backends", json.dumps({"ports": [0] * count})]
    with running(argv, cores.load, folder / "backends.log") as process:
        assert process.stdout is not None  # noqa: S101 (asked for)
        line = process.stdout.readline()
        if not line:
            raise StartFailed((folder / "backends.log").read_text())
        yield tuple(json.loads(line)["ports"])


@contextmanager
def started_peer(name: str, setup: Setup, cores: Cores) -> Iterator[subprocess.Popen[str]]:
    """The proxy, listening."""
    log = setup.folder / "output.log"
    with running(PEERS[name].command(setup), cores.proxy, log) as process:
        wait_until_it_listens(process, setup.port, log, _START_PATIENCE)
        yield process


def run_load(spec: LoadSpec, cores: Cores, folder: Path) -> LoadResult:
    """One window of load."""
    argv = [sys.executable, "-m", "benchmarks.load", json.dumps(asdict(spec))]
    with running(argv, cores.load, folder / "load.log") as process:
        patience = spec.warmup + spec.measure + spec.count / 1000 + 60
        printed, _ = process.communicate(timeout=patience)
    if process.returncode != 0:
        raise StartFailed((folder / "load.log").read_text().strip()[-1000:])
    return LoadResult(**json.loads(printed))


def measure_load(case: LoadCase, peer: str, ports: tuple[int, ...], pace: Pace) -> LoadResult:
    """One proxy under the traffic of a case."""
    cores = Cores.of_this_machine(case.workers)
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name:
        folder = Path(name)
        port, admin_port = free_ports(2)
        setup = Setup(folder, port, admin_port, ports, case.routes, case.workers)
        with started_peer(peer, setup, cores) as process:
            spec = LoadSpec(
                port=port,
                requests=case.requests,
                connections=case.connections,
                proxy_pid=process.pid,
                warmup=pace.warmup,
                measure=pace.measure,
                rate=case.rate,
                close_each=case.close_each,
            )
            return run_load(spec, cores, folder)


def run_case(case: LoadCase, peers: list[str], pace: Pace) -> Iterator[Measurement]:
    """All rounds of a case; the order of the proxies moves on with each round, so that none is always first."""
    hopeless: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name, sample_backends(
        case.backends, Cores.of_this_machine(case.workers), Path(name)
    ) as ports:
        for number in range(pace.rounds):
            shift = number % len(peers)
            for peer in peers[shift:] + peers[:shift]:
                done = Measurement(case.name, peer, number, trouble=hopeless.get(peer, ""))
                if not done.trouble:
                    try:
                        done.load = measure_load(case, peer, ports, pace)
                    except (Unsupported, StartFailed, subprocess.TimeoutExpired) as error:
                        done.trouble = hopeless[peer] = str(error)
                yield done
