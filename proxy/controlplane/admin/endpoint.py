"""The admin endpoint: is it alive, is it ready, what is the state of each Backend and why, and how to change it.

HTTP and JSON only; what is known comes from `registry`, and orders go to the supervisor.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Collection
from itertools import islice
from typing import Any, Protocol

from aiohttp import web
from prometheus_client.aiohttp import make_aiohttp_handler

from proxy import __version__
from proxy.controlplane.admin.dates import Dates
from proxy.controlplane.admin.guard import Guard
from proxy.controlplane.admin.journal import JournalPage
from proxy.controlplane.admin.metrics import metrics_registry
from proxy.controlplane.admin.orders import parse_failover
from proxy.controlplane.admin.problems import Problem, answer_with_problems
from proxy.controlplane.admin.unreadable import ProblemRunner
from proxy.controlplane.admin.view import Json, View
from proxy.controlplane.journal.journal import Journal
from proxy.controlplane.pools.governor import Refused
from proxy.controlplane.pools.records import BackendRecord, PoolRecord
from proxy.controlplane.pools.registry import Registry
from proxy.controlplane.pools.switching import Switching
from proxy.controlplane.reload import NotNow, Rejected
from proxy.core.messages import AdminState
from proxy.core.settings import AdminSettings

BODY_MAX = 65536
"""Bytes of a request's body."""
WEIGHT_MAX = 1000
NAMES_SHOWN = 10
"""Names in an error that says what there is."""
INDEX = f"""failover-proxy {__version__}

GET   /livez                              is the process alive
GET   /readyz                             does it serve: 503 while it starts or drains
GET   /metrics                            for Prometheus
GET   /v1/pools                           all pools with their backends
GET   /v1/pools/POOL                      one pool
GET   /v1/pools/POOL/backends/BACKEND     one backend, with its last probes
PATCH /v1/pools/POOL/backends/BACKEND     {{"state": "ready|drain|maint"}} or {{"weight": 0 to {WEIGHT_MAX}, or null}}
POST  /v1/pools/POOL/failover             {{"to": BACKEND}} is active from now on; without it, approve what is pending
POST  /v1/pools/POOL/failback             the first in line that is well is active from now on
GET   /v1/journal                         what has happened: ?pool= backend= kind= since=1h after=ID limit=100
POST  /v1/reload                          read the config anew; answers what has changed, or what is wrong
"""


class Control(Protocol):
    """What the endpoint needs of the supervisor."""

    registry: Registry
    switching: Switching
    journal: Journal

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


class Admin:
    """The aiohttp application and its server."""

    def __init__(self, control: Control, settings: AdminSettings, dates: Dates) -> None:
        self._control = control
        self._view = View(control.registry, dates)
        self._guard = Guard(settings)
        self._runner = ProblemRunner(self._application(), access_log=None, shutdown_timeout=1.0)

    async def start(self, bound: socket.socket) -> None:
        """Serve on a socket that is bound already."""
        await self._runner.setup()
        await web.SockSite(self._runner, bound).start()

    async def close(self) -> None:
        """Stop serving."""
        await self._runner.cleanup()

    def obey(self, settings: AdminSettings) -> None:
        """Follow other settings."""
        self._guard.obey(settings)

    def _application(self) -> web.Application:
        middlewares = [answer_with_problems, self._guard.middleware()]
        application = web.Application(middlewares=middlewares, client_max_size=BODY_MAX)
        page = metrics_registry(self._control.registry, self._control.restarts)
        backend = "/v1/pools/{pool}/backends/{backend:.+}"
        application.add_routes(
            [
                web.get("/", self._index),
                web.get("/livez", self._livez),
                web.get("/readyz", self._readyz),
                web.get("/metrics", make_aiohttp_handler(page)),
                web.get("/v1/pools", self._get_pools),
                web.get("/v1/pools/{pool}", self._get_pool),
                web.get(backend, self._get_backend),
                web.patch(backend, self._patch_backend),
                web.post("/v1/pools/{pool}/failover", self._post_failover),
                web.post("/v1/pools/{pool}/failback", self._post_failback),
                web.post("/v1/reload", self._post_reload),
                web.get("/v1/journal", JournalPage(self._control.journal).get),
            ]
        )
        return application

    async def _index(self, request: web.Request) -> web.Response:
        return web.Response(text=INDEX)

    async def _livez(self, request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _readyz(self, request: web.Request) -> web.Response:
        readiness = self._control.readiness()
        if readiness != "ready":
            raise Problem(503, readiness)
        return web.Response(text="ready\n")

    async def _get_pools(self, request: web.Request) -> web.Response:
        return _answer(self._view.pools() | self._own_state())

    def _own_state(self) -> Json:
        return {"readiness": self._control.readiness(), "problems": self._control.problems()}

    async def _get_pool(self, request: web.Request) -> web.Response:
        return _answer(self._view.pool(self._pool(request)))

    async def _get_backend(self, request: web.Request) -> web.Response:
        return _answer(self._view.backend(self._backend(request)))

    async def _patch_backend(self, request: web.Request) -> web.Response:
        record = self._backend(request)
        wanted = _parse_patch(await request.read())
        if "state" in wanted:
            self._control.set_admin(record, wanted["state"])
        if "weight" in wanted:
            self._control.set_weight(record, wanted["weight"])
        return _answer(self._view.backend(record))

    async def _post_failover(self, request: web.Request) -> web.Response:
        pool = self._pool(request)
        order = parse_failover(await request.read())
        if order.to is not None:
            _backend_named(order.to, pool)
        try:
            await self._control.switching.failover(pool, order.to, force=order.force)
        except Refused as refused:
            raise Problem(409, str(refused)) from None
        return _answer(self._view.pool(pool))

    async def _post_failback(self, request: web.Request) -> web.Response:
        pool = self._pool(request)
        if (await request.read()).strip() not in (b"", b"{}"):
            raise Problem(400, "a failback has no body: it goes to the first in line that is well")
        try:
            await self._control.switching.failback(pool)
        except Refused as refused:
            raise Problem(409, str(refused)) from None
        return _answer(self._view.pool(pool))

    async def _post_reload(self, request: web.Request) -> web.Response:
        try:
            return _answer(await self._control.reload())
        except Rejected as rejected:
            faults = [fault.document() for fault in rejected.faults]
            raise Problem(422, "the config can't be used; nothing has changed", mistakes=faults) from None
        except NotNow as error:
            raise Problem(409, str(error)) from None

    def _pool(self, request: web.Request) -> PoolRecord:
        name = request.match_info["pool"]
        pools = self._control.registry.pools
        if name not in pools:
            raise Problem(404, f"no pool is named {name}; there are {_some(pools)}")
        return pools[name]

    def _backend(self, request: web.Request) -> BackendRecord:
        return _backend_named(request.match_info["backend"], self._pool(request))


def _backend_named(name: str, pool: PoolRecord) -> BackendRecord:
    if name not in pool.backends:
        raise Problem(404, f"no backend of {pool.settings.name} is named {name}; there are {_some(pool.backends)}")
    return pool.backends[name]


def _some(names: Collection[str]) -> str:
    shown = ", ".join(islice(names, NAMES_SHOWN))
    return shown if len(names) <= NAMES_SHOWN else f"{shown} and {len(names) - NAMES_SHOWN} more"


def _answer(document: Json) -> web.Response:
    return web.json_response(document)


def _parse_patch(body: bytes) -> dict[str, Any]:
    """What to change: `state` and `weight`, checked."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        raise Problem(400, 'the body is not JSON; send {"state": "drain"} or {"weight": 2}') from None
    if not isinstance(document, dict) or not document or not document.keys() <= {"state", "weight"}:
        raise Problem(400, 'the body must be an object with "state", "weight" or both, and nothing else')
    if "state" in document:
        document["state"] = _parse_state(document["state"])
    if "weight" in document:
        _check_weight(document["weight"])
    return document


def _parse_state(word: Any) -> AdminState:
    try:
        return AdminState(word)
    except ValueError:
        raise Problem(400, f'"state" must be one of {", ".join(AdminState)}') from None


def _check_weight(weight: object) -> None:
    if weight is None:
        return
    if not isinstance(weight, int) or isinstance(weight, bool) or not 0 <= weight <= WEIGHT_MAX:
        raise Problem(400, f'"weight" must be a whole number from 0 to {WEIGHT_MAX}, or null for the configured one')
