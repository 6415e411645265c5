"""Whether a client stays with its owner, the Backend that its cookie names. Asked by `dispatch`, before the Balancer.

It stays as long as the owner serves, and while it drains: that keeps out none but new clients. With any other veto the
client goes where there is room. What stands by for a lower tier that is back, or for another region, has no clients of
its own any more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.core.pools.model import Backend, Unavailable

if TYPE_CHECKING:
    from proxy.core.pools.pool import Pool


def stays(pool: Pool, owner: Backend, now: float) -> bool:
    """Whether this Backend gets the next request of a client that belongs to it."""
    waits = pool.lets_scouts_only(now)
    veto = owner.unavailable(now)
    if veto is Unavailable.DRAIN:
        is_kept = owner.keeps_clients(now)
    elif veto is None:
        is_kept = not waits and _is_in_turn(pool, owner)
    else:
        is_kept = not waits and pool.panic and owner.may_be_tried_in_panic()
    if is_kept:
        pool.pass_trials_by()
    return is_kept


def _is_in_turn(pool: Pool, backend: Backend) -> bool:
    return len(pool.groups) == 1 or any(group.share for group in pool.groups if backend in group.backends)
