"""Pools and Backends over HTTP: how they stand, and what a person may change of them."""

from __future__ import annotations

import json
from collections.abc import Collection
from itertools import islice
from typing import Annotated, Any

from aiohttp import web

from proxy.controlplane.admin import sheet
from proxy.controlplane.admin.connections import body_of
from proxy.controlplane.admin.documents import (
    BackendDocument,
    BackendPatch,
    FailbackBody,
    FailoverBody,
    PoolDocument,
    PoolsDocument,
)
from proxy.controlplane.admin.operations import Answer, Control, Operation, answer, problem
from proxy.controlplane.admin.orders import parse_failover
from proxy.controlplane.admin.problems import Problem
from proxy.controlplane.admin.schemas import Note
from proxy.controlplane.admin.view import View
from proxy.controlplane.pools.governor import Refused
from proxy.controlplane.pools.records import BackendRecord, PoolRecord
from proxy.core.messages import AdminState

WEIGHT_MAX = 1000
NAMES_SHOWN = 10
"""Names in an error that says what there is."""

POOLS, POOL, BACKEND = "/v1/pools", "/v1/pools/{pool}", "/v1/pools/{pool}/backends/{backend}"
NO_POOL, NO_BACKEND = problem("No pool has this name."), problem("No pool or backend has this name.")
BAD_BODY = problem("The body can't be used.")
REFUSED = problem("The order can't be carried out as things are.")


class Pools:
    """`/v1/pools` and what is below."""

    def __init__(self, control: Control, view: View) -> None:
        self._control = control
        self._view = view

    def operations(self) -> list[Operation]:
        """What it answers."""
        return [*self._shown(), *self._ordered()]

    def _shown(self) -> list[Operation]:
        return [
            Operation(
                "GET",
                POOLS,
                self._get_pools,
                "All pools with their backends.",
                {200: Answer("The pools.", PoolsDocument)},
                hint="all pools with their backends",
            ),
            Operation(
                "GET",
                POOL,
                self._get_pool,
                "One pool.",
                {200: Answer("The pool.", PoolDocument), 404: NO_POOL},
                hint="one pool",
            ),
            Operation(
                "GET",
                BACKEND,
                self._get_backend,
                "One backend.",
                {200: Answer("The backend.", BackendDocument), 404: NO_BACKEND},
                hint="one backend, with its last probes",
            ),
        ]

    def _ordered(self) -> list[Operation]:
        switched = {200: Answer("The pool as it is now.", PoolDocument), 400: BAD_BODY, 404: NO_POOL, 409: REFUSED}
        return [
            Operation(
                "PATCH",
                BACKEND,
                self._patch_backend,
                "Drain a backend, take it out, let it serve again, or change its weight.",
                {200: Answer("The backend as it is now.", BackendDocument), 400: BAD_BODY, 404: NO_BACKEND},
                body=Annotated[BackendPatch, Note(min_properties=1)],
                hint=f'{{"state": "ready|drain|maint"}} or {{"weight": 0 to {WEIGHT_MAX}, or null}}',
            ),
            Operation(
                "POST",
                f"{POOL}/failover",
                self._post_failover,
                "Make another backend of an active-passive pool the active one, or approve what is pending.",
                switched,
                body=Annotated[FailoverBody, Note(dependent_required={"force": ["to"]})],
                is_body_required=False,
                hint='{"to": BACKEND} is active from now on; without it, approve what is pending',
            ),
            Operation(
                "POST",
                f"{POOL}/failback",
                self._post_failback,
                "Give the place back to the first backend in line that is well.",
                switched,
                body=FailbackBody,
                is_body_required=False,
                hint="the first in line that is well is active from now on",
            ),
        ]

    # How they stand

    async def _get_pools(self, request: web.Request) -> web.Response:
        drawn = await sheet.draw(self._control.registry, self._view)
        return web.Response(body=pools_document(drawn, self._control), content_type="application/json", charset="utf-8")

    async def _get_pool(self, request: web.Request) -> web.Response:
        return answer(self._view.pool(self._pool(request)))

    async def _get_backend(self, request: web.Request) -> web.Response:
        return answer(self._view.backend(self._backend(request)))

    # What may be changed

    async def _patch_backend(self, request: web.Request) -> web.Response:
        wanted = _parse_patch(await body_of(request))
        record = self._backend(request)
        if "state" in wanted:
            self._control.set_admin(record, wanted["state"])
        if "weight" in wanted:
            self._control.set_weight(record, wanted["weight"])
        return answer(self._view.backend(record))

    async def _post_failover(self, request: web.Request) -> web.Response:
        order = parse_failover(await body_of(request))
        pool = self._pool(request)
        if order.to is not None:
            backend_of(pool, order.to)
        try:
            await self._control.switching.failover(pool, order.to, force=order.force)
        except Refused as refused:
            raise Problem(409, str(refused)) from None
        return answer(self._view.pool(pool))

    async def _post_failback(self, request: web.Request) -> web.Response:
        body = (await body_of(request)).strip()
        pool = self._pool(request)
        if body not in (b"", b"{}"):
            raise Problem(400, "a failback has no body: it goes to the first in line that is well")
        try:
            await self._control.switching.failback(pool)
        except Refused as refused:
            raise Problem(409, str(refused)) from None
        return answer(self._view.pool(pool))

    def _pool(self, request: web.Request) -> PoolRecord:
        return pool_of(self._control, request.match_info["pool"])

    def _backend(self, request: web.Request) -> BackendRecord:
        return backend_of(self._pool(request), request.match_info["backend"])


def pools_document(drawn: sheet.Sheet, control: Control) -> bytes:
    """A PoolsDocument as it is sent."""
    return b'{"pools": [%b], %b' % (b", ".join(entry.whole() for entry in drawn.values()), own_state(control)[1:])


def own_state(control: Control) -> bytes:
    """What is said of the proxy itself, and of no Pool."""
    cuts = control.registry.cuts().items()
    cut_off = [{"route": name, "pool": cut.pool, "evidence": cut.evidence} for name, cut in cuts]
    own = {"cut_off": cut_off, "readiness": control.readiness(), "problems": control.problems()}
    return json.dumps(own).encode()


def pool_of(control: Control, name: str) -> PoolRecord:
    """The Pool of this name. Raises Problem."""
    pools = control.registry.pools
    if name not in pools:
        raise Problem(404, f"no pool is named {name}; there are {_some(pools)}")
    return pools[name]


def backend_of(pool: PoolRecord, name: str) -> BackendRecord:
    """The Backend of this name. Raises Problem."""
    if name not in pool.backends:
        raise Problem(404, f"no backend of {pool.settings.name} is named {name}; there are {_some(pool.backends)}")
    return pool.backends[name]


def _some(names: Collection[str]) -> str:
    shown = ", ".join(islice(names, NAMES_SHOWN))
    return shown if len(names) <= NAMES_SHOWN else f"{shown} and {len(names) - NAMES_SHOWN} more"


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
        document["weight"] = _parse_weight(document["weight"])
    return document


def _parse_state(word: Any) -> AdminState:
    try:
        return AdminState(word)
    except ValueError:
        raise Problem(400, f'"state" must be one of {", ".join(AdminState)}') from None


def _parse_weight(weight: object) -> int | None:
    """For JSON, 2.0 is a whole number too."""
    if weight is None:
        return None
    is_number = isinstance(weight, int | float) and not isinstance(weight, bool)
    if not is_number or weight not in range(WEIGHT_MAX + 1):
        raise Problem(400, f'"weight" must be a whole number from 0 to {WEIGHT_MAX}, or null for the configured one')
    return int(weight)  # type: ignore[call-overload, no-any-return]
