"""Entries of the journal: what changed, from what to what, why, by which rule, who wanted it, and what was seen.

Values, their JSON, a bounded ring of them, and what somebody asks for. It knows nothing of files and of how an entry
comes about: that is in `controlplane.journal`.
"""

from __future__ import annotations

import enum
import json
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from proxy.core.telling.cost import Cost

Json = dict[str, Any]

RULE, PERSON, BACKEND, SIGNAL = "rule", "person", "backend", "signal"
"""Who decides: a rule of ours, a person over the admin API, a Backend by its own word, a signal to the process."""
TEXT_MAX = 400
"""Characters of a sentence, or of anything else in words."""
LINE_MAX = 8192
"""Bytes of an entry; one that is longer loses its evidence."""
LEFT_OUT: Json = {"left_out": "it was too long"}


class Kind(enum.StrEnum):
    """What an entry is about."""

    BACKEND = "backend"
    POOL = "pool"
    BREAKER = "breaker"
    FAILOVER = "failover"
    SPLIT = "split"
    CONFIG = "config"
    WORKER = "worker"
    CERTIFICATE = "certificate"
    PROCESS = "process"
    WRITE = "write"


@dataclass(frozen=True, slots=True)
class Entry:
    """One change. The journal gives it a number and a date."""

    kind: Kind
    sentence: str
    """All of it in plain English, for people."""
    pool: str = ""
    backend: str = ""
    before: str = ""
    after: str = ""
    cause: str = ""
    """Why, in a few words."""
    rule: str = ""
    """The rule or the setting that fired, such as `health.fall`."""
    who: str = RULE
    evidence: Mapping[str, Any] = field(default_factory=dict)
    """What was seen, as JSON."""
    cost: Cost | None = None
    """Of a switch: what it took, and what became of requests meanwhile."""

    def document(self, number: int, at: float) -> Json:
        """As the API tells it; `at` is Unix time."""
        document = {
            "id": number,
            "time": rfc3339(at),
            "kind": self.kind.value,
            "pool": self.pool or None,
            "backend": self.backend or None,
            "from": _cut(self.before) or None,
            "to": _cut(self.after) or None,
            "cause": _cut(self.cause),
            "rule": self.rule or None,
            "who": self.who,
            "evidence": dict(self.evidence),
            "sentence": _cut(self.sentence),
        }
        return document if self.cost is None else document | {"cost": self.cost.document()}


def _cut(text: str) -> str:
    return text if len(text) <= TEXT_MAX else f"{text[: TEXT_MAX - 1]}…"


def rfc3339(at: float) -> str:
    """Unix time as a date in UTC, with milliseconds."""
    return datetime.fromtimestamp(round(at, 3), UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(frozen=True, slots=True)
class Kept:
    """An entry as it is kept: one line of JSON, and what it is looked for by."""

    id: int
    at: float
    """Unix time."""
    kind: str
    pool: str
    backend: str
    text: str

    def document(self) -> Json:
        """As the API tells it."""
        document: Json = json.loads(self.text)
        return document


def keep(entry: Entry, number: int, at: float) -> Kept:
    """The entry as a line."""
    document = entry.document(number, at)
    text = _line(document)
    if len(text) > LINE_MAX:
        text = _line(document | {"evidence": LEFT_OUT})
    return Kept(number, at, entry.kind.value, entry.pool, entry.backend, text)


def _line(document: Json) -> str:
    """One line, and ASCII: so many characters are as many bytes. What JSON has no word for is written as text."""
    return json.dumps(document, separators=(",", ":"), default=str)


def read_line(line: bytes) -> Kept | None:
    """An entry from its line; None if it is none: torn off by a crash, or not ours."""
    try:
        document = json.loads(line)
        number, at = document["id"], datetime.fromisoformat(document["time"]).timestamp()
        kind, pool, backend = document["kind"], document["pool"] or "", document["backend"] or ""
        text = line.decode("ascii").strip()
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None
    is_ours = type(number) is int and number > 0 and all(isinstance(one, str) for one in (kind, pool, backend))
    return Kept(number, at, kind, pool, backend, text) if is_ours else None


@dataclass(frozen=True, slots=True)
class Query:
    """Which entries somebody asks for; what is left out asks for all."""

    pool: str = ""
    backend: str = ""
    kind: str = ""
    since: float | None = None
    """Unix time."""
    after: int | None = None
    """An entry's number: only later ones."""
    limit: int = 100

    def wants(self, kept: Kept) -> bool:
        """Whether it is one of them."""
        return (
            (not self.pool or kept.pool == self.pool)
            and (not self.backend or kept.backend == self.backend)
            and (not self.kind or kept.kind == self.kind)
            and (self.since is None or kept.at >= self.since)
            and (self.after is None or kept.id > self.after)
        )


class Ring:
    """The newest entries, in order; a new one beyond `most` pushes the oldest out."""

    def __init__(self, most: int) -> None:
        self._entries: deque[Kept] = deque(maxlen=most)
        self.last_id = 0
        """Of the newest entry that there has ever been."""

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self) -> str:
        return f"<Ring {len(self)} of {self.most}, last {self.last_id}>"

    @property
    def most(self) -> int:
        """How many it holds."""
        most = self._entries.maxlen
        assert most is not None
        return most

    def obey(self, most: int) -> None:
        """Hold so many from now on."""
        if most != self.most:
            self._entries = deque(self._entries, maxlen=most)

    def recall(self, entries: Iterable[Kept]) -> list[Kept]:
        """Take in what was kept elsewhere, in any order; those that are later than what is here, each once."""
        later = {one.id: one for one in entries if one.id > self.last_id}
        taken = [later[number] for number in sorted(later)]
        for one in taken:
            self.take(one)
        return taken

    def add(self, entry: Entry, at: float) -> Kept:
        """A new entry gets the next number."""
        kept = keep(entry, self.last_id + 1, at)
        self.take(kept)
        return kept

    def take(self, kept: Kept) -> None:
        """The next one, which has its number already."""
        self.last_id = kept.id
        self._entries.append(kept)

    def find(self, query: Query) -> list[Kept]:
        """What is asked for, the newest last: with `after` those that follow it, without the newest ones."""
        if query.after is None:
            found = _first((one for one in reversed(self._entries) if query.wants(one)), query.limit)
            return found[::-1]
        return _first((one for one in self._entries if query.wants(one)), query.limit)

    def newest(self, most: int) -> list[Kept]:
        """So many of the newest, in order."""
        return list(self._entries)[-most:] if most else []


def _first(entries: Iterable[Kept], most: int) -> list[Kept]:
    return [one for one, _ in zip(entries, range(most), strict=False)]
