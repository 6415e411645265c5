"""Entries about Pools: up, degraded, down, in panic; which tiers and regions serve.

`recorder` shows it each Pool whenever something has changed, and once a second; it remembers what it has told.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any, NamedTuple

from proxy.controlplane.journal.backends import standing
from proxy.controlplane.pools.change import Change
from proxy.controlplane.pools.records import PoolRecord
from proxy.controlplane.pools.sentences import NOT_OUT, PoolState, out_of, state_of
from proxy.controlplane.pools.splits import BY_HAND, CUT_OFF
from proxy.core.pools.model import Unavailable
from proxy.core.pools.tiers import Place, place_of
from proxy.core.settings import PoolSettings
from proxy.core.telling.journal import PERSON, RULE, Entry, Kind

FULL = frozenset({Unavailable.FULL})
UNTRIED = frozenset({Unavailable.DRAIN, Unavailable.MAINT, Unavailable.STANDBY})
"""Reasons that panic heeds."""
NAMES_SHOWN = 10
"""Of Backends that are out, at most so many are evidence."""

Json = dict[str, Any]


class PoolView(NamedTuple):
    """What is told of a Pool, and remembered."""

    state: PoolState
    degraded: str
    """What is wrong with most of its Backends alike; empty if nothing is."""
    places: tuple[Place, ...]
    """Those that serve."""
    settings: PoolSettings
    """That were in force then."""


def view_of(pool: PoolRecord) -> PoolView:
    """What a Pool is now. A Backend that is merely full serves as hard as it may."""
    serving = {place_of(pool.settings, one.settings) for one in pool.backends.values() if FULL.issuperset(one.reasons)}
    state = state_of(pool)
    if state is PoolState.DOWN and serving:
        state = PoolState.DEGRADED if out_of(pool) else PoolState.UP
    return PoolView(state, pool.governor.degraded, tuple(sorted(serving)), pool.settings)


def is_crowded(pool: PoolRecord) -> bool:
    """Whether a Backend is full: who serves then changes with every request."""
    return any(Unavailable.FULL in record.reasons for record in pool.backends.values())


def is_switching(pool: PoolRecord) -> bool:
    """Whether its one place is empty for the moment: the entry of the switch tells of that."""
    place = pool.governor.place
    return place is not None and place.active is None


def changes(pool: PoolRecord, before: PoolView, now: PoolView) -> Iterator[Entry]:
    """What is to be told of it."""
    if before.state != now.state:
        yield _state_changed(pool, before, now)
    elif bool(before.degraded) != bool(now.degraded):
        yield _degradation_changed(pool, before, now)
    if before.places != now.places and before.places and now.places and pool.governor.place is None:
        yield _places_changed(pool, before, now)


def _who_is_out(pool: PoolRecord) -> Json:
    """Who is out, and why; a few of them."""
    out = {one.settings.name: [reason.value for reason in one.reasons if reason not in NOT_OUT] for one in out_of(pool)}
    return {
        "available": pool.available,
        "total": len(pool.backends),
        "standby": sum(standing(one.reasons) == "standby" for one in pool.backends.values()),
        "out": dict(islice(out.items(), NAMES_SHOWN)),
    }


def _words(evidence: Json) -> str:
    """`2 of 6 backends serve, 2 on standby; out: b0 (drain), b1 (maint)`."""
    said = f"{evidence['available']} of {evidence['total']} backends serve"
    said += f", {evidence['standby']} on standby" if evidence["standby"] else ""
    out = ", ".join(f"{name} ({', '.join(reasons)})" for name, reasons in evidence["out"].items())
    return f"{said}; out: {out}" if out else said


def split_changed(change: Change) -> Entry:
    """A Pool is cut off from a split, or has its share back."""
    route, _, cause = change.reason.removeprefix("route ").partition(": ")
    is_cut, is_by_hand = change.after == CUT_OFF, cause == BY_HAND
    happened = f"is cut off from the split of route {route}" if is_cut else f"has its share of route {route} back"
    fields: Json = {"before": change.before, "after": change.after, "cause": cause, "evidence": {"route": route}}
    who, rule = (PERSON, "") if is_by_hand else (RULE, "split.abort_on")
    return Entry(Kind.SPLIT, f"Pool {change.pool} {happened}: {cause}.", change.pool, who=who, rule=rule, **fields)


def _state_changed(pool: PoolRecord, before: PoolView, now: PoolView) -> Entry:
    name, evidence = pool.settings.name, _who_is_out(pool)
    cause, rule = now.degraded or _words(evidence), "outlier" if now.degraded else ""
    sentence = f"Pool {name} is {now.state}, before {before.state}: {cause}."
    if now.state is PoolState.PANIC:
        cause, rule = _why_panic(pool)
        sentence = f"Pool {name} panics: {cause}, so verdicts are ignored; {_words(evidence)}."
    fields: Json = {"before": before.state.value, "after": now.state.value, "cause": cause, "rule": rule}
    return Entry(Kind.POOL, sentence, name, evidence=evidence, **fields)


def _why_panic(pool: PoolRecord) -> tuple[str, str]:
    """The cause and the rule: who serves by all verdicts may be out of reach all the same."""
    eligible = [one for one in pool.backends.values() if UNTRIED.isdisjoint(one.reasons)]
    if pool.settings.ejection.panics(pool.available, len(eligible)):
        return "too few backends are well", "ejection.panic_below"
    return "the last backend that was tried could not be reached", "hold"


def _degradation_changed(pool: PoolRecord, before: PoolView, now: PoolView) -> Entry:
    name = pool.settings.name
    sentence = f"Pool {name} does badly as a whole, so nobody more is ejected: {now.degraded}."
    if not now.degraded:
        sentence = f"Pool {name} no longer does badly as a whole: {before.degraded} is over."
    fields: Json = {
        "before": before.state,
        "after": now.state,
        "cause": now.degraded or "it is over",
        "rule": "outlier",
    }
    return Entry(Kind.POOL, sentence, name, evidence=_who_is_out(pool), **fields)


def _places_changed(pool: PoolRecord, before: PoolView, now: PoolView) -> Entry:
    settings = pool.settings
    was, are = _places(before.settings, before.places), _places(settings, now.places)
    evidence = {"available": _available(pool)}
    sentence = f"Requests of pool {settings.name} go to {are}, before to {was}."
    is_near_far = settings.locality is not None and {place.tier for place in before.places} == {
        place.tier for place in now.places
    }
    rule = "locality.spill_below" if is_near_far else "overprovisioning"
    fields: Json = {"before": was, "after": are, "cause": "spill-over", "rule": rule}
    if before.settings != settings:
        # Backends may have come, gone or moved: that is why, as far as anybody can tell.
        sentence, fields = f"{sentence[:-1]}, since a reload.", fields | {"cause": "reload", "rule": ""}
    return Entry(Kind.POOL, sentence, settings.name, evidence=evidence, **fields)


def _places(settings: PoolSettings, places: tuple[Place, ...]) -> str:
    return " and ".join(_place(settings, place) for place in places)


def _place(settings: PoolSettings, place: Place) -> str:
    if settings.locality is None:
        return f"tier {place.tier}"
    return f"tier {place.tier} {'in other regions' if place.is_far else f'in {settings.region}'}"


def _available(pool: PoolRecord) -> Json:
    """Of each place, how many serve."""
    found: dict[str, list[int]] = {}
    for record in pool.backends.values():
        numbers = found.setdefault(_place(pool.settings, place_of(pool.settings, record.settings)), [0, 0])
        numbers[0] += standing(record.reasons) != "out"
        numbers[1] += 1
    return {place: f"{well} of {whole}" for place, (well, whole) in found.items()}
