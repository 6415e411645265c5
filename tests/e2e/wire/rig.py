"""The proxy as a user runs it, with one worker, before a backend of the test's own."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

SELDOM = {"interval": "1h"}
"""Probes after the first one: none within a test."""
UNMOVED = {"consecutive": 1_000_000, "min_requests": 1_000_000}
"""A breaker that bears with every case."""
ONCE = {"attempts": 1}
"""What a case's backend answers is what the client gets."""
NOTHING_MORE: Mapping[str, object] = {}
DEFAULTS = {"health": SELDOM, "breaker": UNMOVED, "retries": ONCE}


def config(*, defaults: Mapping[str, object] = NOTHING_MORE, **more: object) -> dict[str, object]:
    """One worker, and whatever else is given."""
    return {
        "workers": 1,
        "listeners": {"web": "127.0.0.1:0"},
        "admin": "127.0.0.1:0",
        "defaults": {**DEFAULTS, **defaults},
        **more,
    }


@contextmanager
def serving(folder: Path, document: Mapping[str, object]) -> Iterator[tuple[str, int]]:
    """Run the proxy on this config; its address, which is bound already though the worker may still be starting."""
    path = folder / "proxy.yaml"
    path.write_text(json.dumps(document))
    command = [sys.executable, "-m", "proxy", "run", str(path)]
    with (folder / "log").open("wb") as log, subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log) as process:
        assert process.stdout is not None
        line = process.stdout.readline().decode()
        found = re.fullmatch(r"web +http://([\d.]+):(\d+)\n", line)
        assert found is not None, f"it printed {line!r}; {(folder / 'log').read_text()}"
        try:
            yield found[1], int(found[2])
        finally:
            process.terminate()
            process.terminate()
            process.wait(30)


def listen() -> socket.socket:
    """A backend's socket, on a port that is free."""
    return socket.create_server(("127.0.0.1", 0), backlog=1024)
