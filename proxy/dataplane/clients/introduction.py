"""The PROXY protocol on sockets: reading a client's header before anything else is read, and sending ours.

What a header looks like is `core.proxy_protocol`'s matter. `door` calls for connections that come, `introduced` for
those to Backends. The socket is then handed on as if nothing had been there before: to TLS or to HTTP.
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any

from proxy.core.wire.proxy_protocol import Introduction, IntroductionError, Origin

if TYPE_CHECKING:
    from proxy.dataplane.clients.downstream import Downstream

AT_ONCE = 4112
"""Bytes that are looked at in one go: the longest header."""


async def read_introduction(sock: socket.socket) -> Origin | None:
    """Take the header, and not one byte more, off a fresh connection. Raises IntroductionError or OSError.

    What comes is looked at before it is taken: the bytes behind the header are for those who read the socket next.
    """
    introduction = Introduction()
    while not introduction.is_complete:
        try:
            data = sock.recv(AT_ONCE, socket.MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            await _readable(sock)
            continue
        if not data:
            raise IntroductionError("the connection ended before the PROXY header did")
        sock.recv(introduction.feed(data))
    return introduction.origin


async def _readable(sock: socket.socket) -> None:
    """Wait for bytes, or for the end."""
    loop = asyncio.get_running_loop()
    came = loop.create_future()
    loop.add_reader(sock, _settle, came)
    try:
        await came
    finally:
        loop.remove_reader(sock)


def _settle(came: asyncio.Future[None]) -> None:
    if not came.done():
        came.set_result(None)


def origin_of(client: Downstream) -> Origin:
    """From where to where a client's connection was made: as its own PROXY header says, else as the kernel does."""
    origin = client.arrival.origin
    if origin is not None:
        return origin
    return _seen(client.transport.get_extra_info("peername"), client.transport.get_extra_info("sockname"))


def _seen(peer: Any, own: Any) -> Origin:
    """Unix sockets have no addresses that would mean anything to a Backend."""
    if not isinstance(peer, tuple) or not isinstance(own, tuple):
        return Origin("")
    return Origin(peer[0], peer[1], own[0], own[1])
