"""Turns measurements into what is shown: medians, spreads, ratios within a round. Pure; `report` and `page` show it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import median

from benchmarks.cases import Case, LoadCase
from benchmarks.measurement import FIGURES, Measurement
from benchmarks.peers import OURS, PEERS

REFERENCES = ("haproxy", "envoy")
"""Proxies to whose figure, in the same round, the others' are set in relation."""


@dataclass(frozen=True, slots=True)
class Spread:
    """One figure over all rounds."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread | None:
        ordered = sorted(values)
        return cls(median(ordered), ordered[0], ordered[-1]) if ordered else None


@dataclass(slots=True)
class Row:
    """One proxy in one case."""

    peer: str
    figures: dict[str, Spread] = field(default_factory=dict)
    ratios: dict[str, Spread] = field(default_factory=dict)
    """Of the main figure to that of each reference, round by round."""
    errors: dict[str, int] = field(default_factory=dict)
    trouble: str = ""


@dataclass(slots=True)
class CaseSummary:
    """One case over all rounds."""

    case: Case
    rows: list[Row]

    @property
    def main(self) -> str:
        return self.case.figures[0]

    def row(self, peer: str) -> Row | None:
        return next((row for row in self.rows if row.peer == peer), None)

    def verdict(self) -> str:
        """Whether this proxy keeps the case's target; empty where there is none, or no figure."""
        target = self.case.target if isinstance(self.case, LoadCase) else None
        rows = [row for peer in OURS if (row := self.row(peer)) is not None and "haproxy" in row.ratios]
        if target is None or not rows:
            return ""
        ratios = [(PEERS[row.peer].TITLE, row.ratios["haproxy"].median) for row in rows]
        said = [f"{title} {'kept' if ratio <= target else 'MISSED'} ({ratio:.2f})" for title, ratio in ratios]
        return f"target ≤ {target:.2f} × HAProxy: {', '.join(said)}"


def summarise(case: Case, measurements: list[Measurement], order: Iterable[str]) -> CaseSummary:
    """One row for each proxy that took part, in the given order."""
    measured = {each.peer for each in measurements}
    return CaseSummary(case, [_row(case, measurements, peer) for peer in order if peer in measured])


def _row(case: Case, measurements: list[Measurement], peer: str) -> Row:
    own = [each for each in measurements if each.peer == peer]
    row = Row(peer, trouble=next((each.trouble for each in own if each.trouble), ""))
    for name in (*case.figures, "client"):
        if spread := Spread.of(each.figures[name] for each in own if name in each.figures):
            row.figures[name] = spread
    errors: Counter[str] = Counter()
    for each in own:
        errors.update(each.errors)
    row.errors = dict(errors)
    for reference in REFERENCES if FIGURES[case.figures[0]].is_comparable else ():
        if reference != peer and (spread := Spread.of(_ratios(case.figures[0], own, measurements, reference))):
            row.ratios[reference] = spread
    return row


def _ratios(name: str, own: list[Measurement], all_of_them: list[Measurement], reference: str) -> Iterable[float]:
    base = {each.round: each.figures.get(name, 0.0) for each in all_of_them if each.peer == reference}
    for each in own:
        if name in each.figures and base.get(each.round, 0.0) > 0:
            yield each.figures[name] / base[each.round]
