"""How a Pool's load is shared between its tiers, and within each between the own region and the others.

The lowest tier serves, and what it can't take spills to the next. The formula is Envoy's for priority levels, with its
overprovisioning factor. Workers pick by it (`pool`), the supervisor shows by it who stands by (`registry`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from proxy.core.settings import BackendSettings, PoolSettings


class Place(NamedTuple):
    """Where a Backend stands in its Pool; the lower ones serve first."""

    tier: int
    is_far: bool = False
    """Whether it is in another region than the proxy, in a Pool that prefers its own."""


def place_of(pool: PoolSettings, backend: BackendSettings) -> Place:
    """The place of a Backend."""
    return Place(backend.tier, pool.locality is not None and backend.region != pool.region)


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


def spread(pool: PoolSettings, weights: Mapping[Place, tuple[float, float]]) -> dict[Place, float]:
    """Each place's share of the load. `weights` holds each one's available weight and its whole weight."""
    tiers = sorted({place.tier for place in weights})
    sides = [[place for place in sorted(weights) if place.tier == tier] for tier in tiers]
    parts = [_part([weights[place] for place in places]) for places in sides]
    result = {}
    for places, share in zip(sides, shares(parts, pool.overprovisioning), strict=True):
        factor = pool.overprovisioning if pool.locality is None else pool.locality.overprovisioning
        for place, part in zip(places, shares([_part([weights[one]]) for one in places], factor), strict=True):
            result[place] = share * part
    return result


def _part(weights: Sequence[tuple[float, float]]) -> float:
    whole = sum(one for _, one in weights)
    return sum(one for one, _ in weights) / whole if whole else 0.0
