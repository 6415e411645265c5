"""Requests to the admin endpoint that aiohttp can't read: a problem document, and a line at debug level.

aiohttp would answer with a text of its own and log a traceback, which anybody who can connect could fill a log with.
What a handler does wrong is not looked at here: `problems` does.
"""

from __future__ import annotations

import logging

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong

from proxy.controlplane.admin.connections import Connection
from proxy.controlplane.admin.problems import Problem, from_aiohttp
from proxy.logs import say

log = logging.getLogger(__name__)


class ProblemRunner(web.AppRunner):
    """Runs an application whose unreadable requests are answered with problem documents."""

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        return _Server(made.request_handler, request_factory=made.request_factory, **made._kwargs)  # noqa: SLF001


class _Server(web.Server):
    def __call__(self) -> Connection:
        return _Connection(self, loop=self._loop, **self._kwargs)


class _Connection(Connection):
    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        if isinstance(resp, web.HTTPException):
            # What aiohttp refuses before the application is asked: an expectation that it can't meet.
            resp = from_aiohttp(request, resp).response()
        return await super().finish_response(request, resp, start_time)

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has begun, so there can be no other")
        if status >= 500:
            log.error("the admin API failed", exc_info=exc)
            problem = Problem(status, "the proxy failed to answer; its log says why")
        elif isinstance(exc, LineTooLong):
            problem = Problem(431, "the request's head is too large")
        else:
            problem = Problem(status, "the request is not valid HTTP/1.1")
        if status < 500:
            say(log, logging.DEBUG, "a request was not understood", client=request.remote, error=type(exc).__name__)
        response = problem.response()
        response.force_close()
        return response
