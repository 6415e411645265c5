"""`failover-proxy explain`: what would become of a request, or why a backend is out and what brings it back."""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import click

from proxy.cli.client import Caller, Refused, admin_options
from proxy.cli.names import complete_pair
from proxy.cli.table import WIDTH
from proxy.cli.terminal import harmless, paint

PATIENCE = 30.0
"""Seconds: there may be thousands of routes and backends."""
EARLIER_SHOWN = 20
"""Routes that did not match; `--json` shows more."""
TIMEOUTS = ("connect", "first_byte", "stall", "total")

Json = dict[str, Any]


@click.command()
@click.argument("method", required=False)
@click.argument("url", required=False)
@click.option("-H", "--header", multiple=True, metavar="'NAME: VALUE'", help="A field of its head; as often as needed.")
@click.option("--client", metavar="ADDRESS", help="The address that it comes from, where a hash of it decides.")
@click.option("--backend", metavar="POOL/BACKEND", shell_complete=complete_pair, help="Say why this backend is out.")
@click.option("--json", "as_json", is_flag=True, help="Print what the API answers.")
@admin_options
def explain(
    caller: Caller,
    *,
    method: str | None,
    url: str | None,
    header: tuple[str, ...],
    client: str | None,
    backend: str | None,
    as_json: bool,
) -> None:
    r"""Say what would become of a request, and why; or why a backend is out, what brings it back, and when.

    Nothing is sent: the running proxy asks the code that serves, and nothing is counted or changed by it.

    \b
    Examples:
      failover-proxy explain GET https://shop.example/pay/1 -H 'X-Canary: always'
      failover-proxy explain --backend payments/primary
    """
    query = _query(method, url, header, client, backend)
    try:
        told = caller.ask("GET", f"/v1/explain?{urlencode(query)}", timeout=PATIENCE)
    except Refused as refused:
        click.echo(f"error: {refused}", err=True)
        sys.exit(1)
    if as_json:
        click.echo(json.dumps(told, indent=2))
        return
    click.echo("\n".join(_told(harmless(told))))


def _query(
    method: str | None, url: str | None, header: tuple[str, ...], client: str | None, backend: str | None
) -> list[tuple[str, str]]:
    if backend is not None:
        if method or header or client:
            raise click.UsageError("--backend is a question of its own: leave the request out")
        return [("backend", backend)]
    if method is None or url is None:
        raise click.UsageError("name a METHOD and a URL, or a --backend")
    asked = [("method", method), ("url", url), *(("header", one) for one in header)]
    return [*asked, ("client", client)] if client else asked


def _told(document: Json) -> Iterator[str]:
    yield from _paragraph(document["sentence"], 0)
    if "backend" in document:
        return
    if document["earlier"]:
        yield "routes that do not match:"
        yield from (f"  {_cut(one['route'] + ': ' + one['why_not'])}" for one in document["earlier"][:EARLIER_SHOWN])
        more = len(document["earlier"]) - EARLIER_SHOWN + document["earlier_left_out"]
        if more > 0:
            yield f"  … and {more} more"
    for choice in document["choices"]:
        yield from _choice(choice)


def _choice(choice: Json) -> Iterator[str]:
    state = paint(choice["state"], choice["state"].upper()) if choice["state"] else ""
    share = f"  {choice['share']:.4g} of such requests" if choice["share"] < 1 else ""
    yield f"pool {choice['pool']}  {state}{share}"
    yield from _paragraph((choice["pool_sentence"] or "").partition(": ")[2])
    for one in choice["backends"]:
        yield from _backend(one, is_trial=choice["trial"] and one["name"] == choice["picked"])
    times = [f"{name} {choice['timeouts'][name]:g} s" for name in TIMEOUTS if choice["timeouts"][name] is not None]
    yield from _paragraph(f"timeouts: {', '.join(times)}")
    retries = choice["retries"]
    yield from _paragraph(
        f"retries: {choice['repeats']}; on {', '.join(retries['on'])}; budget {retries['budget']:.0%}"
    )


def _backend(one: Json, *, is_trial: bool) -> Iterator[str]:
    if one["available"]:
        word = "up"
    else:
        word = "standby" if one["reasons"] == ["standby"] else "out"
    chance = "trial" if is_trial else f"{one['chance']:.0%}" if one["chance"] else "-"
    yield f"  {_cut(one['name'], 40):<40} {paint(word, f'{word:<7}')} {chance:>6}"
    if not one["available"]:
        yield from _paragraph(one["sentence"], 4)


def _paragraph(text: str, indent: int = 2) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=" " * indent, subsequent_indent=" " * (indent + 2))


def _cut(text: str, width: int = WIDTH - 2) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"
