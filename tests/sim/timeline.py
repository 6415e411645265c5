"""Time as a heap of things to come: no event loop, no sleep, no clock but the one that is moved on from event to event."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count


class Timeline:
    """What happens when."""

    def __init__(self) -> None:
        self.now = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()

    def at(self, time: float, action: Callable[[], None]) -> None:
        """Let this happen then; of two at the same time the one told first comes first."""
        heapq.heappush(self._events, (time, next(self._numbers), action))

    def after(self, delay: float, action: Callable[[], None]) -> None:
        """Let this happen in so many seconds."""
        self.at(self.now + delay, action)

    def run(self, until: float) -> None:
        """Let everything happen that is due by then."""
        while self._events and self._events[0][0] <= until:
            self.now, _, action = heapq.heappop(self._events)
            action()
        self.now = until
