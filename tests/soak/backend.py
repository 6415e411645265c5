"""The backend of a soak: `python -m tests.soak.backend --port 9001`; it does everything that bodies and streams can do."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import random

import uvloop
from aiohttp import WSMsgType, web

PIECE = bytes(range(256)) * 256


async def small(request: web.Request) -> web.Response:
    """Say who asks."""
    return web.Response(text=request.headers.get("X-Id", ""))


async def echo(request: web.Request) -> web.Response:
    """Send back what came."""
    return web.Response(body=await request.read())


async def sink(request: web.Request) -> web.Response:
    """Count what comes."""
    size = 0
    async for piece in request.content.iter_any():
        size += len(piece)
    return web.Response(text=str(size))


async def big(request: web.Request) -> web.StreamResponse:
    """Send so many pieces, counted or chunked."""
    pieces = int(request.query["pieces"])
    response = web.StreamResponse()
    if "chunked" in request.query:
        response.enable_chunked_encoding()
    else:
        response.content_length = pieces * len(PIECE)
    await response.prepare(request)
    for _ in range(pieces):
        await response.write(PIECE)
    return response


async def events(request: web.Request) -> web.StreamResponse:
    """Send events until the client leaves."""
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    while True:
        await response.write(b"data: tick\n\n")
        await asyncio.sleep(0.05)


async def chat(request: web.Request) -> web.WebSocketResponse:
    """Send each message back."""
    socket = web.WebSocketResponse(max_msg_size=0)
    await socket.prepare(request)
    async for message in socket:
        if message.type is WSMsgType.BINARY:
            await socket.send_bytes(message.data)
        elif message.type is WSMsgType.TEXT:
            await socket.send_str(message.data)
    return socket


async def break_off(request: web.Request) -> web.StreamResponse:
    """Begin an answer and cut the connection."""
    response = web.StreamResponse()
    response.content_length = 1_000_000
    await response.prepare(request)
    await response.write(PIECE)
    assert request.transport is not None
    request.transport.abort()
    return response


async def hang(request: web.Request) -> web.Response:
    """Answer later than anybody waits."""
    await asyncio.sleep(random.uniform(0.5, 4))
    return web.Response(text="late")


async def serve(port: int) -> None:
    # Clients that leave are what this is for.
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)
    app = web.Application(client_max_size=1 << 30)
    app.add_routes(
        [
            web.get("/small", small),
            web.post("/echo", echo),
            web.post("/sink", sink),
            web.get("/big", big),
            web.get("/events", events),
            web.get("/chat", chat),
            web.get("/break", break_off),
            web.get("/hang", hang),
        ]
    )
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port, backlog=1024)
    await site.start()
    host, port = runner.addresses[0][:2]
    print(json.dumps({"address": f"{host}:{port}"}), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    uvloop.run(serve(parser.parse_args().port))
