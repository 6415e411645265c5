"""Draining: of a backend, by a person; of the whole proxy, by TERM. Whoever does as he is told loses no request."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.client import Client, request
from tests.e2e.load import Load
from tests.e2e.long import LongLived, long_backend, routes
from tests.e2e.rig import NAMES, PATIENCE, POLICIES, Admin, Proxy, Rig, happens, until
from tests.e2e.scripted import Asked, Scripted
from tests.e2e.test_processes import ends, unready

IDLE = 20
"""Connections that ask once more in the last moment."""


async def command(*arguments: str) -> tuple[int, str, str]:
    """Run `failover-proxy`: exit code, output, errors."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "proxy", *arguments, stdout=pipe, stderr=pipe)
    output, errors = await asyncio.wait_for(process.communicate(), 2 * PATIENCE)
    return process.returncode or 0, output.decode(), errors.decode()


async def order(proxy: Proxy, *arguments: str) -> tuple[int, str]:
    code, output, errors = await command("backend", *arguments, "--admin", proxy.admin.address)
    assert "" == errors
    return code, output


# A backend


async def test_each_backend_in_turn_is_drained_under_load_and_nothing_fails(rig: Rig) -> None:
    """`--wait` returns when nothing is in flight there, and nothing comes after it."""
    proxy = await rig.start()
    told, after = [], []
    async with Load(proxy.address) as load:
        await load.answered(30)
        for name in NAMES:
            told.append(await order(proxy, "drain", "app", name, "--wait", "--timeout", "20"))
            begun = len(load.records)
            await load.answered(40)
            after += [r.answer.backend == name for r in load.records[begun + load.pending :] if r.answer is not None]
            await order(proxy, "ready", "app", name)
            await load.answered(20)

    assert [(0, f"app/{name}: drain, nothing in flight\n") for name in NAMES] == told
    assert not any(after)
    assert ([], []) == (load.failed("GET"), load.failed("POST"))
    assert {} == {write: times for write, times in rig.executions().items() if times > 1}


async def test_wait_waits_for_what_is_in_flight_and_gives_up_in_time(rig: Rig) -> None:
    asked_for, go_on = asyncio.Event(), asyncio.Event()

    async def answer_late(asked: Asked) -> None:
        asked_for.set()
        await happens(go_on)
        asked.answer(200, "X-Backend: slow", body=b"late")

    async with Scripted(answer_late) as slow:
        backends = [{"name": "slow", "address": slow.address}]
        proxy = await rig.start_proxy({"pools": {"app": {"backends": backends}}})
        client = await rig.connect(proxy.address)
        client.send(request("GET", "/"))
        await happens(asked_for)
        too_early = await order(proxy, "drain", "app", "slow", "--wait", "--timeout", "1.5")
        waiting = asyncio.create_task(order(proxy, "maint", "app", "slow", "--wait"))
        async with asyncio.timeout(PATIENCE):
            while (await proxy.admin.backend("slow"))["admin_state"] != "maint":  # noqa: ASYNC110 - no event
                await asyncio.sleep(0.02)
        assert not waiting.done()
        go_on.set()
        answer = await client.answer()
        done = await asyncio.wait_for(waiting, PATIENCE)

    assert (1, "app/slow: drain, 1 in flight\n") == too_early
    assert (200, b"late") == (answer.status, answer.body)
    assert (0, "app/slow: maint, nothing in flight\n") == done


async def test_what_a_person_has_said_of_a_backend_survives_a_restart_by_its_name(rig: Rig, tmp_path: Path) -> None:
    await rig.start_backends("red", "green")
    config = {"state_dir": str(tmp_path / "state"), "pools": {"app": {**POLICIES, "backends": rig.addresses()}}}
    proxy = await rig.start_proxy(config)
    await order(proxy, "drain", "app", "red", "--wait", "--timeout", "10")
    await proxy.admin.patch("green", weight=7)
    proxy.process.terminate()
    await ends(proxy.process)
    backends = [rig.addresses()[0] | {"address": rig.addresses()[1]["address"]}, rig.addresses()[1]]

    again = await rig.start_proxy(config | {"pools": {"app": {**POLICIES, "backends": backends}}})
    red, green = await again.admin.backend("red"), await again.admin.backend("green")

    assert (["drain"], 7) == (red["reasons"], green["weight"])


# The whole proxy


async def test_term_costs_no_request_of_those_who_heed_what_they_are_told(rig: Rig) -> None:
    """While others learn that it goes it serves on, but tells every client with its answer that its connection closes."""
    await rig.start_backends(*NAMES)
    pools = {"app": {**POLICIES, "backends": rig.addresses()}}
    proxy = await rig.start_proxy({"drain_delay": "2s", "pools": pools})
    idle = [await rig.connect(proxy.address) for _ in range(IDLE)]
    for client in idle:
        await client.ask("GET", "/")
    async with Load(proxy.address) as load:
        await load.answered(30)
        proxy.process.terminate()
        await unready(proxy)
        begun = len(load.records)
        await load.answered(90)
    told = [one.answer.field("connection") for one in load.records[begun + 30 :] if one.answer is not None]
    # The listeners close after two seconds, idle connections one second later: here some still ask.
    answers = []
    for client in idle:
        answers.append(await client.ask("GET", "/once-more"))
        await asyncio.sleep(0.08)
    status = await ends(proxy.process)

    assert ([], []) == (load.failed("GET"), load.failed("POST"))
    assert {"close"} == set(told)
    assert [(200, "close")] * IDLE == [(one.status, one.field("connection")) for one in answers]
    assert {} == {write: times for write, times in rig.executions().items() if times > 1}
    assert 0 == status


async def test_term_leaves_long_downloads_and_websockets_their_time_and_then_ends_them(rig: Rig) -> None:
    await rig.start_backends("red")
    async with long_backend() as backend:
        pools = {"app": {**POLICIES, "backends": rig.addresses()}}
        proxy = await rig.start_proxy({"drain_timeout": "3s"} | routes(backend, {"pools": pools}))
        async with LongLived(proxy.address, sockets=5, downloads=5) as long:
            proxy.process.terminate()
            await long.moved(15)
            broken = list(long.broken)
            status = await ends(proxy.process)
            await until(lambda: len(long.broken) == 10)

    assert ([], 0) == (broken, status)


class ServiceManager:
    """Holds a listening socket, and starts one proxy after the other with it, as systemd does on a restart."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self.sock = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.processes: list[asyncio.subprocess.Process] = []

    @property
    def address(self) -> str:
        host, port = self.sock.getsockname()
        return f"{host}:{port}"

    async def start(self, config: dict[str, Any]) -> Proxy:
        number = len(self.processes)
        path, told, log = (self._rig.folder / f"{number}.{kind}" for kind in ("json", "told", "log"))
        path.write_text(json.dumps(config | {"workers": 2, "listeners": {"web": self.address}, "admin": "127.0.0.1:0"}))
        code = (
            "import os, sys; os.dup2(int(sys.argv[1]), 3); os.environ['LISTEN_PID'] = str(os.getpid());"
            "os.execv(sys.executable, [sys.executable, *sys.argv[2:]])"
        )
        fd = str(self.sock.fileno())
        with log.open("w") as output:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-c", code, fd, "-m", "proxy", "run", str(path), "--addresses", str(told)),
                pass_fds=[self.sock.fileno()],
                env=os.environ | {"LISTEN_FDS": "1", "LISTEN_FDNAMES": "web"},
                start_new_session=True,
                stdout=output,
                stderr=output,
            )
        self.processes.append(process)
        await until(told.exists)
        addresses = json.loads(told.read_text())
        return Proxy(process, addresses, Admin(addresses["admin"], self._rig._session), log, path)

    async def close(self) -> None:
        self.sock.close()
        for process in self.processes:
            if process.returncode is None:
                process.terminate()
                await ends(process)


@pytest.fixture
async def manager(rig: Rig):  # noqa: ANN201 - an async generator of ServiceManager
    manager = ServiceManager(rig)
    yield manager
    await manager.close()


async def test_term_with_a_successor_on_the_same_socket_costs_no_request(rig: Rig, manager: ServiceManager) -> None:
    """Who connects in between waits in the queue, which belongs to neither of them."""
    await rig.start_backends(*NAMES)
    config = {"pools": {"app": {**POLICIES, "backends": rig.addresses()}}}
    first = await manager.start(config)
    async with Load(manager.address) as load:
        await load.answered(50)
        for _ in range(2):
            first.process.terminate()
            await ends(first.process)
            first = await manager.start(config)
            await load.answered(100)

    assert ([], []) == (load.failed("GET"), load.failed("POST"))
    assert {} == {write: times for write, times in rig.executions().items() if times > 1}


async def test_a_client_that_has_just_connected_is_served_at_the_end(rig: Rig) -> None:
    proxy = await rig.start()
    async with asyncio.timeout(PATIENCE):
        clients = [await Client.connect(proxy.address) for _ in range(10)]
        proxy.process.terminate()
        await unready_or_gone(proxy)
        for client in clients:
            client.send(request("GET", "/"))
        answers = [await client.answer() for client in clients]

    assert [(200, "close")] * 10 == [(one.status, one.field("connection")) for one in answers]


async def unready_or_gone(proxy: Proxy) -> None:
    await until(lambda: " draining " in proxy.log)
