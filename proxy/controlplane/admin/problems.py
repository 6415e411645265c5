"""Errors of the admin API as RFC 9457 problem documents."""

from __future__ import annotations

import http
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

from aiohttp import web

log = logging.getLogger(__name__)

Response = TypeVar("Response", bound=web.StreamResponse)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Problem(Exception):  # noqa: N818 - RFC 9457's word
    """An error of the API: its status, and what is wrong in words that help."""

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None, **members: object) -> None:
        super().__init__(status, detail)
        self.status = status
        self.detail = detail
        self.headers = dict(headers or {})
        self.members = members
        """More of the document, by name (RFC 9457, section 3.2)."""

    def response(self) -> web.Response:
        """The problem document."""
        title = http.HTTPStatus(self.status).phrase
        document = {"type": "about:blank", "title": title, "status": self.status, "detail": self.detail, **self.members}
        body = json.dumps(document) + "\n"
        return sealed(
            web.Response(status=self.status, text=body, content_type="application/problem+json", headers=self.headers)
        )


def sealed(response: Response) -> Response:
    """Mark an answer as not to be stored, and not to be taken for something else."""
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


@web.middleware
async def answer_with_problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn whatever goes wrong into a problem document, and mark every answer as not to be stored."""
    try:
        response = await handler(request)
    except Problem as problem:
        response = problem.response()
    except web.HTTPException as error:
        response = from_aiohttp(request, error).response()
    except Exception:
        log.exception("the admin API failed", extra={"fields": {"method": request.method, "path": request.path}})
        response = Problem(500, "the proxy failed to answer; its log says why").response()
    return sealed(response)


def from_aiohttp(request: web.BaseRequest, error: web.HTTPException) -> Problem:
    """An error of aiohttp's own in our words."""
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(error.allowed_methods))
        return Problem(405, f"{request.method} is not for this resource; it takes {allowed}", {"Allow": allowed})
    if error.status == 404:
        return Problem(404, f"there is nothing at {request.path}; GET / lists what there is")
    return Problem(error.status, error.text or error.reason)
