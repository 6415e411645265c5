"""Listeners and workers come and go while clients are being served."""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.client import Client, request
from tests.e2e.load import Load
from tests.e2e.rig import PATIENCE, Proxy, Rig, until
from tests.e2e.scripted import Scripted
from tests.e2e.test_processes import connect_to

Json = dict[str, Any]


async def listening(proxy: Proxy, address: str) -> bool:
    """Whether anybody accepts there."""
    try:
        async with await Client.connect(address) as client:
            return (await client.ask("GET", "/")).status == 200
    except OSError:
        return False


async def free_address() -> str:
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    server.close()
    await server.wait_closed()
    return f"{host}:{port}"


async def test_a_listener_is_added_to_workers_that_run(rig: Rig) -> None:
    proxy = await rig.start()
    before, added = proxy.workers(), await free_address()
    client = await rig.connect(proxy.address)
    await client.ask("GET", "/")

    document = await proxy.reload(listeners={"web": "127.0.0.1:0", "more": added})
    seen = {await served_by(rig, proxy, added) for _ in range(60)}

    assert ["more"] == document["listeners"]["added"]
    assert before == proxy.workers()
    assert set(before) == seen
    assert 200 == (await client.ask("GET", "/still-here")).status


async def served_by(rig: Rig, proxy: Proxy, address: str) -> int:
    """Which worker accepts a new connection there."""
    client = await rig.connect(address)
    assert 200 == (await client.ask("GET", "/")).status
    pid = proxy.worker_of(client, address)
    client.close()
    return pid


async def test_a_listener_is_removed_and_who_is_inside_stays(rig: Rig) -> None:
    proxy = await rig.start()
    added = await free_address()
    await proxy.reload(listeners={"web": "127.0.0.1:0", "more": added})
    inside = await rig.connect(added)
    await inside.ask("GET", "/")

    document = await proxy.reload(listeners={"web": "127.0.0.1:0"})

    assert ["more"] == document["listeners"]["removed"]
    async with asyncio.timeout(PATIENCE):
        while await listening(proxy, added):  # noqa: ASYNC110 - no event
            await asyncio.sleep(0.01)
    assert 200 == (await inside.ask("GET", "/")).status
    assert await listening(proxy, proxy.address)


async def test_clients_that_wait_in_the_queue_of_a_removed_listener_are_served(rig: Rig) -> None:
    """They have been told by the kernel that they are connected."""
    proxy = await rig.start()
    added = await free_address()
    await proxy.reload(listeners={"web": "127.0.0.1:0", "more": added})

    clients = [await rig.connect(added) for _ in range(10)]
    reloading = asyncio.create_task(proxy.reload(listeners={"web": "127.0.0.1:0"}))
    with contextlib.suppress(ConnectionRefusedError):
        while not reloading.done():
            clients.append(await rig.connect(added))
    for client in clients:
        client.send(request("GET", "/queued"))
    await reloading
    statuses = [(await client.answer()).status for client in clients]

    assert [200] * len(clients) == statuses


async def test_a_unix_socket_is_added_and_removed(rig: Rig, tmp_path: Path) -> None:
    proxy = await rig.start()
    path = tmp_path / "added.sock"

    await proxy.reload(listeners={"web": "127.0.0.1:0", "local": f"unix:{path}"})
    assert await listening(proxy, f"unix:{path}")
    await proxy.reload(listeners={"web": "127.0.0.1:0"})

    assert not path.exists()


async def test_a_listener_that_is_renamed_keeps_its_sockets(rig: Rig) -> None:
    proxy = await rig.start()
    async with Load(proxy.address) as load:
        await load.answered(20)
        document = await proxy.reload(listeners={"shop": "127.0.0.1:0"})
        await load.answered(40)
        client = await rig.connect(proxy.address)
        await client.ask("GET", "/")

    assert (["shop"], ["web"]) == (document["listeners"]["added"], document["listeners"]["removed"])
    assert ([], []) == (load.failed("GET"), load.failed("POST"))


async def test_an_address_can_grow_to_all_of_the_machine(rig: Rig) -> None:
    """Its port is taken, but by ourselves."""
    await rig.start_backends("red")
    address = await free_address()
    port = address.rpartition(":")[2]
    proxy = await rig.start_proxy({"listeners": {"web": address}, "pools": {"app": {"backends": rig.addresses()}}})
    async with Load(proxy.address) as load:
        await load.answered(20)
        await proxy.reload(listeners={"web": f"0.0.0.0:{port}"})
        await load.answered(60)

    assert await listening(proxy, f"127.0.0.1:{port}")
    assert ([], []) == (load.failed("GET"), load.failed("POST"))


async def test_an_address_that_another_has_is_refused_and_nothing_changes(rig: Rig) -> None:
    proxy = await rig.start()
    async with Scripted() as other:
        proxy.rewrite(listeners={"web": "127.0.0.1:0", "more": other.address}, workers=3)
        status, document = await proxy.admin.reload()

    assert 422 == status
    assert (
        f"listener more: {other.address} is taken: another process listens there" == document["mistakes"][0]["message"]
    )
    assert 2 == len(proxy.workers())
    assert await listening(proxy, proxy.address)


@pytest.mark.parametrize(("key", "value"), [("state_dir", "elsewhere"), ("admin", "127.0.0.1:1")])
async def test_what_can_not_change_while_it_runs_says_so_with_its_place(rig: Rig, key: str, value: str) -> None:
    proxy = await rig.start()
    proxy.rewrite(**{key: value})

    status, document = await proxy.admin.reload()

    assert 422 == status
    (mistake,) = document["mistakes"]
    assert mistake["key"].startswith(key)
    assert (1, "can't be changed while the proxy runs: restart it") == (mistake["line"], mistake["message"])
    assert mistake["column"] > 1


# Workers


async def test_more_workers_are_started_and_the_others_stay(rig: Rig) -> None:
    proxy = await rig.start()
    before = proxy.workers()
    async with Load(proxy.address) as load:
        await load.answered(20)
        document = await proxy.reload(workers=4)
        await until(lambda: proxy.log.count("worker serves") == 4)
        await load.answered(40)
        after = proxy.workers()
        new = [await connect_to(rig, proxy, pid) for pid in after]

    assert ["workers"] == document["settings"]
    assert set(before) < set(after)
    assert 4 == len(after)
    assert [200] * 4 == [(await client.ask("GET", "/")).status for client in new]
    assert ([], []) == (load.failed("GET"), load.failed("POST"))


async def test_fewer_workers_finish_what_they_do_and_their_sockets_go_to_others(rig: Rig) -> None:
    proxy = await rig.start()
    await proxy.reload(workers=4)
    await until(lambda: proxy.log.count("worker serves") == 4)
    async with Load(proxy.address, rate=300) as load:
        await load.answered(60)
        await proxy.reload(workers=1)
        await until(lambda: proxy.log.count("worker ended") == 3)
        await load.answered(60)
        newcomers = [await served_by(rig, proxy, proxy.address) for _ in range(20)]

    assert 1 == len(proxy.workers())
    assert set(proxy.workers()) == set(newcomers)
    assert ([], []) == (load.failed("GET"), load.failed("POST"))
    assert {} == {write: times for write, times in rig.executions().items() if times > 1}


async def test_workers_come_back_while_others_still_leave(rig: Rig) -> None:
    """A number is not given anew as long as anybody bears it, or two would count for one."""
    held = asyncio.Event()

    async def hold(asked: Any) -> None:
        if asked.target == "/held":
            await held.wait()
        asked.answer(200, "X-Backend: one")

    async with Scripted(hold) as backend:
        proxy = await rig.start_proxy({"pools": {"app": [backend.address]}})
        clients = [await connect_to(rig, proxy, pid) for pid in proxy.workers()]
        for client in clients:
            client.send(request("GET", "/held"))
        await until(lambda: sum(asked.target == "/held" for asked in backend.asked) == 2)
        await proxy.reload(workers=1)
        await proxy.reload(workers=2)
        await until(lambda: proxy.log.count("worker serves") == 3)
        running = len(proxy.workers())
        held.set()
        statuses = [(await client.answer()).status for client in clients]
        await until(lambda: proxy.log.count("worker ended") == 1)
        numbers = {line.rpartition("worker=")[2].split(" ")[0] for line in proxy.log.splitlines() if "serves" in line}

    assert 3 == running
    assert [200, 200] == statuses
    assert {"0", "1", "2"} == numbers
    assert 2 == len(proxy.workers())


async def test_a_replaced_worker_has_all_the_sockets_of_its_place(rig: Rig) -> None:
    proxy = await rig.start()
    added = await free_address()
    await proxy.reload(listeners={"web": "127.0.0.1:0", "more": added}, workers=1)
    await until(lambda: proxy.log.count("worker ended") == 1)
    (killed,) = proxy.workers()

    os.kill(killed, 9)
    await until(lambda: proxy.log.count("worker serves") == 3)

    for address in (proxy.address, added):
        assert {await served_by(rig, proxy, address) for _ in range(10)} == set(proxy.workers())
