"""Promises of `proxy.dataplane.door`, on real sockets."""

import asyncio
import socket

from proxy.dataplane.door import AT_ONCE, Door


class Client(asyncio.Protocol):
    """Counts who has been let in, and tells the door as a client of a worker does."""

    def __init__(self, door: Door, inside: set[asyncio.BaseTransport], everybody: asyncio.Event, expected: int) -> None:
        door.knock()
        self._inside = inside
        self._everybody = everybody
        self._expected = expected

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._inside.add(transport)
        if len(self._inside) == self._expected:
            self._everybody.set()


def listener() -> socket.socket:
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    sock.listen(2 * AT_ONCE)
    return sock


async def test_all_who_wait_are_let_in_though_more_come_than_one_turn_fetches() -> None:
    inside: set[asyncio.BaseTransport] = set()
    everybody = asyncio.Event()
    expected = AT_ONCE + 20
    sock = listener()
    clients = [socket.create_connection(sock.getsockname()) for _ in range(expected)]
    door = Door(sock, lambda door: Client(door, inside, everybody, expected))

    await door.open()
    await asyncio.wait_for(everybody.wait(), 10)

    assert expected == len(inside)
    door.close()
    for transport in inside:
        transport.close()
    for client in clients:
        client.close()


async def test_a_closed_door_lets_nobody_in() -> None:
    inside: set[asyncio.BaseTransport] = set()
    sock = listener()
    door = Door(sock, lambda door: Client(door, inside, asyncio.Event(), 1))
    await door.open()

    door.knock()
    door.close()
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    assert set() == inside
