"""`make run`: the proxy on `conf/quickstart.yaml`, and the backends which that file names, until Ctrl-C.

Another file whose backends are ports of this machine may be named as an argument.
A backend that is killed comes back after some seconds, as it would under any service manager.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import tempfile
from pathlib import Path

import uvloop

from proxy.config import ConfigError, load
from proxy.core.settings import BackendSettings
from proxy.samples.children import Children, SampleBackend, StartError

CONFIG = Path(__file__).resolve().parents[2] / "conf" / "quickstart.yaml"
COMES_BACK_AFTER = 10.0
"""Seconds between the end of a backend and its next start."""


async def serve(config: Path) -> int:
    """Serve until a signal or the proxy's end; the exit code."""
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    wanted = [backend for pool in load(config, os.environ).pools for backend in pool.backends]
    with tempfile.TemporaryDirectory(prefix="failover-proxy-") as folder:
        async with Children() as children:
            backends = [await _start(children, settings) for settings in wanted]
            proxy, told = await children.proxy(config, Path(folder) / "addresses.json")
            _introduce(backends, next(iter(told["listeners"].values())))
            keepers = [asyncio.create_task(_keep(children, *pair)) for pair in zip(wanted, backends, strict=True)]
            ends = [asyncio.create_task(stopped.wait()), asyncio.create_task(proxy.wait())]
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            for task in (*keepers, *ends):
                task.cancel()
    return 0 if stopped.is_set() else 1


async def _start(children: Children, settings: BackendSettings) -> SampleBackend:
    address = settings.address
    return await children.backend(settings.name, "--host", address.host, "--port", str(address.port))


async def _keep(children: Children, settings: BackendSettings, backend: SampleBackend) -> None:
    """Start a backend again whenever it has ended; one that cannot start says why itself."""
    while True:
        await backend.process.wait()
        print(f"backend {backend.name} has ended; it comes back in {COMES_BACK_AFTER:g} seconds", flush=True)
        await asyncio.sleep(COMES_BACK_AFTER)
        with contextlib.suppress(StartError):
            backend = await _start(children, settings)
            print(f"backend {backend.name} is back, pid {backend.process.pid}", flush=True)


def _introduce(backends: list[SampleBackend], listener: str) -> None:
    for backend in backends:
        print(
            f"backend    http://{backend.address}  pid {backend.process.pid}, faults on http://{backend.control}/_fault"
        )
    first, second, *_ = [backend.process.pid for backend in backends] * 2
    tour = {
        f"curl http://{listener}/": "who answers?",
        f"kill -9 {first}": "it is out, nobody notices, and it comes back",
        f"kill -STOP {second}": f"it hangs; kill -CONT {second} ends that",
        ".venv/bin/failover-proxy status": "which backend is out, and why?",
    }
    print("\nTry, in another terminal:")
    for command, effect in tour.items():
        print(f"  {command:<36}{effect}")
    print("Ctrl-C ends everything.\n", flush=True)


def main() -> int:
    """Serve; the exit code."""
    try:
        return uvloop.run(serve(Path(sys.argv[1]) if len(sys.argv) > 1 else CONFIG))
    except ConfigError as error:
        print(error.render(), file=sys.stderr)
        return 78
    except StartError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
