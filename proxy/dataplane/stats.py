"""A worker's counters: plain integers while requests run, made into a Report once a second."""

from __future__ import annotations

from bisect import bisect_left
from typing import Any

from proxy.core.messages import DURATION_BUCKETS
from proxy.core.pools.breaker import GOOD
from proxy.core.requests.retry import Outcome
from proxy.core.telling.availability import FIRST_ERROR
from proxy.core.telling.naming import Names

METHODS = {
    method: method.decode() for method in (b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS", b"TRACE")
}
"""Methods that get a label of their own; all others are `OTHER`, or a client could make labels without bound."""


class Series:
    """The requests with one route, pool, method and status."""

    __slots__ = ("buckets", "seconds", "total")

    def __init__(self) -> None:
        self.total = 0
        self.seconds = 0.0
        self.buckets = [0] * (len(DURATION_BUCKETS) + 1)


class Stats:
    """Counters of what came from clients."""

    __slots__ = (
        "_series",
        "broken",
        "client_aborts",
        "degraded",
        "degraded_ends",
        "handshakes",
        "keyed",
        "rate_limited",
        "refused",
        "saved",
        "turned_away",
        "unknown_outcomes",
    )

    def __init__(self) -> None:
        self._series: dict[tuple[str, str, bytes, int], Series] = {}
        self.refused: dict[str, int] = {}
        self.client_aborts = 0
        self.turned_away: dict[tuple[str, str], int] = {}
        self.unknown_outcomes: dict[tuple[str, str], int] = {}
        self.keyed: dict[tuple[str, str], int] = {}
        self.handshakes: dict[str, int] = {}
        self.degraded: dict[tuple[str, str, str], int] = {}
        self.degraded_ends: dict[tuple[str, str, str, int], int] = {}
        self.rate_limited: dict[str, int] = {}
        self.broken: dict[tuple[str, str], int] = {}
        self.saved: dict[tuple[str, str], int] = {}

    def count(self, route: str, pool: str, method: bytes, status: int, duration: float) -> None:
        """A request was answered with `status` after `duration` seconds."""
        series = self._series.get((route, pool, method, status))
        if series is None:
            series = self._begin(route, pool, method, status)
        series.total += 1
        series.seconds += duration
        series.buckets[bisect_left(DURATION_BUCKETS, duration)] += 1

    def _begin(self, route: str, pool: str, method: bytes, status: int) -> Series:
        if method not in METHODS:
            method = b"OTHER"
        return self._series.setdefault((route, pool, method, status), Series())

    def refuse(self, status: int) -> None:
        """A client's message was refused."""
        self.refused[str(status)] = self.refused.get(str(status), 0) + 1

    def turn_away(self, listener: str, reason: str) -> None:
        """A connection was closed without being served."""
        self.turned_away[listener, reason] = self.turned_away.get((listener, reason), 0) + 1

    def count_keyed(self, pool: str, result: str) -> None:
        """A request with an idempotency key, or without one that it needs, got this."""
        self.keyed[pool, result] = self.keyed.get((pool, result), 0) + 1

    def count_unknown(self, route: str, pool: str) -> None:
        """A write failed that may have been executed."""
        self.unknown_outcomes[route, pool] = self.unknown_outcomes.get((route, pool), 0) + 1

    def count_degraded(self, route: str, pool: str, kind: str, status: int, counted_by: str) -> None:
        """Something stood in for a Pool that could not serve; the request is `counted_by` this one, maybe another.

        Called in the same step as `count`, or a Report in between would tell of an end that has not come.
        """
        self.degraded[route, pool, kind] = self.degraded.get((route, pool, kind), 0) + 1
        key = (route, pool, counted_by, status)
        self.degraded_ends[key] = self.degraded_ends.get(key, 0) + 1

    def count_limited(self, route: str) -> None:
        """A client has sent more than this Route takes."""
        self.rate_limited[route] = self.rate_limited.get(route, 0) + 1

    def count_broken(self, route: str, pool: str, status: int) -> None:
        """An answer with this status broke off: what would have been a good one was none."""
        if status < FIRST_ERROR:
            self.broken[route, pool] = self.broken.get((route, pool), 0) + 1

    def count_if_saved(self, route: str, pool: str, attempts: int, outcome: Outcome) -> None:
        """A request was answered after so many Attempts: one that went well would have failed without another."""
        if attempts > 1 and outcome.verdict() is GOOD:
            self.saved[route, pool] = self.saved.get((route, pool), 0) + 1

    def shook_hands(self, result: str) -> None:
        """A client's TLS handshake has ended like this."""
        self.handshakes[result] = self.handshakes.get(result, 0) + 1

    def has_gone(self, names: Names) -> bool:
        """Whether anything is counted here under a name that is no more."""
        return any(table.keys() != kept.keys() for table, kept in self._kept(names))

    def forget_gone(self, names: Names) -> None:
        """Count no longer what bears another name; whoever sums has been told its totals."""
        for table, kept in self._kept(names):
            table.clear()
            table.update(kept)

    def _kept(self, names: Names) -> list[tuple[dict[Any, Any], dict[Any, Any]]]:
        """Each table, and what is to stay of it."""
        known = names.has_traffic
        by_traffic = (self.unknown_outcomes, self.broken, self.saved)
        return [
            (self._series, {key: one for key, one in self._series.items() if known(key[0], key[1])}),
            (self.rate_limited, {key: n for key, n in self.rate_limited.items() if key in names.routes}),
            *((table, {key: n for key, n in table.items() if known(*key)}) for table in by_traffic),
            (self.degraded, {key: n for key, n in self.degraded.items() if known(key[0], key[1])}),
            (self.degraded_ends, {key: n for key, n in self.degraded_ends.items() if known(key[0], key[1])}),
            (self.keyed, {key: n for key, n in self.keyed.items() if key[0] in names.pools}),
            (self.turned_away, {key: n for key, n in self.turned_away.items() if key[0] in names.listeners}),
        ]

    def requests(self) -> dict[tuple[str, str, str, int], int]:
        """By route, pool, method and status."""
        return {
            (route, pool, METHODS.get(method, "OTHER"), status): series.total
            for (route, pool, method, status), series in self._series.items()
        }

    def durations(self) -> dict[tuple[str, str], tuple[tuple[int, ...], float]]:
        """By route and pool: requests per bucket and the sum of seconds."""
        result: dict[tuple[str, str], tuple[tuple[int, ...], float]] = {}
        for (route, pool, _, _), series in self._series.items():
            buckets, seconds = result.get((route, pool), ((0,) * len(series.buckets), 0.0))
            added = tuple(a + b for a, b in zip(buckets, series.buckets, strict=True))
            result[route, pool] = (added, seconds + series.seconds)
        return result
