"""Writes that have not reached a backend are for another one to do; those that may have, are for nobody."""

from __future__ import annotations

import asyncio
import hashlib
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.e2e.client import Client, request
from tests.e2e.peers import reserve_port
from tests.e2e.rig import Rig
from tests.e2e.scripted import Asked, Scripted

BODY = bytes(range(256)) * 4096
"""1 MiB: far more than is kept for another attempt."""
DIGEST = hashlib.sha256(BODY).hexdigest()
PATIENT: dict[str, Any] = {
    "timeouts": {"connect": "100ms"},
    "health": {"interval": "1h", "fast_interval": "1h", "jitter": "100%"},
    "breaker": {"consecutive": 1000, "min_requests": 1000},
    "balance": "round_robin",
}
"""Nothing takes a backend out, so that requests go on to begin at the wrong one."""


def refusing(stack: ExitStack) -> str:
    """An address at which nobody listens."""
    return f"127.0.0.1:{stack.enter_context(reserve_port()).getsockname()[1]}"


def silent(stack: ExitStack) -> str:
    """An address whose queue is full, so that nobody answers to a new connection."""
    full = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
    for _ in range(4):
        waiting = stack.enter_context(socket.socket())
        waiting.setblocking(False)
        waiting.connect_ex(full.getsockname())
    return f"127.0.0.1:{full.getsockname()[1]}"


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.mark.parametrize("wrong", [refusing, silent])
async def test_a_large_write_goes_whole_to_another_backend_when_the_first_can_not_be_reached(
    rig: Rig, stack: ExitStack, wrong: Any
) -> None:
    digests = []

    async def take(asked: Asked) -> None:
        digests.append(hashlib.sha256(await asked.body()).hexdigest())
        asked.answer()

    async with Scripted(take) as backend:
        pool = {**PATIENT, "backends": [wrong(stack), backend.address]}
        proxy = await rig.start_proxy({"workers": 1, "pools": {"app": pool}})
        async with await Client.connect(proxy.address) as client:
            answers = [await client.ask("POST", "/", body=BODY) for _ in range(4)]

    assert [200] * 4 == [answer.status for answer in answers]
    assert [DIGEST] * 4 == digests
    assert "failover-proxy; attempts=2" in {answer.field("proxy-status") for answer in answers}


async def test_a_body_that_comes_while_a_backend_is_being_reached_does_not_prolong_that(
    rig: Rig, stack: ExitStack
) -> None:
    """Each byte put off the end of the wait, by as long as a body may stall."""
    async with Scripted() as backend:
        backends = [{"address": silent(stack), "tier": 1}, {"address": backend.address, "tier": 2}]
        proxy = await rig.start_proxy({"pools": {"app": {**PATIENT, "backends": backends}}})
        async with await Client.connect(proxy.address) as client:
            client.send(request("POST", "/slow", "Content-Length: 5"))
            for byte in b"bytes":
                await asyncio.sleep(0.01)
                client.send(bytes([byte]))
            answer = await client.answer()

    assert (200, b"/slow") == (answer.status, answer.body)


async def test_a_write_that_one_backend_has_seen_is_never_sent_to_another(rig: Rig) -> None:
    """Whether it was executed is not known, and the client is told so."""

    async def read_and_go(asked: Asked) -> None:
        await asked.body()
        asked.abort()

    async with Scripted(read_and_go) as one, Scripted(read_and_go) as two:
        proxy = await rig.start_proxy({"pools": {"app": {**PATIENT, "backends": [one.address, two.address]}}})
        async with await Client.connect(proxy.address) as client:
            answers = [await client.ask("POST", f"/{number}", body=b"write") for number in range(6)]

    assert [(502, b'"executed": "unknown"')] * 6 == [(a.status, a.body[a.body.find(b'"exe') :][:21]) for a in answers]
    assert [f"/{number}" for number in range(6)] == sorted(asked.target for asked in one.asked + two.asked)
    assert {'failover-proxy; error=connection_terminated; details="request may have been executed"'} == {
        answer.field("proxy-status") for answer in answers
    }


async def test_an_idempotent_write_is_tried_again_with_its_body(rig: Rig) -> None:
    async def read_and_go(asked: Asked) -> None:
        await asked.body()
        asked.abort()

    async def take(asked: Asked) -> None:
        asked.answer(body=await asked.body())

    chunked = request("PUT", "/", "Transfer-Encoding: chunked") + b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"
    async with Scripted(read_and_go) as wrong, Scripted(take) as right:
        proxy = await rig.start_proxy(
            {"workers": 1, "pools": {"app": {**PATIENT, "backends": [wrong.address, right.address]}}}
        )
        async with await Client.connect(proxy.address) as client:
            counted = [await client.ask("PUT", "/", body=b"hello world") for _ in range(2)]
            client.send(chunked * 2)
            streamed = [await client.answer() for _ in range(2)]

    assert [(200, b"hello world")] * 4 == [(answer.status, answer.body) for answer in counted + streamed]
    assert wrong.asked
