"""The OpenAPI 3.1 document, made from the Operations that are served and from the types of their documents."""

from __future__ import annotations

import re
from collections.abc import Sequence

from aiohttp import web

from proxy import __version__
from proxy.controlplane.admin.documents import Json, ProblemDocument
from proxy.controlplane.admin.operations import Answer, Operation, answer, problem
from proxy.controlplane.admin.schemas import Schemas

PATH = "/v1/openapi.json"
ANY = {
    400: problem("The request is not valid HTTP, or says something that can't be."),
    401: problem("A bearer token is required."),
    403: problem("`Host` or `Origin` is not this endpoint's: a page in a browser may have sent it."),
    408: problem("The body does not come."),
    413: problem("The body is larger than 64 KiB."),
    417: problem("What `Expect` asks for can't be met."),
    431: problem("The head is too large."),
    500: problem("The proxy failed to answer; its log says why."),
}
"""What any request may get."""
OF_READING = frozenset({400, 401, 403, 417, 431, 500})
ABOUT = (
    "How pools and backends stand, and orders to the proxy. Every error is a problem document (RFC 9457). Off loopback "
    "a bearer token is required. Requests that change something must name this endpoint in `Host`, and in `Origin` if "
    "there is one; where no token is set, all others must name it in `Host` too, but for `/livez` and `/readyz`."
)


class OpenApi:
    """`/v1/openapi.json`."""

    def __init__(self) -> None:
        self._document: Json = {}

    def operations(self) -> list[Operation]:
        """What it answers."""
        shown = Answer("An OpenAPI 3.1 document.", Json)
        hint = "all of this for machines: OpenAPI 3.1"
        return [Operation("GET", PATH, self._get, "The description of this API.", {200: shown}, hint=hint)]

    def describe(self, operations: Sequence[Operation]) -> None:
        """These are all that are served."""
        self._document = document(operations)

    async def _get(self, request: web.Request) -> web.Response:
        return answer(self._document)


def document(operations: Sequence[Operation]) -> Json:
    """The whole description."""
    schemas = Schemas()
    schemas.of(ProblemDocument)
    paths: Json = {}
    for one in operations:
        paths.setdefault(one.path, {})[one.method.lower()] = _operation(one, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": "failover-proxy admin API", "version": __version__, "description": ABOUT},
        "paths": paths,
        "components": {
            "schemas": schemas.components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"token": []}],
    }


def _operation(one: Operation, schemas: Schemas) -> Json:
    expected = ANY if one.method != "GET" else {status: ANY[status] for status in OF_READING}
    answers = dict(sorted({**expected, **one.answers}.items()))
    told: Json = {
        "operationId": one.name,
        "summary": one.summary,
        "parameters": _parameters(one),
        "responses": {str(status): _answer(each, schemas) for status, each in answers.items()},
    }
    if one.about:
        told["description"] = one.about
    if one.body is not None:
        content = {"application/json": {"schema": schemas.of(one.body)}}
        told["requestBody"] = {"required": one.is_body_required, "content": content}
    return told


def _parameters(one: Operation) -> list[Json]:
    named: list[Json] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for name in re.findall(r"{(\w+)}", one.path)
    ]
    for each in one.parameters:
        schema = {"type": "array", "items": each.schema} if each.is_repeatable else each.schema
        told = {"name": each.name, "in": each.where, "description": each.description, "schema": schema}
        named.append(told | {"required": each.is_required})
    return named


def _answer(one: Answer, schemas: Schemas) -> Json:
    schema = {"type": "string"} if one.document is None else schemas.of(one.document)
    return {"description": one.description, "content": {one.media_type: {"schema": schema}}}
