"""Until when a Backend that drains may have clients of its own: those that a cookie keeps there.

Workers renew no cookie of a Backend that drains (`dataplane.exchanges.sticking`), so that the last one ends in time.
"""

from __future__ import annotations

from proxy.controlplane.pools.records import BackendRecord
from proxy.core.messages import AdminState
from proxy.core.pools.model import Unavailable
from proxy.core.settings import Settings

ROUNDED = 1.0
"""Seconds by which a cookie may last longer, since it names a whole one."""


def lifetimes(settings: Settings) -> dict[str, float]:
    """Seconds that cookies last, by the Pool that they lead to; the longest where its Routes differ."""
    found: dict[str, float] = {}
    for route in settings.routes:
        if route.sticky is not None and route.sticky.cookie:
            for pool, _ in route.split:
                found[pool] = max(found.get(pool, 0.0), route.sticky.ttl)
    return found


def clients_until(record: BackendRecord, lifetime: float | None, now: float) -> float | None:
    """When the last client that belongs to this Backend has no good cookie any more; None if it drains for nobody."""
    since = record.vetoes.get(Unavailable.DRAIN)
    if lifetime is None or since is None or record.admin is AdminState.MAINT:
        return None
    ends = since + lifetime + ROUNDED
    return ends if now < ends else None
