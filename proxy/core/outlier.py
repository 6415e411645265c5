"""Ejection: how many Backends real traffic may take out, and when taking out is no longer believed (panic).

Where all Backends fail alike the pool is at fault and not one Backend, so both rules look at the whole pool.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EjectionPolicy:
    """The cap on ejections and the panic threshold."""

    max_ejected: float = 0.5
    """Largest share of a pool's Backends that their own traffic may take out at one time."""
    panic_below: float = 0.0
    """Share of available Backends under which ejections and probe results are ignored; 0: only when none is left."""

    def may_eject(self, ejected: int, total: int) -> bool:
        """Whether one more of `total` may go out when `ejected` are out already.

        Counted before ejecting. One may always go where there are two or more (Envoy's `max_ejection_percent` ejects
        nothing in small pools, issues 3263 and 27066).
        """
        if total < 2:
            return False
        return ejected == 0 or ejected + 1 <= self.max_ejected * total

    def panics(self, available: int, total: int) -> bool:
        """Whether so few are available that the verdicts are not believed."""
        return total > 0 and (available == 0 or available < self.panic_below * total)
