"""Peers that are slow, hang, cut short, or ask for more than they read: the proxy's clocks, bounds and framing hold.

What well-behaved peers see on the wire is tested in `test_http`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.client import PATIENCE, Answer, Client, request
from tests.e2e.rig import Proxy, Rig, now, until
from tests.e2e.scripted import Asked, Scripted, say_who
from tests.e2e.test_writes import silent

QUIET: dict[str, Any] = {"health": {"interval": "1h", "fast_interval": "1h", "jitter": "100%"}}
"""Nothing but requests reaches a backend."""
LONG = f"{2 * PATIENCE:g}s"
"""A clock that must not be the one that ends a test."""
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: test\r\n\r\n"
PAGE = b"y" * 60_000
"""Few of them fill what lies between a backend and a client that does not read."""
SMALL = 4096
"""Bytes of a receive buffer that is full at once."""
MIB = 1 << 20


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


async def start(rig: Rig, *backends: Scripted | str, **policies: Any) -> Proxy:
    """One worker; the first backend serves as long as it can, then the next."""
    listed = [
        {"name": f"b{tier}", "address": one if isinstance(one, str) else one.address, "tier": tier}
        for tier, one in enumerate(backends, 1)
    ]
    return await rig.start_proxy({"workers": 1, "pools": {"app": {**QUIET, **policies, "backends": listed}}})


async def hang(asked: Asked) -> None:
    """Take a request and never answer it."""
    await asked.until_closed()


async def send_page(asked: Asked) -> None:
    asked.answer(body=PAGE)


async def send_page_and_close(asked: Asked) -> None:
    asked.answer(200, "Connection: close", body=PAGE)
    await asked.writer.drain()
    asked.writer.close()


async def settles(measure: Callable[[], int], seconds: float = 1.0) -> int:
    """Wait until a number has stood still for so long; an end of motion has no event."""
    last, since = measure(), now()

    def stands() -> bool:
        nonlocal last, since
        if (current := measure()) != last:
            last, since = current, now()
        return now() - since >= seconds

    await until(stands)
    return last


# Bodies


async def test_a_write_too_long_to_keep_is_never_sent_again_with_less_of_its_body(rig: Rig) -> None:
    bodies = []

    async def fail_first(asked: Asked) -> None:
        bodies.append(await asked.body())
        asked.answer(503 if len(bodies) == 1 else 200, body=b"busy")

    whole = b"x" * 200_000
    async with Scripted(fail_first) as one, Scripted(fail_first) as two:
        proxy = await start(rig, one, two)
        client = await rig.connect(proxy.address)
        client.send(request("PUT", "/", "Transfer-Encoding: chunked") + b"%x\r\n%b\r\n0\r\n\r\n" % (len(whole), whole))
        answer = await client.answer("PUT")

    assert (503, b"busy") == (answer.status, answer.body)
    assert [len(whole)] == [len(body) for body in bodies]


@pytest.mark.parametrize(
    ("own", "status"),
    [({"redirect": {"to": "https://shop.example{path}"}}, 308), ({"answer": {"status": 410}}, 410)],
    ids=["redirect", "answer"],
)
@pytest.mark.parametrize("framing", [f"Content-Length: {len(SMUGGLED)}", "Transfer-Encoding: chunked"])
async def test_a_body_that_no_backend_reads_is_never_served_as_a_request(
    rig: Rig, own: dict[str, Any], status: int, framing: str
) -> None:
    async with Scripted() as backend:
        routes = [{"match": {"path": "/old/*"}, **own}, {"pool": "app"}]
        pools = {"app": {**QUIET, "backends": [backend.address]}}
        proxy = await rig.start_proxy({"pools": pools, "routes": routes})
        client = await rig.connect(proxy.address)
        client.send(request("POST", "/old/x", framing) + SMUGGLED)
        status_seen, fields = await client.head()
        rest = await client.until_closed()

    known = {name.lower(): value for name, value in fields}
    assert (status, "close") == (status_seen, known["connection"])
    assert int(known.get("content-length", "0")) == len(rest)
    assert [] == backend.asked


async def test_a_bad_chunk_is_refused_at_once_also_on_a_connection_that_served_before(rig: Rig) -> None:
    async with Scripted() as backend:
        proxy = await start(rig, backend, timeouts={"stall": LONG})
        client = await rig.connect(proxy.address)
        first = await client.ask("GET", "/")
        client.send(request("POST", "/", "Transfer-Encoding: chunked") + b"ZZ\r\n")
        answer = await client.answer("POST")

    assert [200, 400] == [first.status, answer.status]
    assert ["GET"] == [asked.method for asked in backend.asked]


async def test_a_client_that_waits_to_be_told_to_go_on_does_not_wait_for_a_hung_backend(rig: Rig) -> None:
    async def go_on(asked: Asked) -> None:
        asked.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        asked.answer(body=await asked.body())

    async with Scripted(hang) as hung, Scripted(go_on) as well:
        proxy = await start(rig, hung, well, timeouts={"first_byte": "300ms", "stall": LONG})
        client = await rig.connect(proxy.address)
        client.send(request("PUT", "/", "Content-Length: 4", "Expect: 100-continue"))
        interim, _ = await client.head()
        client.send(b"body")
        answer = await client.answer("PUT")

    assert (100, 200, b"body") == (interim, answer.status, answer.body)
    assert [1, 1] == [len(hung.asked), len(well.asked)]


async def test_where_every_backend_hangs_a_client_that_waits_to_go_on_is_told_504_not_408(rig: Rig) -> None:
    async with Scripted(hang) as hung:
        proxy = await start(rig, hung, timeouts={"first_byte": "300ms", "stall": "600ms"})
        client = await rig.connect(proxy.address)
        answer = await client.ask("PUT", "/", "Content-Length: 4", "Expect: 100-continue")

    assert 504 == answer.status


# Clocks


async def test_a_client_that_has_said_its_last_is_told_of_a_hung_backend_in_time(rig: Rig) -> None:
    async with Scripted(hang) as backend:
        proxy = await start(rig, backend, timeouts={"first_byte": "300ms", "stall": LONG})
        client = await rig.connect(proxy.address)
        client.send(request("GET", "/"))
        client.writer.write_eof()
        answer = await client.answer()
        rest = await client.until_closed()

    assert (504, b"") == (answer.status, rest)
    assert {100} >= set(answer.interims)


async def test_a_client_of_http_1_0_that_has_said_its_last_gets_no_interim_answer(rig: Rig) -> None:
    async with Scripted(hang) as backend:
        proxy = await start(rig, backend, timeouts={"first_byte": "300ms", "stall": LONG})
        client = await rig.connect(proxy.address)
        client.send(b"GET / HTTP/1.0\r\nHost: test\r\n\r\n")
        client.writer.write_eof()
        received = await client.until_closed()

    assert b"504" == received.split(b" ")[1]
    assert b" 100 " not in received


async def test_a_body_that_comes_while_the_proxy_connects_gives_it_no_more_time(rig: Rig, stack: ExitStack) -> None:
    hole = silent(stack)

    async def take(asked: Asked) -> None:
        asked.answer(body=await asked.body())

    async with Scripted(take) as well:
        proxy = await start(rig, hole, well, timeouts={"connect": "1s", "stall": LONG})
        others = connecting(hole)
        client = await rig.connect(proxy.address)
        client.send(request("POST", "/", "Content-Length: 4"))
        await until(lambda: connecting(hole) > others)
        client.send(b"body")
        answer = await client.answer("POST")

    assert (200, b"body") == (answer.status, answer.body)


def connecting(address: str) -> int:
    """How many connections to this address wait for an answer (proc(5), /proc/net/tcp: SYN_SENT is 02)."""
    peer = f":{int(address.rpartition(':')[2]):04X}"
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[2].endswith(peer) and row[3] == "02" for row in rows)


async def test_a_small_answer_that_comes_slowly_but_moves_all_the_time_arrives_whole_and_at_once(rig: Rig) -> None:
    async def drip(asked: Asked) -> None:
        asked.send(b"HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\n")
        for _ in range(30):
            asked.send(b"x")
            await asyncio.sleep(0.05)

    async with Scripted(drip) as backend:
        proxy = await start(rig, backend, timeouts={"stall": "750ms"})
        client = await rig.connect(proxy.address)
        answer = await client.ask("GET", "/")

    assert (200, b"x" * 30) == (answer.status, answer.body)
    assert 1 == len(backend.asked)


# Ends


async def test_chunks_for_a_client_of_http_1_0_end_with_the_connection_though_it_would_keep_it(rig: Rig) -> None:
    async def send_chunks(asked: Asked) -> None:
        asked.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")

    async with Scripted(send_chunks) as backend:
        proxy = await start(rig, backend)
        client = await rig.connect(proxy.address)
        client.send(b"GET / HTTP/1.0\r\nHost: test\r\nConnection: keep-alive\r\n\r\n")
        head, _, body = (await client.until_closed()).partition(b"\r\n\r\n")

    assert b"hello" == body
    assert b"connection: close" in head.lower().split(b"\r\n")
    assert b"transfer-encoding" not in head.lower()


async def test_a_refusal_owes_nothing_to_the_request_before_it(rig: Rig) -> None:
    """Neither that a HEAD has no body in its answer, nor its id."""
    async with Scripted() as backend:
        proxy = await start(rig, backend)
        client = await rig.connect(proxy.address)
        await client.ask("HEAD", "/", "X-Request-Id: before")
        client.send(b"GE(T / HTTP/1.1\r\n\r\n")
        answer = await client.answer()

    assert 400 == answer.status
    assert answer.body.startswith(b"{")
    assert "before" != answer.field("x-request-id")
    assert b"before" not in answer.body


# Clients that ask for more than they read


@pytest.mark.parametrize("handler", [send_page, send_page_and_close])
async def test_all_that_was_asked_for_before_a_half_close_is_answered(rig: Rig, handler: Any) -> None:
    async with Scripted(handler) as backend:
        proxy = await start(rig, backend)
        async with await Client.connect(proxy.address, SMALL) as client:
            client.send(request("GET", "/") * 200)
            client.writer.write_eof()
            # Nothing can be sent any more before the client reads.
            await settles(lambda: len(backend.asked))
            answers = [await client.answer() for _ in range(200)]
            rest = await client.until_closed()

    assert [Answer(200, body=PAGE)] * 200 == [Answer(answer.status, body=answer.body) for answer in answers]
    assert b"" == rest


@pytest.mark.parametrize("handler", [send_page, send_page_and_close])
async def test_a_client_that_asks_without_reading_fills_no_memory(rig: Rig, handler: Any) -> None:
    async with Scripted(handler) as backend:
        proxy = await start(rig, backend)
        [worker] = proxy.workers()
        before = resident(worker)
        async with await Client.connect(proxy.address, SMALL) as client:
            client.send(request("GET", "/") * (64 * MIB // len(request("GET", "/"))))
            unsent = await settles(client.writer.transport.get_write_buffer_size)
            asked, grown = len(backend.asked), resident(worker) - before
            client.writer.transport.abort()

    # What is not unsent lies in the kernel's buffers, which grow to some MiB on either side.
    assert unsent > 40 * MIB
    assert asked < 500
    assert grown < 32 * MIB


def resident(pid: int) -> int:
    """Bytes of memory that a process holds."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


async def test_clients_that_do_not_read_are_no_failures_of_their_backend(rig: Rig) -> None:
    async with Scripted(send_page) as backend, contextlib.AsyncExitStack() as clients:
        proxy = await start(rig, backend, timeouts={"first_byte": "300ms"})
        for _ in range(14):
            client = await clients.enter_async_context(await Client.connect(proxy.address, SMALL))
            client.send(request("GET", "/") * 300)
        # Longer than the clock that would have made them failures.
        await settles(lambda: len(backend.asked), 1.5)
        document = await proxy.admin.backend("b1")
        async with await Client.connect(proxy.address) as another:
            backend.handler = say_who
            answer = await another.ask("GET", "/well")

    assert (True, 0) == (document["available"], document["failures_total"])
    assert b"/well" == answer.body
