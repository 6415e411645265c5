"""Scripted Backends: what each does to a request at any moment, and what it did to all of them."""

from __future__ import annotations

import enum
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from proxy.core.requests.retry import Outcome, answered
from tests.core.pools import BROKEN_OFF, OK, REFUSED, RESET, TIMED_OUT, UNAVAILABLE, UNREACHED

NEVER = float("inf")


class Mode(enum.Enum):
    """What a Backend does to whoever comes."""

    WELL = "well"
    REFUSING = "nobody listens"
    UNREACHABLE = "packets are lost"
    HANGING = "accepts and says nothing"
    CLOSING = "accepts and closes"
    UNAVAILABLE = "503 to all"
    FAILING = "500 to all"
    HALF = "half an answer"


class Fate(NamedTuple):
    """What becomes of one request on one Backend."""

    delay: float
    """Seconds until it is known."""
    outcome: Outcome
    executed: bool
    """Whether the Backend may have carried it out."""


@dataclass
class ScriptedBackend:
    """One Backend. `lies`: its health check is green whatever it does."""

    name: str
    mode: Mode = Mode.WELL
    lies: bool = False
    resets: float = 0.0
    """The share of requests that it carries out and answers with a reset."""
    slowness: Callable[[float], float] = field(default=lambda _: 0.0)
    """Seconds more than usual that an answer takes, at a given time."""
    well_since: float = 0.0
    died_at: float = -NEVER
    generation: int = 0
    """Of its process; a connection to an earlier one is stale."""
    executions: Counter[int] = field(default_factory=Counter)
    """How often it carried out each request."""
    requests: list[float] = field(default_factory=list)
    """When requests reached it."""
    pending: dict[int, Callable[[Outcome], None]] = field(default_factory=dict)
    """Requests that it has and has not answered."""

    @property
    def could_answer(self) -> bool:
        return self.mode is Mode.WELL and not self.resets

    def turn(self, mode: Mode, now: float) -> None:
        """Change for the better or the worse. Who stops listening dies, and with it all it was doing."""
        if mode is Mode.REFUSING:
            self.generation += 1
            self.died_at = now
            for end in list(self.pending.values()):
                end(RESET)
        if mode is Mode.WELL and self.mode is not Mode.WELL:
            self.well_since = now
        self.mode = mode

    def take(self, now: float, rng: random.Random, connect: float, first_byte: float) -> Fate:
        """A request comes, within these timeouts of the proxy's."""
        self.requests.append(now)
        service = rng.uniform(0.004, 0.012) + self.slowness(now)
        if self.mode is not Mode.WELL:
            return self._mistreat(service, connect, first_byte)
        if rng.random() < self.resets:
            return Fate(service, RESET, executed=True)
        if service >= first_byte:
            return Fate(first_byte, TIMED_OUT, executed=True)
        return Fate(service, OK, executed=True)

    def _mistreat(self, service: float, connect: float, first_byte: float) -> Fate:
        return {
            Mode.REFUSING: Fate(0.0003, REFUSED, executed=False),
            Mode.UNREACHABLE: Fate(connect, UNREACHED, executed=False),
            Mode.HANGING: Fate(first_byte, TIMED_OUT, executed=True),
            Mode.CLOSING: Fate(0.0005, RESET, executed=True),
            Mode.UNAVAILABLE: Fate(0.001, UNAVAILABLE, executed=True),
            Mode.FAILING: Fate(0.001, answered(500, False), executed=True),
            Mode.HALF: Fate(service, BROKEN_OFF, executed=True),
        }[self.mode]

    def probed(self, now: float, timeout: float) -> tuple[bool, float]:
        """What a probe sees, and after how many seconds."""
        if self.lies:
            return True, 0.001
        if self.mode in (Mode.UNREACHABLE, Mode.HANGING) or self.slowness(now) >= timeout:
            return False, timeout
        return self.mode is Mode.WELL, 0.001 + self.slowness(now)
