from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from proxy.controlplane.probing.probe import BODY_READ, USER_AGENT, Prober
from proxy.core.pools.health import HealthPolicy
from proxy.core.pools.word import BackendWord
from proxy.core.settings import Address

GET = HealthPolicy(path="/healthz", timeout=5.0)
CONNECT = HealthPolicy(timeout=5.0)


@dataclass
class Server:
    """Answers every request with the same bytes, and remembers what it saw."""

    answer: bytes = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
    stays_silent: bool = False
    heads: list[bytes] = field(default_factory=list)
    connections: int = 0
    address: Address = Address()
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    _release: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            self.heads.append(await reader.readuntil(b"\r\n\r\n"))
            self.asked.set()
            if self.stays_silent:
                await self._release.wait()
            writer.write(self.answer)
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def release(self) -> None:
        self._release.set()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.address = Address("127.0.0.1", listening.sockets[0].getsockname()[1])
    yield server
    server.release()
    listening.close()
    await listening.wait_closed()


@pytest.fixture
def prober() -> Prober:
    return Prober()


@pytest.fixture
def closed() -> Address:
    """An address at which nobody listens."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return Address(*one.getsockname())


# By connecting


async def test_a_connection_is_enough_where_no_path_is_given(server: Server, prober: Prober) -> None:
    probe = await prober.probe(server.address, CONNECT)

    assert (True, "connected") == (probe.ok, probe.detail)


async def test_a_refused_connection_is_a_failure_with_the_systems_words(prober: Prober, closed: Address) -> None:
    probe = await prober.probe(closed, CONNECT)

    assert (False, "connection refused") == (probe.ok, probe.detail)


async def test_a_name_that_cannot_be_one_is_a_failure(prober: Prober) -> None:
    """A label over 63 characters raises something else than an OSError."""
    address = Address(f"{'x' * 64}.invalid", 80)

    assert [False, False] == [(await prober.probe(address, policy)).ok for policy in (CONNECT, GET)]


async def test_a_unix_socket_is_probed_by_its_path(prober: Prober, tmp_path: Path) -> None:
    server = Server()
    path = tmp_path / "backend"
    listening = await asyncio.start_unix_server(server.serve, path)
    address = Address(path=str(path))

    probes = [await prober.probe(address, CONNECT), await prober.probe(address, GET)]

    assert ["connected", "200 OK"] == [probe.detail for probe in probes]
    assert b"Host: localhost\r\n" in server.heads[-1]
    listening.close()
    await listening.wait_closed()
    Path(path).unlink(missing_ok=True)
    assert "no such file or directory" == (await prober.probe(address, GET)).detail


# By asking


async def test_a_good_answer_is_good(server: Server, prober: Prober) -> None:
    probe = await prober.probe(server.address, GET)

    assert (True, "200 OK") == (probe.ok, probe.detail)
    assert 0 < probe.duration < GET.timeout


async def test_the_request_says_who_asks_and_whom(server: Server, prober: Prober) -> None:
    await prober.probe(server.address, HealthPolicy(path="/healthz?deep=%2F", timeout=5.0))

    lines = server.heads[0].decode().split("\r\n")
    assert "GET /healthz?deep=%2F HTTP/1.1" == lines[0]
    assert [f"Host: {server.address}"] == [line for line in lines if line.startswith("Host:")]
    assert f"User-Agent: {USER_AGENT}" in lines
    assert "Connection: close" in lines


async def test_every_probe_opens_a_connection_of_its_own(server: Server, prober: Prober) -> None:
    """A connection from before would hide that nobody accepts any more."""
    for _ in range(3):
        await prober.probe(server.address, GET)

    assert 3 == server.connections


async def test_a_backend_that_closes_at_once_is_said_to_do_so(prober: Prober) -> None:
    """Who notices first depends on the moment."""
    listening = await asyncio.start_server(lambda _, writer: writer.transport.abort(), "127.0.0.1", 0)
    address = Address("127.0.0.1", listening.sockets[0].getsockname()[1])
    probes = [await prober.probe(address, GET) for _ in range(30)]
    listening.close()
    await listening.wait_closed()

    known = {"the connection was closed", "closed the connection without an answer", "connection reset by peer"}
    assert {False} == {probe.ok for probe in probes}
    assert {probe.detail for probe in probes} <= known


async def test_a_probe_that_is_closed_unanswered_is_sent_once(server: Server, prober: Prober) -> None:
    """Or a Backend that drops every second request would look well."""
    server.answer = b""

    probe = await prober.probe(server.address, GET)

    assert (False, "closed the connection without an answer") == (probe.ok, probe.detail)
    assert 1 == len(server.heads)


async def test_a_status_that_is_not_expected_is_a_failure(server: Server, prober: Prober) -> None:
    server.answer = b"HTTP/1.1 503 Out For Lunch\r\ncontent-length: 0\r\n\r\n"

    probe = await prober.probe(server.address, GET)

    assert (False, "503 Out For Lunch") == (probe.ok, probe.detail)


async def test_the_policy_says_which_status_is_expected(server: Server, prober: Prober) -> None:
    server.answer = b"HTTP/1.1 418 Teapot\r\ncontent-length: 0\r\n\r\n"

    probe = await prober.probe(server.address, HealthPolicy(path="/", timeout=5.0, status=((200, 299), (418, 418))))

    assert probe.ok


async def test_a_redirect_is_an_answer_and_not_followed(server: Server, prober: Prober) -> None:
    server.answer = b"HTTP/1.1 302 Found\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n"

    assert (await prober.probe(server.address, GET)).ok
    assert 1 == len(server.heads)


async def test_a_body_that_matches_is_good(server: Server, prober: Prober) -> None:
    server.answer = b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nall well"

    assert (await prober.probe(server.address, HealthPolicy(path="/", timeout=5.0, body="all (is )?well$"))).ok


async def test_a_body_that_does_not_match_is_a_failure(server: Server, prober: Prober) -> None:
    probe = await prober.probe(server.address, HealthPolicy(path="/", timeout=5.0, body="well"))

    assert "200 OK, but its body does not match 'well'" == probe.detail


async def test_a_compressed_body_is_not_unpacked(server: Server, prober: Prober) -> None:
    """A few bytes could become gigabytes."""
    server.answer = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 8\r\n\r\nnot gzip"

    assert (await prober.probe(server.address, HealthPolicy(path="/", timeout=5.0, body="not gzip"))).ok


async def test_only_the_first_64_kib_of_a_body_are_looked_at(server: Server, prober: Prober) -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-length: 10000000\r\n\r\n"
    policy = HealthPolicy(path="/", timeout=5.0, body="end")

    server.answer = head + b"x" * (BODY_READ - 3) + b"end"
    inside = await prober.probe(server.address, policy)
    server.answer = head + b"x" * (BODY_READ - 2) + b"end" + b"x" * 100
    outside = await prober.probe(server.address, policy)

    assert [True, False] == [inside.ok, outside.ok]


async def test_a_body_that_breaks_off_is_a_failure_only_where_it_is_wanted(server: Server, prober: Prober) -> None:
    server.answer = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nall well"

    unread = await prober.probe(server.address, GET)
    read = await prober.probe(server.address, HealthPolicy(path="/", timeout=5.0, body="all well"))

    assert (True, "200 OK") == (unread.ok, unread.detail)
    assert (False, "the answer's body broke off") == (read.ok, read.detail)


@pytest.mark.parametrize("answer", [b"SSH-2.0-OpenSSH_9.2\r\n\r\n", b"HTTP/1.1 200 OK\r\nx y: z\r\n\r\n", b"\0" * 100])
async def test_an_answer_that_is_not_http_is_a_failure(server: Server, prober: Prober, answer: bytes) -> None:
    server.answer = answer

    probe = await prober.probe(server.address, GET)

    assert not probe.ok
    assert probe.detail.startswith("not valid HTTP: ")
    assert probe.detail.isprintable()


async def test_what_a_backend_says_is_kept_short(server: Server, prober: Prober) -> None:
    server.answer = b"HTTP/1.1 503 " + b"x" * 5000 + b"\r\ncontent-length: 0\r\n\r\n"

    assert 200 == len((await prober.probe(server.address, GET)).detail)


# In time


async def test_a_probe_without_an_answer_ends_at_its_timeout(server: Server, prober: Prober) -> None:
    server.stays_silent = True

    probe = await prober.probe(server.address, HealthPolicy(path="/", timeout=0.05))

    assert (False, "no answer within 0.05s") == (probe.ok, probe.detail)


async def test_a_body_without_an_end_ends_at_the_timeout(server: Server, prober: Prober) -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n")
        await reader.read()
        writer.close()

    listening = await asyncio.start_server(drip, "127.0.0.1", 0)
    address = Address(*listening.sockets[0].getsockname())

    assert not (await prober.probe(address, HealthPolicy(path="/", timeout=0.05, body="x"))).ok
    listening.close()
    await listening.wait_closed()


async def test_a_connection_that_is_never_accepted_ends_at_the_timeout(prober: Prober) -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = Address(*full.getsockname())
        waiting = []
        probe = None
        while probe is None or probe.ok:  # until the queue is full
            waiting.append(socket.socket())
            waiting[-1].setblocking(False)
            waiting[-1].connect_ex(full.getsockname())
            probe = await prober.probe(address, HealthPolicy(timeout=0.05))
        for one in waiting:
            one.close()

    assert "no connection within 0.05s" == probe.detail


class WatchedLoop(asyncio.SelectorEventLoop):
    """Remembers the delay of every timer."""

    def __init__(self) -> None:
        super().__init__()
        self.delays: list[float] = []

    def call_at(
        self, when: float, callback: Callable[..., object], *args: object, **more: object
    ) -> asyncio.TimerHandle:
        self.delays.append(when - self.time())
        return super().call_at(when, callback, *args, **more)


def test_a_long_timeout_is_one_timer() -> None:
    async def probe(loop: WatchedLoop) -> None:
        server = Server(stays_silent=True)
        listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
        prober = Prober()
        policy = HealthPolicy(path="/", timeout=5.3)
        probing = asyncio.create_task(prober.probe(Address(*listening.sockets[0].getsockname()), policy))
        await server.asked.wait()
        probing.cancel()
        await asyncio.wait([probing])
        server.release()
        listening.close()
        await listening.wait_closed()

    with asyncio.Runner(loop_factory=WatchedLoop) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, WatchedLoop)
        runner.run(probe(loop))

    assert [5.3] == [round(delay, 2) for delay in loop.delays]


async def test_what_a_backend_says_of_itself_is_heard_in_any_answer(server: Server, prober: Prober) -> None:
    server.answer = b"HTTP/1.1 503 Bye\r\nX-Backend-State: drain\r\nX-Backend-Weight: all\r\ncontent-length: 0\r\n\r\n"
    drained = await prober.probe(server.address, GET)
    server.answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
    silent = await prober.probe(server.address, GET)
    server.answer = b""
    gone = await prober.probe(server.address, GET)

    assert [BackendWord("drain"), BackendWord(), None] == [probe.word for probe in (drained, silent, gone)]
    assert "503 Bye; X-Backend-Weight 'all' is not a share up to 100%" == drained.detail
