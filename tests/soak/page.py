"""The series of a soak as one HTML page that needs nothing else: plots are SVG made here, no script."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from pathlib import Path

from tests.soak.gauges import Holding
from tests.soak.soak import Report

WIDTH, HEIGHT, LEFT = 880, 160, 60
COLOURS = {"supervisor": "#888", "worker 0": "#1668b8", "worker 1": "#c2571a"}
PLOTS: dict[str, Callable[[Holding], float]] = {
    "Resident memory, MiB": lambda one: one.memory,
    "File descriptors": lambda one: one.descriptors,
    "Client connections": lambda one: one.connections,
    "asyncio tasks": lambda one: one.tasks,
}


def write_page(report: Report, path: Path) -> None:
    parts = [
        "<!doctype html><html lang='en'><meta charset='utf-8'><title>Soak of failover-proxy</title>",
        "<style>body{font:15px system-ui;margin:2em;max-width:960px}pre{overflow-x:auto}text{font-size:12px}</style>",
        "<h1>Soak of failover-proxy</h1><p>",
        *(f"<span style='color:{colour}'>■ {name}</span> " for name, colour in COLOURS.items()),
        *(plot(report, title, figure) for title, figure in PLOTS.items()),
        f"<pre>{escape(chr(10).join(report.lines()))}</pre></html>",
    ]
    path.write_text("\n".join(parts) + "\n")


def plot(report: Report, title: str, figure: Callable[[Holding], float]) -> str:
    """One line for each process; a worker that was replaced starts a new one."""
    seen = [(name, one) for look in report.series for name, one in look.items()]
    longest = max(one.seconds for _, one in seen) or 1.0
    most = max(figure(one) for _, one in seen) or 1.0
    lines = []
    for name, pid in dict.fromkeys((name, one.pid) for name, one in seen):
        points = " ".join(
            f"{LEFT + one.seconds / longest * (WIDTH - LEFT):.1f},{HEIGHT - figure(one) / most * (HEIGHT - 12):.1f}"
            for known, one in seen
            if (known, one.pid) == (name, pid)
        )
        lines.append(f"<polyline fill='none' stroke-width='1.5' stroke='{COLOURS[name]}' points='{points}'/>")
    marks = f"<text x='0' y='12'>{most:g}</text><text x='0' y='{HEIGHT}'>0</text>"
    box = f"<svg viewBox='0 0 {WIDTH} {HEIGHT + 4}' width='100%' role='img' aria-label='{escape(title)}'>"
    return f"<h2>{escape(title)}</h2>{box}{marks}{''.join(lines)}</svg>"
