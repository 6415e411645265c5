"""A split of Pools: which of them gets a request, at random or always the same one for a client.

The Pool of a client follows from its seed and the shares by weighted rendezvous: each Pool draws a number from the
seed, and the least for its share wins. So shares that change move the clients that they must, and no others. A Pool
that is cut off, or in which nobody serves, is passed over: its share goes to the others, in proportion.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from hashlib import blake2b
from math import inf, log

from proxy.core.pools.pool import Pool

IsOut = Callable[[str], bool]
"""Whether the Pool of this name is to be passed over."""

OUT_OF_REACH = 1.0
"""Seconds for which a Pool is passed over whose Backends requests have just found out of reach."""
_MOST = 1 << 64


class Split:
    """The Pools of one Route with their shares, which add up to 1."""

    __slots__ = ("cut_off", "shares")

    def __init__(self, shares: Sequence[tuple[str, float]]) -> None:
        self.shares = shares
        self.cut_off = ""
        """A Pool that gets nothing now, by a rule or by a person."""

    def __repr__(self) -> str:
        shares = ", ".join(f"{pool}: {share:.0%}{' cut off' * (pool == self.cut_off)}" for pool, share in self.shares)
        return f"<Split {shares}>"

    def at_random(self, rng: random.Random, is_out: IsOut) -> str:
        """The Pool for one request."""
        drawn = _drawn(self._left(), rng)
        if not is_out(drawn):
            return drawn
        rest = [one for one in self._left() if not is_out(one[0])]
        return _drawn(rest, rng) if rest else drawn

    def of_client(self, seed: int, is_out: IsOut) -> str:
        """The Pool of one client."""
        ranked = _ranked(self._left(), seed)
        return next((pool for pool in ranked if not is_out(pool)), ranked[0])

    def _left(self) -> Sequence[tuple[str, float]]:
        """Those that are not cut off."""
        return [one for one in self.shares if one[0] != self.cut_off] if self.cut_off else self.shares


def is_passed_over(pool: Pool, now: float) -> bool:
    """Whether nobody serves in a Pool. As long as it gets no requests, good probes stand for trials."""
    if not pool.is_out(now):
        return False
    if pool.lost_at is not None:
        pool.pass_trials_by()
        return True
    return pool.failing_at is not None and now < pool.failing_at + OUT_OF_REACH


def _drawn(shares: Sequence[tuple[str, float]], rng: random.Random) -> str:
    drawn = rng.random() * sum(share for _, share in shares)
    for pool, share in shares:
        if drawn < share:
            return pool
        drawn -= share
    return shares[-1][0]


def _ranked(shares: Sequence[tuple[str, float]], seed: int) -> list[str]:
    """All Pools, the one where the client belongs first."""
    return [pool for pool, _ in sorted(shares, key=lambda one: _distance(one[0], one[1], seed))]


def _distance(pool: str, share: float, seed: int) -> float:
    """An exponential draw of this rate: the least of several is each one's with a chance in proportion to its share."""
    digest = blake2b(
        seed.to_bytes(8, "big"), digest_size=8, key=blake2b(pool.encode(), digest_size=32).digest()
    ).digest()
    return -log((int.from_bytes(digest, "big") + 1) / (_MOST + 1)) / share if share else inf
