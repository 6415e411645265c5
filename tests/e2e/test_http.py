"""HTTP/1.1 from a client through the proxy to a backend and back: what each side sees on the wire."""

from __future__ import annotations

import asyncio
import contextlib
from itertools import product

import pytest

from tests.e2e.client import BrokenOffError, Client, request
from tests.e2e.rig import happens
from tests.e2e.scripted import Asked, Way, say_who

pytestmark = pytest.mark.asyncio(loop_scope="module")


# Messages


async def test_one_connection_on_each_side_carries_many_requests(way: Way, client: Client) -> None:
    answers = [await client.ask("GET", f"/{number}") for number in range(20)]

    assert [f"/{number}".encode() for number in range(20)] == [answer.body for answer in answers]
    assert 1 == len({asked.connection for asked in way.backend.asked})


async def test_nothing_of_an_answer_shows_in_the_next_one_on_the_same_connection(way: Way, client: Client) -> None:
    """Whatever two kinds of answers follow each other."""

    async def answer(asked: Asked) -> None:
        for piece in SHAPES[asked.target]:
            asked.send(piece)
            await asked.writer.drain()
            await asyncio.sleep(0)

    way.backend.handler = answer
    seen = [(await client.ask("GET", shape)).body for pair in product(SHAPES, repeat=2) for shape in pair]

    assert [shape.encode() for pair in product(SHAPES, repeat=2) for shape in pair] == seen
    assert 1 == len({asked.connection for asked in way.backend.asked})


OK = b"HTTP/1.1 200 OK\r\n"
SHAPES = {
    "/whole": (OK + b"Content-Length: 6\r\n\r\n/whole",),
    "/late": (OK + b"Content-Length: 5\r\n\r\n", b"/late"),
    "/parts": (OK + b"Content-Length: 6\r\n\r\n/pa", b"rts"),
    "/chunks": (OK + b"Transfer-Encoding: chunked\r\n\r\n7\r\n/chunks\r\n0\r\n\r\n",),
    "/hinted": (b"HTTP/1.1 103 Early Hints\r\n\r\n", OK + b"Content-Length: 7\r\n\r\n/hinted"),
}
"""Answers, and the pieces in which they are sent."""


async def test_pipelined_requests_are_answered_in_their_order(way: Way, client: Client) -> None:
    methods = ["GET", "POST", "HEAD", "GET", "PUT"]
    bodies = {"POST": b"a body", "PUT": b"x" * 100_000}
    client.send(b"".join(request(m, f"/{n}", body=bodies.get(m, b"")) for n, m in enumerate(methods)))

    answers = [await client.answer(method) for method in methods]

    assert [b"/0", b"/1", b"", b"/3", b"/4"] == [answer.body for answer in answers]
    assert methods == [asked.method for asked in way.backend.asked]


async def test_a_request_bears_what_a_proxy_must_add_and_not_what_it_must_drop(way: Way, client: Client) -> None:
    await client.ask("GET", "/?q=%20", "Connection: X-Hop", "X-Hop: 1", "X-Forwarded-For: 1.2.3.4", "accept:  */* ")

    [asked] = way.backend.asked
    assert ("GET", "/?q=%20") == (asked.method, asked.target)
    assert ("1.1 failover-proxy", "127.0.0.1", "http", "test") == tuple(
        asked.field(name) for name in ("via", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host")
    )
    assert [None, None] == [asked.field("x-hop"), asked.field("connection")]
    assert "accept:  */* " in asked.lines


async def test_a_requests_id_is_passed_on_or_made_and_told_to_both_sides(way: Way, client: Client) -> None:
    own = await client.ask("GET", "/", "X-Request-Id: mine")
    made = await client.ask("GET", "/")

    assert ["mine", made.field("x-request-id")] == [asked.field("x-request-id") for asked in way.backend.asked]
    assert "mine" == own.field("x-request-id")
    assert 32 == len(made.field("x-request-id") or "")


async def test_the_answer_to_head_has_a_length_and_no_body(way: Way, client: Client) -> None:
    async def announce(asked: Asked) -> None:
        asked.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")

    way.backend.handler = announce
    answer = await client.ask("HEAD", "/")
    way.backend.handler = say_who
    following = await client.ask("GET", "/next")

    assert ("1000", b"/next") == (answer.field("content-length"), following.body)


@pytest.mark.parametrize("status", [204, 304])
async def test_an_answer_without_a_body_leaves_the_connection_usable(way: Way, client: Client, status: int) -> None:
    async def answer_bare(asked: Asked) -> None:
        asked.send(b'HTTP/1.1 %d Bare\r\nETag: "1"\r\n\r\n' % status)

    way.backend.handler = answer_bare
    answers = [await client.ask("GET", "/") for _ in range(3)]

    assert [status] * 3 == [answer.status for answer in answers]
    assert 1 == len({asked.connection for asked in way.backend.asked})


async def test_interim_answers_come_before_the_final_one(way: Way, client: Client) -> None:
    heard = asyncio.Event()

    async def hint(asked: Asked) -> None:
        asked.send(b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n")
        await happens(heard)
        asked.answer(body=b"final")

    way.backend.handler = hint
    client.send(request("GET", "/"))
    status, fields = await client.head()
    heard.set()
    final = await client.answer()

    assert (103, "</style.css>", b"final") == (status, dict(fields)["Link"], final.body)


async def test_a_body_waits_for_the_backends_100_continue(way: Way, client: Client) -> None:
    async def invite(asked: Asked) -> None:
        asked.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        asked.answer(body=b"got " + await asked.body())

    way.backend.handler = invite
    client.send(request("POST", "/", "Expect: 100-continue", "Content-Length: 4"))
    status, _ = await client.head()
    client.send(b"body")
    final = await client.answer("POST")

    assert (100, 200, b"got body") == (status, final.status, final.body)


async def test_a_backend_may_refuse_a_body_before_it_is_sent(way: Way, client: Client) -> None:
    async def refuse(asked: Asked) -> None:
        asked.answer(417, body=b"no")

    way.backend.handler = refuse
    client.send(request("POST", "/", "Expect: 100-continue", "Content-Length: 1000000"))
    answer = await client.answer("POST")

    assert (417, b"no", "close") == (answer.status, answer.body, answer.field("connection"))


# Bodies as they come


async def test_a_chunked_request_is_passed_on_chunk_by_chunk(way: Way, client: Client) -> None:
    arrived, pieces = asyncio.Event(), []

    async def collect(asked: Asked) -> None:
        async for chunk in asked.chunks():
            pieces.append(chunk)
            arrived.set()
        asked.answer(body=b"+".join(pieces))

    way.backend.handler = collect
    client.send(request("POST", "/", "Transfer-Encoding: chunked") + b"5\r\nfirst\r\n")
    await happens(arrived)
    client.send(b"6\r\nsecond\r\n0\r\nX-Sum: 11\r\n\r\n")
    answer = await client.answer("POST")

    assert b"first+second" == answer.body
    assert "11" == way.backend.asked[0].field("x-sum")


@pytest.mark.parametrize("kind", ["text/plain", "text/event-stream"])
async def test_a_chunked_answer_is_passed_on_chunk_by_chunk(way: Way, client: Client, kind: str) -> None:
    heard = asyncio.Event()

    async def tell(asked: Asked) -> None:
        head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
        asked.send(head.encode() + b"5\r\nfirst\r\n")
        await happens(heard)
        asked.send(b"6\r\nsecond\r\n0\r\nX-Sum: 11\r\n\r\n")

    way.backend.handler = tell
    client.send(request("GET", "/"))
    status, fields = await client.head()
    first = await client.chunk()
    heard.set()
    second, last = await client.chunk(), await client.chunk()

    assert (200, b"first", b"second", b"") == (status, first, second, last)
    assert b"X-Sum: 11\r\n\r\n" == await client.reader.readuntil(b"\r\n\r\n")
    assert ("Transfer-Encoding", "chunked") in fields


async def test_what_has_come_of_an_answer_never_waits_for_more(way: Way, client: Client) -> None:
    """A timer that fires a little early must not leave it lying."""

    async def begin(asked: Asked) -> None:
        asked.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        await happens(heard)
        heard.clear()
        asked.send(b"0\r\n\r\n")

    heard = asyncio.Event()
    way.backend.handler = begin
    for _ in range(40):
        client.send(request("GET", "/"))
        await client.head()
        assert b"first" == await client.chunk()
        heard.set()
        assert b"0\r\n\r\n" == await client.reader.readuntil(b"\r\n\r\n")


async def test_an_answer_that_ends_with_its_connection_gets_an_end_of_its_own(way: Way, client: Client) -> None:
    async def run_out(asked: Asked) -> None:
        asked.send(b"HTTP/1.1 200 OK\r\n\r\nall of it")
        asked.writer.close()

    way.backend.handler = run_out
    answers = [await client.ask("GET", "/") for _ in range(2)]

    assert [(b"all of it", "chunked")] * 2 == [(a.body, a.field("transfer-encoding")) for a in answers]


async def test_an_early_answer_reaches_a_client_that_still_sends(way: Way, client: Client) -> None:
    async def deny(asked: Asked) -> None:
        asked.answer(413, body=b"too much")
        await asked.until_closed()

    way.backend.handler = deny
    client.send(request("POST", "/", "Content-Length: 1000000") + b"x" * 10_000)
    answer = await client.answer("POST")

    assert (413, b"too much") == (answer.status, answer.body)


@pytest.mark.parametrize(
    "head",
    [b"Content-Length: 1000000\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n186a0\r\n"],
    ids=["counted", "chunked"],
)
async def test_an_answer_that_breaks_off_is_never_ended_cleanly(way: Way, client: Client, head: bytes) -> None:
    async def break_off(asked: Asked) -> None:
        asked.send(b"HTTP/1.1 200 OK\r\n" + head + b"x" * 90_000)
        await asked.writer.drain()
        asked.abort()

    way.backend.handler = break_off
    with pytest.raises((BrokenOffError, ConnectionResetError, asyncio.IncompleteReadError)):
        await client.ask("GET", "/")
    async with await Client.connect(way.proxy.address) as another:
        way.backend.handler = say_who
        assert b"/well" == (await another.ask("GET", "/well")).body


async def test_a_small_answer_that_breaks_off_is_tried_again_unseen(way: Way, client: Client) -> None:
    async def break_off_once(asked: Asked) -> None:
        if len(way.backend.asked) > 1:
            asked.answer(body=b"whole")
        else:
            asked.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwh")
            asked.writer.close()

    way.backend.handler = break_off_once
    answer = await client.ask("GET", "/")

    assert (200, b"whole", "failover-proxy; attempts=2") == (answer.status, answer.body, answer.field("proxy-status"))


async def test_a_request_that_waits_before_it_is_tried_again_goes_on_by_itself(way: Way, client: Client) -> None:
    async def fail_twice(asked: Asked) -> None:
        if len(way.backend.asked) % 3:
            asked.abort()
        else:
            asked.answer(body=b"at last")

    way.backend.handler = fail_twice
    answers = [await client.ask("GET", "/") for _ in range(10)]

    assert [b"at last"] * 10 == [answer.body for answer in answers]


# Who leaves


async def test_a_client_that_leaves_ends_its_request_at_the_backend(way: Way, client: Client) -> None:
    asked_for, left = asyncio.Event(), asyncio.Event()

    async def wait_long(asked: Asked) -> None:
        asked_for.set()
        await asked.until_closed()
        left.set()

    way.backend.handler = wait_long
    client.send(request("GET", "/"))
    await happens(asked_for)
    client.close()

    await happens(left)


async def test_a_client_that_leaves_in_the_midst_of_an_answer_ends_it_at_the_backend(way: Way, client: Client) -> None:
    left = asyncio.Event()

    async def flood(asked: Asked) -> None:
        asked.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            while True:
                asked.send(b"x" * 65536)
                await asked.writer.drain()
        left.set()

    way.backend.handler = flood
    client.send(request("GET", "/"))
    await client.head()
    client.close()

    await happens(left)


async def test_a_body_that_its_client_never_finished_is_never_whole_for_the_backend(way: Way, client: Client) -> None:
    began, ended = asyncio.Event(), asyncio.Event()

    async def read(asked: Asked) -> None:
        began.set()
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await asked.body()
        ended.set()
        asked.abort()

    way.backend.handler = read
    client.send(request("POST", "/", "Content-Length: 100") + b"part")
    await happens(began)
    client.close()
    await happens(ended)

    assert 1 == len(way.backend.asked)


async def test_a_client_that_has_said_its_last_still_gets_its_answer(way: Way, client: Client) -> None:
    ended, go_on = asyncio.Event(), asyncio.Event()

    async def answer_late(asked: Asked) -> None:
        ended.set()
        await happens(go_on)
        asked.answer(body=b"late")

    way.backend.handler = answer_late
    client.send(request("GET", "/"))
    await happens(ended)
    client.writer.write_eof()
    # The proxy sounds whether anybody listens; then it is known to have seen the end.
    interim, _ = await client.head()
    go_on.set()
    answer = await client.answer()

    assert (100, 200, b"late") == (interim, answer.status, answer.body)
    assert b"" == await client.until_closed()


async def test_a_backend_that_closes_an_idle_connection_costs_no_request(way: Way, client: Client) -> None:
    async def close_after(asked: Asked) -> None:
        asked.answer(body=b"bye")
        await asked.writer.drain()
        asked.writer.close()

    way.backend.handler = close_after
    answers = [await client.ask("GET", "/") for _ in range(30)]

    assert [200] * 30 == [answer.status for answer in answers]
