"""One entry for each thing that can be asked of the admin API: the route is made from it, and so is its description.

Handlers stand beside their Operations (`pools`, `probes`, `config`, …), `endpoint` serves all of them, `openapi` tells
of them. So nothing can be served that is not described.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from aiohttp import web

from proxy.controlplane.admin.documents import Json, ProblemDocument
from proxy.controlplane.availability.accounting import Accounting
from proxy.controlplane.journal.journal import Journal
from proxy.controlplane.pools.records import BackendRecord
from proxy.controlplane.pools.registry import Registry
from proxy.controlplane.pools.switching import Switching
from proxy.core.messages import AdminState

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

BROAD = frozenset({"backend"})
"""Names in paths that may hold slashes: a Backend's name may be the path of a Unix socket."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One in the query, or in the head."""

    name: str
    description: str
    schema: Json
    is_required: bool = False
    is_repeatable: bool = False
    where: str = "query"


@dataclass(frozen=True, slots=True)
class Answer:
    """What comes with one status."""

    description: str
    document: Any = None
    """Its type in `documents`; None: not JSON."""
    media_type: str = "application/json"


def problem(description: str) -> Answer:
    """An error."""
    return Answer(description, ProblemDocument, "application/problem+json")


@dataclass(frozen=True, slots=True)
class Operation:
    """One method on one path."""

    method: str
    path: str
    handler: Handler
    summary: str
    answers: dict[int, Answer]
    """But for the errors that any request may get."""
    parameters: tuple[Parameter, ...] = ()
    body: Any = None
    """The type of the JSON that it takes, in `documents`."""
    is_body_required: bool = True
    about: str = ""
    """What else there is to say."""
    hint: str = ""
    """What the plain index says of it in one line; empty: it is not listed there."""

    @property
    def route(self) -> str:
        """The path as aiohttp reads it."""
        path = self.path
        for name in BROAD:
            path = path.replace(f"{{{name}}}", f"{{{name}:.+}}")
        return path

    @property
    def name(self) -> str:
        """`get_pools_pool`."""
        words = [word.strip("{}").replace(".", "_") for word in self.path.split("/") if word not in ("", "v1")]
        return "_".join([self.method.lower(), *words])


class Control(Protocol):
    """What the API needs of the supervisor."""

    registry: Registry
    switching: Switching
    journal: Journal
    accounting: Accounting

    def readiness(self) -> str:
        """`ready`, or why not."""

    def restarts(self) -> int:
        """How many workers died and were replaced."""

    def problems(self) -> list[str]:
        """What is wrong with the proxy itself."""

    def set_admin(self, record: BackendRecord, state: AdminState) -> None:
        """Carry out the administrator's intent."""

    def set_weight(self, record: BackendRecord, weight: int | None) -> None:
        """Put a weight in place of the configured one."""

    async def reload(self) -> Json:
        """Read the config anew and put it in force; what has changed. Raises Rejected or NotNow."""


def routes(operations: Iterable[Operation]) -> list[web.RouteDef]:
    """As aiohttp takes them. A GET answers HEAD too."""
    return [web.route(one.method, one.route, one.handler) for one in operations] + [
        web.head(one.route, one.handler) for one in operations if one.method == "GET"
    ]


def answer(document: object) -> web.Response:
    """A document as it is sent."""
    return web.Response(body=json.dumps(document).encode(), content_type="application/json", charset="utf-8")
