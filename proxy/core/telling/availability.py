"""How available Routes and Pools were: requests that went well, badly, or nobody knows, over an hour, a day, a month.

Arithmetic over wall-clock minutes, in bounded memory: each window has its own ring of slots. What counts as what is
said in `docs/observability.md`. `controlplane.availability` feeds it with what workers count, and keeps it on disk.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import log10
from types import MappingProxyType
from typing import Any, NamedTuple

MINUTE = 60.0
BAD_SHARE = 0.05
"""A minute is bad if this share of its requests, or more, failed."""
GOOD, BAD, UNKNOWN, SAVED = range(4)
"""Places in Counts."""
FIRST_ERROR, FIRST_FAILURE = 400, 500
"""The lowest status that is not good, and the lowest that is bad."""
FIELDS = 5
"""Numbers in a slot: those of Counts and the bad minutes."""

Json = dict[str, Any]


class Span(NamedTuple):
    """A window: so many slots of so many minutes."""

    name: str
    minutes: int
    slots: int


SPANS = (Span("1h", 1, 60), Span("24h", 15, 96), Span("30d", 360, 120))
"""The oldest slot goes as a new one begins, so a window covers its length but for a part of one slot."""


class Counts(NamedTuple):
    """Requests by how they ended. A client's own mistakes (4xx) and departures are in none of them."""

    good: int = 0
    bad: int = 0
    unknown: int = 0
    """Writes that may have been executed, or not."""
    saved: int = 0
    """Of the good ones: those that would have failed without another Attempt."""

    def plus(self, other: Counts) -> Counts:
        """Both together."""
        return Counts(*(one + two for one, two in zip(self, other, strict=True)))

    def since(self, before: Counts) -> Counts:
        """What was counted in between; never less than nothing."""
        return Counts(*(max(0, now - then) for now, then in zip(self, before, strict=True)))

    @property
    def total(self) -> int:
        """All that count."""
        return self.good + self.bad + self.unknown


NOTHING = Counts()


def is_bad_minute(counts: Counts) -> bool:
    """Whether so much failed that the minute as a whole counts as bad."""
    harmed = counts.bad + counts.unknown
    return harmed > 0 and harmed >= BAD_SHARE * counts.total


@dataclass(frozen=True, slots=True)
class Budget:
    """How much may fail in a window, and how much has."""

    allowed: float
    """Requests, of those that there were."""
    spent: int

    @property
    def left_share(self) -> float:
        """1: nothing spent; 0: all of it; below 0: more than there was."""
        if not self.allowed:
            return 0.0 if self.spent else 1.0
        return 1.0 - self.spent / self.allowed

    def document(self) -> Json:
        """As JSON."""
        return {"allowed": round(self.allowed, 3), "spent": self.spent, "left_share": round(self.left_share, 6)}


@dataclass(frozen=True, slots=True)
class Availability:
    """One window of one Route or Pool."""

    counts: Counts
    bad_minutes: int

    @property
    def ratio(self) -> float | None:
        """The share that went well; None without a request. What nobody knows did not surely go well."""
        return self.counts.good / self.counts.total if self.counts.total else None

    @property
    def nines(self) -> float | None:
        """3.0 for 99.9 %; None without a request, and where nothing failed to count nines by."""
        ratio = self.ratio
        return None if ratio is None or ratio == 1.0 else -log10(1.0 - ratio)

    def budget(self, objective: float) -> Budget:
        """The error budget for this objective."""
        return Budget((1.0 - objective) * self.counts.total, self.counts.bad + self.counts.unknown)

    def document(self, objective: float | None) -> Json:
        """As JSON."""
        return self.counts._asdict() | {
            "availability": _rounded(self.ratio, 8),
            "nines": _rounded(self.nines, 3),
            "bad_minutes": self.bad_minutes,
            "budget": None if objective is None else self.budget(objective).document(),
        }


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


class _Window:
    """A ring of slots. The one of slot number n is at n modulo their number."""

    __slots__ = ("_numbers", "newest", "span", "sums")

    def __init__(self, span: Span, newest: int) -> None:
        self.span = span
        self.newest = newest
        self.sums = (0,) * FIELDS
        """Over all slots."""
        self._numbers = array("Q", bytes(8 * FIELDS * span.slots))

    def copy(self) -> _Window:
        """As it is now."""
        other = _Window(self.span, self.newest)
        other.sums, other._numbers = self.sums, self._numbers[:]
        return other

    def turn(self, slot: int) -> None:
        """This slot is the newest from now on. Where the clock went back, what came later is taken to be of now."""
        if slot < self.newest:
            self._fold(slot)
        for passed in range(max(self.newest, slot - self.span.slots) + 1, slot + 1):
            self._write(passed, (0,) * FIELDS)
        self.newest = slot

    def _fold(self, slot: int) -> None:
        first = max(slot + 1, self.newest - self.span.slots + 1)
        later = [self._read(number) for number in range(first, self.newest + 1)]
        for number in range(first, self.newest + 1):
            self._write(number, (0,) * FIELDS)
        if slot <= self.newest - self.span.slots:
            self._write(slot, (0,) * FIELDS)
        self._write(slot, map(sum, zip(self._read(slot), *later, strict=True)))

    def add(self, numbers: Iterable[int]) -> None:
        """Count in the newest slot."""
        self._write(self.newest, map(sum, zip(self._read(self.newest), numbers, strict=True)))

    def _read(self, slot: int) -> tuple[int, ...]:
        place = slot % self.span.slots * FIELDS
        return tuple(self._numbers[place : place + FIELDS])

    def _write(self, slot: int, numbers: Iterable[int]) -> None:
        place = slot % self.span.slots * FIELDS
        before, after = self._numbers[place : place + FIELDS], array("Q", numbers)
        self._numbers[place : place + FIELDS] = after
        self.sums = tuple(total - old + new for total, old, new in zip(self.sums, before, after, strict=True))

    def document(self) -> list[list[int]]:
        """The slots in which something was counted."""
        numbers, count = self._numbers.tolist(), self.span.slots
        rows = [(place, numbers[place * FIELDS : (place + 1) * FIELDS]) for place in range(count)]
        return sorted([self.newest - (self.newest - place) % count, *row] for place, row in rows if any(row))

    def load(self, rows: Iterable[Iterable[int]]) -> None:
        """Take in what `document` gave. Raises ValueError or TypeError for what is no such thing."""
        for slot, *numbers in rows:
            if len(numbers) != FIELDS:
                raise ValueError(f"not a slot: {numbers!r}")
            if self.newest - self.span.slots < slot <= self.newest:
                self._write(slot, numbers)


class History:
    """All windows of one Route or Pool."""

    __slots__ = ("_minute", "_minute_counts", "_new", "_windows")

    def __init__(self, minute: int) -> None:
        self._minute = minute
        self._minute_counts = Counts()
        self._new = NOTHING
        """Of this minute, and not yet in the windows: workers report each second, and few look so often."""
        self._windows = tuple(_Window(span, minute // span.minutes) for span in SPANS)

    def __repr__(self) -> str:
        return f"<History {self.windows(self._minute * MINUTE)['1h'].counts}>"

    @property
    def is_empty(self) -> bool:
        """Whether nothing is left in any window."""
        self._settle()
        return not any(any(window.sums) for window in self._windows)

    def add(self, counts: Counts, at: float) -> None:
        """Count these as of the Unix time `at`."""
        self._turn(at)
        self._new = self._new.plus(counts)

    def _settle(self) -> None:
        """Put what is new into the windows."""
        if self._new is not NOTHING:
            self._minute_counts = self._minute_counts.plus(self._new)
            for window in self._windows:
                window.add((*self._new, 0))
            self._new = NOTHING

    def _turn(self, at: float) -> None:
        """The time is `at`; what has become of the minute before is known now."""
        minute = int(at // MINUTE)
        if minute == self._minute:
            return
        self._settle()
        if minute > self._minute:
            if is_bad_minute(self._minute_counts):
                for window in self._windows:
                    window.add((0, 0, 0, 0, 1))
            self._minute_counts = Counts()
        self._minute = minute
        for window in self._windows:
            window.turn(minute // window.span.minutes)

    def windows(self, at: float) -> dict[str, Availability]:
        """How available it was, by the names of SPANS, at the Unix time `at`."""
        self._turn(at)
        self._settle()
        is_bad = is_bad_minute(self._minute_counts)
        found = {}
        for window in self._windows:
            *counts, bad_minutes = window.sums
            found[window.span.name] = Availability(Counts(*counts), bad_minutes + is_bad)
        return found

    def copy(self) -> History:
        """As it is now: somebody writes it down while it goes on."""
        self._settle()
        other = History(self._minute)
        other._minute_counts = self._minute_counts
        other._windows = tuple(window.copy() for window in self._windows)
        return other

    def document(self) -> Json:
        """As JSON, to be kept."""
        self._settle()
        windows = {window.span.name: window.document() for window in self._windows}
        return {"minute": self._minute, "counts": list(self._minute_counts), "windows": windows}


def read_history(document: Mapping[str, Any]) -> History:
    """What `History.document` gave. Raises ValueError, KeyError or TypeError for anything else."""
    history = History(_whole(document["minute"]))
    history._minute_counts = Counts(*map(_whole, document["counts"]))  # noqa: SLF001 - its own constructor
    for window in history._windows:  # noqa: SLF001 - as above
        window.load([_whole(one) for one in row] for row in document["windows"].get(window.span.name, ()))
    return history


def _whole(value: object) -> int:
    if type(value) is not int or not 0 <= value < 2**63:
        raise ValueError(f"not a count: {value!r}")
    return value


def counted(
    requests: Mapping[tuple[str, str, str, int], int],
    broken: Mapping[tuple[str, str], int],
    saved: Mapping[tuple[str, str], int],
    unknown: Mapping[tuple[str, str], int],
    degraded: Mapping[tuple[str, str, str, int], int] = MappingProxyType({}),
) -> dict[tuple[str, str], Counts]:
    """What a worker has counted, by Route and Pool: `requests` by route, pool, method and status.

    An answer of 5xx is bad, whoever made it, and so is one that broke off. 4xx is the client's own affair. A write of
    which nobody knows whether it was executed is answered 5xx too: it is taken off the bad ones.

    Where something stood in for a Pool (`degraded`: by Route, that Pool, the one in `requests`, and status), the answer
    may be as good as any, and the Pool has failed all the same: for it and for the Route the request is bad. Another
    Pool that served is not worse for it: its own part in the request counts for it alone, under no Route.
    """
    found: dict[tuple[str, str], list[int]] = {}
    for (route, pool, _, status), number in requests.items():
        counts = found.setdefault((route, pool), [0, 0, 0, 0])
        if status < FIRST_ERROR:
            counts[GOOD] += number
        elif status >= FIRST_FAILURE:
            counts[BAD] += number
    for takes_from, gives_to, numbers in ((GOOD, BAD, broken), (BAD, UNKNOWN, unknown), (None, SAVED, saved)):
        for key, number in numbers.items():
            counts = found.setdefault(key, [0, 0, 0, 0])
            counts[gives_to] += number
            if takes_from is not None:
                counts[takes_from] = max(0, counts[takes_from] - number)
    for (route, failed, served, status), number in degraded.items():
        ended = GOOD if status < FIRST_ERROR else BAD if status >= FIRST_FAILURE else None
        if ended is not None:
            counts = found.setdefault((route, served), [0, 0, 0, 0])
            counts[ended] = max(0, counts[ended] - number)
            if served != failed:
                found.setdefault(("", served), [0, 0, 0, 0])[ended] += number
        found.setdefault((route, failed), [0, 0, 0, 0])[BAD] += number
    return {key: Counts(*counts) for key, counts in found.items()}
