"""Whom a request may still get that has failed on one Backend while others are well, but full.

To be full is no reason to call a Pool out, nor to ask whoever has failed again: a place is soon free. Called by
`dispatch` after a failed Attempt; where nothing limits a Pool there is nothing to await.
"""

from __future__ import annotations

import random
from collections.abc import Collection

from proxy.core.pools.balancer import Keyed
from proxy.core.pools.model import Backend, Unavailable
from proxy.core.pools.pool import Pool


def has_full(pool: Pool, tried: Collection[Backend], now: float) -> bool:
    """Whether somebody serves who was not tried, and is only full."""
    if pool.gate is None or not tried:
        return False
    return any(one.unavailable(now) is Unavailable.FULL for one in pool.backends if one not in tried)


def with_room(pool: Pool, tried: Collection[Backend], request: Keyed, now: float, rng: random.Random) -> Backend | None:
    """Somebody who was not tried and has room by now, where Backends may be full."""
    if pool.gate is None or not tried:
        return None
    pool.look_around(now)
    return pool.pick(request, now, rng, tried)
