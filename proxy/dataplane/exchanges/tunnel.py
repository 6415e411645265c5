"""After a 101: bytes both ways, unread, with back-pressure, half-close and a bound on idleness.

Each side's end is passed on behind its last byte, and the other direction goes on until it ends, too. Where one side is
gone, what it had sent still goes to the other one (RFC 9110, section 9.3.6). Called by `exchange`, which closes the
client's connection.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING

from proxy.dataplane.transport.pause import PAUSE

if TYPE_CHECKING:
    from proxy.core.settings import Timeouts
    from proxy.dataplane.backends.upstream import Upstream
    from proxy.dataplane.clients.downstream import Downstream
    from proxy.dataplane.exchanges.upload import Upload


class Tunnel:
    """The bytes of both directions, passed on and counted."""

    __slots__ = ("_client", "_upstream", "received", "sent")

    def __init__(self, client: Downstream, upstream: Upstream) -> None:
        self._client = client
        self._upstream = upstream
        self.received = 0
        """Bytes from the client."""
        self.sent = 0
        """Bytes to the client, the answer's head not counted."""

    def __repr__(self) -> str:
        return f"<Tunnel {self.received} bytes up, {self.sent} down>"

    def begin(self, head: bytes) -> None:
        """The 101 goes to the client, with what has come behind it."""
        early, self._upstream.buffer = self._upstream.buffer, b""
        self.sent += len(early)
        self._client.write(head + early)

    def up(self, data: bytes) -> None:
        """From the client."""
        self.received += len(data)
        self._upstream.transport.write(data)

    def down(self, data: bytes) -> None:
        """To the client."""
        self.sent += len(data)
        self._client.write(data)

    async def run(self, upload: Upload | None, timeouts: Timeouts) -> None:
        """Returns when either side is gone, both have said their last, or nothing moved for `timeouts.tunnel_idle`.

        `upload` is the request's body; where it is still on its way, what follows it belongs to the tunnel.
        """
        client, upstream = self._client, self._upstream
        client.arm(monotonic() + timeouts.tunnel_idle, stall=timeouts.tunnel_idle)
        client.worker.outbox.flush()
        client.tunnel = self
        upstream.tunnel = self.down
        _begin_reading(client, upstream)
        client_ended = upstream_ended = False
        while not (client.is_gone or upstream.is_lost or client.is_expired):
            if upload is None or upload.is_complete:
                if client.buffer:
                    early, client.buffer = client.buffer, b""
                    self.up(early)
                if client.has_ended and not client_ended:
                    client_ended = _pass_end_to(upstream.transport)
                    if not client_ended:
                        break
            elif client.has_ended or upload.error is not None:
                break
            if upstream.has_ended and not upstream_ended:
                upstream_ended = _pass_end_to(client.transport)
                if not upstream_ended:
                    break
            if client_ended and upstream_ended:
                break
            await PAUSE
        client.tunnel = upstream.tunnel = None
        upstream.finish(timeouts.stall)


def _begin_reading(client: Downstream, upstream: Upstream) -> None:
    """Each side is read as long as the other one takes it."""
    if client.is_write_paused:
        upstream.pause_reading()
    else:
        upstream.resume_reading()
    if not upstream.is_write_paused:
        client.resume_reading()


def _pass_end_to(transport: asyncio.Transport) -> bool:
    """Say that no more comes; False where that can't be said without closing, as over TLS."""
    if not transport.can_write_eof():
        return False
    if not transport.is_closing():
        transport.write_eof()
    return True
