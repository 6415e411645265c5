"""Promises of `proxy.dataplane.backends.idle`, on real sockets where a connection is needed."""

import asyncio
import errno
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack
from time import monotonic
from typing import cast

import pytest

from proxy.core.settings import Address, Limits
from proxy.dataplane.backends.idle import DISTRUST, IdleConnections, connect_error
from proxy.dataplane.backends.upstream import Upstream
from proxy.dataplane.clients.downstream import Downstream
from proxy.errors import ErrorKind

NOBODY = cast("Downstream", None)
"""It does not matter to whom a connection is given."""


def idle(name: str = "127.0.0.1") -> IdleConnections:
    return IdleConnections(Address(name, 80), Limits())


def connection(home: IdleConnections) -> Upstream:
    return Upstream(home)


def test_the_connection_used_last_is_taken_first() -> None:
    home = idle()
    first, second = connection(home), connection(home)
    home.keep(first, 1.0)
    home.keep(second, 2.0)

    assert home.take(2.0, 30.0, NOBODY) is second
    assert home.take(2.0, 30.0, NOBODY) is first
    assert home.take(2.0, 30.0, NOBODY) is None


def test_what_has_been_idle_for_too_long_is_not_taken_but_kept_for_others() -> None:
    home = idle()
    kept = connection(home)
    home.keep(kept, 1.0)

    assert home.take(3.0, 1.0, NOBODY) is None
    assert home.take(3.0, 30.0, NOBODY) is kept


def test_a_lost_connection_is_never_taken() -> None:
    home = idle()
    lost, good = connection(home), connection(home)
    home.keep(good, 1.0)
    home.keep(lost, 1.0)
    lost.is_lost = True

    assert home.take(1.0, 30.0, NOBODY) is good


Connect = Callable[[IdleConnections], Awaitable[Upstream]]


@pytest.fixture
async def connected() -> AsyncIterator[Connect]:
    """Makes a connection with a far end that says nothing."""
    with ExitStack() as stack:
        made: list[Upstream] = []

        async def make(home: IdleConnections) -> Upstream:
            ours, theirs = socket.socketpair()
            stack.enter_context(theirs)
            _, upstream = await asyncio.get_running_loop().create_connection(lambda: connection(home), sock=ours)
            made.append(upstream)
            return upstream

        yield make
        for upstream in made:
            upstream.close()


async def until_empty(home: IdleConnections) -> None:
    """Let the loop turn until nothing is idle any more."""
    async with asyncio.timeout(5):
        while len(home):  # noqa: ASYNC110 - nobody tells when a transport has noticed
            await asyncio.sleep(0)


async def test_a_backend_that_closes_an_idle_connection_is_forgotten() -> None:
    accepted: asyncio.Queue[asyncio.StreamWriter] = asyncio.Queue()
    server = await asyncio.start_server(lambda _, writer: accepted.put_nowait(writer), "127.0.0.1", 0)
    address = Address("127.0.0.1", server.sockets[0].getsockname()[1])
    home = IdleConnections(address, Limits())
    upstream = await home.open(NOBODY)
    home.keep(upstream, 1.0)

    (await accepted.get()).close()
    await until_empty(home)

    assert upstream.is_lost
    server.close()


async def test_bytes_on_an_idle_connection_close_it() -> None:
    accepted: asyncio.Queue[asyncio.StreamWriter] = asyncio.Queue()
    server = await asyncio.start_server(lambda _, writer: accepted.put_nowait(writer), "127.0.0.1", 0)
    home = IdleConnections(Address("127.0.0.1", server.sockets[0].getsockname()[1]), Limits())
    upstream = await home.open(NOBODY)
    home.keep(upstream, 1.0)

    writer = await accepted.get()
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
    await until_empty(home)

    assert upstream.is_lost
    assert home.take(1.0, 30.0, NOBODY) is None
    writer.close()
    server.close()


async def test_a_port_where_nobody_listens_refuses() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        home = IdleConnections(Address("127.0.0.1", closed.getsockname()[1]), Limits())

        with pytest.raises(ConnectionRefusedError) as raised:
            await home.open(NOBODY)

    assert ErrorKind.CONNECTION_REFUSED is connect_error(raised.value)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (FileNotFoundError(), ErrorKind.CONNECTION_REFUSED),
        (TimeoutError(), ErrorKind.CONNECTION_TIMEOUT),
        (ConnectionResetError(), ErrorKind.CONNECTION_TERMINATED),
        (socket.gaierror(), ErrorKind.DNS_ERROR),
        (ssl.SSLCertVerificationError(), ErrorKind.TLS_CERTIFICATE_ERROR),
        (ssl.SSLError(), ErrorKind.TLS_PROTOCOL_ERROR),
        (OSError(errno.EMFILE, "too many open files"), ErrorKind.CONNECTION_LIMIT_REACHED),
        (OSError(errno.ENETUNREACH, "network is unreachable"), ErrorKind.DESTINATION_UNAVAILABLE),
    ],
)
def test_each_failure_to_connect_has_its_kind(error: OSError, kind: ErrorKind) -> None:
    assert kind is connect_error(error)


async def test_a_backend_that_talks_out_of_turn_gets_no_second_request_on_any_connection(
    connected: Connect,
) -> None:
    home = idle()
    kept = await connected(home)
    home.keep(kept, monotonic())
    home.distrust()
    later = await connected(home)
    home.keep(later, monotonic())

    assert [True, True] == [kept.is_lost, later.is_lost]
    assert home.take(monotonic(), 30.0, NOBODY) is None


async def test_a_backend_is_trusted_again_after_a_while(connected: Connect) -> None:
    home = idle()
    home.distrust()
    later = await connected(home)
    home.keep(later, monotonic() + DISTRUST + 1)

    assert home.take(monotonic() + DISTRUST + 1, 30.0, NOBODY) is later


async def test_a_farewell_of_408_costs_a_backend_no_trust(connected: Connect) -> None:
    home = idle()
    upstream = await connected(home)
    upstream.data_received(b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n")
    later = await connected(home)
    home.keep(later, monotonic())

    assert upstream.is_lost
    assert home.take(monotonic(), 30.0, NOBODY) is later
