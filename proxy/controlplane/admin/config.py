"""The config over HTTP: what is in force, and the order to read it anew."""

from __future__ import annotations

import asyncio
import json

from aiohttp import web

from proxy.controlplane.admin.dates import Dates
from proxy.controlplane.admin.documents import ConfigDocument, ReloadDocument
from proxy.controlplane.admin.operations import Answer, Control, Operation, answer, problem
from proxy.controlplane.admin.problems import Problem
from proxy.controlplane.admin.redaction import shown
from proxy.controlplane.reload import NotNow, Rejected
from proxy.core.settings import Settings


class Config:
    """`/v1/config` and `/v1/reload`."""

    def __init__(self, control: Control, dates: Dates) -> None:
        self._control = control
        self._dates = dates

    def operations(self) -> list[Operation]:
        """What it answers."""
        return [
            Operation(
                "GET",
                "/v1/config",
                self._get_config,
                "The config in force.",
                {200: Answer("The settings, without secrets.", ConfigDocument)},
                hint="the config in force, without secrets",
            ),
            Operation(
                "POST",
                "/v1/reload",
                self._post_reload,
                "Read the config anew and put it in force.",
                {
                    200: Answer("What has changed.", ReloadDocument),
                    409: problem("The proxy can't reload now."),
                    422: problem("The config can't be used; nothing has changed."),
                },
                hint="read the config anew; answers what has changed, or what is wrong",
            ),
        ]

    async def _get_config(self, request: web.Request) -> web.Response:
        registry = self._control.registry
        version, since = registry.settings_version, self._dates.iso(registry.settings_since)
        body = await asyncio.to_thread(_document, registry.settings, version, since)
        return web.Response(body=body, content_type="application/json", charset="utf-8")

    async def _post_reload(self, request: web.Request) -> web.Response:
        try:
            return answer(await self._control.reload())
        except Rejected as rejected:
            faults = [fault.document() for fault in rejected.faults]
            raise Problem(422, "the config can't be used; nothing has changed", mistakes=faults) from None
        except NotNow as error:
            raise Problem(409, str(error)) from None


def _document(settings: Settings, version: int, since: str) -> bytes:
    """In a thread: there may be 10,000 routes, and settings never change."""
    document: ConfigDocument = {"version": version, "since": since, "settings": shown(settings)}
    return json.dumps(document).encode()
