"""After a 101: bytes both ways, unread, with back-pressure, half-close and a bound on idleness."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from proxy.dataplane.pause import PAUSE

if TYPE_CHECKING:
    from proxy.dataplane.downstream import Downstream
    from proxy.dataplane.upstream import Upstream


async def run_tunnel(client: Downstream, upstream: Upstream, early: bytes, longest_idle: float) -> None:
    """Returns when either side is gone, both have said their last, or nothing moved for `longest_idle` seconds."""
    client.arm(monotonic() + longest_idle, stall=longest_idle)
    client.tunnel = upstream
    upstream.tunnel = client.write
    client.worker.outbox.flush()
    if early:
        upstream.transport.write(early)
    if client.is_write_paused:
        upstream.pause_reading()
    else:
        upstream.resume_reading()
    client.resume_reading()
    client_closed = upstream_closed = False
    while not (client.is_gone or upstream.is_lost or client.is_expired or (client_closed and upstream_closed)):
        if client.has_ended and not client_closed:
            client_closed = True
            upstream.transport.write_eof()
        elif upstream.has_ended and not upstream_closed:
            upstream_closed = True
            client.transport.write_eof()
        else:
            await PAUSE
    client.tunnel = upstream.tunnel = None
