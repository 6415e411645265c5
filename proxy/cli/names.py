"""Names of pools and backends for the shell to complete, from the running proxy; none where it does not answer."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from proxy.cli.client import DEFAULT_ADMIN, Caller, Refused, Unreachable, parse_endpoint, read_token

TIMEOUT = 0.5
"""Seconds: somebody waits with a finger on the Tab key."""

Json = dict[str, Any]


def complete_pool(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Pools whose names begin so."""
    return [pool["name"] for pool in _pools(ctx) if pool["name"].startswith(incomplete)]


def complete_backend(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Backends whose names begin so: of the pool that is named on the line, or of all."""
    pools = [pool for pool in _pools(ctx) if ctx.params.get("pool") in (None, pool["name"])]
    names = [backend["name"] for pool in pools for backend in pool["backends"]]
    return [name for name in dict.fromkeys(names) if name.startswith(incomplete)]


def complete_pair(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """`POOL/BACKEND` that begin so."""
    pairs = [f"{pool['name']}/{backend['name']}" for pool in _pools(ctx) for backend in pool["backends"]]
    return [pair for pair in pairs if pair.startswith(incomplete)]


def _pools(ctx: click.Context) -> list[Json]:
    admin = ctx.params.get("admin") or os.environ.get("FAILOVER_PROXY_ADMIN") or DEFAULT_ADMIN
    token_file = ctx.params.get("token_file")
    try:
        caller = Caller(parse_endpoint(admin), read_token(Path(token_file) if token_file else None))
        pools: list[Json] = caller.try_to_ask("GET", "/v1/pools", timeout=TIMEOUT)["pools"]
    except (Unreachable, Refused, click.UsageError, OSError):
        return []
    return pools
