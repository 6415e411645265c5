"""What a run leaves behind: tables in the terminal, a JSON file with every measurement, the HTML page (`page`)."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmarks.measurement import FIGURES, Measurement, Pace
from benchmarks.peers import PEERS
from benchmarks.summary import REFERENCES, CaseSummary, Row, Spread

_TOLD_OF_TROUBLE = 100
_BUSY_CLIENT = 90.0


@dataclass(slots=True)
class Run:
    """One run of the benchmark."""

    command: str
    started: str
    machine: dict[str, str]
    versions: dict[str, str]
    left_out: dict[str, str]
    """Proxies that are not installed, and what brings them."""
    pace: Pace
    summaries: list[CaseSummary] = field(default_factory=list)
    measurements: list[Measurement] = field(default_factory=list)


def number(value: float, name: str) -> str:
    """A figure as people read it."""
    return f"{value:,.{FIGURES[name].decimals}f}"


def title_of(name: str) -> str:
    """A figure's name with its unit."""
    figure = FIGURES[name]
    return f"{figure.title} {figure.unit}".strip()


def preface(run: Run) -> str:
    """What was measured on what."""
    lines = [f"{name}: {value}" for name, value in run.machine.items()]
    lines += [f"{PEERS[peer].TITLE}: {version}" for peer, version in run.versions.items()]
    lines += [f"{PEERS[peer].TITLE}: left out, not installed ({command})" for peer, command in run.left_out.items()]
    return "\n".join(lines)


def table(summary: CaseSummary) -> str:
    """One case for the terminal."""
    names = summary.case.figures
    head = ["", title_of(names[0]), "spread", *(f"× {PEERS[each].TITLE}" for each in REFERENCES)]
    head += [*(title_of(name) for name in names[1:]), "errors"]
    cells = [head, *(_cells(row, names) for row in summary.rows if row.figures)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    lines = [
        "  ".join(f"{cell:<{width}}" if not place else f"{cell:>{width}}" for place, (cell, width) in enumerate(pairs))
        for pairs in (list(zip(row, widths, strict=True)) for row in cells)
    ]
    return "\n".join([*lines, *notes(summary)])


def notes(summary: CaseSummary) -> list[str]:
    """What a table can't say."""
    lines = []
    for row in summary.rows:
        if row.trouble:
            told = row.trouble.splitlines()[-1][-_TOLD_OF_TROUBLE:]
            lines.append(f"{PEERS[row.peer].TITLE}: no figure: {told}")
        if row.errors:
            told = ", ".join(f"{count} × {kind}" for kind, count in sorted(row.errors.items()))
            lines.append(f"{PEERS[row.peer].TITLE}: failed: {told}")
        if (client := row.figures.get("client")) and client.median > _BUSY_CLIENT:
            lines.append(f"{PEERS[row.peer].TITLE}: the load client was the bottleneck; requests/s is a lower bound")
    if verdict := summary.verdict():
        lines.append(verdict)
    return lines


def _cells(row: Row, names: tuple[str, ...]) -> list[str]:
    main = row.figures[names[0]]
    cells = [PEERS[row.peer].TITLE, number(main.median, names[0]), spread_of(main, names[0])]
    cells += [f"{row.ratios[each].median:.2f}" if each in row.ratios else "–" for each in REFERENCES]
    cells += [number(row.figures[name].median, name) if name in row.figures else "–" for name in names[1:]]
    return [*cells, str(sum(row.errors.values()))]


def spread_of(spread: Spread, name: str) -> str:
    """From the least to the most."""
    return f"{number(spread.low, name)}–{number(spread.high, name)}"


def write_json(run: Run, path: Path) -> None:
    """Every measurement and what was made of it."""
    cases = [
        {
            "name": summary.case.name,
            "title": summary.case.title,
            "main_figure": summary.main,
            "verdict": summary.verdict(),
            "rows": [asdict(row) for row in summary.rows],
        }
        for summary in run.summaries
    ]
    content = {
        "command": run.command,
        "started": run.started,
        "machine": run.machine,
        "versions": run.versions,
        "left_out": run.left_out,
        "pace": asdict(run.pace),
        "figures": {name: asdict(figure) for name, figure in FIGURES.items()},
        "cases": cases,
        "measurements": [asdict(each) for each in run.measurements],
    }
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
