"""Is the process alive, does it serve, and the page for Prometheus: what other machines ask the admin endpoint."""

from __future__ import annotations

from functools import partial

from aiohttp import web

from proxy.controlplane.admin.availability import availability_families
from proxy.controlplane.admin.metrics import metrics_page
from proxy.controlplane.admin.operations import Answer, Control, Operation, problem
from proxy.controlplane.admin.problems import Problem

TEXT = "text/plain"


class Liveness:
    """`/livez`, `/readyz` and `/metrics`."""

    def __init__(self, control: Control) -> None:
        self._control = control

    def operations(self) -> list[Operation]:
        """What it answers."""
        availability = partial(availability_families, self._control.accounting)
        page = metrics_page(self._control.registry, self._control.restarts, availability)
        not_ready = problem("It starts, it drains, or no worker serves.")
        return [
            Operation(
                "GET",
                "/livez",
                self._livez,
                "Whether the process is alive.",
                {200: Answer("It is.", media_type=TEXT)},
                hint="is the process alive",
            ),
            Operation(
                "GET",
                "/readyz",
                self._readyz,
                "Whether the proxy serves.",
                {200: Answer("It does.", media_type=TEXT), 503: not_ready},
                hint="does it serve: 503 while it starts or drains",
            ),
            Operation(
                "GET",
                "/metrics",
                page.answer,
                "Everything that is counted, as Prometheus reads it.",
                {200: Answer("The metrics.", media_type=TEXT)},
                hint="for Prometheus",
            ),
        ]

    async def _livez(self, request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _readyz(self, request: web.Request) -> web.Response:
        readiness = self._control.readiness()
        if readiness != "ready":
            raise Problem(503, readiness)
        return web.Response(text="ready\n")
