"""What the supervisor does and hears becomes entries of the journal. It decides nothing; the words are its neighbours'.

The supervisor owns the Recorder and shows it every Change, every probe, every Report, and each second that passes. Of
reasons against a Backend that no Change tells of, it sees for itself what is different.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from time import monotonic

from proxy.controlplane.admin.dates import Dates
from proxy.controlplane.availability.accounting import Accounting
from proxy.controlplane.journal import process
from proxy.controlplane.journal.backends import EXPLAINS, TELLERS, reason_began, reason_ended, standing
from proxy.controlplane.journal.journal import Journal
from proxy.controlplane.journal.pools import PoolView, changes, is_crowded, is_switching, split_changed, view_of
from proxy.controlplane.journal.switches import Switches
from proxy.controlplane.pools.change import Change
from proxy.controlplane.pools.records import BackendRecord, PoolRecord
from proxy.controlplane.pools.registry import Registry
from proxy.controlplane.pools.tally import Key
from proxy.controlplane.probing.expiry import SOON, expiries
from proxy.core.messages import Report
from proxy.core.pools.health import Probe
from proxy.core.pools.model import Unavailable
from proxy.core.telling.journal import Kind, Query

Reasons = frozenset[Unavailable]

BY_POOL = frozenset({Unavailable.STANDBY})
"""Reasons of which an entry about the Pool tells."""
FULL_FOR = 5.0
"""Seconds for which a Backend must be full, or no longer, before that is told: under load it is so time and again."""
WRITES_EVERY = 10.0
"""Seconds between two entries about writes of one Pool."""
CERTIFICATES_EVERY = 3600.0
"""Seconds between two looks at when our own certificates expire."""
ALL = 1_000_000
FAULT = "certificate"
"""What a probe says of a certificate that is not accepted begins with this."""


class Recorder:
    """Tells the journal."""

    def __init__(
        self,
        journal: Journal,
        registry: Registry,
        accounting: Accounting,
        problems: Callable[[], Collection[str]],
        dates: Dates,
    ) -> None:
        self.journal = journal
        self._registry = registry
        self._accounting = accounting
        self._problems = problems
        self._dates = dates
        self._switches = Switches(registry, accounting, self._dates, journal.add)
        # What has been told of each
        self._reasons: dict[Key, Reasons] = {}
        self._views: dict[str, PoolView] = {}
        self._full_since: dict[Key, float] = {}
        self._crowded_since: dict[str, float] = {}
        self._faults: dict[Key, str] = {}
        self._told_problems: dict[str, str] = {}
        self._unknown: dict[str, dict[str, int]] = {}
        """Writes that are not told of yet, by Pool and Route."""
        self._writes_at: dict[str, float] = {}
        self._certificates: set[tuple[str, int, str]] = set()
        """Title, end and state of those that were told of, by this program or one before."""
        self._certificates_at = -CERTIFICATES_EVERY
        self._dead: set[int] = set()
        """Workers that died and have no successor yet."""
        self._remember()

    def __repr__(self) -> str:
        return f"<Recorder {len(self._reasons)} backends, {self._switches}>"

    def _remember(self) -> None:
        """As it is now: nothing of it is news."""
        for pool in self._registry.pools.values():
            self._views[pool.settings.name] = view_of(pool)
        self._reasons = {record.key: frozenset(record.reasons) for record in self._registry.records()}

    # Pools and Backends

    def note(self, found: Iterable[Change], now: float) -> None:
        """Something has changed."""
        explained: dict[Key, Reasons] = {}
        touched: dict[str, PoolRecord | None] = {}
        for change in found:
            touched[change.pool] = self._registry.pools.get(change.pool)
            self._switches.note(change)
            record = self._registry.record((change.pool, change.backend))
            teller = TELLERS.get(change.subject)
            if change.subject == "extension":
                self.journal.add(process.own_code_failed(change.before, change.after, change.reason))
            if change.subject == "split":
                self.journal.add(split_changed(change))
            if record is not None and teller is not None:
                self.journal.add(teller(change, record, self._dates))
                told = EXPLAINS.get(change.subject, frozenset())
                explained[record.key] = explained.get(record.key, frozenset()) | told
        self._look([pool for pool in touched.values() if pool is not None], explained, now)

    def _look(self, pools: Iterable[PoolRecord], explained: Mapping[Key, Reasons], now: float) -> None:
        """See what is different, and tell what no Change has told of."""
        for pool in pools:
            for record in pool.backends.values():
                self._look_at(record, explained.get(record.key, frozenset()), now)
            self._look_at_pool(pool, now)

    def _forget(self) -> None:
        """What a reload has removed."""
        self._reasons = {key: reasons for key, reasons in self._reasons.items() if self._registry.record(key)}
        self._views = {name: view for name, view in self._views.items() if name in self._registry.pools}

    def _look_at(self, record: BackendRecord, explained: Reasons, now: float) -> None:
        is_new = record.key not in self._reasons
        before, reasons = self._reasons.get(record.key, frozenset()), frozenset(record.reasons)
        after = reasons if is_new else self._steady(record.key, before, reasons, now)
        if before == after or is_new:
            self._reasons[record.key] = after
            return
        self._reasons[record.key] = after
        untold = explained | BY_POOL
        for reason in sorted(after - before - untold):
            self.journal.add(reason_began(record, reason, standing(before)))
        for reason in sorted(before - after - untold):
            self.journal.add(reason_ended(record, reason, standing(before)))

    def _steady(self, key: Key, before: Reasons, reasons: Reasons, now: float) -> Reasons:
        """The reasons, but `full` as it was until it has been so, or not so, for a while."""
        is_full = Unavailable.FULL in reasons
        if is_full is (Unavailable.FULL in before):
            self._full_since.pop(key, None)
            return reasons
        if now - self._full_since.setdefault(key, now) >= FULL_FOR:
            del self._full_since[key]
            return reasons
        return reasons ^ {Unavailable.FULL}

    def _look_at_pool(self, pool: PoolRecord, now: float) -> None:
        if is_switching(pool):
            return
        name, view = pool.settings.name, view_of(pool)
        before = self._views.get(name, view)
        if view.places != before.places and (not view.places or self._is_passing(pool, now)):
            view = view._replace(places=before.places)
        self._views[name] = view
        for entry in changes(pool, before, view):
            self.journal.add(entry)

    def _is_passing(self, pool: PoolRecord, now: float) -> bool:
        """Whether who serves has only changed because a Backend is full, and not for long."""
        name = pool.settings.name
        if is_crowded(pool) and now - self._crowded_since.setdefault(name, now) < FULL_FOR:
            return True
        self._crowded_since.pop(name, None)
        return False

    def probed(self, key: Key, probe: Probe) -> None:
        """A probe has ended: what does it say of the certificate?"""
        is_faulty = not probe.ok and probe.detail.startswith(FAULT)
        if not is_faulty and (not probe.ok or key not in self._faults):
            return
        fault, before = probe.detail if is_faulty else "", self._faults.get(key, "")
        if fault == before:
            return
        if fault:
            self._faults[key] = fault
        else:
            del self._faults[key]
        self.journal.add(process.certificate_of_backend(*key, fault))

    # Workers

    def take_report(self, report: Report) -> None:
        """What a worker has counted; the registry has taken it in."""
        for (route, pool), counts in self._accounting.take(report).items():
            if counts.unknown and pool:
                routes = self._unknown.setdefault(pool, {})
                routes[route] = routes.get(route, 0) + counts.unknown
        self._switches.look(report.at)

    def worker_serves(self, number: int, pid: int) -> None:
        """A worker's process serves."""
        self._accounting.begin(pid)
        self.journal.add(process.worker_serves(number, pid, is_successor=number in self._dead))
        self._dead.discard(number)

    def worker_ended(self, number: int, pid: int, how: str, *, is_orderly: bool) -> None:
        """A worker's process has ended, and all that it said was taken."""
        self._accounting.forget(pid)
        if not is_orderly:
            self._dead.add(number)
        self.journal.add(process.worker_ended(number, pid, how, is_orderly=is_orderly))

    # Time

    def tick(self, now: float) -> None:
        """A second has passed."""
        self._look(self._registry.pools.values(), {}, now)
        self._forget()
        self._switches.tick(now)
        self._tell_writes(now)
        self._tell_problems()
        if now - self._certificates_at >= CERTIFICATES_EVERY:
            self._certificates_at = now
            self.look_at_certificates()

    def _tell_writes(self, now: float, *, waits: bool = True) -> None:
        for pool in list(self._unknown):
            if not waits or now - self._writes_at.get(pool, -WRITES_EVERY) >= WRITES_EVERY:
                self._writes_at[pool] = now
                total = self._accounting.pool(pool).unknown
                self.journal.add(process.unknown_outcomes(pool, self._unknown.pop(pool), total))

    def _tell_problems(self) -> None:
        """By how they begin: what a disk says of itself may differ from time to time."""
        found = {text.partition(": ")[0]: text for text in self._problems()}
        for begin in sorted(found.keys() - self._told_problems.keys()):
            self.journal.add(process.problem(found[begin], is_over=False))
        for begin in sorted(self._told_problems.keys() - found.keys()):
            self.journal.add(process.problem(begin, is_over=True))
        self._told_problems = found

    def look_at_certificates(self) -> None:
        """Tell of those that expire soon; once, and once more when they have."""
        now = self.journal.now()
        for place, at in expiries(self._registry.settings).items():
            if at - now < SOON:
                entry = process.certificate_expires(place, at, now)
                told = (entry.evidence["certificate"], entry.evidence["not_after"], entry.after)
                if told not in self._certificates:
                    self._certificates.add(told)
                    self.journal.add(entry)

    # The program

    def begin(self, *, is_replacement: bool, orphans: int) -> None:
        """The program begins; how did the one before end, and what was told already?"""
        for one in self.journal.since(Query(kind=Kind.CERTIFICATE, limit=ALL)):
            if "not_after" in one["evidence"]:
                self._certificates.add((one["evidence"]["certificate"], one["evidence"]["not_after"], one["to"]))
        told = self.journal.since(Query(kind=Kind.PROCESS, limit=ALL))
        last = next((one["to"] for one in reversed(told) if one["to"] in LIFE), "")
        if is_replacement:
            entry = process.started("has taken the place of the program before", last, "USR2", "signal")
        elif last in {"", process.STOPPED}:
            entry = process.started("has started", last, "start")
        else:
            entry = process.started(
                "has started; the run before ended without saying so", last, "the run before crashed or was killed"
            )
        self.journal.add(entry)
        if orphans and not is_replacement:
            self.journal.add(process.took_over(orphans))

    def close(self) -> None:
        """The program ends, or gives way: tell what is left to tell."""
        self._switches.close()
        self._tell_writes(monotonic(), waits=False)


LIFE = frozenset({process.STARTED, process.STOPPING, process.STOPPED, process.REPLACED})
"""What an entry about the process's own life leads to."""
