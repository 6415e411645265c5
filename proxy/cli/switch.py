"""`failover-proxy failover POOL` and `failback POOL`: who is the active backend of an active-passive pool."""

from __future__ import annotations

import sys
from typing import Any
from urllib.parse import quote

import click

from proxy.cli.client import Caller, Refused, admin_options
from proxy.cli.names import complete_backend, complete_pool

PATIENCE = 15.0
"""Seconds to wait for the answer: the proxy itself waits for its workers, for up to ten."""

Json = dict[str, Any]


@click.command()
@click.argument("pool", shell_complete=complete_pool)
@click.option(
    "--to",
    metavar="BACKEND",
    shell_complete=complete_backend,
    help="Who takes over. Without it, the failover that waits for approval is done.",
)
@click.option("--force", is_flag=True, help="Though it looks as if it were out.")
@admin_options
def failover(caller: Caller, *, pool: str, to: str | None, force: bool) -> None:
    r"""Make another backend of an active-passive pool the active one, or approve what is pending.

    Returns when every worker has followed. Who was put there by name stays, until it fails or `failback` is said.

    \b
    Examples:
      failover-proxy failover payments --to backup
      failover-proxy failover payments
    """
    if force and to is None:
        raise click.UsageError("--force needs --to")
    order: Json = {} if to is None else {"to": to, "force": True} if force else {"to": to}
    _switch(caller, pool, "failover", order)


@click.command()
@click.argument("pool", shell_complete=complete_pool)
@admin_options
def failback(caller: Caller, *, pool: str) -> None:
    r"""Give the place back to the first backend in line that is well.

    Returns when every worker has followed.

    \b
    Examples:
      failover-proxy failback payments
      failover-proxy failback payments --admin unix:/run/failover-proxy/admin
    """
    _switch(caller, pool, "failback", {})


def _switch(caller: Caller, pool: str, what: str, order: Json) -> None:
    try:
        told: Json = caller.ask("POST", f"/v1/pools/{quote(pool, safe='')}/{what}", order, timeout=PATIENCE)
    except Refused as refused:
        click.echo(f"error: {refused}", err=True)
        sys.exit(1)
    active = told["active"]
    if active is None:
        click.echo(f"error: {told['name']}: nobody is active yet; {told['switching_to']} will be", err=True)
        sys.exit(1)
    click.echo(f"{told['name']}: {active} is active")
