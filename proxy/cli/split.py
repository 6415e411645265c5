"""`failover-proxy split cut ROUTE POOL` and `split resume ROUTE`: which pool of a split gets nothing."""

from __future__ import annotations

import sys
from typing import Any
from urllib.parse import quote

import click

from proxy.cli.client import Caller, Refused, admin_options
from proxy.cli.terminal import harmless

Json = dict[str, Any]


@click.command()
@click.argument("order", type=click.Choice(["cut", "resume"]))
@click.argument("route")
@click.argument("pool", required=False)
@admin_options
def split(caller: Caller, *, order: str, route: str, pool: str | None) -> None:
    r"""Cut a pool off from the split of a route, or give it its share back.

    cut: the others get its share at once, and the clients that a cookie keeps there go to them. resume: the pool that
    is cut off, by `abort_on` or by hand, gets its share back and is judged anew.

    \b
    Examples:
      failover-proxy split cut checkout checkout-canary
      failover-proxy split resume checkout
    """
    if (order == "cut") is (pool is None):
        raise click.UsageError("cut needs a POOL" if pool is None else "resume takes a ROUTE alone")
    body: Json = {} if pool is None else {"pool": pool}
    try:
        told: Json = harmless(caller.ask("POST", f"/v1/splits/{quote(route, safe='')}/{order}", body))
    except Refused as refused:
        click.echo(f"error: {refused}", err=True)
        sys.exit(1)
    cut_off = told["cut_off"]
    shares = ", ".join(f"{one['pool']} {_share(one, cut_off)}" for one in told["shares"])
    click.echo(f"{told['route']}: {shares}")


def _share(one: Json, cut_off: Json | None) -> str:
    return "cut off" if cut_off is not None and one["pool"] == cut_off["pool"] else f"{one['share'] * 100:.4g}%"
