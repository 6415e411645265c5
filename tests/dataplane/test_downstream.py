"""Promises of `proxy.dataplane.clients.downstream` that no client can see from outside at will; the others are end to end."""

import asyncio
import random
import socket
from collections.abc import AsyncIterator
from time import monotonic

import pytest

from proxy.core.settings import Address, ListenerSettings
from proxy.dataplane.clients.downstream import LINGER, Downstream
from proxy.dataplane.clients.reception import Arrival
from proxy.dataplane.worker import Worker

WEB = ListenerSettings("web", Address())


@pytest.fixture
async def connected() -> AsyncIterator[tuple[Downstream, socket.socket]]:
    """A client's connection and the client's end of it, which nobody reads."""
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    worker = Worker(0, loop, random.Random(1))
    _, client = await loop.connect_accepted_socket(lambda: Downstream(worker, Arrival(WEB)), ours)
    yield client, theirs
    client.abort()
    theirs.close()


async def test_a_client_that_reads_slowly_has_time_for_its_answer_before_its_connection_is_cut(
    connected: tuple[Downstream, socket.socket],
) -> None:
    """Where the rest of a body may still come, that wait begins with the answer, however much of it is unread."""
    client, theirs = connected
    client.write(b"x" * 8_000_000)
    client._linger()
    unread = client.deadline - monotonic()
    received = 0
    while piece := await asyncio.get_running_loop().sock_recv(theirs, 1_000_000):
        received += len(piece)

    assert unread > client.worker.timeouts.stall
    assert 8_000_000 == received


async def test_a_client_that_has_its_answer_may_linger_for_a_moment_only(
    connected: tuple[Downstream, socket.socket],
) -> None:
    client, _ = connected
    client.write(b"answer")
    client._linger()

    assert client.deadline - monotonic() <= LINGER
