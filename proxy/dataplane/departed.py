"""Backends and Pools that a reload has removed while requests were still in them: kept until these have ended.

Each Attempt is settled on the Backend that it was admitted on; here is who reports what comes of it, and who closes
the connections. The worker asks only while somebody is here. Nothing is decided about new requests.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import inf

from proxy.core.messages import BackendCounts, PoolCounts
from proxy.core.pools.model import Backend
from proxy.core.pools.pool import Pool
from proxy.dataplane.backends.idle import IdleConnections

Key = tuple[str, str]
Homes = dict[Backend, IdleConnections]

QUIET = 1.0
"""Seconds without a request after which a Pool that has left is believed to be empty: one may wait between Attempts."""


class _Group:
    """Backends that left together: those of a Pool that was removed, or of one that goes on without them."""

    __slots__ = ("backends", "grace", "is_told", "pool", "quiet_since")

    def __init__(self, backends: Iterable[Backend], pool: Pool | None) -> None:
        self.backends = list(backends)
        self.pool = pool
        self.grace = 0.0 if pool is None else max(QUIET, pool.settings.retries.backoff_max)
        self.quiet_since = inf
        self.is_told = False
        """Whether a Report has told all that will ever be counted here."""

    def is_over(self, now: float, *, is_busy: bool) -> bool:
        if is_busy:
            self.quiet_since = inf
            return False
        self.quiet_since = min(self.quiet_since, now)
        return now >= self.quiet_since + self.grace


class Departed:
    """All that have left and are still wanted."""

    __slots__ = ("_groups", "_homes")

    def __init__(self, homes: Homes) -> None:
        self._homes = homes
        self._groups: list[_Group] = []

    def __bool__(self) -> bool:
        return bool(self._groups)

    def __repr__(self) -> str:
        return f"<Departed {[backend for group in self._groups for backend in group.backends]}>"

    def add(self, backends: Iterable[Backend], pool: Pool | None = None) -> None:
        """These Backends have left their Pool, or `pool` has left with all of them."""
        group = _Group(backends, pool)
        if group.backends:
            self._groups.append(group)

    def sweep(self) -> None:
        """Close the connections that requests have left here since the last look."""
        for group in self._groups:
            for backend in group.backends:
                self._homes[backend].close()

    def settle(self, now: float, pools: Mapping[str, Pool]) -> None:
        """Before each Report: let go of those for whom all is over and told.

        The supervisor keeps the totals of a name that a Report no longer knows, so who has told all is left out. Unless
        the name is borne by another by now: then it takes the totals over.
        """
        for group in list(self._groups):
            if group.is_over(now, is_busy=self._is_busy(group)):
                self._pass_on(group, pools)
                group.is_told = True
            if not group.backends and group.pool is None:
                self._groups.remove(group)

    def _is_busy(self, group: _Group) -> bool:
        """Whether a request may still need somebody of this group.

        One on a Backend that left its Pool earlier may be tried again on those who left with the Pool itself.
        """
        pool = group.pool
        if pool is None:
            return any(backend.in_flight for backend in group.backends)
        members = (backend for one in self._groups for backend in one.backends if backend.key[0] == pool.name)
        return pool.holding + pool.strain.waiting + pool.strain.preparing > 0 or any(
            backend.in_flight for backend in members
        )

    def _pass_on(self, group: _Group, pools: Mapping[str, Pool]) -> None:
        for backend in list(group.backends):
            heir = self._heir_of(backend, pools)
            if heir is not None:
                heir.absorb(backend)
            if heir is not None or group.is_told:
                group.backends.remove(backend)
                self._homes.pop(backend).close()
        if group.pool is not None:
            pool_heir = self._heir_of_pool(group.pool, pools)
            if pool_heir is not None:
                pool_heir.absorb(group.pool)
            if pool_heir is not None or group.is_told:
                group.pool = None

    def _heir_of(self, backend: Backend, pools: Mapping[str, Pool]) -> Backend | None:
        pool, name = backend.key
        serving = pools[pool].by_name.get(name) if pool in pools else None
        others = (one for group in self._groups for one in group.backends)
        return serving or next((one for one in others if one.key == backend.key and one is not backend), None)

    def _heir_of_pool(self, pool: Pool, pools: Mapping[str, Pool]) -> Pool | None:
        others = (group.pool for group in self._groups if group.pool is not None and group.pool is not pool)
        return pools.get(pool.name) or next((one for one in others if one.name == pool.name), None)

    def add_to(self, backends: dict[Key, BackendCounts], pools: dict[str, PoolCounts]) -> None:
        """Add what is counted here to the counts of a Report."""
        for group in self._groups:
            for backend in group.backends:
                counts = backend.counts(len(self._homes[backend]))
                known = backends.get(backend.key)
                backends[backend.key] = counts if known is None else known.plus(counts)
            if group.pool is not None:
                own, other = group.pool.counts(), pools.get(group.pool.name)
                pools[group.pool.name] = own if other is None else other.plus(own)
