"""Ejection: how many Backends real traffic may take out, when taking out is no longer believed (panic), and when one
does clearly worse than its peers.

Where all Backends fail alike the pool is at fault and not one Backend, so every rule looks at the whole pool. The
comparison itself is made by `detector`.
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

    def room(self, ejected: int, total: int) -> int:
        """How many more may go."""
        room = 0
        while self.may_eject(ejected + room, total) and ejected + room < total:
            room += 1
        return room

    def panics(self, available: int, total: int) -> bool:
        """Whether so few are available that the verdicts are not believed."""
        return total > 0 and (available == 0 or available < self.panic_below * total)


@dataclass(frozen=True, slots=True)
class OutlierPolicy:
    """When a Backend does clearly worse than its peers, and what it costs."""

    detect: bool = True
    """Whether to compare Backends at all."""
    margin: float = 0.1
    """A share of failed, or of slow requests that is higher than its peers' by so much is clearly worse."""
    latency_factor: float = 3.0
    """A request is slow that takes so many times as long as half of the peers' do."""
    window: float = 10.0
    """Seconds that are looked at; fewer where there are many requests."""
    min_requests: int = 20
    """Requests in the window below which nothing is said of a Backend."""
    eject_for: float = 30.0
    """Seconds for which it is ejected the first time; doubles with each time in a row."""
    eject_for_max: float = 300.0
    """The longest."""
