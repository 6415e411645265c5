"""`failover-proxy journal`: what has happened and why, as the running proxy remembers it."""

from __future__ import annotations

import json
import sys
import textwrap
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import click

from proxy.cli.client import Caller, Refused, admin_options
from proxy.cli.names import complete_backend, complete_pool
from proxy.cli.terminal import harmless
from proxy.core.telling.journal import Kind

WIDTH = 100
"""Columns of a line."""
KINDS = tuple(kind.value for kind in Kind)
LOOK_EVERY = 0.5
"""Seconds between two looks for new entries."""
PAGE = 1000
"""Entries of one answer, where more follow."""

Json = dict[str, Any]


@click.command()
@click.option("--pool", metavar="POOL", shell_complete=complete_pool, help="Only what is about this pool.")
@click.option(
    "--backend", metavar="BACKEND", shell_complete=complete_backend, help="Only what is about backends of this name."
)
@click.option("--kind", type=click.Choice(KINDS), help="Only entries of this kind.")
@click.option("--since", metavar="WHEN", help="Only what is younger: 90s, 15m, 1h, 7d, or a date.")
@click.option("--limit", type=click.IntRange(1, PAGE), default=100, show_default=True, help="The newest so many.")
@click.option("--json", "as_json", is_flag=True, help="Print each entry as one line of JSON.")
@click.option("--follow", is_flag=True, help="Go on with what happens from now on, until Ctrl-C.")
@admin_options
def journal(caller: Caller, *, limit: int, as_json: bool, follow: bool, **filters: str | None) -> None:
    r"""Show what has happened: what changed, why, by which rule, and what a failover has cost.

    \b
    Examples:
      failover-proxy journal --since 1h
      failover-proxy journal --pool payments --kind failover --json
    """
    asked = {name: value for name, value in filters.items() if value is not None}
    try:
        told = _ask(caller, asked | {"limit": limit})
        _show(told["entries"], as_json=as_json)
        while follow:
            time.sleep(LOOK_EVERY)
            told = _following(caller, asked, told["last_id"], as_json=as_json)
    except Refused as refused:
        click.echo(f"error: {refused}", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(0)


def _ask(caller: Caller, query: Json) -> Json:
    told: Json = caller.ask("GET", f"/v1/journal?{urlencode(query)}")
    return told


def _following(caller: Caller, asked: Json, last_id: int, *, as_json: bool) -> Json:
    """Show what came after this entry, page by page; the last answer."""
    while True:
        told = _ask(caller, {**asked, "after": last_id, "limit": PAGE})
        entries = told["entries"]
        _show(entries, as_json=as_json)
        if len(entries) < PAGE:
            return told
        last_id = entries[-1]["id"]


def _show(entries: list[Json], *, as_json: bool) -> None:
    for entry in entries:
        click.echo(json.dumps(entry) if as_json else "\n".join(lines(harmless(entry))))


def lines(entry: Json) -> Iterator[str]:
    """An entry for a terminal: when, what, and what is not said in the sentence."""
    begin = f"{entry['time'].replace('T', ' ')[:19]}  {entry['kind']:<11} "
    yield from textwrap.wrap(
        entry["sentence"], WIDTH, initial_indent=begin, subsequent_indent=" " * len(begin), break_long_words=False
    )
    told = [f"rule {entry['rule']}"] if entry["rule"] else []
    told += [f"by a {entry['who']}"] if entry["who"] != "rule" else []
    if told:
        yield f"{' ' * len(begin)}({', '.join(told)})"
