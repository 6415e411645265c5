"""What is known of each Backend and each Pool. `registry` holds all of it and takes the news in."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from math import inf
from typing import NamedTuple

from proxy.controlplane.pools.change import Change
from proxy.controlplane.pools.governor import Governor, Told
from proxy.controlplane.pools.tally import Key, Tally
from proxy.core.messages import AdminState, BackendState
from proxy.core.pools.breaker import BreakerState
from proxy.core.pools.health import Health
from proxy.core.pools.model import ADMIN_VETOES, BY_TRAFFIC, HEALTH_VETOES, Unavailable
from proxy.core.pools.tiers import Place, place_of, spread
from proxy.core.pools.word import BackendWord
from proxy.core.settings import BackendSettings, PoolSettings

WANTED = frozenset({*ADMIN_VETOES.values(), Unavailable.STANDBY, Unavailable.FULL, Unavailable.UNCHECKED})
"""Reasons that are no outage."""
_RANK = {BreakerState.CLOSED: 0, BreakerState.HALF_OPEN: 1, BreakerState.OPEN: 2}


class BreakerView(NamedTuple):
    """A Breaker as one worker has it, or as all of them together have it."""

    state: BreakerState = BreakerState.CLOSED
    until: float = 0.0
    reason: str = ""
    since: float = 0.0
    outlier: bool = False
    """Whether an ejection has opened it."""
    began: float = 0.0
    """When the failures began that have opened it; 0 where only others, or a Report, have said that it is open."""


class BackendRecord:
    """What is known of one Backend."""

    def __init__(self, pool: PoolSettings, settings: BackendSettings, now: float, was: BackendState | None) -> None:
        self.key: Key = (pool.name, settings.name)
        self.settings = settings
        self.proxy_protocol = pool.send_proxy_protocol
        self.tls = pool.tls
        self.health = Health(pool.health, now, was.health if was else None)
        self.admin = was.admin if was else AdminState.READY
        self.weight_override = was.weight if was else None
        self.told_version = 0
        """The Snapshot that told workers what an administrator wants of it."""
        self.breakers: dict[int, BreakerView] = {}
        """By worker; a dead worker's stays until its successor reports."""
        self.closed_at = -inf
        self.readmitted_at = -inf
        """When it came back the last time, for slow start; never by our own start."""
        self.damped_until = -inf
        self.word = BackendWord()
        """What the Backend says of itself, where that is obeyed."""
        self.share = 1.0
        """The part of its weight that it has."""
        self.ejected_at = -inf
        self.standby = False
        """Whether another Backend of an active-passive Pool is the active one."""
        self.probes_passed = 0
        self.probes_failed = 0
        self.vetoes: dict[Unavailable, float] = {}
        """Why it gets no new request, and since when."""
        self.outages = 0
        """How often it went out, and not because a person or another Backend's turn wanted it."""
        self.since = now
        """When `vetoes` last became empty or stopped being so."""

    def __repr__(self) -> str:
        return f"<BackendRecord {self.key[0]}/{self.key[1]} {', '.join(self.reasons) or 'available'}>"

    @property
    def weight(self) -> int:
        """The weight in force."""
        return self.settings.weight if self.weight_override is None else self.weight_override

    @property
    def reasons(self) -> tuple[Unavailable, ...]:
        """Why it gets no new request; empty if it does."""
        return tuple(self.vetoes)

    @property
    def own_state(self) -> AdminState:
        """What the Backend itself wants."""
        return AdminState(self.word.state)

    @property
    def state(self) -> BackendState:
        """What workers must heed."""
        return BackendState(
            self.admin,
            self.health.state,
            self.weight_override,
            self.own_state,
            self.readmitted_at,
            self.damped_until,
            self.share * self.word.part,
            self.standby,
        )

    def until(self, reason: Unavailable) -> float | None:
        """When a reason ends by the passing of time; None where it doesn't."""
        if reason is Unavailable.DAMPED:
            return self.damped_until
        breaker = self.breaker()
        return breaker.until if reason in BY_TRAFFIC and breaker.state is BreakerState.OPEN else None

    def breaker(self) -> BreakerView:
        """The Breakers of all workers as one: open in any is open."""
        return max(self.breakers.values(), key=lambda b: (_RANK[b.state], b.until), default=BreakerView())

    def obey(self, pool: PoolSettings, settings: BackendSettings) -> None:
        """Follow other settings for the same address; what is known of it stays."""
        self.settings = settings
        self.proxy_protocol = pool.send_proxy_protocol
        self.tls = pool.tls
        self.health.policy = pool.health
        if not pool.obey_backend:
            self.word = BackendWord()

    def follow(self, other: BackendRecord) -> None:
        """Another address bears the name now: what an administrator has said of the name holds on, nothing else."""
        self.admin = other.admin
        self.weight_override = other.weight_override

    def note_closing(self, at: float) -> None:
        """A Breaker closed in one worker, and all others are told so: what they had before is over."""
        self.closed_at = self.readmitted_at = at
        for worker, view in self.breakers.items():
            if view.since < at:
                self.breakers[worker] = BreakerView(since=at)

    def note_ejection(self, until: float, reason: str, at: float, workers: Collection[int]) -> None:
        """These workers are told to eject it; whoever may not, because of the cap, will say so in its Report."""
        self.ejected_at = at
        for worker in workers:
            self.breakers[worker] = BreakerView(BreakerState.OPEN, until, reason, at, outlier=True)

    def own_vetoes(self, tally: Tally, now: float) -> list[Unavailable]:
        """Every reason against this Backend but those that depend on others of its Pool."""
        vetoes = []
        intent = self.own_state if self.admin is AdminState.READY else self.admin
        if intent is not AdminState.READY:
            vetoes.append(ADMIN_VETOES[intent])
        elif not self.weight:
            vetoes.append(Unavailable.DRAIN)
        if self.health.state in HEALTH_VETOES:
            vetoes.append(HEALTH_VETOES[self.health.state])
        if now < self.damped_until:
            vetoes.append(Unavailable.DAMPED)
        breaker = self.breaker()
        if breaker.state is not BreakerState.CLOSED:
            vetoes.append(Unavailable.OUTLIER if breaker.outlier else Unavailable.BREAKER_OPEN)
        limit = self.settings.max_in_flight
        if limit is not None and tally.in_flight(self.key) >= limit:
            vetoes.append(Unavailable.FULL)
        if self.standby:
            vetoes.append(Unavailable.STANDBY)
        return vetoes


class PoolRecord:
    """What is known of one Pool."""

    def __init__(self, settings: PoolSettings, now: float, was: Mapping[Key, BackendState]) -> None:
        self.settings = settings
        self.backends = {
            one.name: BackendRecord(settings, one, now, was.get((settings.name, one.name))) for one in settings.backends
        }
        self.governor = Governor(settings)
        self.remember({key[1]: state for key, state in was.items() if key[0] == settings.name})
        self.panics: dict[int, bool] = {}
        """By worker."""

    def __repr__(self) -> str:
        return f"<PoolRecord {self.settings.name} {self.available} of {len(self.backends)}>"

    def remember(self, was: Mapping[str, BackendState]) -> None:
        """Who was active before we began is so still, where it is known."""
        if any(state.standby for state in was.values()):
            self.governor.remember(next((name for name, state in was.items() if not state.standby), ""))
        self._post()

    def obey(self, settings: PoolSettings, now: float) -> None:
        """Follow other settings; what is known of each Backend that keeps name and address stays."""
        before, self.settings = self.backends, settings
        self.backends = {one.name: self._following(one, before.get(one.name), now) for one in settings.backends}
        self.governor.obey(settings, {name for name, one in self.backends.items() if before.get(name) is not one})

    def _following(self, settings: BackendSettings, known: BackendRecord | None, now: float) -> BackendRecord:
        if known is not None and known.settings.address == settings.address:
            known.obey(self.settings, settings)
            return known
        record = BackendRecord(self.settings, settings, now, None)
        if known is not None:
            record.follow(known)
        return record

    @property
    def available(self) -> int:
        """How many Backends serve."""
        return sum(not record.reasons for record in self.backends.values())

    @property
    def is_on_standby(self) -> bool:
        """Whether one serves that should stand by: in an active-passive Pool another than the first in line."""
        place = self.governor.place
        if place is not None:
            return place.active not in (place.line[0], None)
        first = min(one.settings.tier for one in self.backends.values())
        return any(one.settings.tier > first and not one.reasons for one in self.backends.values())

    @property
    def is_switch_pending(self) -> bool:
        """Whether a switch waits for a person."""
        return self.governor.place is not None and self.governor.place.pending is not None

    @property
    def panic(self) -> bool:
        """Whether any worker ignores verdicts because too few Backends are well."""
        return any(self.panics.values())

    def refresh(self, tally: Tally, now: float) -> None:
        """Work out each Backend's reasons anew."""
        vetoes = {r.key: r.own_vetoes(tally, now) for r in self.backends.values()}
        shares = self._shares(vetoes)
        for record in self.backends.values():
            reasons = vetoes[record.key]
            if not reasons and not shares[place_of(self.settings, record.settings)]:
                reasons.append(Unavailable.STANDBY)
            if bool(reasons) != bool(record.vetoes):
                record.since = now
            record.outages += not WANTED.issuperset(reasons) and WANTED.issuperset(record.vetoes)
            record.vetoes = {reason: record.vetoes.get(reason, now) for reason in reasons}

    def _shares(self, vetoes: dict[Key, list[Unavailable]]) -> dict[Place, float]:
        """The share of the load that each place gets."""
        weights: dict[Place, tuple[float, float]] = {}
        for record in self.backends.values():
            place = place_of(self.settings, record.settings)
            available, whole = weights.get(place, (0.0, 0.0))
            own = record.settings.weight
            weights[place] = (available if vetoes[record.key] else available + own, whole + own)
        return spread(self.settings, weights)

    def review(self, tally: Tally, now: float, told: Told) -> list[Change]:
        """Work out the reasons anew, and what follows from them; what is returned is for all workers to know."""
        self.refresh(tally, now)
        changes = self.governor.review(self.backends, now, told)
        self._post()
        if changes:
            self.refresh(tally, now)
        return changes

    def compare(self, tally: Tally, now: float, told: Told) -> list[Change]:
        """Look who does worse than its peers; about once a second."""
        changes = self.governor.compare(self.backends, tally, now, told)
        if changes:
            self._post()
            self.refresh(tally, now)
        return changes

    def _post(self) -> None:
        """Each Backend is told what the Governor has decided of it."""
        for name, record in self.backends.items():
            record.damped_until = self.governor.damped_until(name)
            record.standby = self.governor.is_standby(name)
            record.share = self.governor.share(name)
