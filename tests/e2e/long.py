"""What is long under way: WebSockets through which bytes go to and fro, and downloads that take their time.

A backend in the test's own process serves both. Each piece of what comes is checked, so that no byte can be lost,
doubled or come from elsewhere without notice; a connection that ends before the test ends it counts as broken.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, Self

from tests.e2e.client import PATIENCE, BrokenOffError, Client, request
from tests.e2e.scripted import Asked, Scripted

SOCKETS = 50
DOWNLOADS = 20
PACE = 0.1
"""Seconds between two pieces on each connection."""
WIDTH = 12
"""Bytes of a piece."""
UPGRADE = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


async def serve_long(asked: Asked) -> None:
    """Echo what a WebSocket says; send downloads piece by piece until their client goes."""
    if asked.target == "/long/socket":
        asked.send(SWITCHED)
        while data := await asked.reader.read(65536):
            asked.send(data)
        asked.writer.close()
        return
    asked.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    number = 0
    while not asked.writer.is_closing():
        asked.send(b"%x\r\n%0*d\r\n" % (WIDTH, WIDTH, number))
        await asked.writer.drain()
        number += 1
        await asyncio.sleep(PACE)


class LongLived:
    """Opens all of them with `async with`, and closes them at its end."""

    def __init__(self, address: str, sockets: int = SOCKETS, downloads: int = DOWNLOADS) -> None:
        self._address = address
        self._numbers = (sockets, downloads)
        self._tasks: list[asyncio.Task[None]] = []
        self._clients: list[Client] = []
        self._moved: dict[Client, int] = {}
        self._is_over = False
        self.broken: list[str] = []

    async def __aenter__(self) -> Self:
        sockets, downloads = self._numbers
        kinds: list[Any] = [self._socket] * sockets + [self._download] * downloads
        for kind in kinds:
            client = await Client.connect(self._address)
            self._clients.append(client)
            self._moved[client] = 0
            self._tasks.append(asyncio.create_task(self._watch(kind, client)))
        await self.moved(1)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def close(self) -> None:
        """End all of them now."""
        self._is_over = True
        for client in self._clients:
            client.close()
        for task in self._tasks:
            task.cancel()

    async def moved(self, pieces: int) -> None:
        """Wait until so many more pieces have passed on each connection that still is whole."""
        wanted = {client: count + pieces for client, count in self._moved.items()}
        async with asyncio.timeout(PATIENCE + pieces * PACE * 3):
            while not self.broken and any(self._moved[client] < count for client, count in wanted.items()):  # noqa: ASYNC110 - many small events
                await asyncio.sleep(PACE / 2)

    async def _watch(self, kind: Any, client: Client) -> None:
        try:
            await kind(client)
        except (OSError, BrokenOffError, asyncio.IncompleteReadError, TimeoutError, AssertionError) as error:
            if not self._is_over:
                self.broken.append(f"{kind.__name__} after {self._moved[client]} pieces: {error!r}")

    async def _socket(self, client: Client) -> None:
        switched = await client.ask("GET", "/long/socket", *UPGRADE)
        assert 101 == switched.status
        while True:
            piece = b"%0*d" % (WIDTH, self._moved[client])
            client.send(piece)
            async with asyncio.timeout(PATIENCE):
                assert piece == await client.reader.readexactly(WIDTH)
            self._moved[client] += 1
            await asyncio.sleep(PACE)

    async def _download(self, client: Client) -> None:
        client.send(request("GET", "/long/download"))
        status, _ = await client.head()
        assert 200 == status
        data = b""
        while chunk := await client.chunk():
            # Pieces that came together may go on together.
            data += chunk
            while len(data) >= WIDTH:
                assert b"%0*d" % (WIDTH, self._moved[client]) == data[:WIDTH]
                data = data[WIDTH:]
                self._moved[client] += 1
        raise BrokenOffError("a clean end where there is none")


@contextlib.asynccontextmanager
async def long_backend():  # noqa: ANN201 - an async context manager of Scripted
    """The backend of all that is long under way."""
    async with Scripted(serve_long) as backend:
        yield backend


def routes(backend: Scripted, config: dict[str, Any]) -> dict[str, Any]:
    """This config with a route and a pool for what is long under way."""
    pools = config["pools"] | {"long": {"backends": [backend.address], "health": {"interval": "1h"}}}
    return config | {
        "pools": pools,
        "routes": [{"match": {"path": "/long/*"}, "pool": "long"}, {"pool": next(iter(config["pools"]))}],
    }
