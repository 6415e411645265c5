"""A Pool: its Backends, who of them may serve now, and the ups and downs it has seen.

Who exists is told by Snapshots, who is well by each Backend, who is next by the Balancer; here they are joined. The
list of those who may serve is kept until something changes, so that picking costs the same for 3 and 1,000 Backends.
"""

from __future__ import annotations

import random
from bisect import bisect_left
from collections.abc import Callable, Collection, Mapping
from math import inf

from proxy.core.limits.strain import Strain
from proxy.core.messages import DURATION_BUCKETS, BackendState, PoolCounts
from proxy.core.pools.balancer import Keyed, load
from proxy.core.pools.breaker import BreakerState, Transition
from proxy.core.pools.counts import SharedCounts
from proxy.core.pools.group import Group, grouped, in_turn
from proxy.core.pools.model import ADMIN_VETOES, Backend, Unavailable
from proxy.core.pools.tiers import spread
from proxy.core.requests.retry import RetryBudget
from proxy.core.settings import BackendSettings, PoolSettings

WELL = frozenset({None, Unavailable.FULL})
"""What a Backend that is not lost may be."""
NO_PANIC = frozenset({*ADMIN_VETOES.values(), Unavailable.STANDBY})
"""Vetoes that panic does not ignore."""
SCOUT_EVERY = 0.05
"""Seconds between two requests that look whether an outage is over."""


class Pool:
    """One worker's view of a Pool."""

    __slots__ = (
        "_back_at",
        "_counts",
        "_fresh_until",
        "_is_learning",
        "_listener",
        "_scout_at",
        "_sole",
        "_trials",
        "_trials_wait",
        "_workers",
        "backends",
        "budget",
        "by_name",
        "failing_at",
        "gate",
        "groups",
        "hedging",
        "held",
        "holding",
        "is_timed",
        "lost_at",
        "name",
        "panic",
        "retries",
        "saved",
        "scouts_only",
        "settings",
        "strain",
    )

    def __init__(
        self,
        settings: PoolSettings,
        now: float,
        *,
        workers: int = 1,
        listener: Callable[[Backend, Transition], None] | None = None,
        counts: SharedCounts | None = None,
    ) -> None:
        self.name = settings.name
        self._counts = counts
        self.strain = Strain()
        self.budget = RetryBudget(settings.retries, now, workers)
        self._listener = listener
        self._fresh_until = -inf
        self._sole: Group | None = None
        self._trials: tuple[Backend, ...] = ()
        self._trials_wait = False
        self.panic = False
        self.scouts_only = False
        """Whether new requests wait while a few look who is back, or for a failover."""
        self.lost_at: float | None = None
        self.failing_at: float | None = None
        self._scout_at = self._back_at = -inf
        self.holding = self.held = self.saved = 0
        self.retries: dict[tuple[str, str], int] = {}
        self.backends: tuple[Backend, ...] = ()
        self.by_name: dict[str, Backend] = {}
        self._arrange(settings, now, workers)

    def __repr__(self) -> str:
        return f"<Pool {self.name} {sum(len(g.candidates) for g in self.groups)} of {len(self.backends)}>"

    # Settings

    def _arrange(self, settings: PoolSettings, now: float, workers: int) -> None:
        """Take in settings: what they say of Backends that are here already, and those that are new."""
        self.settings = settings
        self._workers = workers
        self.backends = tuple(self._backend(one, now) for one in settings.backends)
        self.by_name = {backend.name: backend for backend in self.backends}
        self.groups = grouped(settings, self.backends)
        self._is_learning = any(group.learner is not None for group in self.groups)
        self.strain.obey(settings, self.backends, now)
        self.gate, self.hedging, self.is_timed = self.strain.gate, self.strain.hedging, self.strain.is_timed

    def _backend(self, settings: BackendSettings, now: float) -> Backend:
        """The one of this name and address that is here, or a new one."""
        policy = self.settings.breaker
        known = self.by_name.get(settings.name)
        if known is not None and known.settings.address == settings.address:
            known.obey(settings, policy, now, self._workers)
            return known
        backend = Backend(self.name, settings, policy, now, self._workers, self._counts)
        backend.breaker.listener = self._listens_to(backend)
        return backend

    def obey(self, settings: PoolSettings, now: float, workers: int) -> tuple[Backend, ...]:
        """Follow other settings; whoever keeps name and address keeps state. Returns the Backends that have left.

        An Attempt on one of those is settled on it as ever: it knows its Backend, and nobody looks for it by name.
        """
        if settings == self.settings and workers == self._workers:
            return ()
        before = self.backends
        self._arrange(settings, now, workers)
        self.budget.obey(settings.retries, workers)
        if not set(self.backends) <= set(before):
            # What was out of reach says nothing of those who are new.
            self.failing_at = None
        self.touch()
        return tuple(self._let_go(backend) for backend in before if backend not in self.backends)

    def dissolve(self) -> tuple[Backend, ...]:
        """The settings know this Pool no more: all its Backends leave. Requests that are in it end here."""
        return tuple(self._let_go(backend) for backend in self.backends)

    def absorb(self, other: Pool) -> None:
        """Take over the totals of a Pool of the same name that has left, so that no total goes back."""
        for key, count in other.retries.items():
            self.retries[key] = self.retries.get(key, 0) + count
        self.budget.exhausted_total += other.budget.exhausted_total
        self.held += other.held
        self.strain.absorb(other.strain)
        self.saved += other.saved

    def _let_go(self, backend: Backend) -> Backend:
        """What still happens to it is no news: another may have its name by now."""
        backend.breaker.listener = None
        backend.tell_no_more()
        return backend

    # Changes of state

    def heed(self, states: Mapping[tuple[str, str], BackendState], now: float) -> None:
        """Take over what a Snapshot says of these Backends."""
        for backend in self.backends:
            state = states.get(backend.key)
            if state is not None:
                if state.standby is not backend.standby:
                    # Another one is active: that the one before was out of reach says nothing any more.
                    self.failing_at = None
                    self.scouts_only = False
                backend.heed(state)
        self.refresh(now)

    def touch(self) -> None:
        """Something changed: look anew before the next pick."""
        self._fresh_until = -inf

    def _listens_to(self, backend: Backend) -> Callable[[Transition], None]:
        def changed(transition: Transition) -> None:
            backend.transitions[transition.after] = backend.transitions.get(transition.after, 0) + 1
            self.touch()
            if transition.after is BreakerState.OPEN:
                self._trials_wait = False
            elif transition.after is BreakerState.CLOSED:
                backend.readmitted_at = transition.at
            if self._listener is not None:
                self._listener(backend, transition)

        return changed

    def probe_passed(self, backend: Backend, now: float) -> None:
        """A good probe stands for a trial where none but unsafe requests come, or none at all, to who stands by.

        Without them it says nothing: what traffic took out is not brought back by a green health path alone.
        """
        if self._trials_wait or backend.standby:
            backend.breaker.probe_passed(now)

    def may_eject(self, backend: Backend, now: float) -> bool:
        """Whether real traffic may take this Backend out beside those that it has (`ejection.max_ejected`)."""
        out = sum(not b.breaker.is_closed or now < b.damped_until for b in self.backends if b is not backend)
        return self.settings.ejection.may_eject(out, len(self.backends))

    # Who may serve

    def refresh(self, now: float) -> None:
        """Work out anew who may serve and with what weight, who may be tried, and whether to panic."""
        steps = [backend.weigh(self.settings.warmup, now) for backend in self.backends]
        for group in self.groups:
            group.candidates = tuple(b for b in group.backends if b.unavailable(now) is None)
        serving = sum(b.unavailable(now) in WELL for b in self.backends)
        self._trials = tuple(b for b in self.backends if not b.breaker.is_closed and b.may_be_tried(now))
        self._note_loss(serving, now)
        eligible = sum(b.unavailable(now) not in NO_PANIC for b in self.backends)
        relieved_until = self._relieved_until(now)
        too_few = self.settings.ejection.panics(serving, eligible) and now >= relieved_until
        self.panic = too_few or self.failing_at is not None
        self.scouts_only = self.failing_at is not None or now < relieved_until
        if self.panic or self.scouts_only:
            for group in self.groups:
                group.candidates = tuple(b for b in group.backends if b.may_be_tried_in_panic())
        if self.gate is not None:
            self.gate.measure(self.backends, now, panic=self.panic)
        self._share_out()
        steps += [backend.changes_at(now) for backend in self.backends]
        self._fresh_until = min(relieved_until if relieved_until > now else inf, *steps)

    def _share_out(self) -> None:
        """Give each Group its share. Where one has all of it, picking needs no draw."""
        found = spread(self.settings, {group.place: group.weights() for group in self.groups})
        self._sole = None
        for group in self.groups:
            group.share = found[group.place]
            if group.share == 1.0:
                self._sole = group

    # Outages

    def is_relieved(self, now: float) -> bool:
        """Whether one that stands by will be made the active one, if the active one is out, without a person's word."""
        policy = self.settings.failover
        if policy is None or not any(b.may_take_over(now) for b in self.backends):
            return False
        return policy.automatic or all(b.standby for b in self.backends)

    def _relieved_until(self, now: float) -> float:
        """While nobody serves: until when the switch may be awaited, in place of trying who is out all the same."""
        if self.lost_at is None or not self.is_relieved(now):
            return -inf
        return self.lost_at + self.settings.hold.duration

    def note_outage(self, since: float, now: float) -> bool:
        """An Attempt begun at `since` found the last Backend out of reach, whatever the verdicts say.

        False if that is late news: one has answered in the meantime.
        """
        if since < self._back_at:
            return False
        if self.failing_at is None:
            self.failing_at = now
            self.scouts_only = True
            self._scout_at = now + SCOUT_EVERY
            self.touch()
        return True

    def end_outage(self, now: float) -> None:
        """A Backend has answered."""
        self.failing_at = None
        self.scouts_only = False
        self._back_at = now
        self.touch()

    def outage_began(self) -> float | None:
        """Since when nobody serves, or what panic tries fails too; None if somebody does."""
        return self.lost_at if self.failing_at is None else self.failing_at

    def is_out(self, now: float) -> bool:
        """Whether nobody serves at `now`."""
        if now >= self._fresh_until:
            self.refresh(now)
        return self.outage_began() is not None

    def lets_scouts_only(self, now: float) -> bool:
        """Whether new requests wait at `now`, while a few look who is back."""
        if now >= self._fresh_until:
            self.refresh(now)
        return self.scouts_only

    def may_scout(self, now: float) -> bool:
        """Whether one request may look, in an outage, if a Backend is back; one at a time in `SCOUT_EVERY` seconds."""
        if now < self._scout_at:
            return False
        self._scout_at = now + SCOUT_EVERY
        return True

    def _note_loss(self, serving: int, now: float) -> None:
        if serving:
            self.lost_at = None
        elif self.lost_at is None:
            self.lost_at = now

    def available(self, now: float) -> int:
        """How many Backends may serve; in panic those that are tried all the same do not count."""
        if now >= self._fresh_until:
            self.refresh(now)
        return 0 if self.lost_at is not None else sum(len(group.candidates) for group in self.groups)

    # Picking

    def pick(
        self, request: Keyed, now: float, rng: random.Random, tried: Collection[Backend] = (), *, may_try: bool = False
    ) -> Backend | None:
        """The Backend for a request, never one of `tried`; None if there is nobody.

        `may_try`: a failure of this request could be retried elsewhere, so it may serve as a trial.
        """
        if now >= self._fresh_until:
            self.refresh(now)
        if self._trials and not tried:
            self._trials_wait = not may_try
            if may_try and self._has_spare():
                return min(self._trials, key=load)
        sole = self._sole
        if sole is not None and not tried:
            return sole.balancer.pick(sole.candidates, request, now, rng)
        for group in in_turn(self.groups, rng):
            candidates = tuple(b for b in group.candidates if b not in tried) if tried else group.candidates
            if candidates:
                return group.balancer.pick(candidates, request, now, rng)
        return None

    def pass_trials_by(self) -> None:
        """A request can't serve as a trial, for it belongs to its owner. Were there no others, no trial would come."""
        if self._trials:
            self._trials_wait = True

    def last_resort(self, tried: Collection[Backend]) -> Backend | None:
        """Whom to try when all that serve have failed one request: better one that is out than nobody."""
        untried = [b for b in self.backends if b not in tried and b.may_be_tried_in_panic()]
        return min(untried, key=load, default=None)

    def _has_spare(self) -> bool:
        """Whether somebody else is left who can serve if a trial fails."""
        return self.settings.retries.attempts > 1 and not self.panic and any(group.candidates for group in self.groups)

    # In flight

    def enter(self, backend: Backend) -> None:
        """A request goes to this Backend."""
        backend.in_flight += 1
        backend.requests += 1
        if self.gate is not None and self.gate.enter(backend):
            self.touch()

    def leave(self, backend: Backend, duration: float, *, failed: bool, now: float) -> None:
        """It ended there."""
        backend.in_flight -= 1
        if failed:
            backend.failures += 1
        backend.duration_sum += duration
        backend.duration_buckets[bisect_left(DURATION_BUCKETS, duration)] += 1
        if self._is_learning:
            self._teach(backend, duration, failed=failed, now=now)
        if self.gate is not None and self.gate.leave(backend, duration, now, failed=failed):
            self.touch()

    def look_around(self, now: float) -> None:
        """See what has changed, also in other workers, before the Gate is asked."""
        if now >= self._fresh_until:
            self.refresh(now)
        if self.gate is not None and self.gate.look(now):
            self.refresh(now)

    def _teach(self, backend: Backend, duration: float, *, failed: bool, now: float) -> None:
        for group in self.groups:
            if group.learner is not None and backend in group.backends:
                group.learner.observe(backend, duration, failed=failed, now=now)

    def reasons(self, backend: Backend, now: float) -> list[Unavailable]:
        """Why this Backend gets no new request; empty if it may."""
        veto = backend.unavailable(now)
        if veto is not None:
            return [veto]
        group = next(one for one in self.groups if backend in one.backends)
        return [] if group.share else [Unavailable.STANDBY]

    def counts(self, now: float = -inf) -> PoolCounts:
        """The totals for a Report."""
        spent, allowed = self.budget.standing(now)
        return PoolCounts(
            retries=dict(self.retries),
            budget_exhausted=self.budget.exhausted_total,
            saved=self.saved,
            held=self.held,
            panic=self.panic,
            holding=self.holding,
            budget_spent=spent,
            budget_allowed=allowed,
            strain=self.strain.counts(),
        )
