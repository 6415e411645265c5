"""Child processes of the quickstart and the demo: none outlives the program that started it, whatever ends that."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

PATIENCE = 10.0
"""Seconds that a child has to start, and to end."""
PR_SET_PDEATHSIG = 1
Output = int | IO[str] | None
"""Where a child's output goes; None: where ours does."""


class StartError(Exception):
    """A child did not get so far as to serve; one that ended has said why itself."""


def _signal_when_orphaned(number: signal.Signals) -> None:
    """Ask the kernel for a signal when the parent is gone; runs in the child."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number)


@dataclass(slots=True)
class SampleBackend:
    """A running sample backend."""

    name: str
    address: str
    control: str
    process: asyncio.subprocess.Process


class Children:
    """Starts Python programs, each in a session of its own, so that Ctrl-C reaches only us; ends them in turn."""

    def __init__(self) -> None:
        self._processes: list[asyncio.subprocess.Process] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in reversed(self._processes):
            await end(process)

    async def start(
        self, *arguments: str, orphaned: signal.Signals, stdout: Output = None, stderr: Output = None
    ) -> asyncio.subprocess.Process:
        """Start `python ARGUMENTS`; it gets the signal `orphaned` if we are killed."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
            preexec_fn=partial(_signal_when_orphaned, orphaned),
        )
        self._processes.append(process)
        return process

    async def backend(self, name: str, *options: str) -> SampleBackend:
        """Start a sample backend and wait until it listens."""
        arguments = ["-m", "proxy.samples.backend", "--name", name, "--control-port", "0", "--addresses", "-", *options]
        process = await self.start(*arguments, orphaned=signal.SIGKILL, stdout=asyncio.subprocess.PIPE)
        assert process.stdout is not None
        async with _in_time(f"the sample backend {name}"):
            line = await process.stdout.readline()
        if not line:
            raise StartError(f"the sample backend {name} could not start")
        addresses = json.loads(line)
        return SampleBackend(name, addresses["address"], addresses["control"], process)

    async def proxy(
        self, config: Path, addresses: Path, log: Output = None
    ) -> tuple[asyncio.subprocess.Process, dict[str, Any]]:
        """Start the proxy and wait until it serves; `addresses` is a file for it to tell where.

        What it prints goes to `log`, or to our own output.
        """
        command = ["-m", "proxy", "run", str(config), "--addresses", str(addresses)]
        process = await self.start(*command, orphaned=signal.SIGTERM, stdout=log, stderr=log)
        async with _in_time("the proxy"):
            while not addresses.exists():
                if process.returncode is not None:
                    raise StartError("the proxy could not start")
                await asyncio.sleep(0.02)
        told: dict[str, Any] = json.loads(addresses.read_text())
        return process, told


@contextlib.asynccontextmanager
async def _in_time(what: str) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(PATIENCE):
            yield
    except TimeoutError:
        raise StartError(f"{what} has not started within {PATIENCE:g} seconds") from None


async def end(process: asyncio.subprocess.Process) -> None:
    """End a child: kindly, then with what tells the proxy to end at once, then by force."""
    for order in (process.terminate, process.terminate, process.kill):
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError, TimeoutError):
                order()
                # A stopped process heeds nothing but a kill until it goes on.
                process.send_signal(signal.SIGCONT)
                async with asyncio.timeout(PATIENCE):
                    await process.wait()
