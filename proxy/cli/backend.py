"""`failover-proxy backend drain|maint|ready POOL BACKEND`: an administrator's intent, told to the running proxy."""

from __future__ import annotations

import sys
import time
from typing import Any
from urllib.parse import quote

import click

from proxy.cli.client import Caller, Refused, admin_options
from proxy.cli.names import complete_backend, complete_pool

LOOK_EVERY = 0.2
"""Seconds between two looks whether it is drained."""

Json = dict[str, Any]


@click.command()
@click.argument("intent", type=click.Choice(["drain", "maint", "ready"]))
@click.argument("pool", shell_complete=complete_pool)
@click.argument("name", metavar="BACKEND", shell_complete=complete_backend)
@click.option("--wait", is_flag=True, help="Return when no request is in flight on it.")
@click.option("--timeout", type=click.FloatRange(min=0), help="Seconds to wait at the most; without it, for ever.")
@admin_options
def backend(caller: Caller, *, intent: str, pool: str, name: str, wait: bool, timeout: float | None) -> None:
    r"""Drain a backend, take it out, or let it serve again.

    drain: finish what runs and take nothing new, but for clients that a cookie keeps there (`sticky`) until it ends.
    maint: keep nobody, and no probes. ready: serve. What is said holds until the opposite is said, over restarts too
    where the config has a state_dir. With --wait the exit code is 1 if it is not drained after --timeout.

    \b
    Examples:
      failover-proxy backend drain app 10.0.0.7:8080 --wait --timeout 60
      failover-proxy backend ready app 10.0.0.7:8080
    """
    if intent == "ready" and (wait or timeout is not None):
        raise click.UsageError("--wait and --timeout are for drain and maint: a backend that is ready gets requests")
    if timeout is not None and not wait:
        raise click.UsageError("--timeout is for --wait")
    target = f"/v1/pools/{quote(pool, safe='')}/backends/{quote(name, safe='')}"
    try:
        told = caller.ask("PATCH", target, {"state": intent})
        if wait:
            told = _wait(caller, target, timeout)
    except Refused as refused:
        click.echo(f"error: {refused}", err=True)
        sys.exit(1)
    click.echo(_line(told))
    sys.exit(1 if wait and not told["drained"] else 0)


def _wait(caller: Caller, target: str, timeout: float | None) -> Json:
    """Look until it is drained, or somebody has it serve again, or the time is over; the last look."""
    ends = None if timeout is None else time.monotonic() + timeout
    while True:
        seen: Json = caller.ask("GET", target)
        if seen["drained"] or seen["admin_state"] == "ready" or (ends is not None and time.monotonic() >= ends):
            return seen
        time.sleep(LOOK_EVERY)


def _line(backend: Json) -> str:
    in_flight = backend["in_flight"]
    doing = "nothing in flight" if backend["drained"] else f"{in_flight} in flight"
    if backend["clients_until"] is not None:
        doing += f", its own clients till {backend['clients_until']}"
    return f"{backend['pool']}/{backend['name']}: {backend['admin_state']}, {doing}"
