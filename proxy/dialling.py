"""A connection on which something is said before anybody else gets it: a PROXY header, ahead of TLS and HTTP.

Workers open their connections to Backends so, and the supervisor its probes, where a pool sends the PROXY protocol.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from proxy.core.settings import Address


async def dial(address: Address, words: bytes) -> socket.socket:
    """A connected socket on which `words` were said. Raises OSError; whoever calls bounds the time by cancelling."""
    failure: OSError = ConnectionRefusedError(f"{address} stands for no address")
    for family, place in await _places(address):
        try:
            return await _dial(family, place, words)
        except OSError as error:
            failure = error
    raise failure


async def _places(address: Address) -> list[tuple[int, Any]]:
    if address.path:
        return [(socket.AF_UNIX, address.path)]
    found = await asyncio.get_running_loop().getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    return [(family, place) for family, _, _, _, place in found]


async def _dial(family: int, place: Any, words: bytes) -> socket.socket:
    loop = asyncio.get_running_loop()
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        if family != socket.AF_UNIX:
            # Or what follows the words would wait until they have been received.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await loop.sock_connect(sock, place)
        await loop.sock_sendall(sock, words)
    except BaseException:
        sock.close()
        raise
    return sock
