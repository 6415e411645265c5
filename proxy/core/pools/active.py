"""Active-passive Pools: which one Backend is the active one, and how its place is handed over.

Exactly one Backend is active in all workers at any time. So a switch has two phases: first nobody is active, and only
when every worker has said that it knows so, the new one is. Between them requests wait (`hold`). The supervisor
(`governor`) feeds it what is known of the Backends and of the workers; workers are told only who stands by.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

FAILOVER, FAILBACK, ORDER, SETTINGS = "failover", "failback", "order", "settings"
"""Causes of a switch: the active one is out; who should be is back; a person wants it; a reload took it away."""
PATIENCE = 3
"""Ticks (of about a second) that a worker has to say that it knows; then it hangs, and must be ended."""


@dataclass(frozen=True, slots=True)
class FailoverPolicy:
    """Who decides on a switch, and when."""

    automatic: bool = True
    """Whether another takes over by itself when the active one is out; else a person has to approve."""
    after: float = 0.0
    """Seconds that the active one has to be out before."""
    failback: bool = True
    """Whether the first in line gets its place back by itself; else a person has to approve."""
    failback_after: float = 60.0
    """Seconds that it has to be well before."""


class Standing(NamedTuple):
    """What is known of a Backend."""

    is_well: bool
    evidence: str = ""
    """Why not."""


@dataclass(frozen=True, slots=True)
class Switch:
    """One switch, as log and journal tell it."""

    pool: str
    before: str
    after: str
    cause: str
    """`failover`, `failback`, `order` or `settings`."""
    evidence: str
    """What was seen of the one that was active, or who gave the order."""
    noticed_at: float
    """Since when there was a reason."""
    decided_at: float
    done_at: float
    """When every worker had let go of the one that was active, and the new one was."""


class Pending(NamedTuple):
    """A switch that waits for a person."""

    to: str
    cause: str
    evidence: str
    since: float


class _Vacancy:
    """A switch under way: the place is empty."""

    __slots__ = ("before", "began", "ticks", "version", "waiting", "wanted")

    def __init__(self, before: str, wanted: Pending, now: float, workers: Collection[int], version: int) -> None:
        self.before = before
        self.wanted = wanted
        self.began = now
        self.version = version
        self.waiting = set(workers)
        self.ticks = 0


class ActivePassive:
    """The place of the active Backend of one Pool. `line`: all its Backends, who should be active first."""

    def __init__(self, pool: str, policy: FailoverPolicy, line: Sequence[str], active: str | None = None) -> None:
        self.pool = pool
        self.policy = policy
        self.line = tuple(line)
        self.place = active if active in self.line else self.line[0]
        """Whose place it is: who is active, or was until the switch that is under way."""
        self.pending: Pending | None = None
        self.is_pinned = False
        """Whether a person put it there: then it goes back only by order."""
        self._is_forced = False
        self._out_since: float | None = None
        self._back_since: dict[str, float] = {}
        self._vacancy: _Vacancy | None = None
        self._is_void = False

    def __repr__(self) -> str:
        return f"<ActivePassive {self.pool} active={self.active} pending={self.pending}>"

    @property
    def active(self) -> str | None:
        """Who is active; None while the place is handed over."""
        return None if self._is_void or self._vacancy is not None else self.place

    def obey(self, policy: FailoverPolicy, line: Sequence[str]) -> None:
        """Follow other settings. If they know the active one no more, another has to be found."""
        self.policy, self.line = policy, tuple(line)
        self._back_since = {name: since for name, since in self._back_since.items() if name in self.line}
        if self.place not in self.line:
            self.place = self.line[0]
            self.is_pinned, self._out_since = False, None
            self.void()
        if self._vacancy is not None and self._vacancy.wanted.to not in self.line:
            self.void()

    def void(self) -> None:
        """Workers may think that another is active, or that all are: hand the place over, if to the same one."""
        self._is_void = True

    @property
    def successor(self) -> str | None:
        """Who will be active, while the place is handed over."""
        return None if self._vacancy is None else self._vacancy.wanted.to

    # Deciding

    def review(self, standings: Mapping[str, Standing], now: float) -> Pending | None:
        """The switch that is to `begin` now by the policy; one that needs a person becomes `pending`."""
        self._note(standings, now)
        if self._vacancy is not None and not self._is_void:
            return None
        if self._is_void:
            to = next((name for name in self.line if standings[name].is_well), self.line[0])
            return Pending(to, SETTINGS, "the settings have changed", now)
        wanted, due_at = self._wanted(standings)
        if wanted is None or due_at is not None:
            self.pending = None
            return wanted if due_at is not None and now >= due_at else None
        if self.pending is None or self.pending[:2] != wanted[:2]:
            self.pending = wanted
        return None

    def _note(self, standings: Mapping[str, Standing], now: float) -> None:
        """Since when each one is well, and the active one is not."""
        for name in self.line:
            if not standings[name].is_well:
                self._back_since.pop(name, None)
            else:
                self._back_since.setdefault(name, now)
        if self._vacancy is not None:
            return
        if standings[self.place].is_well:
            self._out_since, self._is_forced = None, False
        elif self._out_since is None:
            self._out_since = now

    def _wanted(self, standings: Mapping[str, Standing]) -> tuple[Pending | None, float | None]:
        """The switch that there is a reason for, and when it may begin by itself; None: only if a person says so."""
        policy, since = self.policy, self._out_since
        first = next((name for name in self.line if standings[name].is_well), None)
        if first is None or first == self.place or self._is_forced:
            return None, None
        if since is not None:
            wanted = Pending(first, FAILOVER, standings[self.place].evidence, since)
            return wanted, since + policy.after if policy.automatic else None
        since = self._back_since[first]
        wanted = Pending(first, FAILBACK, f"{first} is well", since)
        return wanted, since + policy.failback_after if policy.failback and not self.is_pinned else None

    def order(self, to: str, standings: Mapping[str, Standing], now: float, cause: str = ORDER) -> Pending:
        """A person wants the place to go there: approves what is pending, or decides it alone. To `begin` at once."""
        pending = self.pending
        if pending is not None and pending.to == to:
            return pending._replace(evidence=f"{pending.evidence}; approved by a person")
        self._is_forced = not standings[to].is_well
        return Pending(to, cause, "a person gave the order", now)

    def heir(self, standings: Mapping[str, Standing]) -> str | None:
        """Who comes before the active one and is well: whom a failback gives the place to."""
        ahead = self.line[: self.line.index(self.place)]
        return next((name for name in ahead if standings[name].is_well), None)

    # Handing over

    def begin(self, wanted: Pending, now: float, workers: Collection[int], version: int) -> None:
        """From this version on nobody is active, and these workers have to say that they know."""
        self.pending = None
        self._is_void = False
        self._vacancy = _Vacancy(self.place, wanted, now, workers, version)

    def heard(self, worker: int, version: int) -> None:
        """This worker has taken a Snapshot."""
        if self._vacancy is not None and version >= self._vacancy.version:
            self._vacancy.waiting.discard(worker)

    def lost(self, worker: int) -> None:
        """Its process has ended: its successor begins with what is true then."""
        if self._vacancy is not None:
            self._vacancy.waiting.discard(worker)

    def complete(self, now: float) -> Switch | None:
        """Make the new one active, if every worker knows that the old one is not."""
        vacancy = self._vacancy
        if vacancy is None or vacancy.waiting:
            return None
        wanted = vacancy.wanted
        self._vacancy = None
        self._out_since = None
        self.place = wanted.to
        self.is_pinned = wanted.cause == ORDER and wanted.to != self.line[0]
        return Switch(
            self.pool, vacancy.before, wanted.to, wanted.cause, wanted.evidence, wanted.since, vacancy.began, now
        )

    def overdue(self) -> frozenset[int]:
        """A tick has passed: the workers that hang, and keep the place from being handed over."""
        vacancy = self._vacancy
        if vacancy is None:
            return frozenset()
        vacancy.ticks += 1
        return frozenset(vacancy.waiting) if vacancy.ticks > PATIENCE else frozenset()
