"""The command line: `failover-proxy COMMAND`, the same as `python -m proxy COMMAND`.

Only what was asked for is imported, so that `--help` and shell completion answer at once. A new command is a module in
`proxy/cli` and a line in COMMANDS.
"""

from __future__ import annotations

import importlib
import inspect

import click

from proxy import __version__

COMMANDS: dict[str, tuple[str, str]] = {
    "run": ("proxy.cli.run:run", "Serve what CONFIG says, until TERM or Ctrl-C."),
    "check": ("proxy.cli.check:check", "Say what is wrong with a config file, all of it at once."),
    "reload": ("proxy.cli.reload:reload", "Have a running proxy read its config anew; say what has changed."),
    "backend": ("proxy.cli.backend:backend", "Drain a backend, take it out, or let it serve again."),
    "status": ("proxy.cli.status:status", "Show pools and backends, and why those that are out are out."),
    "failover": ("proxy.cli.switch:failover", "Make another backend of an active-passive pool the active one."),
    "failback": ("proxy.cli.switch:failback", "Give the place back to the first backend in line that is well."),
    "split": ("proxy.cli.split:split", "Cut a pool off from a split, or give it its share back."),
    "journal": ("proxy.cli.journal:journal", "Show what has happened, why, and what a failover has cost."),
    "explain": ("proxy.cli.explain:explain", "Say what would become of a request, or why a backend is out."),
    "schema": ("proxy.cli.schema:schema", "Print the JSON Schema of config files, for editors."),
    "completion": ("proxy.cli.completion:completion", "Print the completion script for bash, zsh or fish."),
}
"""Where each command is, and what `--help` says of it."""


MARK = "\\b\nExamples:"
"""Before the examples in a docstring, which is a raw one: what click reads as `\\b` is two characters there."""


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        end_with_examples(command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


def end_with_examples(command: click.Command) -> None:
    """Move the examples from the docstring to the end of the help, behind all options, as they are written."""
    text, mark, examples = inspect.cleandoc(command.help or "").partition(MARK)
    if mark:
        command.help, command.epilog = text.rstrip(), f"\b\nExamples:{examples}"


@click.command(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="\b\nExamples:\n  failover-proxy run conf/quickstart.yaml\n  failover-proxy status --watch",
)
@click.version_option(__version__, "--version", prog_name="failover-proxy", message="%(prog)s %(version)s")
def main() -> None:
    """Stand in front of backends and keep them reachable while parts of them fail.

    Exit codes: 0 ok, 1 failed, 2 wrong usage, 78 invalid config.
    """


if __name__ == "__main__":
    main(prog_name="failover-proxy")
