"""This proxy with its JSON access log on; all else as in `proxy`."""

from __future__ import annotations

from benchmarks.peers import proxy
from benchmarks.peers.contract import Setup

TITLE = "this proxy, access log on"
INSTALL = proxy.INSTALL
version = proxy.version


def command(setup: Setup) -> list[str]:
    """Write the config; start it so."""
    started = proxy.command(setup)
    with (setup.folder / "proxy.yaml").open("a") as config:
        config.write(f"access_log: {setup.folder / 'access.log'}\n")
    return started
