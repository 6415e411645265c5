"""How a Pool's load is shared between its tiers: the lowest serves, and what it can't take spills to the next.

The formula is Envoy's for priority levels, with its overprovisioning factor.
"""

from __future__ import annotations

from collections.abc import Sequence


def shares(available: Sequence[float], overprovisioning: float) -> list[float]:
    """Each tier's share of the load, lowest tier first; they add up to 1, or are all 0 if nothing is available.

    `available` holds each tier's available part of its own weight, from 0 to 1.
    """
    health = [min(1.0, overprovisioning * part) for part in available]
    total = min(1.0, sum(health))
    result: list[float] = []
    left = 1.0 if total else 0.0
    for part in health:
        share = min(left, part / total) if total else 0.0
        result.append(share)
        left -= share
    return result
