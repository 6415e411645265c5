"""The worker's end of the socketpair to its supervisor: messages in, messages out, and silence when it is gone."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import cast

from proxy.core.messages import Decoder, Message, encode

log = logging.getLogger("proxy.dataplane.control")

MOST_WAITING = 4194304
"""Bytes that may wait for a supervisor that does not read; more are dropped, since Reports carry totals."""


class Control(asyncio.Protocol):
    """The connection to the supervisor."""

    def __init__(self, heed: Callable[[Message], None], lost: Callable[[], None]) -> None:
        self._heed = heed
        self._lost = lost
        self._decoder = Decoder()
        self._transport: asyncio.Transport | None = None
        self._arrived = asyncio.Event()
        self.is_alone = False
        self._has_said_last = self._is_working = False

    @classmethod
    async def over(
        cls, sock: socket.socket, heed: Callable[[Message], None], lost: Callable[[], None] = lambda: None
    ) -> Control:
        """Speak over this socket; `heed` gets each message, `lost` is called if the supervisor goes away."""
        _, control = await asyncio.get_running_loop().create_connection(lambda: cls(heed, lost), sock=sock)
        return control

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._decoder.take(data)
        if not self._is_working:
            self._work()

    def _work(self) -> None:
        """One message in each turn of the loop: a hundred parts of a reload must not keep clients waiting."""
        self._is_working = False
        message = self._decoder.next()
        if message is not None:
            self._is_working = True
            asyncio.get_running_loop().call_soon(self._work)
            self._heed(message)
            self._arrived.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self.is_alone = True
        self._arrived.set()
        if not self._has_said_last:
            log.warning("the supervisor is gone; serving on with the last Snapshot")
            self._lost()

    async def first_snapshot(self, is_there: Callable[[], bool]) -> None:
        """Wait for the first Snapshot. Raises SystemExit if the supervisor goes away before.

        What came with it is heeded, too: whoever begins to serve must know which Breakers are open.
        """
        while not is_there():
            if self.is_alone:
                raise SystemExit(1)
            self._arrived.clear()
            await self._arrived.wait()
        while self._is_working:  # noqa: ASYNC110 - each turn of the loop brings the next message
            await asyncio.sleep(0)

    def send(self, message: Message) -> None:
        """Tell the supervisor, if it is there and listens."""
        if self._transport is not None and self._transport.get_write_buffer_size() < MOST_WAITING:
            self._transport.write(encode(message))

    async def say_last(self, message: Message) -> None:
        """Send the last message and close."""
        self.send(message)
        self._has_said_last = True
        transport = self._transport
        if transport is not None:
            self._arrived.clear()
            transport.close()
            await asyncio.wait_for(self._arrived.wait(), timeout=2)
