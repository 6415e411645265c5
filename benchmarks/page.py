"""The results as one HTML page that needs nothing else: plots are SVG made here, styles stand in it, no script."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from pathlib import Path

from benchmarks.cases import LoadCase
from benchmarks.peers import OURS, PEERS
from benchmarks.report import Run, notes, number, spread_of, title_of
from benchmarks.summary import REFERENCES, CaseSummary, Row, Spread

_STYLE = Path(__file__).with_name("page.css")
_WIDTH, _LABEL, _END, _ROW = 880, 250, 110, 26


@dataclass(frozen=True, slots=True)
class _Bar:
    """One bar of a plot: as long as the median, with a line from the least to the most."""

    label: str
    spread: Spread
    told: str
    style: str
    mark: float | None = None
    """Where a target stands."""

    def reaches(self) -> float:
        return max(self.spread.high, self.mark or 0.0)


def write_page(run: Run, path: Path) -> None:
    """The whole page."""
    parts = [
        "<!doctype html><html lang='en'><meta charset='utf-8'>",
        "<meta name='viewport' content='width=device-width'><title>Benchmark of failover-proxy</title>",
        f"<style>{_STYLE.read_text()}</style><h1>Benchmark of failover-proxy</h1>",
        _about(run),
        _overview(run.summaries),
        *(_section(summary) for summary in run.summaries),
        "</html>",
    ]
    path.write_text("\n".join(parts) + "\n")


def _about(run: Run) -> str:
    pairs = {"started": run.started, "command": run.command, "rounds": str(run.pace.rounds)} | run.machine
    pairs |= {PEERS[peer].TITLE: version for peer, version in run.versions.items()}
    pairs |= {PEERS[peer].TITLE: f"left out, not installed ({how})" for peer, how in run.left_out.items()}
    return "<dl>" + "".join(f"<dt>{escape(key)}<dd>{escape(value)}" for key, value in pairs.items()) + "</dl>"


def _overview(summaries: list[CaseSummary]) -> str:
    """This proxy's main figure as a multiple of HAProxy's, in all cases under load."""
    bars = []
    for summary in summaries:
        row = summary.row("proxy")
        if isinstance(summary.case, LoadCase) and row and "haproxy" in row.ratios:
            ratio, target = row.ratios["haproxy"], summary.case.target
            missed = target is not None and ratio.median > target
            style = "missed-bar" if missed else "ours"
            bars.append(_Bar(summary.case.title, ratio, f"{ratio.median:.2f}", style, target))
    caption = (
        "This proxy’s main figure as a multiple of HAProxy’s in the same rounds; less is better. Dashed: the target."
    )
    return "<h2>Beside HAProxy</h2>" + _figure(bars, caption) if bars else ""


def _section(summary: CaseSummary) -> str:
    rows = [row for row in summary.rows if summary.main in row.figures]
    bars = [_bar_of(row, summary.main) for row in rows]
    caption = f"{title_of(summary.main)}: median of the rounds; the line goes from the least to the most."
    told = "".join(
        f"<p class='note{' missed' if 'MISSED' in note else ''}'>{escape(note)}</p>" for note in notes(summary)
    )
    heading = f"<h2 id='{escape(summary.case.name)}'>{escape(summary.case.title)}</h2>"
    return heading + (_figure(bars, caption) + _table(summary, rows) if rows else "") + told


def _bar_of(row: Row, name: str) -> _Bar:
    spread = row.figures[name]
    return _Bar(PEERS[row.peer].TITLE, spread, number(spread.median, name), "ours" if row.peer in OURS else "other")


def _table(summary: CaseSummary, rows: list[Row]) -> str:
    names = summary.case.figures
    head = ["", title_of(names[0]), "spread", *(f"× {PEERS[each].TITLE}" for each in REFERENCES)]
    head += [*(title_of(name) for name in names[1:]), "errors"]
    lines = ["<tr>" + "".join(f"<th>{escape(cell)}</th>" for cell in head) + "</tr>"]
    for row in rows:
        main = row.figures[names[0]]
        cells = [PEERS[row.peer].TITLE, number(main.median, names[0]), spread_of(main, names[0])]
        cells += [f"{row.ratios[each].median:.2f}" if each in row.ratios else "–" for each in REFERENCES]
        cells += [number(row.figures[name].median, name) if name in row.figures else "–" for name in names[1:]]
        cells.append(str(sum(row.errors.values())))
        style = " class='ours'" if row.peer in OURS else ""
        lines.append(f"<tr{style}>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>")
    return f"<div class='wide'><table>{''.join(lines)}</table></div>"


def _figure(bars: list[_Bar], caption: str) -> str:
    """Bars below each other on one scale."""
    scale = (_WIDTH - _LABEL - _END) / max([bar.reaches() for bar in bars] + [1e-9])
    drawn = "".join(_drawn(bar, place * _ROW + 4, scale) for place, bar in enumerate(bars))
    size = f"viewBox='0 0 {_WIDTH} {len(bars) * _ROW + 4}' width='{_WIDTH}' role='img' aria-label='{escape(caption)}'"
    return f"<figure><svg {size}>{drawn}</svg><figcaption>{escape(caption)}</figcaption></figure>"


def _drawn(bar: _Bar, top: int, scale: float) -> str:
    base, middle = top + 14, top + (_ROW - 8) / 2
    low, high = _LABEL + bar.spread.low * scale, _LABEL + bar.spread.high * scale
    length = max(bar.spread.median * scale, 1.0)
    parts = [
        f"<text x='{_LABEL - 10}' y='{base}' text-anchor='end'>{escape(bar.label)}</text>",
        f"<rect class='{bar.style}' x='{_LABEL}' y='{top}' width='{length:.1f}' height='{_ROW - 8}' rx='2'/>",
        f"<line class='whisker' x1='{low:.1f}' x2='{high:.1f}' y1='{middle}' y2='{middle}'/>",
        f"<text class='soft' x='{_LABEL + bar.reaches() * scale + 8:.1f}' y='{base}'>{escape(bar.told)}</text>",
    ]
    if bar.mark is not None:
        x = _LABEL + bar.mark * scale
        parts.append(f"<line class='mark' x1='{x:.1f}' x2='{x:.1f}' y1='{top - 3}' y2='{top + _ROW - 5}'/>")
    return "".join(parts)
