"""What the command line does on a terminal: colours, a table that is drawn anew, and names that a shell completes."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner

from proxy.cli.status import status
from proxy.core.pools.health import HealthPolicy, Probe
from proxy.core.settings import Address, BackendSettings, PoolSettings
from tests.controlplane.conftest import Api, OpenApi

ROOT = Path(__file__).resolve().parents[2]
NOT_OURS = {"NO_COLOR", "FAILOVER_PROXY_ADMIN", "COLUMNS", "LINES"}
ESCAPES = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]")


def address(api: Api) -> str:
    return f"{api.client.host}:{api.client.port}"


def environment(**changes: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in NOT_OURS}
    return kept | {"PYTHONPATH": str(ROOT), "TERM": "xterm"} | changes


class Screen:
    """The terminal of one process."""

    def __init__(self, process: asyncio.subprocess.Process, master: int) -> None:
        self.process = process
        self.seen = b""
        self._master = master
        self._news = asyncio.Event()
        asyncio.get_running_loop().add_reader(master, self._read)

    def _read(self) -> None:
        try:
            self.seen += os.read(self._master, 65536)
        except OSError:
            asyncio.get_running_loop().remove_reader(self._master)
        self._news.set()

    async def shows(self, happened: Callable[[bytes], object]) -> None:
        async with asyncio.timeout(30):
            while not happened(self.seen):
                self._news.clear()
                await self._news.wait()


@asynccontextmanager
async def on_terminal(*arguments: str, rows: int = 40, **changes: str) -> AsyncIterator[Screen]:
    """Run the program on a terminal of its own."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, 100, 0, 0))
    command = [sys.executable, "-m", "proxy", *arguments]
    process = await asyncio.create_subprocess_exec(
        *command, stdin=slave, stdout=slave, stderr=slave, env=environment(**changes)
    )
    os.close(slave)
    screen = Screen(process, master)
    try:
        yield screen
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        asyncio.get_running_loop().remove_reader(master)
        os.close(master)


async def test_a_terminal_gets_colours_and_who_is_out_is_red(api: Api) -> None:
    for _ in range(3):
        api.control.registry.take_probe(("app", "b0"), Probe(0.0, ok=False, duration=0.0, detail="refused"))
    async with on_terminal("status", "--admin", address(api)) as screen:
        assert 0 == await asyncio.wait_for(screen.process.wait(), 30)
        await screen.shows(lambda seen: b"b1" in seen)

    assert b"\x1b[33mDEGRADED\x1b[0m" in screen.seen
    assert b"\x1b[31mout    \x1b[0m" in screen.seen
    assert max(len(ESCAPES.sub(b"", line)) for line in screen.seen.splitlines()) <= 100


@pytest.mark.parametrize("changes", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
async def test_no_colours_where_they_are_not_wanted(api: Api, changes: dict[str, str]) -> None:
    async with on_terminal("status", "--admin", address(api), **changes) as screen:
        assert 0 == await asyncio.wait_for(screen.process.wait(), 30)
        await screen.shows(lambda seen: b"b1" in seen)

    assert b"\x1b" not in screen.seen


async def test_watch_draws_anew_what_changes_and_ends_cleanly_by_ctrl_c(api: Api) -> None:
    registry = api.control.registry
    async with on_terminal("status", "--watch", "--admin", address(api)) as screen:
        await screen.shows(lambda seen: b"2 of 2 available" in seen)
        for _ in range(3):
            registry.take_probe(("app", "b0"), Probe(0.0, ok=False, duration=0.0, detail="refused"))
        await screen.shows(lambda seen: b"1 of 2 available" in seen)
        screen.process.send_signal(signal.SIGINT)
        code = await asyncio.wait_for(screen.process.wait(), 30)
        await screen.shows(lambda seen: seen.endswith(b"\x1b[?7h\x1b[?25h"))

    assert (0, False) == (code, b"Traceback" in screen.seen)


async def test_watch_leaves_out_what_does_not_fit_and_goes_on_where_nobody_answers(open_api: OpenApi) -> None:
    backends = tuple(BackendSettings(f"b{number}", Address("127.0.0.1", 9)) for number in range(50))
    api = await open_api(pools=(PoolSettings("app", backends, health=HealthPolicy()),))
    async with on_terminal("status", "--watch", "--admin", address(api), rows=20) as screen:
        await screen.shows(lambda seen: b" more lines" in seen)
        height = screen.seen.partition(b"\x1b[J")[0].count(b"\n")
        await api.client.close()
        await screen.shows(lambda seen: b"can't be reached: connection refused" in seen)

    assert height < 20


@pytest.mark.parametrize("also", ["--json", "--ready", None])
def test_watch_needs_a_terminal_for_itself(also: str | None) -> None:
    result = CliRunner().invoke(status, ["--watch", *([also] if also else [])])

    assert (2, True) == (result.exit_code, "--watch draws " in result.output)


# Completion


async def completed(line: str, **changes: str) -> list[str]:
    """The words that the program tells bash."""
    told = {"_FAILOVER_PROXY_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
    command = [sys.executable, "-c", "from proxy.__main__ import main; main(prog_name='failover-proxy')"]
    done = await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, env=environment(**told, **changes), check=False
    )
    assert "" == done.stderr
    return [one.partition(",")[2] for one in done.stdout.splitlines() if one]


@pytest.fixture
async def shop(open_api: OpenApi) -> Api:
    backends = tuple(BackendSettings(name, Address("127.0.0.1", 9)) for name in ("primary", "backup"))
    others = (BackendSettings("one", Address("127.0.0.1", 9)),)
    return await open_api(pools=(PoolSettings("payments", backends), PoolSettings("app", others)))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("failover-proxy backend drain pay", ["payments"]),
        ("failover-proxy backend drain payments ", ["primary", "backup"]),
        ("failover-proxy backend drain app ", ["one"]),
        ("failover-proxy failover payments --to b", ["backup"]),
        ("failover-proxy journal --pool ", ["payments", "app"]),
        ("failover-proxy explain --backend payments/p", ["payments/primary"]),
    ],
)
async def test_names_are_completed_as_the_running_proxy_tells_them(shop: Api, line: str, words: list[str]) -> None:
    assert words == await completed(line, FAILOVER_PROXY_ADMIN=address(shop))


async def test_the_address_on_the_line_counts(shop: Api) -> None:
    assert ["app"] == await completed(f"failover-proxy failback --admin {address(shop)} a")


@pytest.mark.parametrize("admin", ["127.0.0.1:1", "nonsense", "unix:/nowhere"])
async def test_without_a_proxy_there_is_nothing_to_complete_and_no_error(admin: str) -> None:
    assert [] == await completed("failover-proxy failback ", FAILOVER_PROXY_ADMIN=admin)
