"""Promises of `proxy.controlplane.admin.connections`, on a real socket."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from collections.abc import AsyncIterator

import pytest

from proxy.controlplane.admin import connections, endpoint
from proxy.controlplane.admin.dates import Dates
from proxy.controlplane.admin.endpoint import Admin
from proxy.controlplane.pools.registry import Registry
from tests.controlplane.conftest import Control, Make

Address = tuple[str, int]
PATCH = b"PATCH /v1/pools/app/backends/b0 HTTP/1.1\r\nHost: localhost\r\n"


@pytest.fixture
async def address(make: Make, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Address]:
    monkeypatch.setattr(endpoint, "IDLE", 0.5)
    monkeypatch.setattr(endpoint, "LINGER", 0.1)
    settings = make.settings()
    admin = Admin(Control(Registry(settings, 0.0)), settings.admin, Dates(lambda: 0.0, lambda: 0.0))
    bound = socket.create_server(("127.0.0.1", 0))
    await admin.start(bound)
    yield bound.getsockname()
    await admin.close()


async def said_to(address: Address, data: bytes) -> bytes:
    """All that is answered to these bytes, up to the end of the connection."""
    reader, writer = await asyncio.open_connection(*address)
    writer.write(data)
    try:
        return await asyncio.wait_for(reader.read(), 20)
    except ConnectionError:
        return b""
    finally:
        writer.close()


@pytest.mark.parametrize("begun", [b"", b"GET /livez HTTP/1.1\r\nHost: a\r\n"], ids=["nothing", "half a head"])
async def test_who_says_nothing_or_half_of_it_is_let_go(address: Address, begun: bytes) -> None:
    assert b"" == await said_to(address, begun)


async def test_one_too_many_takes_the_place_of_the_one_that_was_idle_longest(
    address: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "CONNECTIONS", 2)
    opened = [await asyncio.open_connection(*address) for _ in range(2)]

    answer = await said_to(address, b"GET /livez HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")

    assert b"HTTP/1.1 200 OK" == answer.partition(b"\r\n")[0]
    assert b"" == await asyncio.wait_for(opened[0][0].read(), 20)
    for _, writer in opened:
        writer.close()


async def test_where_all_are_busy_one_more_is_refused(address: Address, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "CONNECTIONS", 1)
    reader, writer = await asyncio.open_connection(*address)
    writer.write(b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await asyncio.wait_for(reader.readuntil(b"event: snapshot"), 20)

    assert b"" == await said_to(address, b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n")
    writer.close()


async def test_a_body_that_does_not_come_is_408(address: Address, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "BODY_WITHIN", 0.05)

    answer = await said_to(address, PATCH + b"Content-Length: 50\r\nConnection: close\r\n\r\n{")

    assert b"HTTP/1.1 408 Request Timeout" == answer.partition(b"\r\n")[0]


@pytest.mark.parametrize(
    "rest",
    [b"Content-Encoding: deflate\r\nContent-Length: 5\r\n\r\nabcde", b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"],
    ids=["no deflate", "no chunk"],
)
async def test_a_body_that_cannot_be_read_is_400_and_nothing_to_log(
    address: Address, rest: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    answer = await said_to(address, PATCH + b"Connection: close\r\n" + rest)
    head, _, body = answer.partition(b"\r\n\r\n")

    assert 400 == json.loads(body)["status"], head
    assert [] == [one for one in caplog.records if one.levelno > logging.DEBUG]


async def test_a_body_that_turns_out_unreadable_later_is_nothing_to_log(
    address: Address, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "BODY_WITHIN", 0.05)
    reader, writer = await asyncio.open_connection(*address)
    writer.write(PATCH + b"Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n")
    await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)
    writer.write(b"zz\r\n")
    received = await asyncio.wait_for(reader.read(), 20)
    writer.close()

    assert b"HTTP/1.1 408 Request Timeout" == received.partition(b"\r\n")[0]
    assert [] == [one for one in caplog.records if one.levelno > logging.DEBUG]


async def test_who_leaves_in_the_middle_of_a_body_is_nothing_to_log(
    address: Address, caplog: pytest.LogCaptureFixture
) -> None:
    _, writer = await asyncio.open_connection(*address)
    writer.write(PATCH + b"Content-Length: 50\r\n\r\n{")
    writer.write_eof()
    await writer.drain()
    writer.transport.abort()
    await said_to(address, b"GET /livez HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")

    assert [] == [one for one in caplog.records if one.levelno > logging.DEBUG]


async def test_an_answer_that_is_not_taken_is_not_kept(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "TAKEN_WITHIN", 0.2)
    settings = make.settings()
    admin = Admin(Control(Registry(settings, 0.0)), settings.admin, Dates(lambda: 0.0, lambda: 0.0))
    admin._index_text = "x" * 30_000_000
    bound = socket.create_server(("127.0.0.1", 0))
    await admin.start(bound)
    _, writer = await asyncio.open_connection(*bound.getsockname(), limit=1024)
    writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")

    async with asyncio.timeout(20):
        while not admin._runner.server.connections:  # noqa: ASYNC110 - the server has no event for that
            await asyncio.sleep(0.01)
        while admin._runner.server.connections:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    writer.close()
    await admin.close()
