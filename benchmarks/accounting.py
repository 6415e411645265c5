"""What the kernel says that a proxy has used: CPU time to the nanosecond, memory to the page.

A proxy is all of its processes and threads. Called by the load client at the edges of its window,
and by the memory cases.
"""

from __future__ import annotations

import os
import platform
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_PROCESS_CPU_CLOCK = 2
"""Of the clock ids that the kernel makes from a process id, the one that counts time on the CPU."""


def process_tree(root: int) -> list[int]:
    """The process and all that descend from it, now."""
    found = [root]
    for pid in found:
        with suppress(OSError):
            for thread in (_PROC / str(pid) / "task").iterdir():
                found.extend(int(child) for child in (thread / "children").read_text().split())
    return found


def cpu_ns(pid: int) -> int:
    """User and system time of one process with all its threads, the ended ones too; 0 once it is gone."""
    try:
        return time.clock_gettime_ns((~pid << 3) | _PROCESS_CPU_CLOCK)
    except OSError:
        return 0


def reaped_ns(pid: int) -> int:
    """CPU time of the process's children that have ended and been waited for, in clock ticks."""
    try:
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return (int(fields[13]) + int(fields[14])) * 1_000_000_000 // _TICKS_PER_SECOND


class CpuMeter:
    """CPU time of a process tree from now on; processes that begin or end on the way are counted."""

    def __init__(self, root: int) -> None:
        self._root = root
        self._start = {pid: (cpu_ns(pid), reaped_ns(pid)) for pid in process_tree(root)}

    def used_ns(self) -> int:
        total = 0
        # One that ended counts less than nothing here, and its whole life in its parent's `reaped_ns`.
        for pid in {*self._start, *process_tree(self._root)}:
            own, reaped = self._start.get(pid, (0, 0))
            total += cpu_ns(pid) - own + reaped_ns(pid) - reaped
        return max(total, 0)


@dataclass(frozen=True, slots=True)
class Memory:
    """Memory of a process tree, in bytes."""

    pss: int
    """Proportional set size: shared pages are divided among those that share them."""
    private: int
    """Pages that no other process has."""
    processes: int


def memory_of(root: int) -> Memory:
    """What the tree holds now. Buffers of the kernel for its sockets are not in it."""
    pss = private = processes = 0
    for pid in process_tree(root):
        with suppress(OSError):
            lines = (_PROC / str(pid) / "smaps_rollup").read_text().splitlines()[1:]
            sizes = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines}
            pss += sizes["Pss"]
            private += sizes["Private_Clean"] + sizes["Private_Dirty"]
            processes += 1
    return Memory(pss, private, processes)


def machine() -> dict[str, str]:
    """What the figures were got on."""
    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in (_PROC / "cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    memory_kib = int((_PROC / "meminfo").read_text().split()[1])
    return {
        "cpu": model,
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{memory_kib / 2**20:.1f} GiB",
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load": " ".join(f"{value:.2f}" for value in os.getloadavg()),
    }
