"""A small HTTP/1.1 client that knows nothing of the proxy's code: it says what is on the wire, also what is wrong there.

Used by the load of `load` and by every test that looks at single bytes.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from dataclasses import dataclass
from typing import Self

PATIENCE = 15.0
"""Seconds after which a wait has failed; nothing here takes long unless it hangs."""
MOST = 64 * 1024 * 1024
"""Bytes that a reader may buffer up to a separator."""


class BrokenOffError(Exception):
    """The connection ended within an answer, or before one."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One whole answer."""

    status: int
    fields: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    trailers: tuple[tuple[str, str], ...] = ()
    interims: tuple[int, ...] = ()
    """Statuses of the 1xx answers before it."""

    def field(self, name: str) -> str | None:
        """The value of a field, several joined; None where there is none."""
        values = [value for known, value in self.fields if known.lower() == name]
        return ", ".join(values) if values else None

    @property
    def backend(self) -> str | None:
        """Who answered, as our backends say; None: the proxy itself."""
        return self.field("x-backend")


class Client:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def connect(
        cls, address: str, receive_buffer: int = 0, tls: ssl.SSLContext | None = None, name: str = "localhost"
    ) -> Self:
        """Connect to `host:port`, `[::1]:port` or `unix:/path`; with `tls`, ask for this name there."""
        if address.startswith("unix:"):
            return cls(*await asyncio.open_unix_connection(address.removeprefix("unix:"), limit=MOST))
        host, _, port = address.rpartition(":")
        family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(sock, (host.strip("[]"), int(port)))
            limit = 65536 if receive_buffer else MOST
            secured = {} if tls is None else {"ssl": tls, "server_hostname": name}
            return cls(*await asyncio.open_connection(sock=sock, limit=limit, **secured))
        except BaseException:
            sock.close()
            raise

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    @property
    def port(self) -> int:
        """Our own port."""
        return int(self.writer.get_extra_info("sockname")[1])

    @property
    def is_usable(self) -> bool:
        """Whether the other side has left it open."""
        return not self.reader.at_eof() and not self.writer.is_closing()

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.writer.write(data)

    def close(self) -> None:
        """Close it."""
        self.writer.close()

    def reset(self) -> None:
        """Leave without a word."""
        sock = self.writer.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    # Asking

    async def ask(self, method: str, target: str, *fields: str, body: bytes = b"", host: str = "test") -> Answer:
        """Send a request and read its answer."""
        self.send(request(method, target, *fields, body=body, host=host))
        return await self.answer(method)

    async def answer(self, method: str = "GET") -> Answer:
        """Read the answer to a request with this method."""
        async with asyncio.timeout(PATIENCE):
            interims = []
            while True:
                status, fields = await self.head()
                if status >= 200 or status == 101:
                    break
                interims.append(status)
            known = {name.lower(): value for name, value in fields}
            body, trailers = await self._body(method, status, known)
        if "close" in known.get("connection", ""):
            self.close()
        return Answer(status, fields, body, trailers, tuple(interims))

    async def head(self) -> tuple[int, tuple[tuple[str, str], ...]]:
        """Read one head: status and fields."""
        try:
            async with asyncio.timeout(PATIENCE):
                head = await self.reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as error:
            raise BrokenOffError(f"after {error.partial!r}" if error.partial else "no answer") from None
        first, *lines = head[:-4].decode("latin-1").split("\r\n")
        return int(first.split(" ")[1]), _fields(lines)

    async def _body(self, method: str, status: int, known: dict[str, str]) -> tuple[bytes, tuple[tuple[str, str], ...]]:
        if method == "HEAD" or status in {101, 204, 304}:
            return b"", ()
        try:
            if known.get("transfer-encoding") == "chunked":
                return await self._chunks()
            if "content-length" in known:
                return await self.reader.readexactly(int(known["content-length"])), ()
        except asyncio.IncompleteReadError as error:
            raise BrokenOffError(f"in a body, after {error.partial[:40]!r}") from None
        return await self.reader.read(), ()

    async def _chunks(self) -> tuple[bytes, tuple[tuple[str, str], ...]]:
        pieces = []
        while piece := await self.chunk():
            pieces.append(piece)
        lines = []
        while (line := await self.reader.readuntil(b"\r\n")) != b"\r\n":
            lines.append(line.decode("latin-1").rstrip())
        return b"".join(pieces), _fields(lines)

    async def chunk(self) -> bytes:
        """Read one chunk; empty: the last one."""
        async with asyncio.timeout(PATIENCE):
            size = int(await self.reader.readuntil(b"\r\n"), 16)
            return (await self.reader.readexactly(size + 2))[:-2] if size else b""

    async def until_closed(self) -> bytes:
        """Read whatever comes until the other side ends; a reset ends it too."""
        try:
            async with asyncio.timeout(PATIENCE):
                return await self.reader.read()
        except ConnectionError:
            return b""


def request(method: str, target: str, *fields: str, body: bytes = b"", host: str = "test") -> bytes:
    """Build a request as bytes."""
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", *fields]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def _fields(lines: list[str]) -> tuple[tuple[str, str], ...]:
    return tuple((name, value.strip()) for name, _, value in (line.partition(":") for line in lines))
