"""Promises of `proxy.dataplane.backends.introduced` and of `proxy.dialling`, whose work it is to be said first."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from proxy.core.settings import Address, Limits
from proxy.core.wire.proxy_protocol import Origin
from proxy.dataplane.backends.idle import IdleConnections
from proxy.dataplane.backends.introduced import Introductions
from proxy.dialling import dial

WORDS = b"PROXY TCP4 192.0.2.1 192.0.2.9 1000 80\r\n"


@dataclass(eq=False)
class Arrival:
    origin: Origin | None


class Caller:
    """As much of a client's connection as is looked at here."""

    def __init__(self, address: str) -> None:
        self.arrival = Arrival(Origin(address, 1000, "192.0.2.9", 80))
        self.is_gone = False


class Server:
    """Accepts, and remembers what each connection began with."""

    def __init__(self) -> None:
        self.heard: asyncio.Queue[bytes] = asyncio.Queue()
        self.ended = 0
        self.address = Address()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.heard.put_nowait(await reader.readuntil(b"\r\n"))
        await reader.read()
        self.ended += 1
        writer.close()

    async def hear(self) -> bytes:
        return await asyncio.wait_for(self.heard.get(), 10)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.address = Address("127.0.0.1", listening.sockets[0].getsockname()[1])
    yield server
    listening.close()


@pytest.fixture
def home(server: Server) -> IdleConnections:
    return IdleConnections(server.address, Limits(), Introductions("v1"))


async def until_ended(server: Server, number: int) -> None:
    async with asyncio.timeout(10):
        while server.ended < number:  # noqa: ASYNC110 - the server tells nobody
            await asyncio.sleep(0)


async def test_a_connection_begins_with_its_clients_name_and_is_kept_for_that_client(
    server: Server, home: IdleConnections
) -> None:
    one, two = Caller("192.0.2.1"), Caller("192.0.2.2")
    upstream = await home.open(one)
    home.keep(upstream, 1.0)

    assert WORDS == await server.hear()
    assert home.take(1.0, 30.0, two) is None
    assert home.take(40.0, 30.0, one) is None
    assert home.take(1.0, 30.0, one) is upstream
    assert home.take(1.0, 30.0, one) is None
    upstream.close()


async def test_a_client_that_leaves_takes_its_idle_connection_with_it(server: Server, home: IdleConnections) -> None:
    one, two = Caller("192.0.2.1"), Caller("192.0.2.2")
    for client in (one, two):
        home.keep(await home.open(client), 1.0)
    await server.hear()
    await server.hear()

    home.introductions.leave(one)
    home.introductions.leave(one)
    await until_ended(server, 1)

    assert (1, "<Introductions v1 1 connections>") == (len(home), repr(home.introductions))
    home.close()


async def test_a_connection_whose_client_left_while_it_was_in_use_is_not_kept(
    server: Server, home: IdleConnections
) -> None:
    client = Caller("192.0.2.1")
    upstream = await home.open(client)
    await server.hear()
    client.is_gone = True

    home.keep(upstream, 1.0)
    await until_ended(server, 1)

    assert (True, 0) == (upstream.is_lost, len(home))


async def test_of_two_connections_of_a_client_the_later_is_kept(server: Server, home: IdleConnections) -> None:
    client = Caller("192.0.2.1")
    former, later = await home.open(client), await home.open(client)
    home.keep(former, 1.0)
    home.keep(later, 2.0)

    assert (True, False) == (former.is_lost, later.is_lost)
    assert home.take(2.0, 30.0, client) is later
    later.close()


async def test_what_has_been_idle_for_too_long_is_closed(server: Server, home: IdleConnections) -> None:
    client = Caller("192.0.2.1")
    upstream = await home.open(client)
    home.keep(upstream, 1.0)

    home.sweep(31.0, 30.0)
    kept = len(home)
    home.sweep(31.5, 30.0)

    assert (1, 0, True) == (kept, len(home), upstream.is_lost)


async def test_a_backend_that_closes_an_idle_connection_is_forgotten(server: Server, home: IdleConnections) -> None:
    client = Caller("192.0.2.1")
    upstream = await home.open(client)
    home.keep(upstream, 1.0)
    upstream.connection_lost(None)

    assert home.take(1.0, 30.0, client) is None
    assert "<Introductions v1 0 connections>" == repr(home.introductions)
    upstream.transport.abort()


async def test_a_home_that_is_closed_keeps_nothing_that_comes_back(server: Server, home: IdleConnections) -> None:
    client = Caller("192.0.2.1")
    upstream = await home.open(client)
    home.close()
    home.keep(upstream, 1.0)

    assert (True, 0) == (upstream.is_lost, len(home))


# Dialling


async def test_a_name_is_dialled_and_a_unix_socket_too(server: Server, tmp_path: Path) -> None:
    listening = await asyncio.start_unix_server(server.serve, tmp_path / "socket")
    for address in (Address("localhost", server.address.port), Address(path=str(tmp_path / "socket"))):
        (await dial(address, WORDS)).close()

        assert WORDS == await server.hear()
    listening.close()


async def test_where_nobody_answers_the_socket_is_closed_and_the_error_told() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))

        with pytest.raises(ConnectionRefusedError):
            await dial(Address("127.0.0.1", closed.getsockname()[1]), WORDS)


async def test_a_call_that_is_given_up_leaves_no_socket() -> None:
    """Resource warnings are errors here."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = Address(*full.getsockname())
        with socket.create_connection(full.getsockname()):
            call = asyncio.create_task(dial(address, WORDS))
            for _ in range(3):
                await asyncio.sleep(0)
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)

    assert call.cancelled() or call.result().close() is None
