"""`failover-proxy run CONFIG`. What it does is in `serving`, which is loaded when it is needed."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from proxy.logs import FORMAT, FORMATS


@click.command()
@click.argument("config", type=click.Path(path_type=Path))
@click.option(
    "--addresses",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="Once ready, write the bound addresses and the process ids here, as JSON.",
)
@click.option(
    "--log-format",
    type=click.Choice(FORMATS),
    default=FORMATS[0],
    envvar=FORMAT,
    show_envvar=True,
    help="How the lines of the process's own log look.",
)
def run(config: Path, addresses: Path | None, log_format: str) -> None:
    r"""Serve what CONFIG says, until TERM or Ctrl-C.

    TERM lets requests finish before it ends; a second TERM ends at once.

    \b
    Examples:
      failover-proxy run conf/quickstart.yaml
      failover-proxy run /etc/failover-proxy.yaml --addresses /run/failover-proxy.json
    """
    from proxy.cli.serving import serve  # noqa: PLC0415 - `--help` must not wait for aiohttp and uvloop

    # For the workers, and for the program that replaces this one.
    os.environ[FORMAT] = log_format
    sys.exit(serve(config, addresses))
