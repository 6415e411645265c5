"""A client's connection: finds the heads of its requests and serves them one after another.

One coroutine per connection runs through all its requests. It sleeps in one place only, `PAUSE`; whatever happens
(bytes, an answer, a lost connection, the sweep's deadline) wakes it there, and it looks at the state of things. So
there is no future, timer, task or lock per request: `wake` steps the coroutine itself, which saves two turns of the
loop and 6 µs a request beside an asyncio task (`docs/performance.md`).
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections.abc import Generator
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, cast

from proxy.core.wire import answers
from proxy.core.wire.grammar import END_OF_HEAD, check_begun, without_empty_lines
from proxy.core.wire.headers import Forwarding
from proxy.core.wire.http1 import RequestHead
from proxy.dataplane.clients.introduction import origin_of
from proxy.dataplane.clients.sounding import Sounding
from proxy.dataplane.ending import has_unread
from proxy.dataplane.exchanges.exchange import Exchange
from proxy.dataplane.transport.pause import PAUSE
from proxy.errors import ErrorKind, RequestError

if TYPE_CHECKING:
    from proxy.core.telling.accesslog import Record
    from proxy.dataplane.backends.upstream import Upstream
    from proxy.dataplane.clients.reception import Arrival
    from proxy.dataplane.exchanges.tunnel import Tunnel
    from proxy.dataplane.exchanges.upload import Upload
    from proxy.dataplane.worker import Worker

log = logging.getLogger("proxy.dataplane.clients.downstream")

CR = 13
MOST_AHEAD = 65536
"""Bytes of pipelined requests that are read while one is being answered."""
LINGER = 1.0
"""Seconds in which a refused client may read its answer while what it still sends is thrown away."""
TIMER_EARLY = 0.002
"""uvloop counts whole milliseconds, so that its timers may fire so many seconds early."""
MOST_LINGERING = 1048576
"""Bytes that are thrown away so before the connection is cut."""


class Downstream(asyncio.Protocol):
    """One client connection."""

    __slots__ = (
        "_is_reading_paused",
        "_is_running",
        "_is_serving",
        "_latest",
        "_lingered",
        "_searched",
        "_stall",
        "_steps",
        "arrival",
        "buffer",
        "client",
        "deadline",
        "forwarding",
        "has_ended",
        "is_expired",
        "is_gone",
        "is_write_paused",
        "record",
        "request",
        "transport",
        "tunnel",
        "upload",
        "upstream",
        "worker",
    )

    transport: asyncio.Transport
    forwarding: Forwarding

    def __init__(self, worker: Worker, arrival: Arrival) -> None:
        # Per process
        self.worker = worker
        # Per connection
        self.arrival = arrival
        self.client = ""
        self.buffer = b""
        self.deadline = inf
        self.is_expired = self.is_gone = self.has_ended = self.is_write_paused = False
        self._is_serving = self._is_running = self._is_reading_paused = False
        self._lingered = -1
        self._searched = 0
        self._stall = 0.0
        self._latest = inf
        self._steps: Generator[None, None, None] | None = None
        # Per request
        self.request: RequestHead | None = None
        self.record: Record | None = None
        self.upload: Upload | None = None
        self.upstream: Upstream | None = None
        self.tunnel: Tunnel | None = None

    def __repr__(self) -> str:
        return f"<Downstream {self.client}{' gone' if self.is_gone else ''}>"

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.client = origin_of(self).client
        is_trusted = self.worker.reception.is_trusted(self.client)
        self.forwarding = Forwarding(self.client, b"http", is_trusted=is_trusted)
        if not self.worker.welcome(self):
            self._refuse(answers.TOO_MANY)
            return
        self._steps = self._serve().__await__()
        self.wake()

    def data_received(self, data: bytes) -> None:
        if not self._is_serving and self._lingered < 0:
            self.buffer = self.buffer + data if self.buffer else data
            if self.is_write_paused and len(self.buffer) > MOST_AHEAD:
                self.pause_reading()
            self.wake()
        elif self.upload is not None:
            self._feed(data)
        elif self.tunnel is not None:
            self.tunnel.up(data)
            self.touch()
        elif self._lingered >= 0:
            self._throw_away(data)
        else:
            self.buffer += data
            if len(self.buffer) > MOST_AHEAD:
                self.pause_reading()

    def _feed(self, data: bytes) -> None:
        upload = cast("Upload", self.upload)
        self.touch()
        is_first = not upload.size
        rest = upload.feed(data)
        if upload.is_complete or upload.error is not None:
            self.upload = None
            self.buffer = rest
            self.wake()
        elif is_first:
            self.wake()

    def _throw_away(self, data: bytes) -> None:
        self._lingered += len(data)
        if self._lingered > MOST_LINGERING:
            self.transport.abort()

    def eof_received(self) -> bool:
        self.has_ended = True
        self.wake()
        if self._is_serving and self._lingered < 0:
            self.worker.suspects[self] = Sounding(self)
            return True
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_gone = True
        self.worker.farewell(self)
        self.wake()

    def pause_writing(self) -> None:
        self.is_write_paused = True
        if self.upstream is not None and self.upstream.is_passed_on:
            self.upstream.pause_reading()

    def resume_writing(self) -> None:
        self.is_write_paused = False
        self.touch()
        if self.upstream is not None:
            self.upstream.resume_reading()
        elif not self._is_serving:
            self.resume_reading()
            self.wake()

    # Waiting and waking

    def wake(self) -> None:
        """Something has happened: let the coroutine look. While it runs it needs none: it looks before it sleeps."""
        steps = self._steps
        if steps is not None and not self._is_running:
            self._is_running = True
            next(steps, None)
            self._is_running = False

    def wake_after(self, seconds: float) -> None:
        """Wake it when so many seconds have passed, never before: whoever waits for a time sets no second timer."""
        self.worker.loop.call_later(seconds + TIMER_EARLY, self.wake)

    def arm(self, at: float, *, stall: float = 0.0, latest: float = inf) -> None:
        """Expire at this monotonic time, unless armed anew before.

        `stall`: each byte that moves puts it off by so many seconds from then, but never beyond `latest`; 0: none does.
        """
        self.deadline = at
        self.is_expired = False
        self._stall = stall
        self._latest = latest

    def touch(self) -> None:
        """A byte has moved."""
        if self._stall:
            self.deadline = min(monotonic() + self._stall, self._latest)

    def expire(self) -> None:
        """The sweep found the deadline in the past."""
        self.deadline = inf
        self.is_expired = True
        if self.transport.is_closing() or self._lingered >= 0:
            self.transport.abort()
        else:
            self.wake()

    # Flow

    def send(self, data: bytes) -> None:
        """Send to the client at the end of this turn of the loop."""
        self.worker.outbox.send(self, data)

    def deliver(self, data: bytes, noisy: dict[int, int]) -> None:
        """Write it, unless the connection is closed."""
        if not self.transport.is_closing():
            self.transport.write(data)

    def write(self, data: bytes) -> None:
        """Send to the client now."""
        self.worker.outbox.flush()
        if not self.transport.is_closing():
            self.transport.write(data)
        self.touch()

    def pause_reading(self) -> None:
        """Take no more from the client until `resume_reading`."""
        if not self._is_reading_paused and not self.is_gone:
            self._is_reading_paused = True
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        """Take more."""
        if self._is_reading_paused and not self.is_gone:
            self._is_reading_paused = False
            self.touch()
            self.transport.resume_reading()

    # Serving

    async def _serve(self) -> None:
        try:
            while True:
                self._begin_waiting()
                request = self._take_request()
                while request is None:
                    if self._is_over():
                        self.close()
                        return
                    await PAUSE
                    request = self._take_request()
                self._is_serving = True
                self.request = request
                is_kept = await Exchange(self, request).run()
                self._is_serving = False
                if not is_kept:
                    break
        except RequestError as error:
            self._turn_down(error)
            return
        except Exception:
            log.exception("a request failed by our own mistake")
            self._turn_down(RequestError(500, "the proxy failed", ErrorKind.PROXY_INTERNAL_ERROR))
            return
        finally:
            is_unread = self._has_body_coming()
            self._steps = self.upload = self.upstream = self.tunnel = None
        if is_unread and not self.transport.is_closing():
            self._linger()
        else:
            self.close()

    def _turn_down(self, error: RequestError) -> None:
        """Answer what can't be served, and close."""
        self.worker.stats.refuse(error.status)
        if self.worker.recorder is not None:
            self.worker.recorder.note_refusal(self, self.request, error)
        self._refuse(answers.bad_request(error, self.request))

    def _has_body_coming(self) -> bool:
        return self.request is not None and self.request.has_body

    def _begin_waiting(self) -> None:
        """Between two requests."""
        self.deadline = monotonic() + self.worker.timeouts.client_idle
        self.is_expired = False
        self._stall = 0.0
        self._searched = 0
        self.request = None
        self.record = None
        if self._is_reading_paused and not self.is_write_paused:
            self.resume_reading()

    def _take_request(self) -> RequestHead | None:
        """The next head if it is whole. Raises RequestError."""
        buffer = self.buffer
        if not buffer or self.is_write_paused:
            return None
        if buffer[0] == CR and self._searched <= 1:
            self.buffer = buffer = without_empty_lines(buffer)
        end = buffer.find(END_OF_HEAD, self._searched)
        if end < 0:
            self._check_start(buffer)
            return None
        end += 4
        self.buffer = buffer[end:]
        return RequestHead(buffer[:end], self.worker.limits, self.client)

    def _is_over(self) -> bool:
        """Whether no further request is to be served. Raises RequestError for one that comes too slowly."""
        if self.is_expired and self.buffer and not self.is_write_paused:
            raise RequestError(408, "the head did not come in time")
        if self.has_ended and not (self.is_write_paused and self.buffer):
            return True
        if self.is_gone or self.is_expired:
            return True
        return self.worker.closes_idle and not self.buffer and not has_unread(self.transport)

    def _check_start(self, buffer: bytes) -> None:
        """Look at a head that is not whole; the limits hold while reading."""
        check_begun(buffer, self.worker.limits, max(0, self._searched - 1))
        if not self._searched:
            self.arm(monotonic() + self.worker.timeouts.request_head)
        self._searched = max(1, len(buffer) - 3)

    # Ends

    def _refuse(self, answer: bytes) -> None:
        """Answer and close, unless that is over."""
        if not self.is_gone and not self.transport.is_closing():
            self.write(answer)
            self._linger()

    def _linger(self) -> None:
        """Close, but throw away what still comes for a while: a reset could eat the answer."""
        self.worker.outbox.flush()
        self.upload = None
        self._lingered = 0
        self.buffer = b""
        # A client that reads slowly gets its time for the answer first.
        self.arm(monotonic() + LINGER + bool(self.transport.get_write_buffer_size()) * self.worker.timeouts.stall)
        if self.transport.can_write_eof():
            self.transport.write_eof()
            self.resume_reading()
        else:
            self.transport.close()

    def close(self) -> None:
        """Send what is left to send, then close; the sweep cuts a client that does not read it."""
        if not self.is_gone:
            self.arm(monotonic() + self.worker.timeouts.stall)
            self.worker.outbox.then(self.transport.close)

    def reset(self) -> None:
        """Close so that the break shows even where the end of the connection would end the body."""
        sock = self.transport.get_extra_info("socket")
        if sock is not None and not self.transport.is_closing():
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    def stop(self) -> None:
        """The worker drains: end after the answer, or now if idle and it says so."""
        if not self._is_serving:
            self.wake()

    def abort(self) -> None:
        """End now."""
        steps, self._steps = self._steps, None
        if steps is not None and not self._is_running:
            steps.close()
        self.transport.abort()
