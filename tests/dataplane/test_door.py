"""Promises of `proxy.dataplane.clients.door`, on real sockets."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import pytest

from proxy.core.settings import Address, ListenerSettings
from proxy.core.wire.proxy_protocol import SIGNATURE, Origin
from proxy.dataplane.clients.door import AT_ONCE, Door

PLAIN = ListenerSettings("web", Address("127.0.0.1", 0))
INTRODUCED = ListenerSettings("web", Address("127.0.0.1", 0), proxy_protocol=True, connections=2)
HEADER = b"PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n"
ORIGIN = Origin("192.0.2.1", 56324, "198.51.100.7", 443)


class Client(asyncio.Protocol):
    """Says hello to the Host, and remembers what it hears."""

    def __init__(self, host: Host, origin: Origin | None) -> None:
        self._host = host
        self.origin = origin
        self.heard = b""
        self.transport: asyncio.BaseTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self._host.inside.append(self)

    def data_received(self, data: bytes) -> None:
        self.heard += data


class Host:
    """Has room, and trusts everybody, until told otherwise."""

    def __init__(self) -> None:
        self.has_space = True
        self.inside: list[Client] = []
        self.turned_away: list[str] = []
        self.trusts = True
        self.timeout = 5.0

    def client_at(self, door: Door, origin: Origin | None) -> Client:
        return Client(self, origin)

    def has_room(self) -> bool:
        return self.has_space

    def is_trusted(self, client: str) -> bool:
        return self.trusts

    def head_timeout(self) -> float:
        return self.timeout

    def turn_away(self, listener: str, reason: str) -> None:
        self.turned_away.append(reason)

    async def until(self, happened: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not happened():  # noqa: ASYNC110 - nobody tells when a task has ended
                await asyncio.sleep(0)

    def close(self) -> None:
        for client in self.inside:
            client.transport.abort()


def listener() -> socket.socket:
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    sock.listen(2 * AT_ONCE)
    return sock


class Street:
    """A Door, its Host, and those who come to it."""

    def __init__(self, settings: ListenerSettings) -> None:
        self.sock = listener()
        self.address = self.sock.getsockname()
        self.host = Host()
        self.door = Door(self.sock, settings, self.host)
        self.callers: list[socket.socket] = []

    def come(self, *sayings: bytes) -> list[socket.socket]:
        came = [socket.create_connection(self.address) for _ in sayings]
        for caller, saying in zip(came, sayings, strict=True):
            caller.sendall(saying)
            caller.setblocking(False)
        self.callers += came
        return came

    def close(self) -> None:
        self.door.close()
        self.host.close()
        for caller in self.callers:
            caller.close()


@pytest.fixture
async def street() -> AsyncIterator[Street]:
    street = Street(PLAIN)
    yield street
    street.close()


@pytest.fixture
async def guarded() -> AsyncIterator[Street]:
    street = Street(INTRODUCED)
    yield street
    street.close()


async def test_all_who_wait_are_let_in_though_more_come_than_one_turn_fetches(street: Street) -> None:
    street.come(*[b""] * (AT_ONCE + 20))

    street.door.open()
    await street.host.until(lambda: len(street.host.inside) >= AT_ONCE + 20 and not street.door.opening)

    assert AT_ONCE + 20 == len(street.host.inside)


async def test_a_door_that_closes_lets_in_who_waits_and_nobody_else(street: Street) -> None:
    """Who waits has been told by the kernel that it is connected."""
    street.door.open()
    street.come(b"", b"")
    street.door.close()
    street.door.look()
    with pytest.raises(ConnectionRefusedError):
        street.come(b"")
    await street.host.until(lambda: not street.door.opening)

    assert 2 == len(street.host.inside)
    assert "<Door web>" == repr(street.door)


@pytest.mark.parametrize("settings", [PLAIN, INTRODUCED])
async def test_who_comes_while_there_is_no_room_is_let_in_when_there_is_some(
    street: Street, caplog: pytest.LogCaptureFixture, settings: ListenerSettings
) -> None:
    host, door = street.host, street.door
    host.has_space = False
    door.obey(replace(settings, connections=10))
    door.open()
    with caplog.at_level(logging.WARNING):
        street.come(HEADER)
        await host.until(lambda: repr(door) == "<Door web full>")
        street.come(HEADER, HEADER)
        door.look()
        for _ in range(20):
            await asyncio.sleep(0)
        before = len(host.inside)
        host.has_space = True
        door.look()
        await host.until(lambda: len(host.inside) == 3)

    assert (1, "<Door web>") == (before, repr(door))
    assert ["no more connections can be accepted for now"] == [record.message for record in caplog.records]


async def test_a_full_door_may_be_closed(street: Street) -> None:
    street.host.has_space = False
    street.door.open()
    street.come(b"")
    await street.host.until(lambda: repr(street.door) == "<Door web full>")

    street.door.close()
    street.door.close()

    assert not street.door.is_open


async def test_a_door_that_is_told_to_asks_from_then_on_who_comes(street: Street) -> None:
    street.door.open()
    street.come(b"GET /")
    await street.host.until(lambda: len(street.host.inside) == 1)
    street.door.obey(INTRODUCED)
    street.come(HEADER)
    await street.host.until(lambda: len(street.host.inside) == 2)
    street.door.obey(PLAIN)
    street.come(b"GET /")
    await street.host.until(lambda: len(street.host.inside) == 3)

    assert [None, ORIGIN, None] == [client.origin for client in street.host.inside]


# PROXY protocol


async def test_a_client_is_who_its_header_says_and_what_follows_is_left_for_it(guarded: Street) -> None:
    guarded.door.open()
    guarded.come(HEADER + b"GET /")
    await guarded.host.until(lambda: bool(guarded.host.inside) and guarded.host.inside[0].heard == b"GET /")

    assert [ORIGIN] == [client.origin for client in guarded.host.inside]


async def test_a_header_may_come_byte_by_byte(guarded: Street) -> None:
    guarded.door.open()
    [caller] = guarded.come(b"")
    for number in range(len(HEADER)):
        caller.send(HEADER[number : number + 1])
        await asyncio.sleep(0)
    await guarded.host.until(lambda: bool(guarded.host.inside))

    assert [ORIGIN] == [client.origin for client in guarded.host.inside]


async def test_a_connection_of_the_proxys_own_is_its_own(guarded: Street) -> None:
    guarded.door.open()
    guarded.come(SIGNATURE + b"\x20\0\0\0", b"PROXY UNKNOWN\r\n")
    await guarded.host.until(lambda: len(guarded.host.inside) == 2)

    assert [None, None] == [client.origin for client in guarded.host.inside]


async def ended(caller: socket.socket) -> bytes:
    """What a caller is told before its connection ends; a reset ends it too."""
    try:
        return await asyncio.wait_for(asyncio.get_running_loop().sock_recv(caller, 100), 10)
    except ConnectionResetError:
        return b""


@pytest.mark.parametrize("said", [b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"\x16\x03\x01", b"PROXY TCP4 a b 1 2\r\n"])
async def test_what_is_no_header_is_closed_and_counted_and_told_nothing(guarded: Street, said: bytes) -> None:
    guarded.door.open()
    [caller] = guarded.come(said)

    assert b"" == await ended(caller)
    assert (["proxy_protocol_malformed"], []) == (guarded.host.turned_away, guarded.host.inside)


async def test_who_leaves_within_its_header_is_counted(guarded: Street) -> None:
    guarded.door.open()
    [caller] = guarded.come(b"PROXY")
    caller.shutdown(socket.SHUT_WR)

    assert b"" == await ended(caller)
    assert ["proxy_protocol_malformed"] == guarded.host.turned_away


async def test_who_is_not_trusted_is_closed_whatever_it_says(guarded: Street) -> None:
    guarded.host.trusts = False
    guarded.door.open()
    [caller] = guarded.come(HEADER)

    assert b"" == await ended(caller)
    assert (["proxy_protocol_untrusted"], []) == (guarded.host.turned_away, guarded.host.inside)


async def test_who_does_not_say_who_it_is_in_time_is_closed(guarded: Street) -> None:
    guarded.host.timeout = 0.01
    guarded.door.open()
    [caller] = guarded.come(HEADER[:-1])

    assert b"" == await ended(caller)
    assert (["proxy_protocol_timeout"], set()) == (guarded.host.turned_away, guarded.door.opening)


async def test_no_more_may_wait_to_say_who_they_are_than_may_be_inside(guarded: Street) -> None:
    guarded.door.open()
    guarded.come(b"", b"")
    await guarded.host.until(lambda: len(guarded.door.opening) == 2)
    [caller] = guarded.come(HEADER)

    assert b"" == await ended(caller)
    assert ["connections"] == guarded.host.turned_away


async def test_a_door_that_closes_does_not_wait_for_those_who_have_said_nothing(guarded: Street) -> None:
    guarded.door.open()
    [caller] = guarded.come(b"PROXY")
    await guarded.host.until(lambda: len(guarded.door.opening) == 1)
    await guarded.door.shut()

    assert b"" == await ended(caller)
    assert set() == guarded.door.opening


async def test_who_waits_with_its_header_when_a_door_is_shut_is_let_in(guarded: Street) -> None:
    guarded.come(HEADER)
    guarded.door.open()
    await guarded.door.shut()

    assert [ORIGIN] == [client.origin for client in guarded.host.inside]
