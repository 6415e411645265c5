"""What a process of the proxy holds: looked up from outside, and asked of its metrics."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.e2e.rig import Proxy

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Holding:
    """What one process holds at one time."""

    seconds: float
    """Since the soak began."""
    pid: int
    descriptors: int
    memory: float
    """Resident MiB."""
    connections: int = 0
    """Of clients."""
    idle: int = 0
    """Kept-alive connections to backends, of all workers."""
    tasks: int = 0

    def row(self, name: str) -> str:
        figures = f"{self.descriptors:5} {self.memory:7.1f} {self.connections:6} {self.idle:6} {self.tasks:6}"
        return f"{self.seconds:7.1f}  {name:12} {self.pid:8} {figures}"


HEADING = f"{'s':>7}  {'process':12} {'pid':>8} {'fds':>5} {'MiB':>7} {'conns':>6} {'idle':>6} {'tasks':>6}"


def descriptors_of(pid: int) -> int:
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


def memory_of(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS:")).split()[1]) * 1024 / MIB


async def look(proxy: Proxy, seconds: float) -> dict[str, Holding]:
    """The supervisor and all workers, by name; a worker that has just died is left out."""
    samples = await proxy.admin.samples()

    def gauge(name: str, **labels: str) -> int:
        return int(sum(one.value for one in samples if one.name == name and labels.items() <= one.labels.items()))

    holdings = {"supervisor": Holding(seconds, proxy.process.pid, *outside(proxy.process.pid))}
    for number, pid in workers_of(proxy).items():
        try:
            seen = outside(pid)
        except (FileNotFoundError, StopIteration):
            continue
        worker = str(number)
        holdings[f"worker {number}"] = Holding(
            seconds,
            pid,
            *seen,
            connections=gauge("failover_client_connections", worker=worker),
            idle=gauge("failover_backend_idle_connections"),
            tasks=gauge("failover_worker_tasks", worker=worker),
        )
    return holdings


def outside(pid: int) -> tuple[int, float]:
    return descriptors_of(pid), memory_of(pid)


def workers_of(proxy: Proxy) -> dict[int, int]:
    """Worker → process id, as their command lines say."""
    found = {}
    for pid in proxy.workers():
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        if b"--id" in words:
            found[int(words[words.index(b"--id") + 1])] = pid
    return found
