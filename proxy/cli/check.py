"""`failover-proxy check CONFIG`: what is wrong with a config file, before anything is started or reloaded."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from time import time

import click

BAD_CONFIG = 78
"""EX_CONFIG: tells a service manager that starting again will not help."""


@click.command()
@click.argument("config", type=click.Path(path_type=Path))
def check(config: Path) -> None:
    r"""Say what is wrong with a config file, all of it at once.

    Each mistake is reported as FILE:LINE:COLUMN: error: KEY: what is wrong. Nothing is started. The exit code is 0 for
    a file that can be used, 78 for one that can't.

    \b
    Examples:
      failover-proxy check conf/quickstart.yaml
      failover-proxy check /etc/failover-proxy.yaml && systemctl restart failover-proxy
    """
    # `--help` must not wait for pydantic.
    from proxy.config import ConfigError, load  # noqa: PLC0415
    from proxy.controlplane.probing.expiry import warnings  # noqa: PLC0415

    try:
        settings = load(config, os.environ)
    except ConfigError as error:
        click.echo(error.render(), err=True)
        click.echo(f"\n{_number(len(error.mistakes), 'mistake')} in {config}", err=True)
        sys.exit(BAD_CONFIG)
    for warning in warnings(settings, time()):
        click.echo(f"{config}: warning: {warning}", err=True)
    counts = (
        _number(len(settings.listeners), "listener"),
        _number(len(settings.routes), "route"),
        _number(len(settings.pools), "pool"),
        _number(sum(len(pool.backends) for pool in settings.pools), "backend"),
    )
    click.echo(f"{config}: ok: {', '.join(counts)}")


def _number(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
