"""After a 101: bytes pass both ways and arrive all, however slow a side is, until both have ended or nothing moves."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.e2e.client import PATIENCE, Client, request
from tests.e2e.rig import happens, now, rigged
from tests.e2e.scripted import Asked, Scripted, Way
from tests.e2e.test_bodies import FLOOD, MOST_KEPT, Sender, forget_most_memory, most_memory

pytestmark = pytest.mark.asyncio(loop_scope="module")

SWITCH = b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: shout\r\n\r\n"
UPGRADE = ("Connection: upgrade", "Upgrade: shout")
MUCH = bytes(range(256)) * 32768
"""8 MiB: more than the kernels' buffers on the way hold, so that the proxy has some of it when a side ends."""


def switching(then: Callable[[Asked], Awaitable[None]]) -> Callable[[Asked], Awaitable[None]]:
    """A backend that takes the upgrade, then does this, then closes."""

    async def switch(asked: Asked) -> None:
        asked.send(SWITCH)
        await then(asked)
        asked.writer.close()

    return switch


async def open_tunnel(client: Client) -> None:
    client.send(request("GET", "/", *UPGRADE))
    assert 101 == (await client.answer()).status


# Ends


async def test_each_side_of_a_tunnel_may_end_before_the_other(way: Way, client: Client) -> None:
    async def shout(asked: Asked) -> None:
        asked.send(b"hello ")
        asked.send((await asked.reader.read()).upper())

    way.backend.handler = switching(shout)
    client.send(request("GET", "/", *UPGRADE))
    answer = await client.answer()
    client.send(b"first, ")
    client.send(b"last")
    client.writer.write_eof()

    assert (101, "shout") == (answer.status, answer.field("upgrade"))
    assert b"hello FIRST, LAST" == await client.until_closed()


async def test_a_backend_that_has_said_its_last_still_hears_the_client_to_its_end(way: Way, client: Client) -> None:
    heard = asyncio.get_running_loop().create_future()

    async def say_and_listen(asked: Asked) -> None:
        asked.send(b"all I have")
        asked.writer.write_eof()
        heard.set_result(await asked.reader.read())

    way.backend.handler = switching(say_and_listen)
    await open_tunnel(client)
    assert b"all I have" == await client.until_closed()
    client.send(b"and ")
    client.send(b"I")
    client.writer.write_eof()

    assert b"and I" == await asyncio.wait_for(heard, PATIENCE)


async def test_an_end_that_comes_with_the_101_is_one_of_that_side_only(way: Way, client: Client) -> None:
    heard = asyncio.get_running_loop().create_future()

    async def end_at_once(asked: Asked) -> None:
        asked.send(b"bye")
        asked.writer.write_eof()
        heard.set_result(await asked.reader.read())

    way.backend.handler = switching(end_at_once)
    client.send(request("GET", "/", *UPGRADE))
    await client.answer()
    assert b"bye" == await client.until_closed()
    client.send(b"still here")
    client.writer.write_eof()

    assert b"still here" == await asyncio.wait_for(heard, PATIENCE)


@pytest.mark.parametrize(
    "leave", [lambda client: client.writer.write_eof(), lambda client: client.close()], ids=["half", "whole"]
)
@pytest.mark.parametrize("backend_first", ["", "backend-first"])
async def test_all_that_a_client_sent_before_its_end_reaches_a_slow_backend(
    way: Way, client: Client, leave: Callable[[Client], None], backend_first: str
) -> None:
    go_on = asyncio.Event()
    heard = asyncio.get_running_loop().create_future()

    async def listen_late(asked: Asked) -> None:
        if backend_first:
            asked.writer.write_eof()
        await happens(go_on)
        heard.set_result(await asked.reader.read())

    way.backend.handler = switching(listen_late)
    await open_tunnel(client)
    client.send(MUCH)
    leave(client)
    if backend_first and not client.writer.is_closing():
        # The backend's end came through the tunnel, so the tunnel knows of it.
        await client.until_closed()
    go_on.set()

    assert MUCH == await asyncio.wait_for(heard, PATIENCE)


@pytest.mark.parametrize("client_first", ["", "client-first"])
async def test_all_that_a_backend_sent_before_its_end_reaches_a_slow_client(way: Way, client_first: str) -> None:
    ended = asyncio.Event()

    async def say_much(asked: Asked) -> None:
        if client_first:
            assert b"" == await asked.reader.read()
        asked.send(MUCH)
        ended.set()

    way.backend.handler = switching(say_much)
    async with await Client.connect(way.proxy.address, receive_buffer=65536) as client:
        await open_tunnel(client)
        if client_first:
            client.writer.write_eof()
        await happens(ended)

        assert MUCH == await client.until_closed()


async def test_a_client_that_vanishes_ends_the_tunnel_at_the_backend(way: Way, client: Client) -> None:
    left = asyncio.Event()

    async def listen(asked: Asked) -> None:
        await asked.until_closed()
        left.set()

    way.backend.handler = switching(listen)
    await open_tunnel(client)
    client.reset()

    await happens(left)


async def test_a_backend_that_breaks_off_ends_the_tunnel_after_its_last_byte(way: Way, client: Client) -> None:
    async def say_and_vanish(asked: Asked) -> None:
        asked.send(b"x" * 100_000)
        await asked.writer.drain()
        await asked.reader.readexactly(2)
        asked.abort()

    way.backend.handler = switching(say_and_vanish)
    await open_tunnel(client)
    received = await client.reader.readexactly(100_000)
    client.send(b"ok")

    assert b"x" * 100_000 == received
    assert b"" == await client.until_closed()


# Pace


async def test_a_slow_backend_stops_a_fast_client_in_a_tunnel(way: Way, client: Client) -> None:
    go_on = asyncio.Event()
    heard = asyncio.get_running_loop().create_future()

    async def listen_late(asked: Asked) -> None:
        await happens(go_on)
        heard.set_result(len(await asked.reader.read()))

    way.backend.handler = switching(listen_late)
    await open_tunnel(client)
    before = forget_most_memory(pid := way.proxy.worker_of(client))
    sender = Sender()
    sending = asyncio.create_task(sender.run(client.writer))
    await sender.is_stuck()
    stuck_at = sender.sent
    go_on.set()
    await sending
    client.writer.write_eof()

    assert FLOOD == await asyncio.wait_for(heard, PATIENCE)
    assert stuck_at < FLOOD
    assert most_memory(pid) - before < MOST_KEPT


async def test_a_slow_client_stops_a_fast_backend_in_a_tunnel(way: Way) -> None:
    sender = Sender()

    async def flood(asked: Asked) -> None:
        await sender.run(asked.writer)

    way.backend.handler = switching(flood)
    async with await Client.connect(way.proxy.address, receive_buffer=65536) as client:
        await open_tunnel(client)
        before = forget_most_memory(pid := way.proxy.worker_of(client))
        await sender.is_stuck()
        stuck_at = sender.sent
        received = 0
        while piece := await client.reader.read(1 << 20):
            received += len(piece)

    assert FLOOD == received
    assert stuck_at < FLOOD
    assert most_memory(pid) - before < MOST_KEPT


# Beginnings


async def test_what_a_client_sends_before_the_101_waits_for_it(way: Way, client: Client) -> None:
    """A backend that has not agreed must not read a tunnel's bytes as a request (CVE-2026-2833)."""
    seen = []

    async def look_then_agree(asked: Asked) -> None:
        # What came before the proxy's answer is there by now: the client has been told of it.
        asked.send(b"HTTP/1.1 103 Early Hints\r\n\r\n")
        await happens(told)
        seen.append(bytes(asked.reader._buffer))  # type: ignore[attr-defined]
        asked.send(SWITCH)
        seen.append(await asked.reader.readexactly(5))
        asked.writer.close()

    told = asyncio.Event()
    way.backend.handler = look_then_agree
    client.send(request("GET", "/", *UPGRADE) + b"early")
    await client.head()
    told.set()
    await client.until_closed()

    assert [b"", b"early"] == seen


@pytest.mark.parametrize(
    ("framing", "parts"),
    [
        ("Content-Length: 8", (b"body", b"", b"moreraw bytes")),
        ("Content-Length: 8", (b"body", b"more", b"raw bytes")),
        ("Transfer-Encoding: chunked", (b"4\r\nbody\r\n4\r\nmo", b"re\r\n0\r\n", b"\r\nraw bytes")),
    ],
    ids=["counted-together", "counted", "chunked"],
)
async def test_a_body_that_is_under_way_at_the_101_goes_on_as_a_body_and_the_tunnel_follows(
    way: Way, client: Client, framing: str, parts: tuple[bytes, bytes, bytes]
) -> None:
    agreed = asyncio.get_running_loop().create_future()

    async def agree_early(asked: Asked) -> None:
        asked.send(SWITCH)
        body = await asked.body()
        agreed.set_result((body, await asked.reader.readexactly(9)))
        asked.send(b"both came")
        asked.writer.close()

    way.backend.handler = agree_early
    client.send(request("POST", "/", *UPGRADE, framing) + parts[0])
    await client.answer()
    for part in parts[1:]:
        client.send(part)
        await asyncio.sleep(0)

    assert (b"bodymore", b"raw bytes") == await asyncio.wait_for(agreed, PATIENCE)
    assert b"both came" == await client.until_closed()


@pytest.mark.parametrize("broken", ["leaves", "bad chunk"])
async def test_a_body_that_breaks_off_after_the_101_ends_the_tunnel(way: Way, client: Client, broken: str) -> None:
    left = asyncio.Event()

    async def listen(asked: Asked) -> None:
        await asked.until_closed()
        left.set()

    way.backend.handler = switching(listen)
    client.send(request("POST", "/", *UPGRADE, "Transfer-Encoding: chunked") + b"4\r\nbody\r\n")
    await client.answer()
    if broken == "leaves":
        client.writer.write_eof()
    else:
        client.send(b"nonsense\r\n")
    await happens(left)

    # No HTTP is spoken on this connection any more.
    assert b"" == await client.until_closed()


async def test_a_refused_upgrade_is_an_ordinary_answer(way: Way, client: Client) -> None:
    async def refuse(asked: Asked) -> None:
        asked.answer(426, "Upgrade: websocket", body=b"no")

    way.backend.handler = refuse
    answers = [await client.ask("GET", "/", "Connection: upgrade", "Upgrade: websocket") for _ in range(2)]

    assert [(426, b"no")] * 2 == [(answer.status, answer.body) for answer in answers]


async def test_a_101_that_nobody_asked_for_is_a_failure_of_the_backend(way: Way, client: Client) -> None:
    async def listen(asked: Asked) -> None:
        await asked.until_closed()

    way.backend.handler = switching(listen)

    assert 502 == (await client.ask("POST", "/")).status


# Time


async def test_a_tunnel_in_which_nothing_moves_is_closed_on_both_sides(tmp_path: Path) -> None:
    closed = asyncio.Event()

    async def listen(asked: Asked) -> None:
        await asked.until_closed()
        closed.set()

    async with rigged(tmp_path) as rig, Scripted(switching(listen)) as backend:
        pool = {"timeouts": {"tunnel_idle": "300ms"}, "backends": [backend.address]}
        proxy = await rig.start_proxy({"pools": {"app": pool}})
        client = await rig.connect(proxy.address)
        await open_tunnel(client)
        opened = now()
        rest = await client.until_closed()
        took = now() - opened
        await happens(closed)

    assert b"" == rest
    assert took >= 0.29


@pytest.mark.parametrize("speaker", ["client", "backend"])
async def test_a_byte_in_either_direction_keeps_a_tunnel_open(tmp_path: Path, speaker: str) -> None:
    """Twenty bytes, each well within the limit, over four times the limit."""

    async def tick(send: Callable[[bytes], None]) -> None:
        for _ in range(20):
            send(b".")
            await asyncio.sleep(0.1)

    async def listen_or_speak(asked: Asked) -> None:
        if speaker == "backend":
            await tick(asked.send)
            return
        heard.set_result(await asked.reader.readexactly(20))

    heard = asyncio.get_running_loop().create_future()
    async with rigged(tmp_path) as rig, Scripted(switching(listen_or_speak)) as backend:
        pool = {"timeouts": {"tunnel_idle": "500ms"}, "backends": [backend.address]}
        proxy = await rig.start_proxy({"pools": {"app": pool}})
        client = await rig.connect(proxy.address)
        await open_tunnel(client)
        if speaker == "client":
            await tick(client.send)
            received = await heard
        else:
            received = await client.until_closed()

    assert b"." * 20 == received
