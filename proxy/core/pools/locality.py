"""Locality: the Backends of the proxy's own region serve first; what they can't take goes to the other regions.

The rule is that of tiers, between two sides of each tier: the near one and the far one. `tiers` applies it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LocalityPolicy:
    """How much of a region must be left for it to take the whole load of its proxies."""

    spill_below: float = 0.7
    """Below this available share of the own region, the rest of the load goes to the others, by weight."""

    @property
    def overprovisioning(self) -> float:
        """What the available share counts times, as for tiers."""
        return 1.0 / self.spill_below
