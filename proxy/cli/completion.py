"""`failover-proxy completion SHELL`: what a shell needs to complete commands, options, pools and backends."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

PROGRAM = "failover-proxy"
VARIABLE = "_FAILOVER_PROXY_COMPLETE"


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    r"""Print the completion script for a shell.

    It completes the names of pools and backends too, as the running proxy tells them.

    \b
    Examples:
      eval "$(failover-proxy completion bash)"
      failover-proxy completion fish > ~/.config/fish/completions/failover-proxy.fish
    """
    made = get_completion_class(shell)
    assert made is not None
    script = made(click.Group(PROGRAM), {}, PROGRAM, VARIABLE)
    # Not `source()`: for bash that starts one, to find out its version, which is not that of whoever reads this.
    click.echo(script.source_template % script.source_vars())
