"""A worker's counters: plain integers while requests run, made into a Report once a second."""

from __future__ import annotations

from bisect import bisect_left

from proxy.core.messages import DURATION_BUCKETS

METHODS = {
    method: method.decode() for method in (b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS", b"TRACE")
}
"""Methods that get a label of their own; all others are `OTHER`, or a client could make labels without bound."""


class Stats:
    """Counters of what came from clients."""

    __slots__ = ("_durations", "_requests", "client_aborts", "refused")

    def __init__(self) -> None:
        self._requests: dict[tuple[str, str, bytes, int], int] = {}
        self._durations: dict[tuple[str, str], tuple[list[int], list[float]]] = {}
        self.refused: dict[str, int] = {}
        self.client_aborts = 0

    def count(self, route: str, pool: str, method: bytes, status: int, duration: float) -> None:
        """A request was answered with `status` after `duration` seconds."""
        key = (route, pool, method, status)
        requests = self._requests
        if key in requests:
            requests[key] += 1
        else:
            self._first(key)
        buckets, total = self._durations[route, pool]
        buckets[bisect_left(DURATION_BUCKETS, duration)] += 1
        total[0] += duration

    def _first(self, key: tuple[str, str, bytes, int]) -> None:
        route, pool, method, status = key
        if method not in METHODS:
            key = (route, pool, b"OTHER", status)
        self._requests[key] = self._requests.get(key, 0) + 1
        self._durations.setdefault((route, pool), ([0] * (len(DURATION_BUCKETS) + 1), [0.0]))

    def refuse(self, status: int) -> None:
        """A client's message was refused."""
        self.refused[str(status)] = self.refused.get(str(status), 0) + 1

    def requests(self) -> dict[tuple[str, str, str, int], int]:
        """By route, pool, method and status."""
        return {
            (route, pool, METHODS.get(method, "OTHER"), status): total
            for (route, pool, method, status), total in self._requests.items()
        }

    def durations(self) -> dict[tuple[str, str], tuple[tuple[int, ...], float]]:
        """By route and pool: requests per bucket and the sum of seconds."""
        return {key: (tuple(buckets), total[0]) for key, (buckets, total) in self._durations.items()}
