"""Active health checking: what a probe expects and how results turn into up or down.

Everything that decides whether probes call a Backend well lives here. The probing itself (sockets, timers) is done by
`controlplane.checker`, which asks `Health` what a result means and when to probe next.
"""

from __future__ import annotations

import enum
import random
from collections import deque
from dataclasses import dataclass

from proxy.core.pools.word import BackendWord

PROBES_KEPT = 64
"""How many probe results are kept with their error text (as Varnish's probe register does)."""


class HealthState(enum.StrEnum):
    """What the probes say of a Backend."""

    UNCHECKED = "unchecked"
    UP = "up"
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class HealthPolicy:
    """How a Backend is probed."""

    path: str | None = None
    """Path of a GET probe; without it a probe is a TCP connect."""
    interval: float = 2.0
    """Seconds between probes while the state is stable."""
    timeout: float = 1.0
    """Seconds until a probe without a result counts as failed."""
    fall: int = 3
    """Bad probes in a row that take a Backend out."""
    rise: int = 2
    """Good probes in a row that bring it back."""
    fast_interval: float = 0.5
    """Seconds between probes while the state is changing or unknown."""
    down_interval: float | None = None
    """Seconds between probes while stably down; `interval` where not set."""
    jitter: float = 0.2
    """Share of the interval by which each probe is moved, so that probes spread out."""
    initial: str = "up"
    """State before the first verdict: `up`, `down`, or `last` (as before the restart)."""
    status: tuple[tuple[int, int], ...] = ((200, 399),)
    """Inclusive ranges of status codes that a good answer may have."""
    body: str | None = None
    """Regular expression that the first 64 KiB of a good answer's body must contain."""

    check: str | None = None
    """Own code that probes in place of all that (`extending.Probe`), by its dotted path."""

    def expects(self, status: int) -> bool:
        """Whether an answer with this status is a good one."""
        return any(low <= status <= high for low, high in self.status)

    def first_delay(self, rng: random.Random) -> float:
        """Seconds until the first probe: at once, but not all in one moment (Envoy issue 4132)."""
        return rng.random() * self.jitter * min(self.interval, self.fast_interval)


@dataclass(frozen=True, slots=True)
class Probe:
    """One result of a probe."""

    at: float
    """When it ended, seconds on the caller's clock."""
    ok: bool
    duration: float
    """Seconds it took."""
    detail: str
    """What was seen: `200 OK`, `connected`, or the error's text."""
    word: BackendWord | None = None
    """What the Backend said of itself; None without an answer that could say something."""


class Health:
    """Rise and fall of one Backend (HAProxy's counter: one opposite result starts the count anew)."""

    __slots__ = ("count", "last", "policy", "since", "state")

    def __init__(self, policy: HealthPolicy, now: float, last_state: HealthState | None = None) -> None:
        self.policy = policy
        self.state = _initial_state(policy, last_state)
        self.since = now
        self.count = 0
        self.last: deque[Probe] = deque(maxlen=PROBES_KEPT)

    def __repr__(self) -> str:
        return f"<Health {self.state} count={self.count}>"

    def observe(self, probe: Probe) -> bool:
        """Take in one result; True if the state changed by it."""
        self.last.append(probe)
        if self.state is HealthState.UNCHECKED:
            agrees, needed = False, self.policy.rise if probe.ok else self.policy.fall
            self.count = self.count + 1 if self._same_as_before() else 1
        else:
            agrees = probe.ok is (self.state is HealthState.UP)
            needed = self.policy.rise if probe.ok else self.policy.fall
            self.count = 0 if agrees else self.count + 1
        if agrees or self.count < needed:
            return False
        self.state = HealthState.UP if probe.ok else HealthState.DOWN
        self.since = probe.at
        self.count = 0
        return True

    def _same_as_before(self) -> bool:
        return len(self.last) > 1 and self.last[-1].ok is self.last[-2].ok

    def next_delay(self, rng: random.Random) -> float:
        """Seconds until the next probe: fast while changing or unchecked, slower while stable."""
        policy = self.policy
        if self.state is HealthState.UNCHECKED or self.count:
            pace = policy.fast_interval
        elif self.state is HealthState.DOWN and policy.down_interval is not None:
            pace = policy.down_interval
        else:
            pace = policy.interval
        return pace * (1 + policy.jitter * (2 * rng.random() - 1) / 2)


def _initial_state(policy: HealthPolicy, last: HealthState | None) -> HealthState:
    if policy.initial == "down":
        return HealthState.UNCHECKED
    if policy.initial == "last" and last is not None:
        return last
    return HealthState.UP
