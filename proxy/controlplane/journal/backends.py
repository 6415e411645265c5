"""Entries about Backends: out or back, and each reason for it, with what was seen and the rule that has fired.

It words what `registry` has changed and decides nothing. `recorder` asks it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from proxy.controlplane.admin.dates import Dates
from proxy.controlplane.pools.change import Change
from proxy.controlplane.pools.records import BackendRecord
from proxy.core.pools.breaker import BreakerState
from proxy.core.pools.health import HealthState, Probe
from proxy.core.pools.model import BY_TRAFFIC, Unavailable
from proxy.core.telling.journal import BACKEND, PERSON, RULE, Entry, Kind

Json = dict[str, Any]
Teller = Callable[[Change, BackendRecord, Dates], Entry]

PROBES_SHOWN = 8
"""Of the last probes, at most so many are evidence."""

EXPLAINS: Mapping[str, frozenset[Unavailable]] = {
    "health": frozenset({Unavailable.FAILED_PROBES, Unavailable.UNCHECKED}),
    "breaker": BY_TRAFFIC | frozenset(),
    "outlier": BY_TRAFFIC | frozenset(),
    "admin": frozenset({Unavailable.DRAIN, Unavailable.MAINT}),
    "word": frozenset({Unavailable.DRAIN, Unavailable.MAINT}),
    "weight": frozenset({Unavailable.DRAIN}),
    "damping": frozenset({Unavailable.DAMPED}),
}
"""Reasons of which a Change of this subject tells all there is to tell."""

BEGINS: Mapping[Unavailable, tuple[str, str]] = {
    Unavailable.UNCHECKED: ("it waits for its first good probes", "health.initial"),
    Unavailable.FAILED_PROBES: ("its probes fail", "health.fall"),
    Unavailable.BREAKER_OPEN: ("its breaker is not closed", "breaker"),
    Unavailable.OUTLIER: ("it did worse than its peers", "outlier"),
    Unavailable.DRAIN: ("it drains", "drain"),
    Unavailable.MAINT: ("it is in maintenance", "maint"),
    Unavailable.FULL: ("it has as many requests in flight as it may have", "limits.max_in_flight"),
    Unavailable.DAMPED: ("it flapped", "damping"),
}
"""What to say of a reason that no Change tells of, and its rule."""


def name_of(record: BackendRecord) -> str:
    """As sentences name it."""
    return f"{record.key[1]} of pool {record.key[0]}"


def standing(reasons: Collection[Unavailable]) -> str:
    """`up`, `standby` or `out`."""
    if not reasons:
        return "up"
    return "standby" if set(reasons) == {Unavailable.STANDBY} else "out"


def _is(record: BackendRecord) -> str:
    """What it is now, for the end of a sentence."""
    others = [reason.value for reason in record.reasons if reason is not Unavailable.STANDBY]
    if others:
        return f"it is out ({', '.join(others)})"
    return "it stands by" if record.reasons else "it serves"


def _entry(record: BackendRecord, kind: Kind, sentence: str, **fields: Any) -> Entry:
    pool, backend = record.key
    return Entry(kind, sentence, pool, backend, **fields)


def probe_document(probe: Probe, dates: Dates) -> Json:
    """One probe as evidence."""
    ms = round(probe.duration * 1000, 3)
    return {"at": dates.iso(probe.at), "ok": probe.ok, "ms": ms, "detail": probe.detail}


def _health(change: Change, record: BackendRecord, dates: Dates) -> Entry:
    health = record.health
    is_up = health.state is HealthState.UP
    rule, threshold = ("health.rise", health.policy.rise) if is_up else ("health.fall", health.policy.fall)
    shown = list(health.last)[-min(threshold, PROBES_SHOWN) :]
    evidence = {"threshold": threshold, "probes": [probe_document(probe, dates) for probe in shown]}
    how = f"{threshold} probe{'s' if threshold > 1 else ''}{' in a row' if threshold > 1 else ''}"
    said = f"{how} went well" if is_up else f"{how} failed ({change.reason})"
    sentence = f"{name_of(record)}: {said}; {_is(record)}."
    fields = {"before": change.before, "after": change.after, "cause": change.reason if not is_up else said}
    return _entry(record, Kind.BACKEND, sentence, rule=rule, evidence=evidence, **fields)


RULES_OF_BREAKERS = (
    (" in a row", "breaker.consecutive"),
    ("requests failed in", "breaker.failure_rate"),
    ("a trial failed", "breaker.trials"),
    ("open_for", "breaker.open_for"),
    ("trials passed", "breaker.trial_successes"),
    ("in place of trials", "breaker.trial_successes"),
)
"""Which rule has fired, by a part of what the Breaker gives as its reason."""


def _breaker(change: Change, record: BackendRecord, dates: Dates) -> Entry:
    view = record.breaker()
    rule = next((rule for part, rule in RULES_OF_BREAKERS if part in change.reason), "outlier" if view.outlier else "")
    evidence: Json = {
        "reason": change.reason,
        "workers": {str(worker): one.state.value for worker, one in record.breakers.items()},
    }
    said = f"the breaker is {change.after} ({change.reason})"
    if view.state is BreakerState.OPEN:
        evidence |= {"until": dates.iso(view.until)}
        evidence |= {"failing_since": dates.iso(view.began)} if view.began else {}
        said = f"{said}, trials from {evidence['until']}"
    sentence = f"{name_of(record)}: {said}; {_is(record)}."
    fields = {"before": change.before, "after": change.after, "cause": change.reason}
    return _entry(record, Kind.BREAKER, sentence, rule=rule, evidence=evidence, **fields)


def _outlier(change: Change, record: BackendRecord, dates: Dates) -> Entry:
    until = dates.iso(record.breaker().until)
    sentence = f"{name_of(record)} is ejected until {until}: it does worse than its peers ({change.reason})."
    fields = {"before": change.before, "after": change.after, "cause": change.reason}
    evidence = {"peers": change.reason, "until": until}
    return _entry(record, Kind.BACKEND, sentence, rule="outlier", evidence=evidence, **fields)


def _share(change: Change, record: BackendRecord, dates: Dates) -> Entry:
    sentence = f"{name_of(record)} gets {change.after} of its weight, before {change.before}: {change.reason}."
    fields = {"before": change.before, "after": change.after, "cause": change.reason}
    return _entry(record, Kind.BACKEND, sentence, rule="outlier", evidence={"peers": change.reason}, **fields)


def _admin(change: Change, record: BackendRecord, dates: Dates) -> Entry:
    sentence = f"A person said {change.after} of {name_of(record)}, before {change.before}; {_is(record)}."
    fields = {"before": change.before, "after": change.after, "cause": "a person gave the order"}
    return _entry(record, Kind.BACKEND, sentence, who=PERSON, **fields)


def _weight(change: Change, record: BackendRecord, dates: Dates) -> Entry:
    sentence = f"A person gave {name_of(record)} the weight {change.after}, before {change.before}; {_is(record)}."
    fields = {"before": change.before, "after": change.after, "cause": "a person gave the order"}
    return _entry(record, Kind.BACKEND, sentence, who=PERSON, **fields)


def _word(change: Change, record: BackendRecord, dates: Dates) -> Entry:
    sentence = f"{name_of(record)} says {change.after} of itself, before {change.before}; {_is(record)}."
    fields = {"before": change.before, "after": change.after, "cause": "its own word in an answer to a probe"}
    return _entry(record, Kind.BACKEND, sentence, rule="obey_backend", who=BACKEND, **fields)


def _damping(change: Change, record: BackendRecord, dates: Dates) -> Entry:
    fields = {"before": change.before, "after": change.after}
    if change.after != "damped":
        sentence = f"{name_of(record)} was quiet for long enough; {_is(record)}."
        return _entry(
            record, Kind.BACKEND, sentence, rule="damping.reuse", cause="its penalty for flapping decayed", **fields
        )
    until = dates.iso(record.damped_until)
    sentence = f"{name_of(record)} stays out until {until}: {change.reason}."
    fields |= {"cause": change.reason}
    return _entry(record, Kind.BACKEND, sentence, rule="damping.suppress", evidence={"until": until}, **fields)


TELLERS: Mapping[str, Teller] = {
    "health": _health,
    "breaker": _breaker,
    "outlier": _outlier,
    "share": _share,
    "admin": _admin,
    "weight": _weight,
    "word": _word,
    "damping": _damping,
}
"""By a Change's subject."""


def reason_began(record: BackendRecord, reason: Unavailable, before: str) -> Entry:
    """A reason that no Change tells of."""
    said, rule = BEGINS.get(reason, (reason.value, ""))
    fields = {"before": before, "after": standing(record.reasons), "cause": reason.value}
    return _entry(record, Kind.BACKEND, f"{name_of(record)} is out: {said}.", rule=rule, who=RULE, **fields)


def reason_ended(record: BackendRecord, reason: Unavailable, before: str) -> Entry:
    """The end of a reason that no Change tells of."""
    said, rule = BEGINS.get(reason, (reason.value, ""))
    fields = {"before": before, "after": standing(record.reasons), "cause": f"{reason.value} is over"}
    sentence = f"{name_of(record)}: no longer that {said}; {_is(record)}."
    return _entry(record, Kind.BACKEND, sentence, rule=rule, who=RULE, **fields)
