"""WebSocket through the proxy, spoken by an independent library on both sides."""

from __future__ import annotations

import asyncio

from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve

from tests.e2e.client import PATIENCE
from tests.e2e.rig import Rig

MESSAGES = ["text", b"binary", "", b"x" * 3_000_000]


async def test_messages_pass_both_ways_until_a_side_closes(rig: Rig) -> None:
    closed = asyncio.get_running_loop().create_future()

    async def echo(socket: ServerConnection) -> None:
        async for message in socket:
            await socket.send(message)
        closed.set_result((socket.close_code, socket.close_reason))

    async with serve(echo, "127.0.0.1", 0, max_size=None) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        proxy = await rig.start_proxy({"pools": {"app": [f"127.0.0.1:{port}"]}})
        async with connect(f"ws://{proxy.address}/chat", max_size=None, compression=None) as socket:
            echoes = []
            for message in MESSAGES:
                await socket.send(message)
                echoes.append(await socket.recv())
            await socket.close(1000, "enough")
        code = await asyncio.wait_for(closed, PATIENCE)

    assert MESSAGES == echoes
    assert (1000, "enough") == code
