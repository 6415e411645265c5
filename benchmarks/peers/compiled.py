"""This proxy with its hot path compiled (docs/adr/0009-compiled-hot-path.md); all else as in `proxy`."""

from __future__ import annotations

from pathlib import Path

from benchmarks.peers import proxy
from benchmarks.peers.contract import Setup

TITLE = "this proxy, compiled"
INSTALL = "make compiled"

_BUILT = Path(__file__).parents[2] / "build/compiled"


def version() -> str | None:
    """What is built; None where nothing is, or not from this version."""
    found = list(_BUILT.glob("proxy/dataplane/exchange.*.so"))
    return proxy.version() if found else None


def command(setup: Setup) -> list[str]:
    """Write the config; start it so."""
    return ["env", f"PYTHONPATH={_BUILT}", *proxy.command(setup)]
