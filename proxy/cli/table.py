"""Pools and backends as a table of at most `WIDTH` columns, from what the admin API answers. `status` prints it."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from proxy.cli.terminal import paint

WIDTH = 100
"""Columns of the table."""
NAME_WIDTH = 26
HEADER = ("BACKEND", "STATE", "WEIGHT", "IN FLIGHT", "REQ/S", "REQUESTS", "FAILURES", "P50 MS", "P99 MS")
WIDTHS = (7, 6, 9, 8, 9, 8, 8, 8)
"""Of the columns after the name."""

Json = dict[str, Any]


def table(pools: list[Json], availability: Mapping[str, str]) -> Iterator[str]:
    """Lines of at most `WIDTH` columns. `availability` has a line for some of the pools."""
    for number, pool in enumerate(pools):
        if number:
            yield ""
        name = _cut(pool["name"], WIDTH - 40)
        state = paint(pool["state"], pool["state"].upper())
        yield f"POOL {name}  {state}  {pool['available']} of {pool['total']} available"
        yield from _paragraph(pool["sentence"].partition(": ")[2])
        yield from _place(pool)
        if pool["name"] in availability:
            yield _cut(f"  {availability[pool['name']]}", WIDTH)
        if pool["keys"]:
            yield _cut(_keys(pool["keys"]), WIDTH)
        yield _row(HEADER)
        for backend in pool["backends"]:
            yield _row(_cells(backend), _state(backend))
            yield from _why(backend)


def _paragraph(text: str, indent: int = 2) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=" " * indent, subsequent_indent=" " * (indent + 2))


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
        yield from _paragraph(f"{pending['cause']} to {pending['to']} waits for approval: {pending['evidence']}")


def _cells(backend: Json) -> tuple[str, ...]:
    latency = backend["latency_ms"]
    totals = (backend[name] for name in ("requests_total", "failures_total"))
    return (
        backend["name"],
        _state(backend),
        _short(backend["weight"]),
        _short(backend["in_flight"]),
        _rate(backend["requests_per_second"]),
        *map(_short, totals),
        *("-" if latency[name] is None else f"{latency[name]:.1f}" for name in ("p50", "p99")),
    )


def _state(backend: Json) -> str:
    if backend["available"]:
        return "up"
    return "standby" if backend["reasons"] == ["standby"] else "out"


def _row(cells: tuple[str, ...], state: str = "") -> str:
    name, word, *numbers = cells
    columns = [f"  {_cut(name, NAME_WIDTH):<{NAME_WIDTH}}", f"{word:<{WIDTHS[0]}}"]
    columns += [f"{cell:>{width}}" for cell, width in zip(numbers, WIDTHS[1:], strict=True)]
    if state:
        columns[1] = paint(state, columns[1])
    return " ".join(columns).rstrip()


def _why(backend: Json) -> Iterator[str]:
    """One paragraph for each reason, and since when."""
    for veto in backend["vetoes"]:
        yield from _paragraph(f"{veto['reason']}: {veto['cause']}; until {veto['ends_by']}", 4)
    if backend["vetoes"]:
        yield f"    since {backend['since']}"


def _rate(number: float) -> str:
    return _short(round(number)) if number >= 100 else f"{number:.1f}"


def _short(number: int) -> str:
    """A number in at most eight columns."""
    for unit, size in (("T", 10**12), ("G", 10**9), ("M", 10**6)):
        if number >= 10 * size:
            return f"{number / size:.1f}{unit}"
    return str(number)


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"
