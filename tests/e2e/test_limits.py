"""Numbers: how many clients a listener and an address may have, and what happens when descriptors run out."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import ssl
from pathlib import Path
from typing import Any

import pytest

from tests.certificates import Authority
from tests.e2e.client import BrokenOffError, Client, request
from tests.e2e.rig import Proxy, Rig, now, until
from tests.e2e.scripted import Asked, Scripted
from tests.e2e.test_robustness import settles

QUIET: dict[str, Any] = {"health": {"interval": "1h", "fast_interval": "1h", "jitter": "0%"}}


async def start(rig: Rig, backend: Scripted, **config: Any) -> Proxy:
    return await rig.start_proxy({"pools": {"app": {**QUIET, "backends": [backend.address]}}, **config})


def limited(**limits: Any) -> dict[str, Any]:
    return {"limits": limits}


async def statuses(rig: Rig, address: str, number: int) -> list[int]:
    """Open so many connections, each with one request, and leave them open."""
    clients = [await rig.connect(address) for _ in range(number)]
    return sorted([(await client.ask("GET", "/")).status for client in clients])


async def served(rig: Rig, address: str) -> Client:
    """A connection that is let in; until there is room, one after the other is tried."""
    async with asyncio.timeout(10):
        while True:
            client = await rig.connect(address)
            if (await client.ask("GET", "/")).status == 200:
                return client
            client.close()


# Counted


async def test_a_listeners_connections_are_counted_over_all_workers(rig: Rig) -> None:
    async with Scripted() as backend:
        proxy = await start(rig, backend, workers=2, defaults=limited(connections=4))
        first = [await served(rig, proxy.address) for _ in range(4)]
        refused = await statuses(rig, proxy.address, 8)
        first[0].close()
        again = await served(rig, proxy.address)
        others = [await client.ask("GET", "/") for client in (*first[1:], again)]

    assert [503] * 8 == refused
    assert [200] * 4 == [answer.status for answer in others]


async def test_who_is_too_many_is_told_so_and_counted(rig: Rig) -> None:
    async with Scripted() as backend:
        proxy = await start(rig, backend, workers=1, defaults=limited(connections=1))
        await served(rig, proxy.address)
        client = await rig.connect(proxy.address)
        answer = await client.ask("POST", "/", body=b"x" * 100_000)
        rest = await client.until_closed()
        async with asyncio.timeout(10):
            while not await proxy.admin.counter(  # noqa: ASYNC110 - Reports come by the clock
                "failover_refused_connections_total", listener="web", reason="connections"
            ):
                await asyncio.sleep(0.05)

    assert (503, "close", b"") == (answer.status, answer.field("connection"), rest)
    assert 'error=connection_limit_reached; details="too many connections"' in (answer.field("proxy-status") or "")
    assert 1 == len(backend.asked)


async def test_no_handshake_is_made_with_who_is_too_many(rig: Rig, tmp_path: Path) -> None:
    """It would cost more than the answer that can't be given without it."""
    authority = Authority(tmp_path / "ca")
    async with Scripted() as backend:
        listener = {"address": "127.0.0.1:0", "tls": authority.issue().files, **limited(connections=1)}
        proxy = await start(rig, backend, workers=1, listeners={"web": listener})
        async with await Client.connect(proxy.address, tls=authority.trusting()) as inside:
            await inside.ask("GET", "/")
            for _ in range(2):
                with pytest.raises((ConnectionError, ssl.SSLError)):
                    await Client.connect(proxy.address, tls=authority.trusting())
            again = await inside.ask("GET", "/")

    assert 200 == again.status


async def test_each_listener_counts_its_own(rig: Rig) -> None:
    async with Scripted() as backend:
        listeners = {
            "web": {"address": "127.0.0.1:0", **limited(connections=1)},
            "api": {"address": "127.0.0.1:0", **limited(connections=2)},
        }
        proxy = await start(rig, backend, listeners=listeners)
        seen = {name: await statuses(rig, address, 3) for name, address in proxy.listeners.items()}

    assert {"web": [200, 503, 503], "api": [200, 200, 503]} == seen


async def test_a_clients_connections_are_counted_over_all_workers(rig: Rig) -> None:
    async with Scripted() as backend:
        proxy = await start(rig, backend, workers=2, defaults=limited(connections_per_client=3))
        seen = await statuses(rig, proxy.address, 9)

    assert [200] * 3 + [503] * 6 == seen


async def test_the_connections_of_a_dead_worker_count_no_more(rig: Rig) -> None:
    async with Scripted() as backend:
        proxy = await start(rig, backend, workers=2, defaults=limited(connections=4))
        clients = [await served(rig, proxy.address) for _ in range(4)]
        before = proxy.workers()
        for pid in before:
            os.kill(pid, 9)
        for client in clients:
            await client.until_closed()
        # A successor has the sockets of the dead one, and what waits there.
        again = [await served(rig, proxy.address) for _ in range(4)]
        refused = await statuses(rig, proxy.address, 4)

    assert 4 == len(again)
    assert [503] * 4 == refused


# Descriptors


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def limit_descriptors(pid: int, most: int) -> None:
    _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (most, hard))


async def test_out_of_descriptors_it_serves_on_waits_without_spinning_and_lets_in_who_waits_when_there_is_room(
    rig: Rig,
) -> None:
    async with Scripted() as backend, contextlib.AsyncExitStack() as crowd:
        proxy = await start(rig, backend, workers=1)
        [worker] = proxy.workers()
        inside = await served(rig, proxy.address)
        limit_descriptors(worker, 100)
        clients = [await crowd.enter_async_context(await Client.connect(proxy.address)) for _ in range(200)]
        late = clients[-1]
        late.send(request("GET", "/late"))
        await until(lambda: "no more connections" in proxy.log)
        cpu, began = cpu_seconds(worker), now()
        answers = []
        while now() - began < 2:
            answers.append(await inside.ask("GET", "/inside"))
            await asyncio.sleep(0.1)
        spent = cpu_seconds(worker) - cpu
        held = descriptors(worker)
        for client in clients[:-1]:
            client.close()
        answer = await late.answer()

    assert {200} == {one.status for one in answers}
    assert spent < 0.2
    assert held < 100
    assert (200, b"/late") == (answer.status, answer.body)
    assert 1 == proxy.log.count("no more connections can be accepted")


async def test_where_not_one_descriptor_is_left_a_client_that_is_inside_is_told_the_truth_and_served_later(
    rig: Rig,
) -> None:
    async def answer_and_close(asked: Asked) -> None:
        asked.answer(200, "Connection: close", body=b"ok")
        await asked.writer.drain()
        asked.writer.close()

    async with Scripted(answer_and_close) as backend:
        proxy = await start(rig, backend, workers=1)
        [worker] = proxy.workers()
        inside = await served(rig, proxy.address)
        _, hard = resource.prlimit(worker, resource.RLIMIT_NOFILE)
        await settles(lambda: descriptors(worker), 0.3)
        taken = {int(one.name) for one in Path(f"/proc/{worker}/fd").iterdir()}
        lowest = next(number for number in range(len(taken) + 1) if number not in taken)
        resource.prlimit(worker, resource.RLIMIT_NOFILE, (lowest, hard))
        refused = await inside.ask("GET", "/")
        resource.prlimit(worker, resource.RLIMIT_NOFILE, (hard, hard))
        again = await inside.ask("GET", "/")

    assert (503, 200) == (refused.status, again.status)
    assert "error=connection_limit_reached" in (refused.field("proxy-status") or "")


@pytest.mark.parametrize("number", [300])
async def test_a_flood_over_the_limit_leaves_nothing_behind(rig: Rig, number: int) -> None:
    async with Scripted() as backend:
        proxy = await start(rig, backend, workers=1, defaults=limited(connections=10))
        [worker] = proxy.workers()
        inside = await served(rig, proxy.address)
        before = descriptors(worker)
        for _ in range(3):
            async with contextlib.AsyncExitStack() as crowd:
                clients = [await crowd.enter_async_context(await Client.connect(proxy.address)) for _ in range(number)]
                for client in clients:
                    client.send(b"GET /")
                ends = await asyncio.gather(*(client.answer() for client in clients[-20:]), return_exceptions=True)
                assert {503} == {end.status for end in ends if not isinstance(end, BrokenOffError | ConnectionError)}
        await until(lambda: descriptors(worker) <= before)
        answer = await inside.ask("GET", "/")

    assert 200 == answer.status
