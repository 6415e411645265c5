"""`failover-proxy reload`: the running proxy reads its config anew, and says what has changed or what is wrong."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

import click

from proxy.cli.client import Caller, Refused, admin_options

BAD_CONFIG = 78
"""EX_CONFIG, as `check` says it."""
PATIENCE = 60.0
"""Seconds to wait for the answer: the file may be long."""
SHOWN = 20
"""Names of each kind that are shown; `--json` shows all."""
KINDS = ("listeners", "pools", "backends", "routes")

Json = dict[str, Any]


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print what the API answers.")
@admin_options
def reload(caller: Caller, *, as_json: bool) -> None:
    r"""Have a running proxy read its config file anew, and put it in force without closing a connection.

    A file with a mistake changes nothing: all its mistakes are printed, and the exit code is 78.

    \b
    Examples:
      failover-proxy reload
      failover-proxy check /etc/failover-proxy.yaml && failover-proxy reload
    """
    try:
        answer = caller.ask("POST", "/v1/reload", timeout=PATIENCE)
    except Refused as refused:
        mistakes = refused.document.get("mistakes", [])
        for mistake in mistakes:
            click.echo(mistake["text"], err=True)
        click.echo(f"error: {refused}", err=True)
        sys.exit(BAD_CONFIG if mistakes else 1)
    click.echo(json.dumps(answer, indent=2) if as_json else "\n".join(told(answer)))
    sys.exit(1 if answer["late_workers"] else 0)


def told(answer: Json) -> Iterator[str]:
    """The answer for a person."""
    yield f"reloaded in {answer['seconds']:.3f}s" + ("" if answer["changed"] else "; nothing has changed")
    for kind in KINDS:
        lines = list(_lines(answer[kind]))
        if lines:
            yield f"{kind}:"
            yield from lines[:SHOWN]
        if len(lines) > SHOWN:
            yield f"  … and {len(lines) - SHOWN} more"
    if answer["settings"]:
        yield "settings:"
        yield from (f"  ~ {key}" for key in answer["settings"])
    if answer["late_workers"]:
        yield f"not yet in force in workers {', '.join(map(str, answer['late_workers']))}; they follow when they can"


def _lines(part: Json) -> Iterator[str]:
    yield from (f"  + {name}" for name in part["added"])
    yield from (f"  - {name}" for name in part["removed"])
    yield from (f"  ~ {name}: {', '.join(keys)}" for name, keys in part["changed"].items())
