"""`make run`, as a user runs it, on ports that are free."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

LAST_LINE = "Ctrl-C ends everything."


def free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago; a config has to name its backends' ports."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [bound.getsockname()[1] for bound in sockets]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    document = {
        "workers": 1,
        "listeners": ["127.0.0.1:0"],
        "admin": {"address": "127.0.0.1:0"},
        "pools": {"app": [f"127.0.0.1:{port}" for port in free_ports(2)]},
    }
    path.write_text(json.dumps(document))
    return path


@pytest.fixture
def quickstart(config: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The running program, and what it printed until it was ready."""
    command = [sys.executable, "-m", "proxy.samples.quickstart", str(config)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        printed = ""
        while LAST_LINE not in printed:
            line = process.stdout.readline()
            assert line, f"it ended after printing: {printed}"
            printed += line
        yield process, printed
        process.kill()


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_it_serves_from_the_backends_that_it_started(quickstart: tuple[subprocess.Popen[str], str]) -> None:
    _, printed = quickstart
    [listener] = re.findall(r"curl (http://127\.0\.0\.1:\d+/)", printed)
    backends = re.findall(r"backend +http://(127\.0\.0\.1:\d+) +pid (\d+)", printed)

    with urllib.request.urlopen(listener, timeout=10) as answer:  # noqa: S310 - an address of our own
        who = json.load(answer)

    assert (who["backend"], str(who["pid"])) in backends
    assert 2 == len(backends)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 0), (signal.SIGKILL, -signal.SIGKILL)]
)
def test_nothing_that_it_started_outlives_it(
    quickstart: tuple[subprocess.Popen[str], str], number: signal.Signals, code: int
) -> None:
    """Even killed without a chance to clean up."""
    process, _ = quickstart
    started = [os.pidfd_open(pid) for pid in children(process.pid)]
    assert 3 == len(started)

    process.send_signal(number)

    assert code == process.wait(timeout=30)
    for descriptor in started:
        ended, _, _ = select.select([descriptor], [], [], 30)
        os.close(descriptor)
        assert [descriptor] == ended


def test_a_config_with_a_mistake_is_shown_and_nothing_starts(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("listeners: [127.0.0.1:0]\npool: {}\n")
    command = [sys.executable, "-m", "proxy.samples.quickstart", str(wrong)]

    ended = subprocess.run(command, capture_output=True, text=True, check=False)

    assert (78, "") == (ended.returncode, ended.stdout)
    assert f"{wrong}:2:1: error: pool" in ended.stderr
