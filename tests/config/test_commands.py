"""The command line around configs: `check`, `schema`, and a start that is quick."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from proxy import __version__
from proxy.__main__ import COMMANDS, main
from proxy.config.schema import json_schema

ROOT = Path(__file__).resolve().parents[2]


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def test_check_says_that_a_file_can_be_used() -> None:
    result = invoke("check", str(ROOT / "conf/quickstart.yaml"))

    assert (0, f"{ROOT}/conf/quickstart.yaml: ok: 1 listener, 1 route, 1 pool, 3 backends\n") == (
        result.exit_code,
        result.stdout,
    )


def test_check_prints_every_mistake_and_exits_with_78(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("listeners: [127.0.0.1:8080]\npools: {app: [127.0.0.1]}\nworkrs: 1\n")

    result = invoke("check", str(path))

    assert (78, "") == (result.exit_code, result.stdout)
    assert [
        f"{path}:2:15: error: pools.app[0]: expected an address such as 127.0.0.1:8080, not '127.0.0.1'; the port is missing, such as 127.0.0.1:8080",
        "     2 | pools: {app: [127.0.0.1]}",
        "       |               ^",
        f"{path}:3:1: error: workrs: unknown key; did you mean 'workers'?",
        "     3 | workrs: 1",
        "       | ^",
        "",
        f"2 mistakes in {path}",
    ] == result.stderr.splitlines()


def test_check_reads_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.yaml").write_text('listeners: ["${LISTEN_HERE}"]\npools: {app: [127.0.0.1:1]}\n')

    monkeypatch.setenv("LISTEN_HERE", "127.0.0.1:8080")

    assert 0 == invoke("check", str(tmp_path / "x.yaml")).exit_code


def test_a_file_that_is_not_there_is_an_invalid_config() -> None:
    result = invoke("check", "/nowhere/x.yaml")

    assert 78 == result.exit_code
    assert "/nowhere/x.yaml: error: can't be read: No such file or directory" in result.stderr


def test_schema_prints_the_schema() -> None:
    assert json_schema() == json.loads(invoke("schema").stdout)


def test_the_version_is_the_packages() -> None:
    assert f"failover-proxy {__version__}\n" == invoke("--version").stdout


def test_help_names_every_command() -> None:
    text = invoke("--help").stdout

    assert [] == [name for name in COMMANDS if f"\n  {name} " not in text]


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help_with_examples(command: str) -> None:
    result = invoke(command, "--help")

    assert 0 == result.exit_code
    assert "Examples:" in result.stdout


def test_an_unknown_command_is_wrong_usage() -> None:
    assert 2 == invoke("banana").exit_code


def test_help_loads_none_of_the_large_packages() -> None:
    """They would take most of the time in which a person waits for an answer."""
    source = "import sys\nfrom proxy.__main__ import main\nmain(['--help'], standalone_mode=False)\nprint(*sys.modules)"
    command = [sys.executable, "-c", source]
    output = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT, env=os.environ).stdout

    assert set() == {"pydantic", "yaml", "aiohttp", "uvloop", "prometheus_client", "pybreaker"}.intersection(
        output.split()
    )


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_every_help_ends_with_two_examples_as_they_are_typed(command: str) -> None:
    text = invoke(*command.split(), "--help").stdout

    *_, mark, first, second = text.splitlines()
    assert "  Examples:" == mark
    assert [True, True] == [f"failover-proxy {command}" in line for line in (first, second)]
    assert "\\b" not in text


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_gets_its_completion(shell: str) -> None:
    script = invoke("completion", shell).stdout

    assert ("_FAILOVER_PROXY_COMPLETE" in script, f"{shell}_complete" in script) == (True, True)


def test_bash_completes_what_the_command_says_that_there_is(program: Callable[[str], str], tmp_path: Path) -> None:
    """The script that is printed, run by the shell that it is for."""
    (tmp_path / "failover-proxy").write_text(f'#!/bin/sh\nexec {sys.executable} -m proxy "$@"\n')
    (tmp_path / "failover-proxy").chmod(0o755)
    typed = "COMP_WORDS=(failover-proxy fail); COMP_CWORD=1; _failover_proxy_completion failover-proxy; echo ${COMPREPLY[*]}"
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    source = invoke("completion", "bash").stdout

    done = subprocess.run(
        [program("bash"), "-c", f"complete() {{ :; }}\n{source}\n{typed}"],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )

    assert ("failover failback", "") == (done.stdout.strip(), done.stderr)
