"""`python -m benchmarks`: measures this proxy beside others, in one run, on this machine."""

from __future__ import annotations

import signal
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

import click

from benchmarks.accounting import machine
from benchmarks.cases import CASES, QUICK_CASES, QUICK_PEERS
from benchmarks.measurement import QUICK_PACE, Measurement, Pace
from benchmarks.page import write_page
from benchmarks.peers import PEERS
from benchmarks.report import Run, preface, table, write_json
from benchmarks.runner import run_case
from benchmarks.summary import summarise

_RESULTS = Path(__file__).parent / "results"


def _chosen(kind: str, wanted: str, known: list[str]) -> list[str]:
    """The names in a comma-separated list, in the order of `known`."""
    names = [name.strip() for name in wanted.split(",") if name.strip()]
    if unknown := [name for name in names if name not in known]:
        raise click.BadParameter(f"there is no {kind} {unknown[0]!r}; there are: {', '.join(known)}")
    return [name for name in known if name in names]


@click.command(help=__doc__)
@click.option("--quick", is_flag=True, help="The main cases, in under 90 seconds.")
@click.option("--cases", help=f"Which, by name, with commas. There are: {', '.join(CASES)}.")
@click.option("--peers", help=f"Which proxies, by name, with commas. There are: {', '.join(PEERS)}.")
@click.option("--rounds", type=click.IntRange(1), help="How often each proxy is measured in each case.")
@click.option("--out", type=click.Path(path_type=Path), help="Where the results go; benchmarks/results/ if not said.")
def main(quick: bool, cases: str | None, peers: str | None, rounds: int | None, out: Path | None) -> None:  # noqa: FBT001
    """Measure, print, and write the results."""
    signal.signal(signal.SIGTERM, _end)
    chosen_cases = _chosen("case", cases or ",".join(QUICK_CASES if quick else CASES), list(CASES))
    wanted = _chosen("proxy", peers or ",".join(QUICK_PEERS if quick else PEERS), list(PEERS))
    pace = QUICK_PACE if quick else Pace()
    if rounds:
        pace = replace(pace, rounds=rounds, other_rounds=rounds)
    versions = {peer: version for peer in wanted if (version := PEERS[peer].version())}
    run = Run(
        command=" ".join(["python -m benchmarks", *sys.argv[1:]]),
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        machine=machine(),
        versions=versions,
        left_out={peer: PEERS[peer].INSTALL for peer in wanted if peer not in versions},
        pace=pace,
    )
    print(preface(run), flush=True)
    status = 0
    try:
        _measure(run, chosen_cases, list(versions))
    except KeyboardInterrupt:
        print("\nstopped; the cases that were done are kept")
        status = 130
    if run.summaries:
        _write(run, out or _RESULTS)
    sys.exit(status)


def _end(_signal: int, _frame: FrameType | None) -> None:
    """A TERM ends a run as Ctrl-C does: everything that was started is ended first."""
    raise KeyboardInterrupt


def _measure(run: Run, cases: list[str], peers: list[str]) -> None:
    began = time.monotonic()
    for place, name in enumerate(cases, 1):
        case = CASES[name]
        print(f"\n[{place}/{len(cases)}] {name}: {case.title}", flush=True)
        found: list[Measurement] = []
        for done in run_case(case, peers, run.pace):
            found.append(done)
            _say(f"round {done.round + 1}, {PEERS[done.peer].TITLE} … {time.monotonic() - began:.0f} s")
        _say("")
        run.measurements += found
        run.summaries.append(summarise(case, found, peers))
        print(table(run.summaries[-1]), flush=True)


def _say(progress: str) -> None:
    """A line that the next one replaces, where somebody looks."""
    if sys.stdout.isatty():
        print(f"\r\033[K{progress}", end="", flush=True)


def _write(run: Run, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    name = run.started.replace(":", "").replace("+0000", "")
    write_json(run, folder / f"{name}.json")
    write_page(run, folder / f"{name}.html")
    print(f"\nresults: {folder / name}.json, {folder / name}.html")


if __name__ == "__main__":
    main()
