"""Entries about who is the active one of an active-passive Pool: each switch with its cost, and those that wait.

A switch is told a moment after it is done: when every worker has reported since, so that what it has cost is known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from proxy.controlplane.admin.dates import Dates
from proxy.controlplane.availability.accounting import Accounting
from proxy.controlplane.pools.change import Change
from proxy.controlplane.pools.records import BackendRecord
from proxy.controlplane.pools.registry import Registry
from proxy.core.pools.active import FAILBACK, FAILOVER, ORDER, Pending, Switch
from proxy.core.telling.cost import KEPT_FOR, Cost, Course, Harm
from proxy.core.telling.journal import PERSON, RULE, Entry, Kind

SETTLED_AFTER = 0.25
"""Seconds after a switch for requests that it held to be answered; what a worker reports then tells all."""
LONGEST = 2.0
"""Seconds after which a switch is told, whoever has not reported."""
APPROVED = "approved by a person"

Tell = Callable[[Entry], object]


@dataclass(frozen=True, slots=True)
class _Open:
    """A switch that is done and not yet told."""

    switch: Switch
    before: Harm
    trouble_at: float
    evidence: dict[str, Any]


class Switches:
    """Watches the active-passive Pools."""

    def __init__(self, registry: Registry, accounting: Accounting, dates: Dates, tell: Tell) -> None:
        self._registry = registry
        self._accounting = accounting
        self._dates = dates
        self._tell = tell
        self._courses: dict[str, Course] = {}
        self._waiting: dict[str, Pending] = {}
        """Switches that wait for a person, by Pool."""
        self._open: list[_Open] = []

    def __repr__(self) -> str:
        return f"<Switches {len(self._courses)} pools, {len(self._open)} open>"

    def tick(self, now: float) -> None:
        """A second has passed: note how things stand, and tell what is settled."""
        for pool in self._pools():
            self._courses.setdefault(pool, Course()).note(now, self._harm(pool))
            self._look_who_waits(pool)
        self.look(now)

    def _pools(self) -> Iterator[str]:
        return (name for name, pool in self._registry.pools.items() if pool.governor.place is not None)

    def _harm(self, pool: str) -> Harm:
        counts, totals = self._accounting.pool(pool), self._registry.tally.totals().pools.get(pool)
        retried, held = (sum(totals.retries.values()), totals.held) if totals is not None else (0, 0)
        return Harm(counts.bad, retried, counts.saved, held, counts.unknown)

    def _look_who_waits(self, pool: str) -> None:
        """Tell where a switch that waited for a person is wanted no more."""
        place = self._registry.pools[pool].governor.place
        if place is None or place.active is None:
            return
        before = self._waiting.pop(pool, None)
        if place.pending is not None:
            self._waiting[pool] = place.pending
        elif before is not None and place.active != before.to:
            self._tell(_no_longer_wanted(pool, place.active, before))

    # Switches

    def note(self, change: Change) -> None:
        """A place has been handed over, or waits to be."""
        if change.switch is not None:
            self._begin(change.switch)
        elif change.subject == "pending":
            self._tell(self._pending(change))

    def _begin(self, switch: Switch) -> None:
        pool = self._registry.pools.get(switch.pool)
        record = pool.backends.get(switch.before) if pool is not None else None
        trouble_at, evidence = switch.noticed_at, {"seen": switch.evidence}
        if record is not None and switch.cause == FAILOVER:
            trouble_at = first_sign(record, switch.noticed_at)
        course = self._courses.setdefault(switch.pool, Course())
        self._open.append(_Open(switch, course.before(trouble_at), trouble_at, evidence))

    def look(self, now: float) -> None:
        """Tell the switches that are settled."""
        live = self._registry.tally.live.values()
        heard = min((report.at for report in live), default=now)
        for one in list(self._open):
            done_at = one.switch.done_at
            if heard >= done_at + SETTLED_AFTER or now >= done_at + LONGEST:
                self._open.remove(one)
                self._tell(self._entry(one))

    def close(self) -> None:
        """The program ends: tell what is known by now."""
        for one in self._open:
            self._tell(self._entry(one))
        self._open = []

    def _entry(self, one: _Open) -> Entry:
        switch = one.switch
        harm = self._harm(switch.pool).since(one.before)
        began = switch.noticed_at if switch.cause == FAILOVER else switch.decided_at
        cost = Cost(max(0.0, switch.noticed_at - one.trouble_at), switch.done_at - began, *harm)
        if switch.cause != FAILOVER:
            cost = Cost(0.0, cost.switch_s, *harm)
        is_ordered = switch.cause == ORDER or APPROVED in switch.evidence
        evidence = one.evidence | {
            "noticed_at": self._dates.iso(switch.noticed_at),
            "decided_at": self._dates.iso(switch.decided_at),
            "done_at": self._dates.iso(switch.done_at),
        }
        return Entry(
            Kind.FAILOVER,
            _sentence(switch, cost, is_ordered=is_ordered),
            switch.pool,
            switch.after,
            switch.before,
            switch.after,
            f"{switch.cause}: {switch.evidence}",
            _rule(switch),
            PERSON if is_ordered else RULE,
            evidence,
            cost,
        )

    def _pending(self, change: Change) -> Entry:
        pool = self._registry.pools.get(change.pool)
        place = pool.governor.place if pool is not None else None
        active = place.place if place is not None else ""
        word = FAILOVER if change.reason.startswith(FAILOVER) else FAILBACK
        sentence = f"Pool {change.pool}: a {word} from {active} to {change.after} waits for a person ({change.reason})."
        rule = "failover.mode" if word == FAILOVER else "failover.failback"
        return Entry(Kind.FAILOVER, sentence, change.pool, change.after, active, "pending", change.reason, rule)


def _no_longer_wanted(pool: str, active: str, pending: Pending) -> Entry:
    sentence = f"Pool {pool}: the {pending.cause} to {pending.to} is no longer wanted; {active} stays the active one."
    cause = f"the reason for it is over ({pending.evidence})"
    return Entry(Kind.FAILOVER, sentence, pool, pending.to, "pending", active, cause, "failover.mode")


def first_sign(record: BackendRecord, noticed_at: float) -> float:
    """When the trouble began by which it was noticed: the first of the bad probes in a row, or of the failures."""
    found = noticed_at
    for probe in reversed(record.health.last):
        if probe.ok:
            break
        if probe.at <= noticed_at:
            found = min(found, probe.at - probe.duration)
    began = [view.began for view in record.breakers.values() if 0.0 < view.began <= noticed_at]
    return max(noticed_at - KEPT_FOR, min([found, *began]))


def _rule(switch: Switch) -> str:
    return {FAILOVER: "failover.after", FAILBACK: "failover.failback", ORDER: ""}.get(switch.cause, "mode")


def _sentence(switch: Switch, cost: Cost, *, is_ordered: bool) -> str:
    verb = {FAILOVER: "failed over", FAILBACK: "went back"}.get(switch.cause, "was switched")
    by = " by a person" if is_ordered else ""
    took = f"in {cost.switch_s:.2f} s"
    if switch.cause == FAILOVER:
        took = f"{cost.switch_s:.2f} s after it was noticed, which took {cost.detect_s:.2f} s"
    who = f"Pool {switch.pool} {verb} from {switch.before} to {switch.after}{by}"
    return f"{who} {took} ({switch.evidence}); {cost.words()}."
