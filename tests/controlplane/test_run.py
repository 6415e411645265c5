"""The command with a real config and real workers; what they do with requests is tested elsewhere."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest

ROOT = Path(__file__).parents[2]
CONFIG = """\
workers: {workers}
listeners: {{web: "127.0.0.1:0"}}
admin: {{address: "127.0.0.1:0"}}
pools: {{app: ["127.0.0.1:9"]}}
"""

Start = Callable[..., Awaitable[Process]]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """Starts `run` on a config in `tmp_path`, and ends what is left of it."""
    started: list[Process] = []

    async def start(config: str, *arguments: str, folder: Path = tmp_path) -> Process:
        (tmp_path / "proxy.yaml").write_text(config)
        program = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from proxy.__main__ import main; main()"
        command = [sys.executable, "-P", "-c", program, "run", str(tmp_path / "proxy.yaml"), *arguments]
        process = await asyncio.create_subprocess_exec(*command, cwd=folder, stdout=PIPE, stderr=PIPE)
        started.append(process)
        return process

    yield start
    for process in started:
        if process.returncode is None:
            process.terminate()
            process.terminate()
        await process.communicate()


async def addresses(path: Path) -> dict[str, object]:
    """What the file says, once it is there."""
    async with asyncio.timeout(20):
        while not path.exists():  # noqa: ASYNC110 - a file has no event
            await asyncio.sleep(0.02)
    return json.loads(path.read_text())


async def test_it_tells_where_it_serves_and_ends_by_term(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "addresses.json"
    process = await start(CONFIG.format(workers=2), "--addresses", str(path))
    bound = await addresses(path)
    assert process.stdout is not None
    lines = [(await process.stdout.readline()).decode().split() for _ in range(2)]

    assert {"listeners", "admin", "pid", "workers"} == bound.keys()
    assert [["web", f"http://{bound['listeners']['web']}"], ["admin", f"http://{bound['admin']}"]] == lines
    assert (process.pid, {"0", "1"}) == (bound["pid"], bound["workers"].keys())
    async with aiohttp.ClientSession() as client, client.get(f"http://{bound['admin']}/readyz") as answer:
        assert 200 == answer.status
    process.terminate()
    assert 0 == await asyncio.wait_for(process.wait(), 20)


async def test_ctrl_c_ends_it_and_its_workers(start: Start, tmp_path: Path) -> None:
    """What it logs meanwhile is JSON where that is asked for."""
    path = tmp_path / "addresses.json"
    process = await start(CONFIG.format(workers=1), "--addresses", str(path), "--log-format", "json")
    bound = await addresses(path)

    process.send_signal(signal.SIGINT)

    assert 0 == await asyncio.wait_for(process.wait(), 20)
    with pytest.raises(ProcessLookupError):
        os.kill(bound["workers"]["0"], 0)
    assert process.stderr is not None
    said = [json.loads(line)["message"] for line in (await process.stderr.read()).splitlines()]
    assert {"worker serves", "ready", "stopped"} <= set(said)


async def test_a_package_of_the_same_name_in_the_current_folder_is_not_run(start: Start, tmp_path: Path) -> None:
    """Python would look there first."""
    decoy = tmp_path / "decoy" / "proxy"
    decoy.mkdir(parents=True)
    (decoy / "__init__.py").write_text("raise SystemExit('this is not the proxy')")
    path = tmp_path / "addresses.json"

    await start(CONFIG.format(workers=1), "--addresses", str(path), folder=decoy.parent)

    assert (await addresses(path))["workers"]


async def test_a_bad_config_is_78_with_all_mistakes(start: Start) -> None:
    process = await start("listeners: [127.0.0.1:0]\npools: {app: []}\nworker: 2\n")

    output, errors = await asyncio.wait_for(process.communicate(), 20)

    assert (78, b"") == (process.returncode, output)
    assert b"proxy.yaml:3:1: error: " in errors


async def test_a_taken_address_is_1_and_named(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        process = await start(CONFIG.format(workers=1).replace("127.0.0.1:0", address, 1))

        _, errors = await asyncio.wait_for(process.communicate(), 20)

    assert 1 == process.returncode
    assert f"error: listener web: {address} is taken: another process listens there" in errors.decode().splitlines()


async def test_a_file_of_addresses_that_cannot_be_written_is_said(start: Start, tmp_path: Path) -> None:
    process = await start(CONFIG.format(workers=1), "--addresses", str(tmp_path / "no" / "such"))
    assert process.stderr is not None

    async with asyncio.timeout(20):
        while b"can't be written" not in (line := await process.stderr.readline()):
            assert line

    process.terminate()
    assert 0 == await asyncio.wait_for(process.wait(), 20)
