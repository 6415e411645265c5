"""What the supervisor has decided or heard: one Change for each thing that is different now, for log and journal."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from proxy.core.messages import BreakerNews
from proxy.core.pools.active import FAILOVER, Switch
from proxy.logs import say

log = logging.getLogger("proxy.controlplane.supervisor")

TOLD = frozenset({"health", "admin", "weight", "damping", "vacancy", "active", "share", "word", "split"})
"""Subjects of Changes that are in a Snapshot."""
ALARMING = frozenset({"down", "open", "true", "damped", "ejected", "built in", "cut off"})
"""What a Change leads to where something fails: health, Breaker, panic, degradation, damping, ejection, own code."""


@dataclass(frozen=True, slots=True)
class Change:
    """One change of state."""

    subject: str
    """What changed: `health`, `breaker`, `panic`, `admin`, `weight`, `damping`, `vacancy`, `active`, `pending`,
    `outlier`, `share`, `degraded`, `word`, `split` or `extension`."""
    pool: str
    backend: str
    """Empty where the Pool itself changed."""
    before: str
    after: str
    reason: str = ""
    switch: Switch | None = None
    """All about a switch, where `active` changed."""
    news: BreakerNews | None = None
    """What all workers must be told at once, where a Backend is ejected."""


def log_change(change: Change) -> None:
    """One line in the log. That a place is vacant is said when it is filled again."""
    if change.subject == "vacancy":
        return
    if change.switch is not None:
        _say_switch(change.switch)
        return
    fields = {"pool": change.pool, "backend": change.backend, "from": change.before, "to": change.after}
    fields["reason"] = change.reason
    shown = {name: value for name, value in fields.items() if value}
    if change.subject == "pending":
        is_urgent = change.reason.startswith(FAILOVER)
        say(log, logging.WARNING if is_urgent else logging.INFO, "a switch waits for approval", **shown)
        return
    say(log, logging.WARNING if change.after in ALARMING else logging.INFO, f"{change.subject} changed", **shown)


def _say_switch(switch: Switch) -> None:
    fields = {"pool": switch.pool, "from": switch.before, "to": switch.after}
    seconds = {"waited": switch.decided_at - switch.noticed_at, "took": switch.done_at - switch.decided_at}
    times = {name: f"{value:.3f}s" for name, value in seconds.items()}
    say(
        log, logging.WARNING, "active backend switched", **fields, cause=switch.cause, evidence=switch.evidence, **times
    )
