"""Puts a proxy between backends and a load client, each on its core, in a folder that is gone afterwards."""

from __future__ import annotations

import http
import http.client
import json
import os
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.load import LoadResult, LoadSpec
from benchmarks.peers import PEERS
from benchmarks.peers.contract import Certificate, Setup, UnsupportedError
from benchmarks.processes import StartError, free_ports, running, wait_until
from benchmarks.traffic import HOST

_START_PATIENCE = 60.0
_LOAD_PATIENCE = 60.0
_REQUESTS_PER_WORKER = 4
_SLOWEST_RATE = 1000
"""Requests a second below which waiting for a number of them is given up."""


@dataclass(frozen=True, slots=True)
class Cores:
    """Who runs where."""

    proxy: frozenset[int]
    load: frozenset[int]

    @classmethod
    def for_workers(cls, workers: int) -> Cores:
        """A core for each worker, the rest for load and backends; where nothing is left they share."""
        cores = sorted(os.sched_getaffinity(0))
        return cls(frozenset(cores[:workers]), frozenset(cores[workers:] or cores))


@dataclass(frozen=True, slots=True)
class Stage:
    """The places of one measurement."""

    folder: Path
    cores: Cores


@dataclass(frozen=True, slots=True)
class Running:
    """A proxy that listens."""

    pid: int
    port: int
    ca_file: str


@contextmanager
def stage_for(workers: int = 1) -> Iterator[Stage]:
    """A folder and the cores for a proxy of so many workers."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        yield Stage(Path(folder), Cores.for_workers(workers))


@contextmanager
def talking(module: str, spec: object, stage: Stage) -> Iterator[subprocess.Popen[str]]:
    """A program of this benchmark on the core for the load; it takes orders and gives answers line by line."""
    log = stage.folder / f"{module}.log"
    argv = [sys.executable, "-m", f"benchmarks.{module}", json.dumps(spec)]
    with running(argv, stage.cores.load, log) as process:
        yield process


def next_line(process: subprocess.Popen[str], stage: Stage) -> str:
    """What the program says next; its complaints, if it ended instead."""
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        complaints = "\n".join(log.read_text(errors="replace") for log in stage.folder.glob("*.log"))
        raise StartError(complaints.strip()[-1000:] or "ended without a word")
    return line


@contextmanager
def sample_backends(count: int, stage: Stage) -> Iterator[tuple[int, ...]]:
    """So many backends in one process; their ports."""
    with talking("backends", {"ports": [0] * count}, stage) as process:
        yield tuple(json.loads(next_line(process, stage))["ports"])


@contextmanager
def peer_on(stage: Stage, name: str, setup_with: Callable[[Path, int, int], Setup]) -> Iterator[Running]:
    """The proxy of that name, listening."""
    port, admin_port = free_ports(2)
    setup = setup_with(stage.folder, port, admin_port)
    log = stage.folder / f"{name}.log"
    with running(PEERS[name].command(setup), stage.cores.proxy, log) as process:
        wait_until(lambda: _is_ready(setup), process, log, _START_PATIENCE)
        yield Running(process.pid, port, str(setup.certificate.chain) if setup.certificate else "")


def _is_ready(setup: Setup) -> bool:
    """Whether requests come through. That a port accepts connections says nothing: workers may still be starting.

    The kernel spreads connections over the workers, so that a few in a row have met each of them.
    """
    return all(_answers(setup) for _ in range(_REQUESTS_PER_WORKER * setup.workers))


def _answers(setup: Setup) -> bool:
    connection: http.client.HTTPConnection = http.client.HTTPConnection("127.0.0.1", setup.port, timeout=1)
    if setup.certificate:
        # Nobody checks here whom it speaks with; the load client does.
        connection = http.client.HTTPSConnection(
            "127.0.0.1",
            setup.port,
            timeout=1,
            context=ssl._create_unverified_context(),  # noqa: S323, SLF001
        )
    try:
        connection.request("GET", "/r0/", headers={"Host": HOST})
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def run_load(spec: LoadSpec, stage: Stage) -> LoadResult:
    """One window of load."""
    with talking("load", asdict(spec), stage) as process:
        patience = spec.warmup + spec.measure + spec.count / _SLOWEST_RATE + _LOAD_PATIENCE
        printed, _ = process.communicate(timeout=patience)
        if process.returncode != 0:
            raise StartError((stage.folder / "load.log").read_text().strip()[-1000:])
        return LoadResult(**json.loads(printed.splitlines()[-1]))


def make_certificate(folder: Path) -> Certificate:
    """A certificate of P-256 that is its own authority."""
    chain, key, bundle = folder / "chain.pem", folder / "key.pem", folder / "bundle.pem"
    argv = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    names = ["-days", "30", "-subj", f"/CN={HOST}", "-addext", f"subjectAltName=DNS:{HOST}"]
    try:
        subprocess.run([*argv, *names, "-keyout", key, "-out", chain], check=True, capture_output=True, timeout=30)
    except FileNotFoundError:
        raise UnsupportedError("openssl is not installed (apt-get install openssl)") from None
    bundle.write_bytes(chain.read_bytes() + key.read_bytes())
    return Certificate(chain, key, bundle)
