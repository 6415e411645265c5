"""Backends that honour keys and cut an exchange at a byte that the request names: by RST, by FIN, by silence, by dying.

`X-Cut: rst request 17` asks for a cut after 17 bytes of the request have been taken, `… answer 3` after 3 bytes of the
answer have been sent. Each request is cut once; its repeats are served. What is executed is noted in a folder before a
byte of the answer leaves, so that it outlives everything. A backend executes a key once.

Run as a program (`python cutting.py NAME FOLDER`) it forks for each connection, and a cut by `kill` kills that process.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import socket
import ssl
import struct
import sys
from pathlib import Path
from typing import Self

BODY = b"0123456789abcdef"
ANSWER = b"HTTP/1.1 201 Created\r\nX-Backend: %b\r\nContent-Length: 16\r\n\r\n" + BODY
_ID = re.compile(rb"\r\nx-id: (\S+)", re.IGNORECASE)
_CUT = re.compile(rb"\r\nx-cut: (rst|fin|hang|kill) (request|answer) (\d+)", re.IGNORECASE)
_KEY = re.compile(rb"\r\nidempotency-key: ", re.IGNORECASE)
_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)", re.IGNORECASE)
RST = struct.pack("ii", 1, 0)


class Book:
    """What was executed and what was cut: files in a folder, which several processes make."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._name = folder, name
        self._count = 0

    def _note(self, name: str) -> bool:
        """Whether this is noted now; False if it was before."""
        try:
            os.close(os.open(self._folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return False
        return True

    def execute(self, head: bytes) -> None:
        """Execute a request that has come whole; one with a key only once."""
        found = _ID.search(head)
        number = found[1].decode() if found else "none"
        self._count += 1
        again = "key" if _KEY.search(head) else f"{os.getpid()}-{self._count}"
        self._note(f"executed_{number}_{self._name}_{again}")

    def cut_for(self, head: bytes) -> tuple[str, str, int] | None:
        """How and where this request is to be cut; None from the second time on."""
        cut, found = _CUT.search(head), _ID.search(head)
        if cut is None or found is None or not self._note(f"cut_{found[1].decode()}"):
            return None
        return cut[1].decode(), cut[2].decode(), int(cut[3])


class CuttingBackend:
    """In the test's own process: everything but dying."""

    def __init__(self, name: str, path: Path, tls: ssl.SSLContext | None = None) -> None:
        self._name = name
        self._tls = tls
        self._book = Book(path, name)
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self.address = ""
        self.longest = 0
        """Bytes of the longest request."""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        self.address = "{}:{}".format(*self._server.sockets[0].getsockname())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                while await self._exchange(reader, writer):
                    pass
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Serve one request; whether the connection goes on."""
        head = await reader.readuntil(b"\r\n\r\n")
        length = _LENGTH.search(head)
        body = int(length[1]) if length else 0
        self.longest = max(self.longest, len(head) + body)
        how, where, at = self._book.cut_for(head) or ("", "", 0)
        if where == "request" and at < len(head) + body:
            await reader.readexactly(max(0, at - len(head)))
            await self._cut(how, reader, writer)
            return False
        await reader.readexactly(body)
        self._book.execute(head)
        answer = ANSWER % self._name.encode()
        if where:
            writer.write(answer[:at] if where == "answer" else b"")
            await writer.drain()
            await self._cut(how, reader, writer)
            return False
        writer.write(answer)
        return True

    @staticmethod
    async def _cut(how: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if how == "hang":
            while await reader.read(65536):
                pass
        elif how == "rst":
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST)
            writer.transport.abort()


# The program


class Taker:
    """Takes bytes from a connection; ends the process where the other side ends first."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._data = b""

    def until(self, end: bytes) -> bytes:
        """All up to and with `end`."""
        while end not in self._data:
            self._more()
        return self.exactly(self._data.index(end) + len(end))

    def exactly(self, most: int) -> bytes:
        """So many."""
        while len(self._data) < most:
            self._more()
        taken, self._data = self._data[:most], self._data[most:]
        return taken

    def _more(self) -> None:
        piece = self._connection.recv(65536)
        if not piece:
            os._exit(0)
        self._data += piece


def serve_one(connection: socket.socket, book: Book, name: str) -> None:
    """Serve one connection, and die where that is asked for."""
    taker = Taker(connection)
    while True:
        head = taker.until(b"\r\n\r\n")
        length = _LENGTH.search(head)
        body = int(length[1]) if length else 0
        _, where, at = book.cut_for(head) or ("", "", 0)
        if where == "request" and at < len(head) + body:
            taker.exactly(max(0, at - len(head)))
            os.kill(os.getpid(), signal.SIGKILL)
        taker.exactly(body)
        book.execute(head)
        answer = ANSWER % name.encode()
        if where:
            connection.sendall(answer[:at] if where == "answer" else b"")
            os.kill(os.getpid(), signal.SIGKILL)
        connection.sendall(answer)


def main(name: str, path: Path) -> None:
    """Listen, say where, and fork for each connection."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
        print("{}:{}".format(*listener.getsockname()), flush=True)
        while True:
            connection, _ = listener.accept()
            with connection:
                if os.fork() == 0:
                    with contextlib.suppress(ConnectionError):
                        serve_one(connection, Book(path, name), name)
                    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
