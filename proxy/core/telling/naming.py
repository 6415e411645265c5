"""The names that a config bears: what is counted under any other is of something that a reload has removed.

Both planes ask: workers, so that they report no series for ever; the supervisor, so that it keeps a bounded number.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from proxy.core.settings import PoolSettings, Settings


@dataclass(frozen=True, slots=True)
class Names:
    """All that counters are named by."""

    routes: Collection[str]
    pools: Collection[str]
    backends: Collection[tuple[str, str]]
    listeners: Collection[str]

    def __repr__(self) -> str:
        return f"<Names {len(self.routes)} routes, {len(self.backends)} backends>"

    def has_traffic(self, route: str, pool: str) -> bool:
        """Whether a request may be counted under this Route and Pool; what a Route answers itself has no Pool."""
        return route in self.routes and (not pool or pool in self.pools)


def names_of(settings: Settings, routes: Iterable[str]) -> Names:
    """The names in these settings; Routes are named apart, for a worker has them apart."""
    return Names(
        frozenset(routes),
        frozenset(pool.name for pool in settings.pools),
        frozenset(key for pool in settings.pools for key in _keys(pool)),
        frozenset(listener.name for listener in settings.listeners),
    )


def _keys(pool: PoolSettings) -> Iterable[tuple[str, str]]:
    return ((pool.name, backend.name) for backend in pool.backends)
