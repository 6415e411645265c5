"""What is left of a connection to a Backend once it is closed: nothing."""

import asyncio
import gc
import random
import socket
from collections.abc import Iterator

import pytest

from proxy.core.settings import Address, Limits, ListenerSettings
from proxy.dataplane.backends.idle import IdleConnections
from proxy.dataplane.backends.upstream import Upstream
from proxy.dataplane.clients.downstream import Downstream
from proxy.dataplane.clients.reception import Arrival
from proxy.dataplane.worker import Worker

HEADS = {
    "nothing": b"",
    "half a head": b"HTTP/1.1 200 OK\r\nContent-",
    "a counted body": b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"x" * 50_000,
    "chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    "until close": b"HTTP/1.1 200 OK\r\n\r\nhello",
    "a 101": b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: shout\r\n\r\nhello",
    "no HTTP": b"HTTP/1.1 101 Switching\r\n\r\n",
    "an answer": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
}


@pytest.fixture
def uncollected() -> Iterator[None]:
    """What is in cycles stays until the collector is asked."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def alive() -> int:
    return sum(type(one) is Upstream for one in gc.get_objects())


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("ends", ["we close", "the backend closes"])
async def test_nothing_of_a_closed_connection_waits_for_the_garbage_collector(
    head: str, ends: str, uncollected: None
) -> None:
    """What it held of an answer would wait, too: under load that is megabytes."""
    before = alive()
    ours, theirs = socket.socketpair()
    worker = Worker(0, asyncio.get_running_loop(), random.Random(1))
    owner = Downstream(worker, Arrival(ListenerSettings("web", Address("127.0.0.1", 0))))
    with theirs:
        home = IdleConnections(Address("127.0.0.1", 80), Limits())
        _, upstream = await worker.loop.create_connection(lambda: Upstream(home), sock=ours)
        upstream.begin(owner, to_head=False)
        upstream.deliver(b"GET / HTTP/1.1\r\n\r\n", {})
        upstream.data_received(HEADS[head])
        if ends == "the backend closes":
            theirs.close()
            async with asyncio.timeout(5):
                while not (upstream.is_lost or upstream.has_ended):  # noqa: ASYNC110 - nobody tells
                    await asyncio.sleep(0)
        upstream.close()
        del upstream, _
        for _turn in range(20):
            await asyncio.sleep(0)

    assert before == alive()
