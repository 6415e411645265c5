"""What a Pool does under strain: its Gate where requests are limited, its hedging where answers are slow, the counts.

The Pool asks for both when its settings change; `dispatch` uses them. What is counted here goes into Reports.
"""

from __future__ import annotations

from collections.abc import Sequence

from proxy.core.limits.gate import Gate, gate_for
from proxy.core.messages import StrainCounts
from proxy.core.pools.model import Backend
from proxy.core.requests.hedging import Hedging, hedging_for
from proxy.core.settings import PoolSettings


class Strain:
    """Of one Pool in one worker. The counts stay when the settings change."""

    __slots__ = ("gate", "hedges", "hedging", "preparing", "waits")

    def __init__(self) -> None:
        self.gate: Gate | None = None
        self.hedging: Hedging | None = None
        self.waits: dict[str, int] = {}
        self.hedges: dict[str, int] = {}
        self.preparing = 0
        """Requests that are here and have not asked for a Backend yet: their body or their key comes first."""

    def __repr__(self) -> str:
        return f"<Strain {self.gate} {self.hedging}>"

    def obey(self, settings: PoolSettings, backends: Sequence[Backend], now: float) -> None:
        """Have what these settings ask for."""
        self.gate = gate_for(self.gate, settings, backends, self.waits, now)
        self.hedging = hedging_for(self.hedging, settings.hedge, self.hedges, now)

    @property
    def is_timed(self) -> bool:
        """Whether somebody wants to know how long answers take to come."""
        return self.hedging is not None or (self.gate is not None and self.gate.concurrency is not None)

    def observe(self, latency: float, now: float) -> None:
        """An answer can be judged, after so many seconds."""
        if self.hedging is not None:
            self.hedging.observe(latency, now)
        if self.gate is not None:
            self.gate.observe(latency, now)

    def absorb(self, other: Strain) -> None:
        """Take over the totals of a Pool of the same name that has left."""
        for own, others in ((self.waits, other.waits), (self.hedges, other.hedges)):
            own.update({key: own.get(key, 0) + count for key, count in others.items()})

    @property
    def waiting(self) -> int:
        """Requests that wait, or have been called and not gone in yet."""
        return 0 if self.gate is None else len(self.gate.line) + self.gate.called

    def counts(self) -> StrainCounts:
        """The totals for a Report."""
        limit = None if self.gate is None else self.gate.concurrency_limit
        return StrainCounts(dict(self.waits), self.waiting, dict(self.hedges), limit)
