"""WebSocket through the proxy, spoken by independent libraries on both sides, and by a suite that knows every mistake."""

from __future__ import annotations

import asyncio
import logging
import os
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import kosoku
import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode

from tests.e2e.client import PATIENCE
from tests.e2e.rig import Rig

MIB = 1 << 20
MESSAGES = ["text", b"binary", "", "ünï", os.urandom(125), os.urandom(126), os.urandom(65536), b"x" * 3_000_000]
LARGE = [f"{kind}.{size}" for kind in ("9.1", "9.2", "12.1", "12.2") for size in (1, 2, 3)]
CASES = [*(f"{chapter}.*" for chapter in (1, 2, 3, 4, 5, 6, 7, 10)), *LARGE]
"""Of the Autobahn suite: framing, ping and pong, reserved bits, opcodes, fragmentation, UTF-8, close, large messages,
compression. Left out: what repeats these with still more and larger messages, for minutes."""
WELL = {"OK", "NON-STRICT", "INFORMATIONAL"}
Verdict = tuple[str, str, int | None]


async def echo(socket: ServerConnection) -> None:
    async for message in socket:
        await socket.send(message)


@pytest.fixture
def quiet() -> None:
    """A library that logs each violation of a peer would hide what fails."""
    logging.getLogger("websockets.server").setLevel(logging.CRITICAL)


def address_of(server: Server) -> str:
    host, port = next(iter(server.sockets)).getsockname()[:2]
    return f"{host}:{port}"


@asynccontextmanager
async def way_to(rig: Rig, handler: Callable[[ServerConnection], object], **options: object) -> AsyncIterator[str]:
    """The URL of a proxy before a WebSocket server."""
    async with serve(handler, "127.0.0.1", 0, max_size=None, **options) as server:
        proxy = await rig.start_proxy({"pools": {"app": [address_of(server)]}})
        yield f"ws://{proxy.address}/chat"


@pytest.mark.parametrize("compression", ["deflate", None])
async def test_messages_pass_both_ways_until_a_side_closes(rig: Rig, compression: str | None) -> None:
    closed = asyncio.get_running_loop().create_future()

    async def echo_and_tell(socket: ServerConnection) -> None:
        await echo(socket)
        closed.set_result((socket.close_code, socket.close_reason))

    async with way_to(rig, echo_and_tell, compression=compression) as url:
        async with connect(url, max_size=None, compression=compression) as socket:
            extensions = [one.name for one in socket.protocol.extensions]
            echoes = []
            for message in MESSAGES:
                await socket.send(message)
                echoes.append(await socket.recv())
            await socket.close(1000, "enough")
        code = await asyncio.wait_for(closed, PATIENCE)

    assert MESSAGES == echoes
    assert (["permessage-deflate"] if compression else []) == extensions
    assert (1000, "enough") == code


async def test_pings_are_answered_by_the_other_side_with_the_same_bytes(rig: Rig) -> None:
    heard: list[float] = []

    async def ping(socket: ServerConnection) -> None:
        heard.append(await (await socket.ping(b"from the backend")))
        await echo(socket)

    async with way_to(rig, ping, ping_interval=None) as url, connect(url, ping_interval=None) as socket:
        async with asyncio.timeout(PATIENCE):
            heard.append(await (await socket.ping(b"from the client")))
            await socket.send("done")
            await socket.recv()

    assert 2 == len(heard)


async def test_a_message_in_fragments_of_a_mebibyte_passes_both_ways(rig: Rig) -> None:
    fragments = [os.urandom(MIB) for _ in range(8)]

    async def send_back_in_fragments(socket: ServerConnection) -> None:
        received = [fragment async for fragment in socket.recv_streaming()]
        await socket.send(filter(None, received))

    async with (
        way_to(rig, send_back_in_fragments, compression=None) as url,
        connect(url, max_size=None, compression=None) as socket,
        asyncio.timeout(PATIENCE),
    ):
        sending = asyncio.create_task(socket.send(fragments))
        received = [fragment async for fragment in socket.recv_streaming()]
        await sending

    # The library that receives may say an end of its own with an empty one.
    assert fragments == [fragment for fragment in received if fragment]


CODES = (CloseCode.NORMAL_CLOSURE, CloseCode.GOING_AWAY, CloseCode.TRY_AGAIN_LATER, 3000, 4999)
REASON = "b\u00f6se"


async def test_a_clients_close_and_its_reason_reach_the_backend(rig: Rig) -> None:
    seen: asyncio.Queue[tuple[int | None, str | None]] = asyncio.Queue()

    async def wait(socket: ServerConnection) -> None:
        await socket.wait_closed()
        seen.put_nowait((socket.close_code, socket.close_reason))

    told = []
    async with way_to(rig, wait) as url, asyncio.timeout(PATIENCE):
        for code in CODES:
            async with connect(url) as socket:
                await socket.close(code, REASON)
            told.append(await seen.get())

    assert [(code, REASON) for code in CODES] == told


async def test_a_backends_close_and_its_reason_reach_the_client(rig: Rig) -> None:
    codes = iter(CODES)

    async def close(socket: ServerConnection) -> None:
        await socket.close(next(codes), REASON)

    told = []
    async with way_to(rig, close) as url, asyncio.timeout(PATIENCE):
        for _ in CODES:
            async with connect(url) as socket:
                await socket.wait_closed()
            told.append((socket.close_code, socket.close_reason))

    assert [(code, REASON) for code in CODES] == told


async def test_a_backend_that_breaks_off_is_no_clean_close(rig: Rig) -> None:
    async def break_off(socket: ServerConnection) -> None:
        await socket.send("before")
        socket.transport.abort()

    async with way_to(rig, break_off) as url, connect(url) as socket:
        first = await socket.recv()
        with pytest.raises(ConnectionClosed) as raised:
            await socket.recv()

    assert ("before", None) == (first, raised.value.rcvd)


# The suite leaves files of its own open.
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
async def test_the_autobahn_suite_gives_the_same_verdicts_with_and_without_the_proxy(rig: Rig, quiet: None) -> None:
    """Its client sends what is right and what is wrong; the server on the other side must see just that."""
    async with serve(echo, "127.0.0.1", 0, max_size=None) as server:
        proxy = await rig.start_proxy({"pools": {"app": [address_of(server)]}})
        direct = await verdicts(f"ws://{address_of(server)}")
        through = await verdicts(f"ws://{proxy.address}")

    print(f"{len(direct)} cases: {Counter(behaviour for behaviour, _, _ in through.values())}")

    assert direct == through
    assert len(direct) > 240
    assert len(direct) - 5 <= sum(behaviour in WELL for behaviour, _, _ in through.values())


async def verdicts(url: str) -> dict[str, Verdict]:
    """What the suite says of each case: of the messages, of the close, and which close code came."""
    try:
        results = await kosoku.run_fuzzingclient(url, CASES, concurrency=8)
    except kosoku.FailureError as error:
        # A server need not be perfect; it must only be seen as it is.
        results = error.results
    return {one.case_id: (one.behavior.value, one.behavior_close.value, one.remote_close_code) for one in results}
