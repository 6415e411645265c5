"""What the sample backend promises to the demo and to the end-to-end tests."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from time import monotonic

import pytest
from aiohttp import ClientSession, web

from proxy.samples.backend import Backend, Fault, control, tell

TIMER_EARLY = 0.002
"""Seconds that a timer of uvloop, which counts whole milliseconds, may fire early."""
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


class Connection:
    """A bare client connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        """Send a request and read the counted answer."""
        self.writer.write(request)
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = next(line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
        return int(head.split()[1]), await self.reader.readexactly(int(length.split(b":")[1]))


@pytest.fixture
async def backend() -> AsyncIterator[Backend]:
    backend = Backend("sample")
    yield backend
    await backend.stop()


@pytest.fixture
async def connect(backend: Backend) -> AsyncIterator[Callable[[], Awaitable[Connection]]]:
    host, port = await backend.start("127.0.0.1", 0)
    connections: list[Connection] = []

    async def new_connection() -> Connection:
        connections.append(Connection(*await asyncio.open_connection(host, port)))
        return connections[-1]

    yield new_connection
    for connection in connections:
        connection.writer.close()


Connect = Callable[[], Awaitable[Connection]]


async def test_it_says_who_it_is_and_how_many_requests_it_had(connect: Connect) -> None:
    connection = await connect()

    await connection.ask(GET)
    status, body = await connection.ask(GET)

    assert (200, {"backend": "sample", "pid": os.getpid(), "requests": 2, "path": "/"}) == (status, json.loads(body))


async def test_a_body_comes_back(connect: Connect) -> None:
    connection = await connect()

    assert (200, b"hello") == await connection.ask(POST)


async def test_each_execution_of_a_write_is_counted(connect: Connect, backend: Backend) -> None:
    connection = await connect()

    await connection.ask(POST)
    await connection.ask(POST)
    await connection.ask(b"POST / HTTP/1.1\r\nHost: x\r\nX-Request-Id: a\r\nContent-Length: 0\r\n\r\n")
    await connection.ask(GET)

    assert {"hello": 2, "a": 1} == dict(backend.executions)


async def test_executions_outlive_the_backend_in_a_file(tmp_path: Path) -> None:
    """Two backends may share the file: each line is written at once."""
    file = tmp_path / "executions"
    for name in ("one", "two"):
        record = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        backend = Backend(name, record=record)
        connection = Connection(*await asyncio.open_connection(*await backend.start("127.0.0.1", 0)))
        await connection.ask(POST)
        connection.writer.close()
        await backend.stop()
        os.close(record)

    assert '"hello"\n"hello"\n' == file.read_text()


async def test_a_write_is_counted_before_its_answer_breaks_off(connect: Connect, backend: Backend) -> None:
    await backend.set_fault(Fault.HALF, spares_health=False)
    connection = await connect()
    connection.writer.write(POST)

    answer = await connection.reader.read()

    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.endswith(b"\r\n\r\nhalf of")
    assert {"hello": 1} == dict(backend.executions)


async def test_a_hanging_backend_takes_connections_and_answers_once_it_is_well(
    connect: Connect, backend: Backend
) -> None:
    await backend.set_fault(Fault.HANG, spares_health=False)
    connection = await connect()
    answer = asyncio.ensure_future(connection.ask(POST))
    await backend.executed.wait()

    assert not answer.done()

    await backend.set_fault(Fault.NONE, spares_health=False)

    assert (200, b"hello") == await answer


async def test_an_unwell_backend_answers_503_to_everything(connect: Connect, backend: Backend) -> None:
    await backend.set_fault(Fault.UNWELL, spares_health=False)
    connection = await connect()

    assert (503, b"sample is unwell\n") == await connection.ask(GET)
    assert (503, b"sample is unwell\n") == await connection.ask(HEALTH)


async def test_a_liar_has_a_green_health_path(connect: Connect, backend: Backend) -> None:
    await backend.set_fault(Fault.UNWELL, spares_health=True)
    connection = await connect()

    assert (503, b"sample is unwell\n") == await connection.ask(GET)
    assert (200, b"ok\n") == await connection.ask(HEALTH)


async def test_a_closing_backend_closes_old_and_new_connections(connect: Connect, backend: Backend) -> None:
    old = await connect()
    await old.ask(GET)

    await backend.set_fault(Fault.CLOSE, spares_health=False)
    new = await connect()

    assert b"" == await old.reader.read()
    assert b"" == await new.reader.read()


async def test_a_refusing_backend_can_be_revived_on_its_port(connect: Connect, backend: Backend) -> None:
    await backend.set_fault(Fault.REFUSE, spares_health=False)
    with pytest.raises(ConnectionRefusedError):
        await connect()

    await backend.set_fault(Fault.NONE, spares_health=False)

    assert (200, b"hello") == await (await connect()).ask(POST)


async def test_faults_are_set_and_executions_read_on_the_control_port(connect: Connect, backend: Backend) -> None:
    await (await connect()).ask(POST)
    runner = web.AppRunner(control(backend))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    address = f"http://127.0.0.1:{runner.addresses[0][1]}"

    async with ClientSession(address) as session:
        refused = await session.put("/_fault", json={"mode": "sleepy"})
        accepted = await session.put("/_fault", json={"mode": "hang", "spares_health": True})
        executions = await (await session.get("/_executions")).json()

        assert (400, 200) == (refused.status, accepted.status)
        assert {"mode": "hang", "spares_health": True} == await accepted.json()
        assert {"hello": 1} == executions
    await runner.cleanup()


def test_the_program_tells_its_addresses_and_ends_on_sigterm() -> None:
    command = [sys.executable, "-m", "proxy.samples.backend", "--control-port", "0", "--addresses", "-"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        addresses = json.loads(process.stdout.readline())
        process.terminate()

        assert 0 == process.wait(timeout=10)

    assert {"name", "pid", "address", "control"} == set(addresses)
    assert process.pid == addresses["pid"]


def test_a_port_that_is_taken_is_an_error_in_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "proxy.samples.backend", "--port", str(port)]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)

    assert (1, f"error: 127.0.0.1:{port}: Address already in use\n") == (ended.returncode, ended.stderr)


def test_a_file_of_addresses_is_there_only_when_it_is_whole(tmp_path: Path) -> None:
    tell(str(tmp_path / "addresses.json"), "{}")

    assert {"addresses.json": "{}"} == {path.name: path.read_text() for path in tmp_path.iterdir()}


async def test_a_backend_in_a_brown_out_fails_a_fifth_of_its_requests(connect: Connect, backend: Backend) -> None:
    await backend.set_fault(Fault.SOME, spares_health=True)
    connection = await connect()

    statuses = [(await connection.ask(GET))[0] for _ in range(20)]

    assert (16, 4) == (statuses.count(200), statuses.count(503))


async def test_a_slow_backend_takes_its_time_and_has_a_quick_health_path(connect: Connect, backend: Backend) -> None:
    await backend.set_fault(Fault.SLOW, spares_health=True)
    began = monotonic()
    answered = await (await connect()).ask(HEALTH)
    between = monotonic()
    await (await connect()).ask(GET)
    ended = monotonic()

    assert (200, b"ok\n") == answered
    assert between - began < ended - between
    assert ended - between >= 0.05 - TIMER_EARLY
