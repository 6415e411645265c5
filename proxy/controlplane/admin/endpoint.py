"""The admin endpoint: joins what can be asked into one application, and serves it.

HTTP and JSON only; what is known comes from `registry`, and orders go to the supervisor. Each part of the API has a
module of its own beside this one, which names its Operations.
"""

from __future__ import annotations

import re
import socket
from typing import Any

from aiohttp import web

from proxy import __version__
from proxy.controlplane.admin.availability import AvailabilityPage
from proxy.controlplane.admin.config import Config
from proxy.controlplane.admin.connections import IDLE, LINGER
from proxy.controlplane.admin.dates import Dates
from proxy.controlplane.admin.events import Events
from proxy.controlplane.admin.explain import Explain
from proxy.controlplane.admin.guard import Guard
from proxy.controlplane.admin.journal import JournalPage
from proxy.controlplane.admin.liveness import Liveness
from proxy.controlplane.admin.openapi import OpenApi
from proxy.controlplane.admin.operations import Control, Operation, routes
from proxy.controlplane.admin.pools import Pools
from proxy.controlplane.admin.problems import answer_with_problems
from proxy.controlplane.admin.splits import SplitsPage
from proxy.controlplane.admin.unreadable import ProblemRunner
from proxy.controlplane.admin.view import View
from proxy.controlplane.dashboard.pages import Dashboard, wants_page
from proxy.core.settings import AdminSettings

BODY_MAX = 65536
"""Bytes of a request's body."""


class Admin:
    """The aiohttp application and its server."""

    def __init__(self, control: Control, settings: AdminSettings, dates: Dates) -> None:
        view, description = View(control.registry, dates), OpenApi()
        self._events = Events(control, view)
        parts = (
            Liveness(control),
            Pools(control, view),
            SplitsPage(control, view),
            self._events,
            JournalPage(control.journal),
            AvailabilityPage(control.accounting),
            Explain(control, view),
            Config(control, dates),
            description,
        )
        self.operations = [operation for part in parts for operation in part.operations()]
        description.describe(self.operations)
        self._index_text = index(self.operations)
        self._dashboard = Dashboard()
        self._guard = Guard(settings)
        bounds: dict[str, Any] = {"keepalive_timeout": IDLE, "lingering_time": LINGER, "auto_decompress": False}
        self._runner = ProblemRunner(self._application(), access_log=None, shutdown_timeout=1.0, **bounds)

    async def start(self, bound: socket.socket) -> None:
        """Serve on a socket that is bound already."""
        await self._runner.setup()
        await web.SockSite(self._runner, bound).start()

    async def close(self) -> None:
        """Stop serving."""
        await self._events.close()
        await self._runner.cleanup()

    def obey(self, settings: AdminSettings) -> None:
        """Follow other settings. Who reads events by a token that counts no more must come with the new one."""
        if self._guard.obey(settings):
            self._events.end_all()

    def _application(self) -> web.Application:
        middlewares = [answer_with_problems, self._guard.middleware()]
        application = web.Application(middlewares=middlewares, client_max_size=BODY_MAX)
        application.add_routes([web.get("/", self._index), self._dashboard.route(), *routes(self.operations)])
        return application

    async def _index(self, request: web.Request) -> web.Response:
        if wants_page(request):
            return self._dashboard.page()
        return web.Response(text=self._index_text, headers={"Vary": "Accept"})


def index(operations: list[Operation]) -> str:
    """What there is, for people: a line for each Operation."""
    lines = [f"{one.method:<5} {_spelt(one.path):<35} {one.hint}" for one in operations if one.hint]
    return "\n".join([f"failover-proxy {__version__}", "", *lines]) + "\n"


def _spelt(path: str) -> str:
    """`/v1/pools/POOL`."""
    return re.sub(r"{(\w+)}", lambda match: match[1].upper(), path)
