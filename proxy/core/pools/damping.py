"""Flap damping: who goes up and down again and again stays out until it has been quiet for long enough.

The scheme is that of BGP's route flap damping (RFC 2439): each transition adds a penalty that decays by half in each
half-life; over one limit the Backend is damped, under a lower one it is let back in. The supervisor keeps one Damping
for each Backend; workers are told only until when it lasts.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp2, inf, log2


@dataclass(frozen=True, slots=True)
class DampingPolicy:
    """When flapping takes a Backend out, and for how long."""

    penalty: float = 1000.0
    """What each transition adds, from well to unwell or back."""
    half_life: float = 60.0
    """Seconds in which the penalty decays by half."""
    suppress: float = 5000.0
    """From this penalty on a Backend is damped …"""
    reuse: float = 1500.0
    """… until it has decayed to this one."""
    longest: float = 600.0
    """Seconds after which a Backend that has come to rest is let back in, whatever it did before."""

    @property
    def ceiling(self) -> float:
        """No penalty is higher: it decays to `reuse` within `longest`."""
        return self.reuse * exp2(min(self.longest / self.half_life, 100.0))


class Damping:
    """The penalty of one Backend."""

    __slots__ = ("_at", "_penalty", "policy", "since", "until")

    def __init__(self, policy: DampingPolicy) -> None:
        self.policy = policy
        self._penalty = 0.0
        self._at = 0.0
        self.since = -inf
        self.until = -inf

    def __repr__(self) -> str:
        return f"<Damping penalty={self._penalty:.0f} at={self._at:.1f} until={self.until:.1f}>"

    def penalty(self, now: float) -> float:
        """What is left of it at `now`."""
        return self._penalty * exp2(-max(0.0, now - self._at) / self.policy.half_life)

    def is_damped(self, now: float) -> bool:
        """Whether the Backend stays out for its flapping."""
        return now < self.until

    def note_transition(self, now: float) -> None:
        """It went from well to unwell or back. One that is damped already stays out longer by that."""
        self._penalty = min(self.penalty(now) + self.policy.penalty, self.policy.ceiling)
        self._at = now
        if self.is_damped(now):
            self.until = self._ends(now)

    def suppress(self, now: float, *, may_eject: bool) -> bool:
        """Take it out if it flaps too much and the cap on ejections has room; True if that is new."""
        if not may_eject or self.is_damped(now) or self.penalty(now) < min(self.policy.suppress, self.policy.ceiling):
            return False
        self.since, self.until = now, self._ends(now)
        return True

    def _ends(self, now: float) -> float:
        return now + self.policy.half_life * max(0.0, log2(self.penalty(now) / self.policy.reuse))
