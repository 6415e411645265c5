"""The supervisor's end of the control socket to one worker: messages of `core.messages` both ways, in bounded memory.

A worker that does not read must not make the supervisor grow or wait. State and not deltas goes down, so what could
not be sent yet is replaced by what is newer: the last Snapshot, and the last news of each Breaker.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import cast

from proxy.core.messages import BreakerNews, Decoder, Drain, Message, RoutePart, Snapshot, ToAll, encode
from proxy.core.settings import RouteSettings

log = logging.getLogger(__name__)

PART = 100
"""Routes in one message; a worker takes in so many in 2 ms, and serves its clients before the next."""
UNSENT_MAX = 65536
"""Bytes that wait in the socket's buffer before messages are kept back."""


@dataclass(frozen=True, slots=True)
class EncodedRoutes:
    """Very many Routes as messages of a few each."""

    routes: tuple[RouteSettings, ...] = ()
    version: int = 0
    parts: tuple[bytes, ...] = ()

    def following(self, routes: tuple[RouteSettings, ...]) -> EncodedRoutes:
        """Those of other Routes; the same where they are the same. It takes a while: 100 ms for 10,000."""
        if routes is self.routes or len(routes) <= PART:
            return self
        version = self.version + 1
        cuts = range(0, len(routes), PART)
        parts = tuple(encode(RoutePart(version, cut == 0, routes[cut : cut + PART])) for cut in cuts)
        return EncodedRoutes(routes, version, parts)


class RouteBook:
    """The Routes as all workers are sent them, encoded once."""

    def __init__(self) -> None:
        self.encoded = EncodedRoutes()

    def of(self, routes: tuple[RouteSettings, ...]) -> EncodedRoutes:
        """The messages for these Routes."""
        self.encoded = self.encoded.following(routes)
        return self.encoded


class Channel(asyncio.Protocol):
    """One worker's control socket. `received` gets each message, `lost` is called once when the worker's end closes."""

    def __init__(
        self, received: Callable[[Message], None], lost: Callable[[], None], book: RouteBook | None = None
    ) -> None:
        self._received = received
        self._lost = lost
        self._decoder = Decoder()
        self._transport: asyncio.Transport | None = None
        self._is_full = False
        self._settings_sent = self._routes_sent = 0
        self._book = book or RouteBook()
        # Kept back while the worker does not read
        self._snapshot: Snapshot | None = None
        self._news: dict[tuple[str, str], BreakerNews] = {}
        self._drain: Drain | None = None

    def send(self, message: ToAll | Drain) -> None:
        """Send now, or when the worker reads again.

        A ProbePassed that can't be sent is dropped, for another will come; a LastCall too, for a Drain will.
        """
        if self._transport is None:
            return
        if not self._is_full:
            self._write(message, self._transport)
        elif isinstance(message, Snapshot):
            self._snapshot = message
        elif isinstance(message, BreakerNews):
            self._news[message.pool, message.backend] = message
        elif isinstance(message, Drain):
            self._drain = message

    def close(self) -> None:
        """End the connection; what is not sent yet is dropped."""
        if self._transport is not None:
            self._transport.abort()

    def _write(self, message: ToAll | Drain, transport: asyncio.WriteTransport) -> None:
        if isinstance(message, Snapshot):
            if message.settings_version == self._settings_sent:
                message = replace(message, settings=None)
            self._settings_sent = message.settings_version
            message = self._apart(message, transport)
        transport.write(encode(message))

    def _apart(self, message: Snapshot, transport: asyncio.WriteTransport) -> Snapshot:
        """Send very many Routes before, in parts, and only if they are new."""
        settings = message.settings
        if settings is None or len(settings.routes) <= PART:
            return message
        encoded = self._book.of(settings.routes)
        if self._routes_sent != encoded.version:
            self._routes_sent = encoded.version
            transport.writelines(encoded.parts)
        return replace(message, settings=replace(settings, routes=()), routes_version=encoded.version)

    def _flush(self, transport: asyncio.WriteTransport) -> None:
        """Send what was kept back, the Snapshot first, until the worker stops reading again."""
        if self._snapshot is not None and not self._is_full:
            snapshot, self._snapshot = self._snapshot, None
            self._write(snapshot, transport)
        while self._news and not self._is_full:
            self._write(self._news.pop(next(iter(self._news))), transport)
        if self._drain is not None and not self._is_full:
            drain, self._drain = self._drain, None
            self._write(drain, transport)

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=UNSENT_MAX, low=0)

    def data_received(self, data: bytes) -> None:
        try:
            messages = list(self._decoder.feed(data))
        except Exception:
            log.exception("a worker said what nobody understands")
            self.close()
            return
        for message in messages:
            self._received(message)

    def pause_writing(self) -> None:
        self._is_full = True

    def resume_writing(self) -> None:
        self._is_full = False
        if self._transport is not None:
            self._flush(self._transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._lost()
