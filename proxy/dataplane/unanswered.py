"""How long requests have waited for an answer's head, seen once a second: who hangs shows before anything times out.

No clock is read and nothing is counted while requests run: whoever is found waiting with the same request in two looks
has waited for a second. `worker` has it look.
"""

from __future__ import annotations

from collections.abc import Iterable

from proxy.core.pools.model import Backend
from proxy.dataplane.backends.idle import IdleConnections
from proxy.dataplane.backends.upstream import Upstream
from proxy.dataplane.clients.downstream import Downstream

LONGEST = 30
"""Seconds; who has waited longer is counted with those that have waited for so long."""


class Unanswered:
    """Who waits, and since which look."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: dict[Upstream, tuple[int, int]] = {}

    def __repr__(self) -> str:
        return f"<Unanswered {len(self._waiting)}>"

    def look(self, clients: Iterable[Downstream], homes: Iterable[tuple[Backend, IdleConnections]]) -> None:
        """Note at each Backend how many requests wait there, by the seconds that they have waited."""
        before, self._waiting = self._waiting, {}
        counts: dict[IdleConnections, list[int]] = {}
        for client in clients:
            upstream = client.upstream
            # What a client has yet to send is no fault of a Backend's.
            if upstream is None or upstream.head is not None or client.upload is not None:
                continue
            number, looks = before.get(upstream, (0, 0))
            looks = looks + 1 if number == upstream.requests else 0
            self._waiting[upstream] = (upstream.requests, looks)
            if looks:
                waited = counts.setdefault(upstream.home, [0] * LONGEST)
                waited[min(looks, LONGEST) - 1] += 1
        for backend, home in homes:
            backend.unanswered = tuple(counts.get(home, ()))
