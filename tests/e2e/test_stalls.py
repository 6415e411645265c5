"""Peers that stop: whoever drips, or reads nothing of what it asked for, is cut at its limit and holds nobody else."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from tests.e2e.client import Client, request
from tests.e2e.rig import Proxy, Rig, now
from tests.e2e.scripted import Asked, Scripted
from tests.e2e.test_robustness import settles

SMALL = 4096
"""Bytes of a receive buffer that is full at once."""
STALL = 0.4
QUICK: dict[str, Any] = {
    "request_head": "400ms",
    "client_idle": "400ms",
    "stall": f"{STALL * 1000:g}ms",
    "first_byte": "5s",
}
PIECE = b"x" * 65536


async def start(rig: Rig, backend: Scripted) -> Proxy:
    pool = {"health": {"interval": "1h", "fast_interval": "1h", "jitter": "0%"}, "backends": [backend.address]}
    return await rig.start_proxy({"workers": 1, "pools": {"app": pool}, "defaults": {"timeouts": QUICK}})


async def connections(proxy: Proxy, number: int) -> None:
    """Wait until the proxy has so many clients."""
    async with asyncio.timeout(10):
        while await proxy.admin.counter("failover_client_connections") != number:  # noqa: ASYNC110 - Reports come by the clock
            await asyncio.sleep(0.05)


async def flow(asked: Asked) -> None:
    """Answer for ever, as fast as it is read."""
    asked.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
    with contextlib.suppress(ConnectionError):
        while True:
            asked.send(PIECE)
            await asked.writer.drain()
    flowed.set()


flowed = asyncio.Event()


async def test_a_head_that_drips_is_cut_as_one_that_stops(rig: Rig) -> None:
    async with Scripted() as backend:
        proxy = await start(rig, backend)
        client = await rig.connect(proxy.address)
        began = now()

        async def drip() -> None:
            for number in range(200):
                client.send(b"GET / HTTP/1.1\r\nHost: test\r\nX: " + b"x" * number if number == 0 else b"x")
                await asyncio.sleep(0.05)

        dripping = asyncio.create_task(drip())
        status, _ = await client.head()
        took = now() - began
        dripping.cancel()

    assert 408 == status
    assert 0.4 <= took < 3
    assert [] == backend.asked


async def test_a_client_that_reads_nothing_of_its_stream_is_cut_and_its_backend_is_free(rig: Rig) -> None:
    flowed.clear()
    async with Scripted(flow) as backend:
        proxy = await start(rig, backend)
        async with await Client.connect(proxy.address, SMALL) as client:
            client.send(request("GET", "/"))
            await asyncio.wait_for(flowed.wait(), 10)
            await connections(proxy, 0)
        document = await proxy.admin.backend(backend.address)

    assert (True, 0, 0) == (document["available"], document["in_flight"], document["failures_total"])


async def test_a_client_that_reads_nothing_of_a_whole_answer_is_cut(rig: Rig) -> None:
    async def page(asked: Asked) -> None:
        asked.answer(body=b"y" * 60_000)

    async with Scripted(page) as backend:
        proxy = await start(rig, backend)
        async with await Client.connect(proxy.address, SMALL) as client:
            client.send(request("GET", "/") * 300)
            await settles(lambda: len(backend.asked))
            await connections(proxy, 0)
            received = await client.until_closed()
        document = await proxy.admin.backend(backend.address)

    # What the kernel had taken off our hands.
    assert len(received) < 300 * 60_000
    assert (0, 0) == (document["in_flight"], document["failures_total"])


async def test_a_backend_that_reads_nothing_of_a_body_is_given_up_and_the_client_told(rig: Rig) -> None:
    released = asyncio.Event()

    async def ignore(asked: Asked) -> None:
        asked.writer.transport.pause_reading()
        await released.wait()

    async with Scripted(ignore) as backend:
        proxy = await start(rig, backend)
        client = await rig.connect(proxy.address)
        client.send(request("PUT", "/", "Content-Length: 1000000000"))

        async def pour() -> None:
            with contextlib.suppress(ConnectionError):
                while True:
                    client.send(PIECE)
                    await client.writer.drain()

        pouring = asyncio.create_task(pour())
        status, fields = await client.head()
        pouring.cancel()
        released.set()

    assert 504 == status
    assert "error=connection_write_timeout" in dict(fields)["Proxy-Status"]
