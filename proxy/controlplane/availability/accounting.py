"""Counts how available each Route and Pool is, from what workers report, and tells it to API, metrics and journal.

Reports hold totals since a worker's start, so what is new in one is what came since the last one of the same process:
each request counts once, whoever dies or is replaced in between. `remembered` keeps all of it on disk; the arithmetic
is `core.availability`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from proxy.controlplane.pools.tally import forget_oldest
from proxy.core.messages import Report
from proxy.core.settings import PoolSettings, RouteSettings, Settings
from proxy.core.telling.availability import MINUTE, SPANS, Availability, Counts, History, counted, read_history

Json = dict[str, Any]
Key = tuple[str, str]
"""Route and pool."""

VERSION = 1
POOLS, ROUTES = "pools", "routes"
GONE_MAX = 1000
"""Routes and Pools that the settings know no more, whose history is kept."""


class Row(NamedTuple):
    """One window of one Route or Pool."""

    name: str
    objective: float | None
    span: str
    availability: Availability


class Accounting:
    """All Routes and Pools. `clock` gives Unix time."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._clock = clock
        self._histories: dict[str, dict[str, History]] = {POOLS: {}, ROUTES: {}}
        self._seen: dict[int, dict[Key, Counts]] = {}
        """By process id: what its last Report said."""
        self._pools: dict[str, Counts] = {}
        """Of each Pool, all that there ever was; for the cost of a switch, and as counters that never go back."""
        self.urgent: Callable[[], None] = lambda: None
        """Called when it should be kept soon: nobody else knows any more what a worker has counted that has ended."""

    def __repr__(self) -> str:
        return f"<Accounting {', '.join(f'{len(known)} {what}' for what, known in self._histories.items())}>"

    def obey(self, settings: Settings) -> None:
        """Follow other settings. Who is gone is remembered for a while: a mistake may be taken back."""
        self._settings = settings
        for what, names in ((POOLS, settings.pools), (ROUTES, settings.routes)):
            kept = {one.name for one in names}
            forget_oldest(self._histories[what], kept.__contains__, GONE_MAX)
        forget_oldest(self._pools, {one.name for one in settings.pools}.__contains__, GONE_MAX)

    # What workers say

    def begin(self, pid: int) -> None:
        """This process has just begun; who bore its number before was another."""
        self._seen.pop(pid, None)

    def forget(self, pid: int) -> None:
        """This process has ended, and all that it said was taken."""
        if self._seen.pop(pid, None) is not None:
            self.urgent()

    def take(self, report: Report) -> dict[Key, Counts]:
        """Take in a worker's Report; what is new in it, by Route and Pool."""
        now = counted(report.requests, report.broken, report.saved, report.unknown_outcomes, report.degraded_ends)
        before, self._seen[report.pid] = self._seen.get(report.pid, {}), now
        new = {key: _new(counts, before.get(key)) for key, counts in now.items() if counts != before.get(key)}
        self._count(new)
        return new

    def _count(self, new: Mapping[Key, Counts]) -> None:
        at = self._clock()
        for what, sums in ((ROUTES, _sums(new, 0)), (POOLS, _sums(new, 1))):
            for name, counts in sums.items():
                self._history(what, name, at).add(counts, at)
        for name, counts in _sums(new, 1).items():
            self._pools[name] = self._pools.get(name, Counts()).plus(counts)

    def _history(self, what: str, name: str, at: float) -> History:
        known = self._histories[what]
        if name not in known:
            known[name] = History(int(at // MINUTE))
        return known[name]

    # What others ask

    def pool(self, name: str) -> Counts:
        """What has become of a Pool's requests, in all."""
        return self._pools.get(name, Counts())

    def pools(self) -> dict[str, Counts]:
        """The same of all Pools: those in the settings, and others that are remembered."""
        return {one.name: Counts() for one in self._settings.pools} | self._pools

    def document(self) -> Json:
        """As the API tells it."""
        at = self._clock()
        return {what: [self._one(what, one, at) for one in known] for what, known in self._known()}

    def _one(self, what: str, settings: PoolSettings | RouteSettings, at: float) -> Json:
        windows = {row.span: row.availability.document(settings.slo) for row in self._rows(what, settings, at)}
        return {"name": settings.name, "slo": settings.slo, "windows": windows}

    def rows(self, what: str) -> Iterator[Row]:
        """Those of `pools` or `routes` in which there were requests; for the metrics page."""
        at = self._clock()
        known = self._histories[what]
        for one in dict(self._known())[what]:
            if one.name in known:
                yield from (row for row in self._rows(what, one, at) if row.availability.counts.total)

    def _known(self) -> tuple[tuple[str, tuple[PoolSettings | RouteSettings, ...]], ...]:
        return ((POOLS, self._settings.pools), (ROUTES, self._settings.routes))

    def _rows(self, what: str, one: PoolSettings | RouteSettings, at: float) -> Iterator[Row]:
        history = self._histories[what].get(one.name)
        nothing = Availability(Counts(), 0)
        found = history.windows(at) if history is not None else {span.name: nothing for span in SPANS}
        return (Row(one.name, one.slo, span, availability) for span, availability in found.items())

    # What is kept

    def freeze(self) -> Callable[[], str]:
        """Gives all of it, as it is now, as text; that takes a while, and may be done in a thread."""
        histories = {what: {name: one.copy() for name, one in known.items()} for what, known in self._histories.items()}
        seen = {pid: dict(counts) for pid, counts in self._seen.items()}
        pools = dict(self._pools)
        return lambda: _text(histories, seen, pools)

    def recall(self, text: str, alive: Callable[[int], bool] = lambda _: True) -> None:
        """Go on from what `freeze` gave. Raises ValueError, and changes nothing, where it can't be understood.

        `alive` says of a process id whether it may still be the worker that we know.
        """
        try:
            document = json.loads(text)
            histories = {what: {n: read_history(one) for n, one in document[what].items()} for what in self._histories}
            seen = {int(pid): _read_seen(rows) for pid, rows in document["seen"].items() if alive(int(pid))}
            # A file from before there were any has none.
            pools = {name: _read_counts(counts) for name, counts in document.get("totals", {}).items()}
        except (KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
            raise ValueError(f"not what was kept: {error!r}") from error
        self._histories, self._seen, self._pools = histories, seen, pools


def _new(now: Counts, before: Counts | None) -> Counts:
    """What came in between. Fewer requests than before are those of another process.

    With as many, one that is now counted otherwise makes none of them new.
    """
    return now if before is None or now.total < before.total else now.since(before)


def _sums(new: Mapping[Key, Counts], place: int) -> dict[str, Counts]:
    """By Route (0) or by Pool (1); an answer of our own has no Pool."""
    sums: dict[str, Counts] = {}
    for key, counts in new.items():
        if key[place]:
            sums[key[place]] = sums.get(key[place], Counts()).plus(counts)
    return sums


def _text(
    histories: Mapping[str, Mapping[str, History]],
    seen: Mapping[int, Mapping[Key, Counts]],
    pools: Mapping[str, Counts],
) -> str:
    document: Json = {what: {name: one.document() for name, one in known.items()} for what, known in histories.items()}
    rows = {str(pid): [[*key, *counts] for key, counts in known.items()] for pid, known in seen.items()}
    return json.dumps({"version": VERSION, "seen": rows, "totals": pools, **document})


def _read_counts(counts: Iterable[int]) -> Counts:
    return Counts(*map(int, counts))


def _read_seen(rows: Iterable[tuple[str, str, int, int, int, int]]) -> dict[Key, Counts]:
    return {(str(route), str(pool)): _read_counts(counts) for route, pool, *counts in rows}
