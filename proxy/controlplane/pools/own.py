"""What the supervisor counts by itself, beside what workers report: ejections, switches, reloads, its loop's lag.

Numbers only. The registry holds one OwnCounts; `metrics` shows it, and a replacement hands it on.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from proxy.controlplane.pools.change import Change
from proxy.controlplane.pools.tally import forget_oldest
from proxy.core.telling.naming import Names


@dataclass(slots=True)
class OwnCounts:
    """Totals since the first of the programs that replaced each other; the rest is of now."""

    ejections: dict[tuple[str, str], int] = field(default_factory=dict)
    """By Pool and Backend."""
    switches: dict[tuple[str, str], int] = field(default_factory=dict)
    """Of active-passive Pools: by Pool and cause."""
    past_outages: dict[tuple[str, str], int] = field(default_factory=dict)
    """Of Backends that a reload has removed."""
    loop_lag: float = 0.0
    """Seconds, the largest of the last round."""
    reloaded_at: float = 0.0
    """Unix time at which the settings in force were taken."""
    is_last_reload_good: bool = True

    def note(self, change: Change) -> None:
        """Count what is to be counted of a Change."""
        if change.subject == "outlier":
            key = (change.pool, change.backend)
            self.ejections[key] = self.ejections.get(key, 0) + 1
        elif change.switch is not None:
            cause = (change.pool, change.switch.cause)
            self.switches[cause] = self.switches.get(cause, 0) + 1

    def note_settings(self, at: float) -> None:
        """Settings are in force that were read at this Unix time."""
        self.reloaded_at = at
        self.is_last_reload_good = True

    def forget(self, names: Names) -> None:
        """The settings bear these names now."""
        forget_oldest(self.ejections, names.backends.__contains__)
        forget_oldest(self.past_outages, names.backends.__contains__)
        forget_oldest(self.switches, lambda key: key[0] in names.pools)
