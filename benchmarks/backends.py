"""Backends that cost next to nothing: one process, a prepared answer for each path, any number of ports.

They answer at once, or after `delay` seconds. They behave as they are told on standard input (`ok`, `unwell`, `hang`),
and write the ids of the POSTs they executed to a file before they answer. Started by `stage` and `failover`:
`python -m benchmarks.backends '{"ports": [0, 0, 0]}'`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import socket
import sys
from typing import cast

import uvloop

from benchmarks.traffic import ANSWERS, SMALL_ANSWER, UNWELL_ANSWER
from benchmarks.websocket import accept_answer

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)
_ORDER_ID = re.compile(rb"\r\nx-order-id: *(\S+)", re.IGNORECASE)
_WEBSOCKET_KEY = re.compile(rb"\r\nsec-websocket-key: *(\S+)", re.IGNORECASE)


class Mode:
    """How the process behaves now, and where it notes the POSTs that it executed."""

    def __init__(self, ledger: str, delay: float) -> None:
        self.name = "ok"
        self.delay = delay
        self.connections: set[Answering] = set()
        self._ledger = os.open(ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600) if ledger else -1

    def execute(self, head: bytes) -> None:
        """Note a POST that carries an id; the note outlives a kill."""
        if self._ledger >= 0 and (order := _ORDER_ID.search(head)):
            os.write(self._ledger, order[1] + b"\n")

    def switch(self, name: str) -> None:
        """Behave so from now on; who waited through a hang is cut off, as by a restart."""
        if self.name == "hang" and name != "hang":
            for connection in list(self.connections):
                connection.abort()
        self.name = name


class Answering(asyncio.Protocol):
    """One connection from a proxy. Requests come one at a time: proxies do not pipeline to backends."""

    __slots__ = ("_buffer", "_mode", "_transport", "_tunnel")

    def __init__(self, mode: Mode) -> None:
        self._mode = mode
        self._buffer = b""
        self._tunnel = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._mode.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._mode.connections.discard(self)

    def abort(self) -> None:
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._tunnel:
            self._transport.write(data)
            return
        if self._buffer:
            data = self._buffer + data
        # The common case first: a GET that came whole.
        if data.startswith(b"GET ") and data.endswith(b"\r\n\r\n"):
            self._buffer = b""
            self._answer(data)
        elif self._is_whole(data):
            self._buffer = b""
            self._mode.execute(data)
            self._answer(data)
        else:
            self._buffer = data

    @staticmethod
    def _is_whole(data: bytes) -> bool:
        head_end = data.find(b"\r\n\r\n")
        if head_end < 0:
            return False
        if length := _LENGTH.search(data, 0, head_end):
            return len(data) >= head_end + 4 + int(length[1])
        return not _CHUNKED.search(data, 0, head_end) or data.endswith(b"0\r\n\r\n")

    def _answer(self, data: bytes) -> None:
        mode = self._mode.name
        if mode == "hang":
            return
        start = data.find(b" ") + 1
        path = data[start : data.find(b" ", start)]
        if mode == "unwell":
            self._transport.write(UNWELL_ANSWER)
        elif self._mode.delay:
            asyncio.get_running_loop().call_later(self._mode.delay, self._transport.write, SMALL_ANSWER)
        elif path == b"/ws" and (key := _WEBSOCKET_KEY.search(data)):
            self._tunnel = True
            self._transport.write(accept_answer(key[1]))
        else:
            self._transport.write(ANSWERS.get(path, SMALL_ANSWER))


def _listen(port: int) -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(4096)
    listener.setblocking(False)
    return listener


class Door:
    """Takes in everybody who waits at a listener, at once.

    libuv takes one a turn. When a proxy opens hundreds of connections under load, the last would wait for seconds.
    """

    def __init__(self, listener: socket.socket, mode: Mode) -> None:
        self._listener = listener
        self._mode = mode
        self._tasks: set[asyncio.Task[object]] = set()

    def open(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                accepted, _ = self._listener.accept()
                accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                loop = asyncio.get_running_loop()
                task = loop.create_task(loop.connect_accepted_socket(lambda: Answering(self._mode), accepted))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)


async def serve(ports: list[int], ledger: str = "", delay: float = 0.0) -> None:
    """Listen, say where, and follow orders until standard input ends."""
    loop = asyncio.get_running_loop()
    mode = Mode(ledger, delay)
    listeners = [_listen(port) for port in ports]
    for listener in listeners:
        loop.add_reader(listener, Door(listener, mode).open)
    print(json.dumps({"ports": [listener.getsockname()[1] for listener in listeners]}), flush=True)
    orders = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    while order := await orders.readline():
        mode.switch(order.decode().strip())
        print(json.dumps({"mode": mode.name}), flush=True)


def main() -> None:
    """Serve as the argument says."""
    with contextlib.suppress(KeyboardInterrupt), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(**json.loads(sys.argv[1])))


if __name__ == "__main__":
    main()
