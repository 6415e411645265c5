"""Promises of `proxy.controlplane.admin.unreadable`, on a real socket."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from collections.abc import AsyncIterator

import pytest

from proxy.controlplane.admin.dates import Dates
from proxy.controlplane.admin.endpoint import Admin
from proxy.controlplane.pools.registry import Registry
from tests.controlplane.conftest import Control, Make

FILLER = b"x" * 10_000


@pytest.fixture
async def address(make: Make) -> AsyncIterator[tuple[str, int]]:
    settings = make.settings()
    admin = Admin(Control(Registry(settings, 0.0)), settings.admin, Dates(lambda: 0.0, lambda: 0.0))
    bound = socket.create_server(("127.0.0.1", 0))
    await admin.start(bound)
    yield bound.getsockname()
    await admin.close()


async def said_to(address: tuple[str, int], data: bytes) -> tuple[int, dict[str, str], bytes]:
    """Status, fields and body of the answer to these bytes, after which the connection ends."""
    reader, writer = await asyncio.open_connection(*address)
    writer.write(data)
    received = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    head, _, body = received.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    return int(first.split(" ")[1]), dict(line.lower().split(": ", 1) for line in lines), body


@pytest.mark.parametrize(
    ("data", "status", "detail"),
    [
        (b"\x16\x03\x01\0\xa5\r\n\r\n", 400, "the request is not valid HTTP/1.1"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nbad field: x\r\n\r\n", 400, "the request is not valid HTTP/1.1"),
        (b"GET /" + FILLER + b" HTTP/1.1\r\nHost: a\r\n\r\n", 431, "the request's head is too large"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + FILLER + b"\r\n\r\n", 431, "the request's head is too large"),
    ],
    ids=["TLS", "a bad field", "a long target", "a long field"],
)
async def test_what_cannot_be_read_is_answered_with_a_problem_and_logged_at_debug_level_only(
    address: tuple[str, int], data: bytes, status: int, detail: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, "proxy"):
        status_seen, fields, body = await said_to(address, data)
    document = json.loads(body)

    assert (status, "application/problem+json; charset=utf-8", "no-store") == (
        status_seen,
        fields["content-type"],
        fields["cache-control"],
    )
    assert (status, detail) == (document["status"], document["detail"])
    own = [record for record in caplog.records if record.name.startswith(("proxy", "aiohttp"))]
    assert [(logging.DEBUG, None)] == [(record.levelno, record.exc_info) for record in own]


async def test_a_request_that_was_well_said_is_answered_though_the_next_is_not(address: tuple[str, int]) -> None:
    reader, writer = await asyncio.open_connection(*address)
    writer.write(b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n")
    first = await asyncio.wait_for(reader.readuntil(b"ok\n"), 10)
    writer.write(b"GET\0/ HTTP/1.1\r\n\r\n")
    second = await asyncio.wait_for(reader.read(), 10)
    writer.close()

    assert [b"200", b"400"] == [one.split(b" ")[1] for one in (first, second)]


@pytest.mark.parametrize("expected", [b"nonsense", b"100-continue, x"])
async def test_an_expectation_that_cannot_be_met_is_a_problem_too(address: tuple[str, int], expected: bytes) -> None:
    """They are refused before the application is asked."""
    asked = b"GET /v1/pools HTTP/1.1\r\nHost: a\r\nConnection: close\r\nExpect: " + expected + b"\r\n\r\n"

    status, fields, body = await said_to(address, asked)

    assert (417, "application/problem+json; charset=utf-8") == (status, fields["content-type"])
    assert 417 == json.loads(body)["status"]
