"""Opens connections, uses each once, then holds them until standard input ends: `python -m benchmarks.hold '{…}'`."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import cast

import uvloop

from benchmarks.traffic import REQUESTS
from benchmarks.websocket import MESSAGE, OPENING

_PATIENCE = 10.0
_BODY = b"x" * 100


class Held(asyncio.Protocol):
    """One connection; `used` is done when its one exchange is over."""

    def __init__(self, kind: str) -> None:
        self._opening, self._answer = (OPENING, b"\r\n\r\n") if kind == "websocket" else (REQUESTS["small"][0], _BODY)
        self._is_websocket = kind == "websocket"
        self._seen = b""
        self.used = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(self._opening)

    def data_received(self, data: bytes) -> None:
        self._seen += data
        if not self._seen.endswith(self._answer) or self.used.done():
            return
        if self._is_websocket and self._answer != MESSAGE:
            self._answer, self._seen = MESSAGE, b""
            self._transport.write(MESSAGE)
        else:
            self.used.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.used.done():
            self.used.set_exception(exc or ConnectionError("closed before its answer"))


async def hold(port: int, kind: str, connections: int) -> None:
    """One after the other, so that none is refused; then wait."""
    loop = asyncio.get_running_loop()
    held = []
    for _ in range(connections):
        _, connection = await loop.create_connection(lambda: Held(kind), "127.0.0.1", port)
        await asyncio.wait_for(connection.used, _PATIENCE)
        held.append(connection)
    print(json.dumps({"held": len(held)}), flush=True)
    ended = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(ended), sys.stdin)
    await ended.read()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(hold(**json.loads(sys.argv[1])))
