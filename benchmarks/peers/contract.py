"""What a case asks of a proxy, and what a file about one must offer. Every proxy gets the same protections.

Probes of every backend each two seconds, three tries at most, retries on failed connections, broken answers and
502-504, passive ejection after five failures, keep-alive on both sides, no access log, no compression, the least
loaded backend first.
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

ANSWER_TIMEOUT = 15.0
PROBE_INTERVAL = 2.0


class UnsupportedError(Exception):
    """This proxy can't do what the case asks; the text says why."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a TLS listener needs."""

    chain: Path
    key: Path
    bundle: Path
    """Chain and key in one file."""


@dataclass(frozen=True, slots=True)
class Setup:
    """What a case asks of a proxy."""

    folder: Path
    """Where its config, logs and state go."""
    port: int
    admin_port: int
    backends: tuple[int, ...]
    """Their ports on 127.0.0.1."""
    routes: int = 1
    """With more than one, route number n is the path prefix `/rn/`."""
    workers: int = 1
    certificate: Certificate | None = None
    websockets: bool = False
    keyed: bool = False
    """Heed idempotency keys: note each write before it is sent, keep its answer."""
    answer_timeout: float = ANSWER_TIMEOUT
    """Seconds that a backend has to begin its answer."""
    probe_interval: float = PROBE_INTERVAL


class Peer(Protocol):
    """A module about one proxy."""

    TITLE: str
    INSTALL: str
    """The command that brings it."""

    def version(self) -> str | None:
        """Its version; None where it is not installed."""

    def command(self, setup: Setup) -> list[str]:
        """Write its config and say how to start it in the foreground; raises UnsupportedError."""


def version_of(argv: list[str], pattern: str) -> str | None:
    """What a program says of its version; None where it can't be started."""
    try:
        said = subprocess.run(argv, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(pattern, said.stdout + said.stderr)
    return found[1] if found else "unknown"
