"""How a Change of state is told in the log. What changes is decided by `registry`; the supervisor has it told."""

from __future__ import annotations

import logging

from proxy.controlplane.registry import Change
from proxy.logs import say

log = logging.getLogger("proxy.controlplane.supervisor")

ALARMING = frozenset({"down", "open", "true"})
"""What a Change leads to where something fails: health, Breaker, panic."""


def log_change(change: Change) -> None:
    """One line."""
    fields = {"pool": change.pool, "backend": change.backend, "from": change.before, "to": change.after}
    fields["reason"] = change.reason
    shown = {name: value for name, value in fields.items() if value}
    level = logging.WARNING if change.after in ALARMING else logging.INFO
    say(log, level, f"{change.subject} changed", **shown)
