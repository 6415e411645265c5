"""`failover-proxy status`: pools and backends as the admin API knows them, and why each that is out is out."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
import time
from collections.abc import Iterator
from typing import Any

import click

from proxy.cli.availability import Ask, availability_lines
from proxy.cli.client import Caller, Refused, Unreachable, admin_options
from proxy.cli.table import WIDTH, table
from proxy.cli.terminal import begin_screen, end_screen, harmless, redraw

LOOK_EVERY = 1.0
"""Seconds between two looks with --watch."""

Json = dict[str, Any]


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print what the API answers.")
@click.option(
    "--ready", is_flag=True, help="Only say whether the proxy serves, whatever its backends do: for healthchecks."
)
@click.option("--watch", is_flag=True, help="Go on looking, and draw the table anew each second, until Ctrl-C.")
@admin_options
def status(caller: Caller, *, as_json: bool, ready: bool, watch: bool) -> None:
    r"""Show pools and backends, with the reason for each backend that is out.

    Exits with 1 if a pool is down: nobody in it is well; or if the admin endpoint gives no answer. Colours are left out
    where NO_COLOR is set, or where the output is no terminal.

    \b
    Examples:
      failover-proxy status --watch
      failover-proxy status --json --admin 127.0.0.1:9901
    """
    if watch and (as_json or ready):
        raise click.UsageError("--watch draws a table: it goes with neither --json nor --ready")
    if watch and not sys.stdout.isatty():
        raise click.UsageError("--watch draws on a terminal, and the output is none")
    if watch:
        _watch(caller)
        return
    document = _ask(caller)
    if ready:
        click.echo(document["readiness"])
        sys.exit(0 if document["readiness"] == "ready" else 1)
    click.echo(json.dumps(document, indent=2) if as_json else "\n".join(_lines(document, caller.ask)))
    sys.exit(1 if any(pool["state"] == "down" for pool in document["pools"]) else 0)


def _ask(caller: Caller) -> Json:
    try:
        document: Json = caller.ask("GET", "/v1/pools")
    except Refused as refused:
        click.echo(f"error: {caller.saying(refused)}", err=True)
        sys.exit(1)
    return document


def _lines(document: Json, ask: Ask) -> Iterator[str]:
    document = harmless(document)
    yield from (f"PROBLEM {problem}" for problem in document.get("problems", []))
    for cut in document.get("cut_off", []):
        text = f"CUT OFF {cut['pool']} from route {cut['route']}: {cut['evidence']}"
        yield from textwrap.wrap(text, WIDTH, subsequent_indent="  ")
    yield from table(document["pools"], availability_lines(ask))


def _watch(caller: Caller) -> None:
    """Draw, wait, draw anew. Where nobody answers, say so and go on: the proxy may come back."""
    begin_screen()
    try:
        while True:
            redraw(_screen(caller), shutil.get_terminal_size((WIDTH, 50)).lines)
            time.sleep(LOOK_EVERY)
    except KeyboardInterrupt:
        return
    finally:
        end_screen()


def _screen(caller: Caller) -> Iterator[str]:
    yield f"{caller.endpoint}  {time.strftime('%H:%M:%S')}  every {LOOK_EVERY:g} s, Ctrl-C ends"
    yield ""
    try:
        yield from _lines(caller.try_to_ask("GET", "/v1/pools"), caller.try_to_ask)
    except Refused as refused:
        yield caller.saying(refused)
    except Unreachable as error:
        yield from str(error).splitlines()
