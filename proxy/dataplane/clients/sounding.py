"""Is a client that has ended its side still there? It may have left, or only said all that it has to say.

TCP can't tell until something is sent: an interim answer is harmless to one that listens, and brings a reset from one
that does not. Called by the worker's sweep, for the few clients of which it is in doubt.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from proxy.dataplane.clients.downstream import Downstream

MOST_SOUNDINGS = 6
"""How often at the most a client is asked whether it is still there."""
ECHO = 0.01
"""Seconds after which the first sounding is repeated: the reset that answers it shows when more is sent."""


class Sounding:
    """Asks one client, a few times, while its request has no answer yet."""

    __slots__ = ("_at", "_client", "_count")

    def __init__(self, client: Downstream) -> None:
        self._client = client
        self._count = 0
        self._at = 0.0

    def __repr__(self) -> str:
        return f"<Sounding {self._client!r} {self._count} times>"

    def sound(self) -> None:
        """Send an interim answer if it is time, and if one may be sent."""
        client, now = self._client, monotonic()
        if self._count >= MOST_SOUNDINGS or now < self._at or client.is_gone:
            return
        request, upstream = client.request, client.upstream
        if request is not None and request.minor == 1 and upstream is not None and upstream.head is None:
            self._count += 1
            self._at = now + self._count // 2
            client.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            if self._count == 1:
                client.worker.loop.call_later(ECHO, self.sound)
