"""`GET /v1/availability`, and the same as metrics: how available each Route and Pool was, and what is left to fail."""

from __future__ import annotations

from collections.abc import Iterator

from aiohttp import web

from proxy.controlplane.admin.documents import AvailabilityDocument
from proxy.controlplane.admin.exposition import Family
from proxy.controlplane.admin.operations import Answer, Operation, answer
from proxy.controlplane.availability.accounting import POOLS, ROUTES, Accounting, Row

LABELS = ("pool", "route", "window")
RESULTS = ("good", "bad", "unknown")


class AvailabilityPage:
    """Answers from the accounting."""

    def __init__(self, accounting: Accounting) -> None:
        self._accounting = accounting

    def operations(self) -> list[Operation]:
        """What it answers."""
        return [
            Operation(
                "GET",
                "/v1/availability",
                self._get,
                "How available pools and routes were, over an hour, a day and thirty days.",
                {200: Answer("All pools and routes.", AvailabilityDocument)},
                hint="how available pools and routes were: 1h, 24h, 30d; what may still fail",
            )
        ]

    async def _get(self, request: web.Request) -> web.Response:
        return answer(self._accounting.document())


def availability_families(accounting: Accounting) -> Iterator[Family]:
    """A row for each window in which there were requests; `pool` or `route` is empty."""
    counts = [((pool, result), getattr(one, result)) for pool, one in accounting.pools().items() for result in RESULTS]
    text = "Requests by what they count as for availability."
    yield Family("counter", "failover_availability_requests", text, ("pool", "result"), counts)
    rows = list(_rows(accounting))
    ratios = [(labels, row.availability.ratio or 0.0) for labels, row in rows]
    text = "Share of requests that went well, in the window."
    yield Family("gauge", "failover_availability_ratio", text, LABELS, ratios)
    left = [
        (labels, row.availability.budget(row.objective).left_share) for labels, row in rows if row.objective is not None
    ]
    text = "Share of the error budget that is left, in the window; below 0 where more was spent than there was."
    yield Family("gauge", "failover_error_budget_remaining_ratio", text, LABELS, left)


def _rows(accounting: Accounting) -> Iterator[tuple[tuple[str, str, str], Row]]:
    for row in accounting.rows(POOLS):
        yield (row.name, "", row.span), row
    for row in accounting.rows(ROUTES):
        yield ("", row.name, row.span), row
