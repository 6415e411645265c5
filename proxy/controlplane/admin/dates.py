"""Monotonic seconds as dates, for people. Everything inside counts monotonic seconds; only the API shows dates."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache

STEP = 0.5
"""Seconds by which the wall clock must have been set before dates follow it; less would make them flicker."""


class Dates:
    """Turns the monotonic clock that all processes of this machine share into dates."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic, wall: Callable[[], float] = time.time) -> None:
        self._monotonic = monotonic
        self._wall = wall
        self._offset = wall() - monotonic()

    def now(self) -> float:
        """The monotonic clock."""
        return self._monotonic()

    def iso(self, at: float) -> str:
        """ISO 8601 in UTC, with milliseconds."""
        offset = self._wall() - self._monotonic()
        if abs(offset - self._offset) > STEP:
            self._offset = offset
        return _written(round(at + self._offset, 3))


@lru_cache(maxsize=32768)
def _written(at: float) -> str:
    """The same moments are asked for again and again: those of the last probes of each Backend."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
