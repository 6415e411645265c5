"""Bounds on what those who connect to the admin endpoint may hold: how many there are, and how long each takes.

aiohttp has hardly any of its own, and the supervisor needs its descriptors for workers and probes.
What requests say is not looked at here; `unreadable` serves on these connections.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from proxy.controlplane.admin.problems import Problem

CONNECTIONS = 512
"""At a time. One more closes the one that has waited longest for its next request; where none waits, it is refused."""
IDLE = 75.0
"""Seconds in which the next head must be here, whole."""
BODY_WITHIN = 10.0
"""Seconds in which a body must be here."""
LINGER = 2.0
"""Seconds for which a body that nobody needs is read, so that its sender sees the answer."""
TAKEN_WITHIN = 30.0
"""Seconds in which an answer must be taken."""


class Connection(RequestHandler):
    """One that is bounded."""

    @property
    def is_idle(self) -> bool:
        """Whether it waits for a request."""
        return self._waiter is not None and not self._waiter.done()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Let it in where there is room, or where room can be made."""
        if self._has_room():
            super().connection_made(transport)
            return
        self._force_close = True
        cast("asyncio.Transport", transport).abort()

    def _has_room(self) -> bool:
        assert self._manager is not None
        there = [cast("Connection", one) for one in self._manager.connections]
        if len(there) < CONNECTIONS:
            return True
        longest = next((one for one in there if one.is_idle), None)
        if longest is not None:
            longest.force_close()
        return longest is not None

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Write the answer; who does not take it must not keep it in memory."""
        try:
            async with asyncio.timeout(TAKEN_WITHIN):
                return await super().finish_response(request, resp, start_time)
        except TimeoutError:
            if self.transport is not None:
                self.transport.abort()
            raise ConnectionResetError("the answer was not taken") from None

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """A body that can't be read is the client's mistake, also where aiohttp finds out after the answer."""
        if not isinstance(kw.get("exc_info"), web.RequestPayloadError | ConnectionError):
            super().log_exception(*args, **kw)


async def body_of(request: web.Request) -> bytes:
    """The body of a request. Raises Problem where it does not come, or can't be read."""
    try:
        async with asyncio.timeout(BODY_WITHIN):
            return await request.read()
    except TimeoutError:
        raise Problem(408, f"the body did not come within {BODY_WITHIN:g} s") from None
    except (web.RequestPayloadError, ConnectionError):
        raise Problem(400, "the body can't be read") from None
