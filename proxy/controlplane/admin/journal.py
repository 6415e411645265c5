"""`GET /v1/journal`: what has happened, filtered by what somebody asks for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime

from aiohttp import web

from proxy.controlplane.admin.documents import JournalDocument
from proxy.controlplane.admin.operations import Answer, Operation, Parameter, problem
from proxy.controlplane.admin.problems import Problem
from proxy.controlplane.journal.journal import Journal
from proxy.core.telling.journal import Kind, Query

LIMIT_MAX = 1000
"""Entries in one answer."""
ID_MAX = 2**63 - 1
_AGO = re.compile(r"([0-9]{1,9})([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}

_TEXT = {"type": "string"}
_SINCE = {
    "anyOf": [{"type": "string", "pattern": "^[0-9]{1,9}[smhd]$"}, {"type": "string", "format": "date-time"}],
    "examples": ["1h"],
}
ASKED = (
    Parameter("pool", "Only of this pool.", _TEXT),
    Parameter("backend", "Only of backends of this name.", _TEXT),
    Parameter("kind", "Only of this kind.", {"type": "string", "enum": [str(kind) for kind in Kind]}),
    Parameter("since", "From so long ago on (`90s`, `15m`, `1h`, `7d`), or from a date on.", _SINCE),
    Parameter("after", "Only later ones than this.", {"type": "integer", "minimum": 0, "maximum": ID_MAX}),
    Parameter("limit", "At most so many.", {"type": "integer", "minimum": 1, "maximum": LIMIT_MAX}),
)
PARAMETERS = tuple(one.name for one in ASKED)


class JournalPage:
    """Answers from the journal."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def operations(self) -> list[Operation]:
        """What it answers."""
        return [
            Operation(
                "GET",
                "/v1/journal",
                self.get,
                "What has happened.",
                {
                    200: Answer("The entries that were asked for, the newest last.", JournalDocument),
                    400: problem("A parameter says something that can't be."),
                },
                ASKED,
                hint="what has happened: ?pool= backend= kind= since=1h after=ID limit=100",
            )
        ]

    async def get(self, request: web.Request) -> web.Response:
        """The entries that the query asks for, the newest last."""
        query = parse_query(request.query, self._journal.now())
        return web.json_response(text=self._journal.page(query))


def parse_query(given: Mapping[str, str], now: float) -> Query:
    """What the parameters ask for; `now` is Unix time. Raises Problem."""
    unknown = sorted(given.keys() - set(PARAMETERS))
    if unknown:
        raise Problem(400, f"there is no parameter {unknown[0]}; there are {', '.join(PARAMETERS)}")
    kind = given.get("kind", "")
    if kind and kind not in list(Kind):
        raise Problem(400, f"kind must be one of {', '.join(Kind)}")
    return Query(
        pool=given.get("pool", ""),
        backend=given.get("backend", ""),
        kind=kind,
        since=_since(given["since"], now) if "since" in given else None,
        after=_whole("after", given["after"], 0, ID_MAX) if "after" in given else None,
        limit=_whole("limit", given["limit"], 1, LIMIT_MAX) if "limit" in given else Query().limit,
    )


def _whole(name: str, text: str, least: int, most: int) -> int:
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 20 else -1
    if not least <= number <= most:
        raise Problem(400, f"{name} must be a whole number from {least} to {most}")
    return number


def _since(text: str, now: float) -> float:
    """So long ago (`90s`, `15m`, `1h`, `7d`), or from a date on."""
    ago = _AGO.fullmatch(text)
    if ago is not None:
        return now - int(ago[1]) * _SECONDS[ago[2]]
    try:
        # A plus sign in a query that nobody has encoded is a space by now.
        date = datetime.fromisoformat(text.replace(" ", "+") if "T" in text else text)
        return (date if date.tzinfo is not None else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise Problem(400, "since must be a time ago such as 1h, or a date such as 2026-03-01T03:00:00Z") from None
