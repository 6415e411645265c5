"""Promises of `proxy.dataplane.ending`."""

from __future__ import annotations

import asyncio
import os
import random
import socket
from collections.abc import AsyncIterator

import pytest

from proxy.core.messages import Drain, LastCall, Snapshot, encode
from proxy.core.settings import Address, ListenerSettings, RouteSettings, Settings, StaticAnswer
from proxy.dataplane.worker import Worker

PATIENCE = 10
REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture
async def worker() -> AsyncIterator[Worker]:
    """Answers every request by itself."""
    worker = Worker(0, asyncio.get_running_loop(), random.Random(1))
    route = RouteSettings("all", answer=StaticAnswer(body="hello"))
    worker.heed(Snapshot(1, 1, Settings((ListenerSettings("web", Address("127.0.0.1", 0)),), (), (route,)), {}))
    worker.reception.open("web", socket.create_server(("127.0.0.1", 0)))
    yield worker
    worker.ending.begin(0.0, closes_idle=True)
    await asyncio.wait_for(worker.done.wait(), PATIENCE)


async def connect(worker: Worker) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection that has had one request answered."""
    host, port = worker.reception.doors[0]._sock.getsockname()
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(REQUEST)
    await answer(reader)
    return reader, writer


async def answer(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(PATIENCE):
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(5)
        return head.lower()


async def test_an_idle_connection_is_closed_at_once_where_that_is_the_order(worker: Worker) -> None:
    reader, writer = await connect(worker)

    worker.ending.begin(60.0, closes_idle=True)

    assert b"" == await asyncio.wait_for(reader.read(), PATIENCE)
    await asyncio.wait_for(worker.done.wait(), PATIENCE)
    writer.close()


async def test_an_idle_connection_may_else_ask_once_more_and_is_told_that_it_closes(worker: Worker) -> None:
    """A request that crosses the end of its connection would be lost."""
    reader, writer = await connect(worker)

    worker.ending.begin(60.0, closes_idle=False)
    await asyncio.sleep(0)
    writer.write(REQUEST)

    assert b"connection: close" in await answer(reader)
    assert b"" == await asyncio.wait_for(reader.read(), PATIENCE)
    await asyncio.wait_for(worker.done.wait(), PATIENCE)
    writer.close()


async def test_time_ends_what_does_not_end_by_itself(worker: Worker) -> None:
    reader, writer = await connect(worker)

    worker.ending.begin(0.01, closes_idle=False)

    await asyncio.wait_for(worker.done.wait(), PATIENCE)
    assert b"" == await asyncio.wait_for(reader.read(), PATIENCE)
    writer.close()


async def test_a_second_order_hastens_the_first(worker: Worker) -> None:
    reader, writer = await connect(worker)
    worker.ending.begin(3600.0, closes_idle=False)

    worker.ending.begin(0.01, closes_idle=False)

    await asyncio.wait_for(worker.done.wait(), PATIENCE)
    writer.close()
    reader.feed_eof()


async def test_a_second_order_does_not_put_the_first_off(worker: Worker) -> None:
    _, writer = await connect(worker)
    worker.ending.begin(0.05, closes_idle=False)

    worker.ending.begin(3600.0, closes_idle=False)

    await asyncio.wait_for(worker.done.wait(), PATIENCE)
    writer.close()


async def test_one_who_comes_in_after_the_last_has_gone_is_served(worker: Worker) -> None:
    """While the door is about to be shut: one request in thousands was lost so, when a program was replaced."""
    _, first = await connect(worker)
    worker.ending.begin(60.0, closes_idle=False)
    first.close()
    while worker.connections:  # noqa: ASYNC110 - the worker runs in this loop
        await asyncio.sleep(0)
    [door] = worker.reception.doors
    reader, second = await asyncio.open_connection(*door.bound)
    async with asyncio.timeout(PATIENCE):
        while door.is_open or not worker.connections:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0)

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(worker.done.wait(), 0.2)
    second.write(REQUEST)

    assert b"connection: close" in await answer(reader)
    second.close()
    await asyncio.wait_for(worker.done.wait(), PATIENCE)


async def test_a_connection_that_was_accepted_just_before_is_served(worker: Worker) -> None:
    host, port = worker.reception.doors[0]._sock.getsockname()
    clients = [socket.create_connection((host, port)) for _ in range(20)]
    for client in clients:
        client.setblocking(False)
        client.send(REQUEST)
    reader, writer = await connect(worker)  # all are inside, or at the door

    worker.ending.begin(60.0, closes_idle=False)

    loop = asyncio.get_running_loop()
    answers = [await asyncio.wait_for(loop.sock_recv(client, 1000), PATIENCE) for client in clients]
    assert [b"HTTP/1.1 200 OK"] * 20 == [one[:15] for one in answers]
    for client in clients:
        client.close()
    writer.close()
    reader.feed_eof()
    await asyncio.wait_for(worker.done.wait(), PATIENCE)


async def test_a_last_call_tells_clients_to_go_and_lets_others_come(worker: Worker) -> None:
    reader, writer = await connect(worker)

    worker.heed(LastCall())
    writer.write(REQUEST)
    told = await answer(reader)
    _, newcomer = await connect(worker)

    assert b"connection: close" in told
    assert b"" == await asyncio.wait_for(reader.read(), PATIENCE)
    assert not worker.is_draining
    writer.close()
    newcomer.close()


async def test_a_request_that_has_come_and_is_not_read_yet_is_answered(worker: Worker) -> None:
    """The order to close comes in the same turn of the loop, before the connection is looked at."""
    reader, writer = await connect(worker)
    client = writer.get_extra_info("socket").fileno()
    os.write(client, REQUEST)

    worker.ending.begin(60.0, closes_idle=True)
    told = await answer(reader)

    assert b"connection: close" in told
    await asyncio.wait_for(worker.done.wait(), PATIENCE)
    writer.close()


async def test_who_waits_in_the_queue_at_the_end_is_answered_and_told_that_it_closes(worker: Worker) -> None:
    """Though the last connection of all others has gone by then."""
    address = worker.reception.doors[0]._sock.getsockname()
    _, gone = await connect(worker)
    worker.ending.begin(60.0, closes_idle=False)
    gone.close()
    while worker.connections:  # noqa: ASYNC110 - nobody tells when a transport has noticed
        await asyncio.sleep(0)
    with socket.create_connection(address) as client:
        client.sendall(REQUEST)
        client.setblocking(False)
        seen = b""
        while data := await asyncio.wait_for(worker.loop.sock_recv(client, 65536), PATIENCE):
            seen += data

    assert b"connection: close" in seen.lower()
    await asyncio.wait_for(worker.done.wait(), PATIENCE)


async def test_an_order_to_end_that_comes_before_the_doors_are_open_loses_nobody_in_the_queue() -> None:
    """A worker died, clients came to its socket meanwhile, and its successor is told to drain as it begins."""
    worker = Worker(0, asyncio.get_running_loop(), random.Random(1))
    ours, theirs = socket.socketpair()
    door = socket.create_server(("127.0.0.1", 0))
    route = RouteSettings("all", answer=StaticAnswer(body="hello"))
    settings = Settings((ListenerSettings("web", Address("127.0.0.1", 0)),), (), (route,))
    reader, writer = await asyncio.open_connection(*door.getsockname())

    ours.sendall(encode(Snapshot(1, 1, settings, {})) + encode(Drain(60.0, closes_idle=False)))
    serving = asyncio.create_task(worker.serve(theirs, None, [("web", door)]))
    while not (worker.connections or serving.done()):  # noqa: ASYNC110 - nobody tells who is inside
        await asyncio.sleep(0)
    # Time enough for a worker that has forgotten them to end.
    await asyncio.wait({serving}, timeout=0.2)
    assert not serving.done()
    writer.write(REQUEST)
    told = await answer(reader)

    assert b"connection: close" in told
    await asyncio.wait_for(serving, PATIENCE)
    writer.close()
    ours.close()
