"""Starts programs on chosen cores and ends them, all of them, on every way out.

Each runs in a process group of its own, which is ended with it; the kernel ends it if this process is killed.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_GRACE = 3.0
_POLL = 0.01
_LIBC = ctypes.CDLL(None)


class StartError(Exception):
    """A program did not come up; the text says what it printed."""


def free_ports(count: int) -> list[int]:
    """Ports on which nobody listens now."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]


def _die_with_parent() -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def spawn(argv: list[str], cores: Collection[int], log: Path) -> subprocess.Popen[str]:
    """Start a program on these cores, with pipes to its standard input and output and its errors in a file."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        with log.open("ab") as errors:
            return subprocess.Popen(
                argv,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,
                preexec_fn=_die_with_parent,  # noqa: PLW1509 (this program has one thread)
            )
    finally:
        os.sched_setaffinity(0, before)


def stop(process: subprocess.Popen[str]) -> None:
    """End the process and its group: politely, then at once."""
    for sent, patience in ((signal.SIGTERM, _GRACE), (signal.SIGKILL, None)):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, sent)
        with suppress(subprocess.TimeoutExpired):
            process.wait(patience)
    for pipe in (process.stdin, process.stdout):
        if pipe:
            with suppress(BrokenPipeError):
                pipe.close()


@contextmanager
def running(argv: list[str], cores: Collection[int], log: Path) -> Iterator[subprocess.Popen[str]]:
    """The program, for as long as the block lasts."""
    process = spawn(argv, cores, log)
    try:
        yield process
    finally:
        stop(process)


def wait_until(is_ready: Callable[[], bool], process: subprocess.Popen[str], log: Path, patience: float) -> None:
    """Return when it is ready; raise with what the program printed when it ended before that, or took too long."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline and process.poll() is None:
        if is_ready():
            return
        time.sleep(_POLL)
    said = log.read_text(errors="replace").strip()[-2000:]
    raise StartError(said or "it never answered")
