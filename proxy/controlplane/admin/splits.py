"""Splits over HTTP: which Pools have which shares, and which one is cut off, by a rule or by a person."""

from __future__ import annotations

import json

from aiohttp import web

from proxy.controlplane.admin.connections import body_of
from proxy.controlplane.admin.operations import Answer, Control, Operation, answer, problem
from proxy.controlplane.admin.problems import Problem
from proxy.controlplane.admin.split_documents import CutBody, ResumeBody, SplitDocument, SplitsDocument
from proxy.controlplane.admin.view import View
from proxy.controlplane.pools.governor import Refused
from proxy.core.settings import RouteSettings

SPLIT = "/v1/splits/{route}"
EXAMPLE = '{"pool": "checkout-canary"}'


class SplitsPage:
    """`/v1/splits` and what is below."""

    def __init__(self, control: Control, view: View) -> None:
        self._control = control
        self._view = view

    def operations(self) -> list[Operation]:
        """What it answers."""
        no_split = problem("No route with a split has this name.")
        refused = problem("The order can't be carried out as things are.")
        bad_body = problem("The body can't be used.")
        changed = {200: Answer("The split as it is now.", SplitDocument), 400: bad_body, 404: no_split, 409: refused}
        return [
            Operation(
                "GET",
                "/v1/splits",
                self._get,
                "All routes that are split between pools.",
                {200: Answer("The splits.", SplitsDocument)},
                hint="routes that are split, and what is cut off",
            ),
            Operation(
                "POST",
                f"{SPLIT}/cut",
                self._cut,
                "Cut a pool off from a split: the others get its share, until `resume`.",
                changed,
                body=CutBody,
                hint='{"pool": POOL} gets nothing of this split any more',
            ),
            Operation(
                "POST",
                f"{SPLIT}/resume",
                self._resume,
                "Give the pool that is cut off from a split its share back.",
                changed,
                body=ResumeBody,
                is_body_required=False,
                hint="the pool that is cut off gets its share back",
            ),
        ]

    async def _get(self, request: web.Request) -> web.Response:
        routes = self._control.registry.splits.routes.values()
        return answer({"splits": [self._document(route) for route in routes]})

    async def _cut(self, request: web.Request) -> web.Response:
        pool = parse_cut(await body_of(request))
        route = self._route(request)
        try:
            self._control.switching.cut(route.name, pool)
        except Refused as refused:
            raise Problem(409, str(refused)) from None
        return answer(self._document(route))

    async def _resume(self, request: web.Request) -> web.Response:
        body = (await body_of(request)).strip()
        route = self._route(request)
        if body not in (b"", b"{}"):
            raise Problem(400, "this has no body: the pool that is cut off gets its share back")
        try:
            self._control.switching.resume(route.name)
        except Refused as refused:
            raise Problem(409, str(refused)) from None
        return answer(self._document(route))

    def _route(self, request: web.Request) -> RouteSettings:
        name, routes = request.match_info["route"], self._control.registry.splits.routes
        if name not in routes:
            raise Problem(404, f"no route with a split is named {name}")
        return routes[name]

    def _document(self, route: RouteSettings) -> SplitDocument:
        cut = self._control.registry.cuts().get(route.name)
        return {
            "route": route.name,
            "shares": [{"pool": pool, "share": share} for pool, share in route.split],
            "cut_off": None
            if cut is None
            else {"pool": cut.pool, "evidence": cut.evidence, "since": self._view.dates.iso(cut.since)},
        }


def parse_cut(body: bytes) -> str:
    """The Pool that a person wants to cut off. Raises Problem."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        raise Problem(400, f"the body is not JSON; send {EXAMPLE}") from None
    pool = document.get("pool") if isinstance(document, dict) and document.keys() == {"pool"} else None
    if not isinstance(pool, str):
        raise Problem(400, f"the body must be an object with the name of a pool, and nothing else: {EXAMPLE}")
    return pool
