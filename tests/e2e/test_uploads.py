"""Answers that come while a request's body is still on its way, and bodies that wait to be asked for."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import NamedTuple

import pytest

from tests.e2e.client import PATIENCE, Client, request
from tests.e2e.rig import happens
from tests.e2e.scripted import Asked, Way, say_who
from tests.e2e.test_bodies import chunk, plain

pytestmark = pytest.mark.asyncio(loop_scope="module")

PIECE = b"x" * 10_000
PIECES = 20


class Framing(NamedTuple):
    """How a body of `PIECES` says where it ends."""

    field: str
    frame: Callable[[bytes], bytes]
    end: bytes


framings = pytest.mark.parametrize(
    "framing",
    [
        Framing(f"Content-Length: {PIECES * len(PIECE)}", plain, b""),
        Framing("Transfer-Encoding: chunked", chunk, b"0\r\n\r\n"),
    ],
    ids=["counted", "chunked"],
)


async def read_piece(asked: Asked) -> bytes:
    """One piece of a body, whichever way it is framed."""
    if asked.field("transfer-encoding") is None:
        return await asked.reader.readexactly(len(PIECE))
    received = b""
    while len(received) < len(PIECE):
        size = int(await asked.reader.readuntil(b"\r\n"), 16)
        received += (await asked.reader.readexactly(size + 2))[:-2]
    return received


# Interim answers


@framings
async def test_interim_answers_reach_a_client_in_the_midst_of_its_upload(
    way: Way, client: Client, framing: Framing
) -> None:
    """Each piece is sent only once the interim answer to the one before has come."""

    async def acknowledge(asked: Asked) -> None:
        for _ in range(PIECES):
            assert PIECE == await read_piece(asked)
            asked.send(b"HTTP/1.1 102 Processing\r\n\r\n")
        if framing.end:
            await asked.reader.readuntil(b"0\r\n\r\n")
        asked.answer(body=b"all")

    way.backend.handler = acknowledge
    client.send(request("POST", "/", framing.field))
    statuses = []
    for _ in range(PIECES):
        client.send(framing.frame(PIECE))
        statuses.append((await client.head())[0])
    client.send(framing.end)
    answer = await client.answer("POST")

    assert [102] * PIECES == statuses
    assert (200, b"all") == (answer.status, answer.body)


# Final answers


@framings
async def test_an_answer_that_is_begun_early_and_the_rest_of_the_body_pass_each_other(
    way: Way, client: Client, framing: Framing
) -> None:
    """Each piece is sent only once the one before has come back."""

    async def echo(asked: Asked) -> None:
        asked.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(PIECES):
            asked.send(chunk(await read_piece(asked)))
        asked.send(b"0\r\n\r\n")

    way.backend.handler = echo
    client.send(request("POST", "/", framing.field) + framing.frame(PIECE))
    status, _ = await client.head()
    for _ in range(PIECES - 1):
        assert PIECE == await whole_piece(client)
        client.send(framing.frame(PIECE))
    assert PIECE == await whole_piece(client)
    client.send(framing.end)

    assert 200 == status
    assert b"" == await client.chunk()


async def whole_piece(client: Client) -> bytes:
    received = b""
    while len(received) < len(PIECE):
        received += await client.chunk()
    return received


@framings
async def test_an_early_final_answer_ends_both_connections_and_the_next_request_is_served_on_new_ones(
    way: Way, framing: Framing
) -> None:
    """What is left of the body must never be read as a request."""

    async def deny(asked: Asked) -> None:
        asked.answer(413, body=b"too much")
        await asked.until_closed()

    way.backend.handler = deny
    async with await Client.connect(way.proxy.address) as client:
        client.send(request("POST", "/", framing.field) + framing.frame(PIECE))
        answer = await client.answer("POST")
    way.backend.handler = say_who
    async with await Client.connect(way.proxy.address) as another:
        following = await another.ask("GET", "/next")

    assert (413, b"too much", "close") == (answer.status, answer.body, answer.field("connection"))
    assert b"/next" == following.body
    assert ["POST", "GET"] == [asked.method for asked in way.backend.asked]
    assert 2 == len({asked.connection for asked in way.backend.asked})


@pytest.mark.parametrize("breaks", ["leaves", "sends a bad chunk"])
async def test_a_client_that_breaks_off_its_body_after_the_answer_has_begun_ends_it_at_the_backend(
    way: Way, client: Client, breaks: str
) -> None:
    told = asyncio.Event()

    async def begin(asked: Asked) -> None:
        asked.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        await asked.until_closed()
        told.set()

    way.backend.handler = begin
    before = (await way.proxy.admin.get("/v1/pools/app"))["backends"][0]["failures_total"]
    client.send(request("POST", "/", "Transfer-Encoding: chunked") + b"4\r\nbody\r\n")
    await client.head()
    if breaks == "leaves":
        client.writer.write_eof()
    else:
        client.send(b"nonsense\r\n")
    await asyncio.wait_for(told.wait(), 5)
    await client.until_closed()
    await asyncio.sleep(1.1)
    after = (await way.proxy.admin.get("/v1/pools/app"))["backends"][0]["failures_total"]

    assert before == after


# Expectations


@pytest.mark.parametrize("form", ["100-continue", "100-Continue", "100-CONTINUE"])
@framings
async def test_a_body_that_waits_to_be_asked_for_is_asked_for_by_the_backend(
    way: Way, client: Client, form: str, framing: Framing
) -> None:
    bodies = []

    async def invite(asked: Asked) -> None:
        assert asked.field("expect") is not None
        asked.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        bodies.append(await asked.body())
        asked.answer(body=b"got it")

    way.backend.handler = invite
    client.send(request("POST", "/", framing.field, f"Expect: {form}"))
    interim, _ = await client.head()
    client.send(framing.frame(PIECE) * PIECES + framing.end)
    answer = await client.answer("POST")

    assert (100, 200, b"got it") == (interim, answer.status, answer.body)
    assert [PIECE * PIECES] == bodies


@framings
async def test_a_body_that_is_sent_without_waiting_to_be_asked_for_arrives(
    way: Way, client: Client, framing: Framing
) -> None:
    """By a backend that never says 100, too."""

    async def take(asked: Asked) -> None:
        asked.answer(body=b"%d" % len(await asked.body()))

    way.backend.handler = take
    client.send(
        request("POST", "/", framing.field, "Expect: 100-continue") + framing.frame(PIECE) * PIECES + framing.end
    )
    answer = await client.answer("POST")
    following = await client.ask("GET", "/")

    assert (200, b"%d" % (PIECES * len(PIECE)), ()) == (answer.status, answer.body, answer.interims)
    assert 200 == following.status


@framings
async def test_a_body_that_was_waited_for_and_is_refused_is_never_sent(
    way: Way, client: Client, framing: Framing
) -> None:
    received: list[bytes] = []
    closed = asyncio.Event()

    async def refuse(asked: Asked) -> None:
        asked.answer(401, body=b"who are you?")
        with contextlib.suppress(ConnectionError):
            while piece := await asked.reader.read(65536):
                received.append(piece)
        closed.set()

    way.backend.handler = refuse
    client.send(request("POST", "/", framing.field, "Expect: 100-continue"))
    answer = await client.answer("POST")
    await client.until_closed()
    await happens(closed)

    assert (401, b"who are you?", "close") == (answer.status, answer.body, answer.field("connection"))
    assert [] == received


async def test_an_expectation_of_anything_else_is_refused_with_417(way: Way, client: Client) -> None:
    client.send(request("POST", "/", "Content-Length: 4", "Expect: a-miracle") + b"body")
    async with asyncio.timeout(PATIENCE):
        answer = await client.answer("POST")

    assert 417 == answer.status
    assert [] == way.backend.asked


async def test_several_invitations_to_go_on_are_all_passed_on(way: Way, client: Client) -> None:
    go_on = asyncio.Event()

    async def invite_often(asked: Asked) -> None:
        asked.send(b"HTTP/1.1 100 Continue\r\n\r\n" * 2)
        asked.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
        await happens(go_on)
        asked.answer(body=await asked.body())

    way.backend.handler = invite_often
    client.send(request("POST", "/", "Content-Length: 4", "Expect: 100-continue"))
    statuses = [(await client.head())[0] for _ in range(3)]
    client.send(b"body")
    go_on.set()
    answer = await client.answer("POST")

    assert [100, 100, 103] == statuses
    assert (200, b"body") == (answer.status, answer.body)
