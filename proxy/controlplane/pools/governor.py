"""What follows for the Backends of one Pool from how they fare together: flap damping, ejection, and who is active.

It decides and remembers; `registry` asks it after all that it hears, and tells the workers what came of it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from math import inf
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from proxy.controlplane.pools.change import Change
from proxy.controlplane.pools.tally import BackendTotals, Tally
from proxy.core.messages import AdminState, BreakerNews
from proxy.core.pools.active import FAILBACK, FAILOVER, ActivePassive, Pending, Standing, Switch
from proxy.core.pools.breaker import BreakerState
from proxy.core.pools.damping import Damping
from proxy.core.pools.detector import OutlierDetector, Sentence
from proxy.core.pools.model import BY_TRAFFIC, Unavailable
from proxy.core.pools.peers import Totals
from proxy.core.settings import PoolSettings

if TYPE_CHECKING:
    from proxy.controlplane.pools.records import BackendRecord

Records: TypeAlias = "Mapping[str, BackendRecord]"


class Refused(Exception):  # noqa: N818 - says what happened to the order
    """A person's order can't be carried out; the text says why."""


class Told(NamedTuple):
    """Which workers act on Snapshots now, and the version of the next one."""

    workers: Collection[int] = ()
    version: int = 0


SUPERVISOR = -1
"""In place of a worker's number, where the supervisor itself has decided."""
NOT_OUT = frozenset({Unavailable.FULL})
"""Reasons that leave a Backend to be compared with its peers."""
NEITHER = frozenset({Unavailable.FULL, Unavailable.STANDBY})
"""Reasons that say nothing of whether a Backend could be the active one."""
UNWELL = frozenset({Unavailable.FAILED_PROBES, *BY_TRAFFIC})
"""Reasons that say something of the Backend itself."""


class Governor:
    """The policies of one Pool that look at more than one Backend, or at more than one moment."""

    def __init__(self, settings: PoolSettings) -> None:
        self.dampings: dict[str, Damping] = {}
        self._unwell: set[str] = set()
        self._damped: set[str] = set()
        self.detector: OutlierDetector | None = None
        self._degraded = ""
        self.place = _place(settings)
        self.obey(settings, ())

    def __repr__(self) -> str:
        return f"<Governor {self.settings.name} damped={sorted(self._damped)}>"

    def obey(self, settings: PoolSettings, new: Collection[str]) -> None:
        """Follow other settings. What is known of a Backend stays, but for `new` ones under an old name."""
        self.settings = settings
        if self.place is None or settings.failover is None:
            was_there, self.place = self.place is not None, _place(settings)
            if self.place is not None and not was_there:
                self.place.void()
        else:
            self.place.obey(settings.failover, _line(settings))
        self._obey_detector(settings, new)
        policy = settings.damping
        if policy is None:
            self.dampings = {}
            return
        known = {name: one for name, one in self.dampings.items() if name not in new}
        self.dampings = {one.name: known.get(one.name) or Damping(policy) for one in settings.backends}
        for damping in self.dampings.values():
            damping.policy = policy

    def _obey_detector(self, settings: PoolSettings, new: Collection[str]) -> None:
        """Where one serves at a time, or there is only one, there is nobody to compare it with."""
        alike = {one.name: (one.tier, one.region) for one in settings.backends}
        if not settings.outlier.detect or settings.failover is not None or len(alike) == 1:
            self.detector = None
        elif self.detector is None:
            self.detector = OutlierDetector(settings.outlier, alike)
        else:
            self.detector.obey(settings.outlier, alike, new)

    def damped_until(self, backend: str) -> float:
        """Until when it stays out for its flapping, or did the last time."""
        damping = self.dampings.get(backend)
        return -inf if damping is None else damping.until

    def is_damped(self, backend: str, now: float) -> bool:
        """Whether it stays out for its flapping."""
        damping = self.dampings.get(backend)
        return damping is not None and damping.is_damped(now)

    def remember(self, active: str) -> None:
        """Who was active before we began; nothing where that one is not known any more."""
        if self.place is not None and active in self.place.line:
            self.place.place = active

    def share(self, backend: str) -> float:
        """The part of its weight that it has."""
        return 1.0 if self.detector is None else self.detector.part(backend)

    @property
    def degraded(self) -> str:
        """What is wrong with the Pool as a whole."""
        return "" if self.detector is None else self.detector.degraded

    def is_standby(self, backend: str) -> bool:
        """Whether another is the active one, or nobody."""
        return self.place is not None and self.place.active != backend

    def review(self, records: Records, now: float, told: Told) -> list[Change]:
        """Look at what all of them are now."""
        changes = [
            change for name, damping in self.dampings.items() for change in self._damp(records, name, damping, now)
        ]
        return changes if self.place is None else changes + self._switch(self.place, records, now, told)

    # Flap damping

    def _damp(self, records: Records, name: str, damping: Damping, now: float) -> list[Change]:
        is_unwell = not UNWELL.isdisjoint(records[name].reasons)
        if is_unwell is not (name in self._unwell):
            self._unwell ^= {name}
            damping.note_transition(now)
        if damping.suppress(now, may_eject=self._may_eject(records, name, now)):
            self._damped.add(name)
            reason = f"its flapping has cost it {damping.penalty(now):.0f}"
            return [Change("damping", self.settings.name, name, "quiet", "damped", reason)]
        if name in self._damped and not damping.is_damped(now):
            self._damped.remove(name)
            return [Change("damping", self.settings.name, name, "damped", "quiet")]
        return []

    def _may_eject(self, records: Records, name: str, now: float) -> bool:
        """Whether one more may be taken out beside those that are (`ejection.max_ejected`)."""
        return self.settings.ejection.may_eject(self._ejected(records, now, but=name), len(records))

    def _ejected(self, records: Records, now: float, but: str = "") -> int:
        others = [one for one in records if one != but]
        return sum(self.is_damped(one, now) or not BY_TRAFFIC.isdisjoint(records[one].reasons) for one in others)

    # Comparison with peers

    def compare(self, records: Records, tally: Tally, now: float, told: Told) -> list[Change]:
        """Look who does worse than its peers; about once a second."""
        detector = self.detector
        if detector is None:
            return []
        out = [name for name, record in records.items() if not NOT_OUT.issuperset(record.reasons)]
        room = self.settings.ejection.room(self._ejected(records, now), len(records))
        totals = {name: _totals(tally.backend(record.key)) for name, record in records.items()}
        changes = [self._carry_out(one, records[one.name], now, told) for one in detector.look(totals, out, room, now)]
        return changes + self._degradation(detector.degraded)

    def _carry_out(self, sentence: Sentence, record: BackendRecord, now: float, told: Told) -> Change:
        pool, name = record.key
        if not sentence.eject_for:
            before = f"{record.share:.0%}"
            return Change("share", pool, name, before, f"{sentence.part:.0%}", sentence.evidence)
        until = now + sentence.eject_for
        record.note_ejection(until, sentence.evidence, now, told.workers)
        news = BreakerNews(SUPERVISOR, pool, name, BreakerState.OPEN, until, sentence.evidence, now, outlier=True)
        return Change("outlier", pool, name, "compared", "ejected", sentence.evidence, news=news)

    def _degradation(self, degraded: str) -> list[Change]:
        before, self._degraded = bool(self._degraded), degraded
        if before is bool(degraded):
            return []
        return [self._change("degraded", str(before).lower(), str(bool(degraded)).lower(), degraded)]

    # The active one

    def _switch(self, place: ActivePassive, records: Records, now: float, told: Told) -> list[Change]:
        asked = place.pending
        wanted = place.review(self._standings(place, records), now)
        if wanted is not None:
            return self._begin(place, wanted, now, told)
        changes = self._complete(place, now)
        pending = place.pending
        if pending is not None and (asked is None or asked[:2] != pending[:2]):
            changes.append(self._change("pending", "", pending.to, f"{pending.cause}: {pending.evidence}"))
        return changes

    def _begin(self, place: ActivePassive, wanted: Pending, now: float, told: Told) -> list[Change]:
        before = place.place
        place.begin(wanted, now, told.workers, told.version)
        return [self._change("vacancy", before, "", f"{wanted.cause}: {wanted.evidence}"), *self._complete(place, now)]

    def _complete(self, place: ActivePassive, now: float) -> list[Change]:
        done = place.complete(now)
        if done is None:
            return []
        return [self._change("active", done.before, done.after, f"{done.cause}: {done.evidence}", done)]

    def _change(self, subject: str, before: str, after: str, reason: str, switch: Switch | None = None) -> Change:
        return Change(subject, self.settings.name, "", before, after, reason, switch)

    def _standings(self, place: ActivePassive, records: Records) -> dict[str, Standing]:
        return {name: _standing(record, is_active=name == place.place) for name, record in records.items()}

    def order(self, to: str | None, records: Records, now: float, told: Told, *, force: bool) -> list[Change]:
        """A person wants this one to be active, or approves what is pending. Raises Refused."""
        place = self._free_place()
        if to is None:
            if place.pending is None or place.pending.cause != FAILOVER:
                raise Refused("no failover waits for approval; say who is to take over")
            to = place.pending.to
        if to == place.place:
            place.is_pinned = to != place.line[0]
            return []
        standings = self._standings(place, records)
        if records[to].admin is not AdminState.READY:
            raise Refused(f"{to} is in {records[to].admin}: make it ready first")
        if not standings[to].is_well and not force:
            raise Refused(f"{to} is out ({standings[to].evidence}); it can be forced")
        return self._begin(place, place.order(to, standings, now), now, told)

    def go_back(self, records: Records, now: float, told: Told) -> list[Change]:
        """A person wants the first in line that is well to be active again. Raises Refused."""
        place = self._free_place()
        standings = self._standings(place, records)
        heir = place.heir(standings)
        if heir is None:
            is_first = place.place == place.line[0]
            raise Refused(f"{place.place} is first in line already" if is_first else "nobody before it in line is well")
        return self._begin(place, place.order(heir, standings, now, FAILBACK), now, told)

    def _free_place(self) -> ActivePassive:
        if self.place is None:
            raise Refused(f"{self.settings.name} is not active-passive: all its backends serve")
        if self.place.active is None:
            raise Refused("a switch is under way")
        return self.place


def _totals(totals: BackendTotals) -> Totals:
    buckets = totals.durations.buckets
    return Totals(sum(buckets), totals.failures, buckets, totals.unanswered)


def _line(settings: PoolSettings) -> list[str]:
    """Who should be active first: by tier, and in one tier as the file lists them."""
    return [one.name for one in sorted(settings.backends, key=lambda backend: backend.tier)]


def _place(settings: PoolSettings) -> ActivePassive | None:
    if settings.failover is None:
        return None
    return ActivePassive(settings.name, settings.failover, _line(settings))


def _standing(record: BackendRecord, *, is_active: bool) -> Standing:
    """The active one that has not been checked yet, at the start, is not out for that."""
    ignored = NEITHER | {Unavailable.UNCHECKED} if is_active else NEITHER
    reasons = [_evidence(record, reason) for reason in record.reasons if reason not in ignored]
    return Standing(not reasons, ", ".join(reasons))


def _evidence(record: BackendRecord, reason: Unavailable) -> str:
    """A reason, and what was seen."""
    seen = ""
    if reason is Unavailable.FAILED_PROBES:
        seen = next((probe.detail for probe in reversed(record.health.last) if not probe.ok), "")
    elif reason in BY_TRAFFIC:
        seen = record.breaker().reason
    return f"{reason}: {seen}" if seen else str(reason)
