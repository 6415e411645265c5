"""Entries about the proxy itself: its start and end, its workers, its config, its disk, certificates, lost outcomes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from proxy import __version__
from proxy.controlplane.difference import Difference
from proxy.controlplane.probing.expiry import Place, date
from proxy.core.settings import Settings
from proxy.core.telling.journal import RULE, SIGNAL, Entry, Kind

FAULTS_SHOWN = 10
NAMES_SHOWN = 20

STARTED, STOPPING, STOPPED, REPLACED, KEPT = "started", "stopping", "stopped", "replaced", "kept"
SERVES, DIED, ENDED = "serving", "died", "ended"
SOON, EXPIRED, FAULTY, WELL = "expires soon", "expired", "not accepted", "accepted"

Json = dict[str, Any]


# The process


def started(how: str, before: str, cause: str, who: str = RULE) -> Entry:
    """The program begins."""
    evidence = {"pid": os.getpid(), "version": __version__}
    return Entry(
        Kind.PROCESS,
        f"failover-proxy {__version__} {how}.",
        before=before,
        after=STARTED,
        cause=cause,
        who=who,
        evidence=evidence,
    )


def stopping(*, quick: bool) -> Entry:
    """It was told to end."""
    cause = "INT" if quick else "TERM"
    return Entry(
        Kind.PROCESS,
        f"failover-proxy was told to stop ({cause}): it takes nothing new and finishes what runs.",
        before=STARTED,
        after=STOPPING,
        cause=cause,
        who=SIGNAL,
    )


def stopped() -> Entry:
    """It has ended what it did."""
    return Entry(
        Kind.PROCESS,
        "failover-proxy has stopped.",
        before=STOPPING,
        after=STOPPED,
        cause="everything has ended",
        who=SIGNAL,
    )


def replacing() -> Entry:
    """It gives way to a new program."""
    sentence = "failover-proxy gives way to the new program; the workers serve on."
    return Entry(Kind.PROCESS, sentence, before=STARTED, after=REPLACED, cause="USR2", who=SIGNAL)


def not_replaced(reason: str) -> Entry:
    """The new program is no good."""
    sentence = f"failover-proxy was not replaced, and goes on: {reason}."
    return Entry(Kind.PROCESS, sentence, before=STARTED, after=KEPT, cause=reason, who=SIGNAL)


def took_over(workers: int) -> Entry:
    """Workers of a supervisor that is gone were found."""
    sentence = f"failover-proxy took over {workers} workers that another supervisor had left behind."
    fields: Json = {"before": "orphaned", "after": "taken over", "cause": "their supervisor is gone"}
    return Entry(Kind.PROCESS, sentence, evidence={"workers": workers}, **fields)


def problem(text: str, *, is_over: bool) -> Entry:
    """Something is wrong with the proxy itself, or no longer."""
    kind = Kind.WRITE if "ledger" in text else Kind.PROCESS
    before, after = ("failing", "well") if is_over else ("well", "failing")
    sentence = f"It is over that {text}." if is_over else f"Something is wrong: {text}."
    return Entry(kind, sentence, before=before, after=after, cause=text, rule="state_dir")


def own_code_failed(path: str, instead: str, reason: str) -> Entry:
    """A user's own code went wrong, and something else stands in for it."""
    sentence = f"The own code {path} failed, and what is {instead} stands in for it: {reason}."
    return Entry(Kind.PROCESS, sentence, before=path, after=instead, cause=reason, rule="extension")


# Workers


def worker_serves(number: int, pid: int, *, is_successor: bool) -> Entry:
    """A process serves."""
    how = "replaces the one that died, and serves" if is_successor else "serves"
    evidence = {"worker": number, "pid": pid}
    before, cause = (DIED, "its predecessor died") if is_successor else ("", "start")
    sentence = f"Worker {number} {how} (process {pid})."
    return Entry(Kind.WORKER, sentence, before=before, after=SERVES, cause=cause, evidence=evidence)


def worker_ended(number: int, pid: int, how: str, *, is_orderly: bool) -> Entry:
    """A process has ended; `how` is a signal or a status."""
    evidence = {"worker": number, "pid": pid, "how": how}
    if is_orderly:
        sentence = f"Worker {number} has ended as it was told (process {pid}, {how})."
        fields: Json = {"after": ENDED, "cause": "it was told to"}
    else:
        sentence = f"Worker {number} died (process {pid}, {how}); another takes its place."
        fields = {"after": DIED, "cause": how}
    return Entry(Kind.WORKER, sentence, before=SERVES, evidence=evidence, **fields)


# The config


def reloaded(found: Difference, seconds: float, late: Sequence[int], who: str) -> Entry:
    """Other settings are in force; `who` asked for that."""
    summary = "; ".join(f"{kind}: {what}" for kind, what in found.summary().items()) or "nothing has changed"
    evidence = {"seconds": round(seconds, 3), "late_workers": list(late), "changed": _shown(found.document())}
    fields: Json = {"before": "in force", "after": "reloaded", "cause": summary, "who": who}
    return Entry(Kind.CONFIG, f"The config was read anew: {summary}.", evidence=evidence, **fields)


def _shown(document: Mapping[str, Any]) -> Json:
    """Names of what has changed; a few of each."""
    found: Json = {}
    for kind, part in document.items():
        if isinstance(part, list):
            found |= {kind: part[:NAMES_SHOWN]} if part else {}
            continue
        named = {word: list(names)[:NAMES_SHOWN] for word, names in part.items() if names}
        found |= {kind: named} if named else {}
    return found


def splits_changed(before: Settings, after: Settings, who: str) -> Iterator[Entry]:
    """Routes whose load is shared out otherwise now."""
    known = {route.name: route.split for route in before.routes}
    for route in after.routes:
        was, now = known.get(route.name, route.split), route.split
        if was != now and max(len(was), len(now)) > 1:
            evidence = {"route": route.name, "split": dict(now)}
            sentence = f"Route {route.name} sends {_shares(now)}, before {_shares(was)}."
            fields: Json = {"before": _shares(was), "after": _shares(now), "cause": "reload", "rule": "split"}
            yield Entry(Kind.SPLIT, sentence, who=who, evidence=evidence, **fields)


def _shares(split: Sequence[tuple[str, float]]) -> str:
    return ", ".join(f"{100 * share:.4g}% to {pool}" for pool, share in split) or "nothing"


def rejected(faults: Sequence[object], who: str) -> Entry:
    """New settings can't be used."""
    shown = [str(fault) for fault in faults[:FAULTS_SHOWN]]
    count = f"{len(faults)} mistake{'s' if len(faults) > 1 else ''}"
    sentence = f"The new config was rejected, the old one stays in force: {count}; the first: {shown[0]}."
    evidence = {"mistakes": shown, "total": len(faults)}
    fields: Json = {"before": "in force", "after": "rejected", "cause": count, "who": who}
    return Entry(Kind.CONFIG, sentence, evidence=evidence, **fields)


# Certificates


def certificate_expires(place: Place, at: float, now: float) -> Entry:
    """One of our own has expired, or will soon; `at` is Unix time."""
    listener, pool, title = place
    state = EXPIRED if at <= now else SOON
    where = f"of listener {listener}" if listener else f"for pool {pool}"
    verb = "expired on" if state == EXPIRED else "will expire on"
    sentence = f"The certificate for {title} {where} {verb} {date(at)}."
    evidence = {"certificate": title, "listener": listener or None, "not_after": int(at)}
    fields: Json = {"after": state, "cause": f"{verb} {date(at)}", "rule": "tls"}
    return Entry(Kind.CERTIFICATE, sentence, pool, evidence=evidence, **fields)


def certificate_of_backend(pool: str, backend: str, fault: str) -> Entry:
    """Probes say that a Backend's certificate can't be accepted; without a fault, that it can again."""
    before, after = (WELL, FAULTY) if fault else (FAULTY, WELL)
    said = fault or "certificate accepted again"
    sentence = f"{backend} of pool {pool}: {said}."
    fields: Json = {"before": before, "after": after, "cause": said, "rule": "tls", "who": RULE}
    return Entry(Kind.CERTIFICATE, sentence, pool, backend, evidence={"fault": fault or None}, **fields)


# Writes


def unknown_outcomes(pool: str, routes: Mapping[str, int], total: int) -> Entry:
    """Writes failed that may have been executed."""
    count = sum(routes.values())
    said, was = ("1 write", "it was") if count == 1 else (f"{count} writes", "they were")
    sentence = f"{said} to pool {pool} failed, and nobody knows whether {was} executed; none was sent again."
    evidence = {"count": count, "routes": dict(routes), "total": total}
    fields: Json = {"after": "unknown", "cause": "the connection was lost or silent once the request was sent"}
    return Entry(Kind.WRITE, sentence, pool, evidence=evidence, **fields)
