"""A backend in the test's own process, which does to the byte what a test wants. The sample backends only fail."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Self

from tests.e2e.client import PATIENCE
from tests.e2e.rig import Proxy


@dataclass(slots=True)
class Asked:
    """A request as it came to the backend, and the means to answer it."""

    method: str
    target: str
    lines: list[str]
    """Its fields, as they were written."""
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    connection: int
    """Of all connections to this backend, counted from 1."""
    introduction: bytes = b""
    """What came on the connection before its first request."""

    def field(self, name: str) -> str | None:
        """The value of a field, several joined; None where there is none."""
        pairs = [line.partition(":") for line in self.lines]
        values = [value.strip() for known, _, value in pairs if known.lower() == name]
        return ", ".join(values) if values else None

    async def body(self) -> bytes:
        """Read all of its body."""
        if self.field("transfer-encoding") == "chunked":
            return b"".join([chunk async for chunk in self.chunks()])
        return await self.reader.readexactly(int(self.field("content-length") or 0))

    async def chunks(self):  # noqa: ANN201 - an async generator of bytes
        """Read its chunks as they come; trailer fields are added to `lines`."""
        while size := int(await self.reader.readuntil(b"\r\n"), 16):
            yield (await self.reader.readexactly(size + 2))[:-2]
        while (line := await self.reader.readuntil(b"\r\n")) != b"\r\n":
            self.lines.append(line.decode("latin-1").rstrip())

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.writer.write(data)

    def answer(self, status: int = 200, *fields: str, body: bytes = b"") -> None:
        """Send a whole answer of known length."""
        lines = [f"HTTP/1.1 {status} Whatever", *fields, f"Content-Length: {len(body)}", "", ""]
        self.send("\r\n".join(lines).encode("latin-1") + (b"" if self.method == "HEAD" else body))

    def abort(self) -> None:
        """Cut the connection."""
        self.writer.transport.abort()

    async def until_closed(self) -> None:
        """Wait until the proxy closes the connection."""
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(PATIENCE):
                while await self.reader.read(65536):
                    pass


Handler = Callable[[Asked], Awaitable[None]]
Reader = Callable[[asyncio.StreamReader], Awaitable[bytes]]


async def say_who(asked: Asked) -> None:
    """Answer with the request's own target."""
    await asked.body()
    asked.answer(200, "X-Backend: scripted", body=asked.target.encode())


class Scripted:
    """Listens at a free port, or at the path of a Unix socket; `handler` answers each request."""

    def __init__(
        self,
        handler: Handler = say_who,
        host: str = "127.0.0.1",
        path: str = "",
        introduced: Reader | None = None,
        tls: ssl.SSLContext | None = None,
        *,
        port: int = 0,
    ) -> None:
        self.handler = handler
        self.asked: list[Asked] = []
        self.introductions: list[bytes] = []
        """What each connection began with, where it must begin with something."""
        self._introduced = introduced
        self.address = ""
        self._host, self._path, self._tls, self._port = host, path, tls, port
        self._connections = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        if self._path:
            self._server = await asyncio.start_unix_server(self._accept, self._path)
            self.address = f"unix:{self._path}"
        else:
            self._server = await asyncio.start_server(self._accept, self._host, self._port, ssl=self._tls)
            host, port = self._server.sockets[0].getsockname()[:2]
            self.address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections += 1
        task = asyncio.create_task(self._serve(reader, writer, self._connections))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        # Also where it is cancelled before it has begun.
        task.add_done_callback(lambda _: writer.close())

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        """A probe just connects and goes; so may the proxy, at any time."""
        try:
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                introduction = await self._introduced(reader) if self._introduced is not None else b""
                self.introductions.append(introduction)
                while not writer.is_closing():
                    head = await reader.readuntil(b"\r\n\r\n")
                    first, *lines = head[:-4].decode("latin-1").split("\r\n")
                    method, target, _ = first.split(" ")
                    asked = Asked(method, target, lines, reader, writer, number, introduction)
                    self.asked.append(asked)
                    await self.handler(asked)
                    await writer.drain()
        finally:
            writer.close()


@dataclass(frozen=True, slots=True)
class Way:
    """A client's way: a running proxy, and the only backend behind it."""

    proxy: Proxy
    backend: Scripted
