"""`failover-proxy status`: pools and backends as the admin API knows them, and why each that is out is out."""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Iterator
from typing import Any

import click

from proxy.cli.client import Caller, Refused, admin_options

WIDTH = 100
"""Columns of the table."""
NAME_WIDTH = 30
HEADER = ("BACKEND", "STATE", "WEIGHT", "IN FLIGHT", "REQUESTS", "FAILURES", "P50 MS", "P99 MS")
WIDTHS = (7, 6, 9, 10, 9, 8, 8)
"""Of the columns after the name."""
CAUSES = {
    "drain": "takes nothing new until an administrator says ready",
    "maint": "taken out by an administrator, not probed",
    "unchecked": "waits for its first good probes",
    "full": "has as many requests in flight as it may have",
    "standby": "well, but a lower tier serves",
}
"""What a reason means where nothing more is known of it."""

Json = dict[str, Any]


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print what the API answers.")
@click.option(
    "--ready", is_flag=True, help="Only say whether the proxy serves, whatever its backends do: for healthchecks."
)
@admin_options
def status(caller: Caller, *, as_json: bool, ready: bool) -> None:
    r"""Show pools and backends, with the reason for each backend that is out.

    Exits with 1 if a pool has no available backend, or if the admin endpoint gives no answer.

    \b
    Examples:
      failover-proxy status
      failover-proxy status --json --admin 127.0.0.1:9901
      failover-proxy status --ready
    """
    try:
        document = caller.ask("GET", "/v1/pools")
    except Refused as refused:
        answer = f"the admin endpoint {caller.endpoint} answers {refused.status}: {refused}"
        click.echo(f"error: {answer}", err=True)
        sys.exit(1)
    if ready:
        click.echo(document["readiness"])
        sys.exit(0 if document["readiness"] == "ready" else 1)
    if as_json:
        click.echo(json.dumps(document, indent=2))
    else:
        for problem in document.get("problems", []):
            click.echo(f"PROBLEM {problem}")
        click.echo("\n".join(table(document["pools"])))
    sys.exit(0 if all(pool["available"] for pool in document["pools"]) else 1)


def table(pools: list[Json]) -> Iterator[str]:
    """Lines of at most `WIDTH` columns."""
    for number, pool in enumerate(pools):
        if number:
            yield ""
        panic = "  PANIC: too few are well, so verdicts are not believed" if pool["panic"] else ""
        yield _cut(f"POOL {pool['name']}  {pool['available']} of {pool['total']} available{panic}", WIDTH)
        yield from _place(pool)
        if pool["degraded"]:
            yield from textwrap.wrap(
                f"degraded: {pool['degraded']}", WIDTH, initial_indent="  ", subsequent_indent="    "
            )
        if pool.get("keys"):
            yield _cut(_keys(pool["keys"]), WIDTH)
        yield _row(HEADER)
        for backend in pool["backends"]:
            yield _row(_cells(backend))
            yield from _why(backend)


def _keys(keys: Json) -> str:
    """How many idempotency keys the ledger holds, and of how many the outcome is open."""
    open_ones = [f"{keys[state]} {state}" for state in ("running", "unknown", "queued") if keys[state]]
    if keys["queued"]:
        open_ones[-1] += f" for up to {keys['queue']['oldest_seconds']:.0f} s"
    return ", ".join([f"  keys: {keys['kept']} of {_short(keys['most'])} kept", *open_ones])


def _place(pool: Json) -> Iterator[str]:
    """Who is active, where only one is, and what waits for a person."""
    if pool["mode"] != "active-passive":
        return
    active = pool["active"] or f"nobody, soon {pool['switching_to']}"
    yield _cut(f"  active: {active}{', put there by hand' if pool['pinned'] else ''}", WIDTH)
    pending = pool["pending"]
    if pending is not None:
        text = f"{pending['cause']} to {pending['to']} waits for approval: {pending['evidence']}"
        yield from textwrap.wrap(text, WIDTH, initial_indent="  ", subsequent_indent="    ")


def _cells(backend: Json) -> tuple[str, ...]:
    latency = backend["latency_ms"]
    counts = (backend[name] for name in ("weight", "in_flight", "requests_total", "failures_total"))
    return (
        backend["name"],
        _state(backend),
        *map(_short, counts),
        *("-" if latency[name] is None else f"{latency[name]:.1f}" for name in ("p50", "p99")),
    )


def _state(backend: Json) -> str:
    if backend["available"]:
        return "up"
    return "standby" if backend["reasons"] == ["standby"] else "out"


def _row(cells: tuple[str, ...]) -> str:
    name, state, *numbers = cells
    columns = [f"  {_cut(name, NAME_WIDTH):<{NAME_WIDTH}}", f"{state:<{WIDTHS[0]}}"]
    columns += [f"{cell:>{width}}" for cell, width in zip(numbers, WIDTHS[1:], strict=True)]
    return " ".join(columns).rstrip()


def _why(backend: Json) -> Iterator[str]:
    """One paragraph for each reason."""
    for reason in backend["reasons"]:
        cause = _cause(backend, reason)
        text = f"{reason}: {cause}" if cause else reason
        yield from textwrap.wrap(text, WIDTH, initial_indent="    ", subsequent_indent="      ")
    if backend["reasons"]:
        yield f"    since {backend['since']}"


def _cause(backend: Json, reason: str) -> str:
    if reason in {"breaker_open", "outlier"}:
        breaker = backend["breaker"]
        until = f", trials from {breaker['until']}" if breaker["until"] else ", on trial"
        return f"{breaker['reason']}{until}"
    if reason == "failed_probes":
        return next((probe["detail"] for probe in reversed(backend["health"]["last"]) if not probe["ok"]), "")
    if reason in {"drain", "maint"} and backend["admin_state"] == "ready":
        return "by its own word"
    return CAUSES.get(reason, "")


def _short(number: int) -> str:
    """A number in at most eight columns."""
    for unit, size in (("T", 10**12), ("G", 10**9), ("M", 10**6)):
        if number >= 10 * size:
            return f"{number / size:.1f}{unit}"
    return str(number)


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"
