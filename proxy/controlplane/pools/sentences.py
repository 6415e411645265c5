"""How things stand, in one sentence: of a Pool, and of a Backend why it is out, what brings it back and when.

Words only: nothing is decided here. The admin API, the command line and the dashboard show what this says.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence

from proxy.controlplane.pools.rates import Flow
from proxy.controlplane.pools.records import BackendRecord, PoolRecord
from proxy.controlplane.pools.tally import Tally
from proxy.core.messages import AdminState
from proxy.core.pools.breaker import BreakerState
from proxy.core.pools.model import Unavailable

NOT_OUT = frozenset({Unavailable.FULL, Unavailable.STANDBY})
"""Reasons that say nothing bad of a Backend: it waits for its turn, or works as hard as it may."""
FULL = frozenset({Unavailable.FULL})
NAMES_SHOWN = 3
"""Backends or regions that a sentence names."""


class PoolState(enum.StrEnum):
    """How a Pool stands, the worst last."""

    UP = "up"
    DEGRADED = "degraded"
    """Somebody is out, or most do badly alike; the others serve."""
    PANIC = "panic"
    """Too few are well, so what probes and Breakers say is ignored."""
    DOWN = "down"
    """Nobody is well. In panic they are tried all the same."""


# Pools


def state_of(pool: PoolRecord) -> PoolState:
    """How the Pool stands."""
    if not _serves(pool):
        return PoolState.DEGRADED if _is_switching(pool) else PoolState.DOWN
    if pool.panic:
        return PoolState.PANIC
    return PoolState.DEGRADED if out_of(pool) or pool.governor.degraded else PoolState.UP


def out_of(pool: PoolRecord) -> list[BackendRecord]:
    """The Backends that can't serve, whoever's turn it is."""
    return [record for record in pool.backends.values() if not NOT_OUT.issuperset(record.vetoes)]


def _serves(pool: PoolRecord) -> bool:
    """Whether anybody serves. One that is merely full does, as hard as it may."""
    return any(FULL.issuperset(record.vetoes) for record in pool.backends.values())


def _is_switching(pool: PoolRecord) -> bool:
    place = pool.governor.place
    return place is not None and place.active is None


def pool_sentence(pool: PoolRecord, tally: Tally) -> str:
    """How the Pool stands, in one sentence."""
    facts = [_who(pool), *_place(pool), *_trouble(pool), _where(pool, tally), _cost(tally, pool.settings.name)]
    return f"{state_of(pool).upper()}: {'; '.join(fact for fact in facts if fact)}"


def _who(pool: PoolRecord) -> str:
    total, name, out = len(pool.backends), pool.settings.name, out_of(pool)
    if not out:
        return f"all {total} {name} backends are well" if total > 1 else f"the {name} backend is well"
    shown = ", ".join(f"{one.settings.name} {_main_reason(one)}" for one in out[:NAMES_SHOWN])
    more = f" and {len(out) - NAMES_SHOWN} more" if len(out) > NAMES_SHOWN else ""
    return f"{len(out)} of {total} {name} backends out ({shown}{more})"


def _main_reason(record: BackendRecord) -> str:
    return next(reason for reason in record.vetoes if reason not in NOT_OUT)


def _place(pool: PoolRecord) -> list[str]:
    """Who is active, where only one is, and what waits for a person."""
    place = pool.governor.place
    if place is None:
        return []
    facts = [f"{place.active} is active" if place.active else f"{place.successor} takes over"]
    if place.pending is not None:
        facts.append(f"{place.pending.cause} to {place.pending.to} waits for approval")
    return facts


def _trouble(pool: PoolRecord) -> list[str]:
    if pool.panic:
        return ["too few are well, so verdicts are not believed"]
    if not pool.available and _serves(pool):
        return ["every backend that serves is full"]
    return [pool.governor.degraded] if pool.governor.degraded else []


def _where(pool: PoolRecord, tally: Tally) -> str:
    """Which regions have traffic, where there are several."""
    if len({record.settings.region for record in pool.backends.values()}) < 2:
        return ""
    busy = [region for region, flow in flows_by_region(pool, tally).items() if flow.requests]
    return f"traffic in {_listed([region or 'no region' for region in busy])}" if busy else "no traffic"


def flows_by_region(pool: PoolRecord, tally: Tally) -> dict[str, Flow]:
    """Attempts a second in each region."""
    found: dict[str, Flow] = {}
    for record in pool.backends.values():
        region = record.settings.region
        found[region] = found.get(region, Flow()) + tally.rates.backend(record.key)
    return found


def _cost(tally: Tally, pool: str) -> str:
    requests, failures = tally.rates.last_minute(pool)
    if failures:
        return f"{failures:,.0f} of {requests:,.0f} requests failed in the last minute"
    return "nothing failed"


def _listed(words: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`, `a, b, c and 4 more`."""
    if len(words) > NAMES_SHOWN + 1:
        words = [*words[:NAMES_SHOWN], f"{len(words) - NAMES_SHOWN} more"]
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)


# Backends


def backend_sentence(record: BackendRecord, pool: PoolRecord, now: float) -> str:
    """Why it is out, what brings it back and when; or that it serves."""
    name = f"{record.key[0]}/{record.key[1]}"
    if not record.vetoes:
        return f"{name} serves"
    causes = _listed([cause(record, reason, pool) for reason in record.vetoes])
    ends = _listed([ends_by(record, reason, pool, now) for reason in record.vetoes])
    verb = "has got no new requests" if NOT_OUT.issuperset(record.vetoes) else "has been out"
    return f"{name} {verb} for {_ago(now - record.since)}: {causes}; back after {ends}"


def _ago(seconds: float) -> str:
    """`4 s`, `3 min`, `2 h`."""
    for unit, size in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


def cause(record: BackendRecord, reason: Unavailable, pool: PoolRecord) -> str:
    """What has brought this veto about."""
    return _CAUSES[reason](record, pool)


def _always(text: str) -> Callable[..., str]:
    return lambda *_: text


def _of_intent(state: str) -> Callable[[BackendRecord, PoolRecord], str]:
    def told(record: BackendRecord, pool: PoolRecord) -> str:
        if record.admin is not AdminState.READY:
            return f"a person has put it in {state}"
        return f"it asks for {state} itself" if record.own_state is not AdminState.READY else "its weight is 0"

    return told


def _of_probes(record: BackendRecord, pool: PoolRecord) -> str:
    seen = next((probe.detail for probe in reversed(record.health.last) if not probe.ok), "")
    return f"its probes fail ({seen})" if seen else "its probes fail"


def _of_breaker(what: str) -> Callable[[BackendRecord, PoolRecord], str]:
    def told(record: BackendRecord, pool: PoolRecord) -> str:
        breaker = record.breaker()
        return f"{what} ({breaker.reason})" if breaker.reason else what

    return told


def _of_limit(record: BackendRecord, pool: PoolRecord) -> str:
    return f"it has as many requests as it may have, {record.settings.max_in_flight}"


def _of_standby(record: BackendRecord, pool: PoolRecord) -> str:
    place = pool.governor.place
    if place is None:
        return "a lower tier or a nearer region serves"
    return f"{place.active} is the active one" if place.active else "a switch is under way"


_CAUSES: dict[Unavailable, Callable[[BackendRecord, PoolRecord], str]] = {
    Unavailable.MAINT: _of_intent("maint"),
    Unavailable.DRAIN: _of_intent("drain"),
    Unavailable.UNCHECKED: _always("it waits for its first good probes"),
    Unavailable.FAILED_PROBES: _of_probes,
    Unavailable.BREAKER_OPEN: _of_breaker("its breaker took it out"),
    Unavailable.OUTLIER: _of_breaker("it does worse than its peers"),
    Unavailable.FULL: _of_limit,
    Unavailable.STANDBY: _of_standby,
    Unavailable.NOT_LEADER: _always("it is not the leader"),
    Unavailable.LAGGING: _always("it lags behind the leader"),
    Unavailable.DAMPED: _always("it went up and down too often"),
}


def ends_by(record: BackendRecord, reason: Unavailable, pool: PoolRecord, now: float) -> str:
    """What ends this veto, and when where that is known."""
    return _ENDS[reason](record, pool, now)


def _by_word(record: BackendRecord, pool: PoolRecord, now: float) -> str:
    if record.admin is not AdminState.READY:
        return "a person says ready"
    return "it says ready itself" if record.own_state is not AdminState.READY else "a person raises its weight"


def _by_probes(record: BackendRecord, pool: PoolRecord, now: float) -> str:
    health = record.health
    if record.admin is AdminState.MAINT:
        return f"{health.policy.rise} good probes in a row, once it is probed again"
    done = health.count if health.last and health.last[-1].ok else 0
    so_far = f", {done} so far" if done else ""
    pace = health.policy.down_interval or health.policy.interval
    return f"{health.policy.rise} good probes in a row{so_far}, one about every {pace:g} s"


def _by_trials(record: BackendRecord, pool: PoolRecord, now: float) -> str:
    breaker, trials = record.breaker(), pool.settings.breaker.trial_successes
    if breaker.state is not BreakerState.OPEN:
        return f"{trials} good trials in a row, which are under way"
    when = f"in {breaker.until - now:.0f} s" if breaker.until > now else "with the next requests"
    return f"{trials} good trials in a row, which begin {when}"


def _by_turn(record: BackendRecord, pool: PoolRecord, now: float) -> str:
    return "a lower tier fails" if pool.governor.place is None else "a failover to it"


def _by_rest(record: BackendRecord, pool: PoolRecord, now: float) -> str:
    return f"{max(0.0, record.damped_until - now):.0f} s without another change"


_ENDS: dict[Unavailable, Callable[[BackendRecord, PoolRecord, float], str]] = {
    Unavailable.MAINT: _by_word,
    Unavailable.DRAIN: _by_word,
    Unavailable.UNCHECKED: _by_probes,
    Unavailable.FAILED_PROBES: _by_probes,
    Unavailable.BREAKER_OPEN: _by_trials,
    Unavailable.OUTLIER: _by_trials,
    Unavailable.FULL: _always("one of them ends"),
    Unavailable.STANDBY: _by_turn,
    Unavailable.NOT_LEADER: _always("it is made the leader"),
    Unavailable.LAGGING: _always("it has caught up"),
    Unavailable.DAMPED: _by_rest,
}
