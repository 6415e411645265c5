"""`python -m benchmarks`."""

from __future__ import annotations

import click

from benchmarks.cases import CASES
from benchmarks.peers import PEERS
from benchmarks.report import table
from benchmarks.runner import Pace, run_case


@click.command()
@click.option("--cases", default=",".join(CASES))
@click.option("--peers", default=",".join(PEERS))
@click.option("--rounds", default=3)
def main(cases: str, peers: str, rounds: int) -> None:
    for name in cases.split(","):
        print(name)
        print(table(list(run_case(CASES[name], peers.split(","), Pace(rounds)))))


if __name__ == "__main__":
    main()
