"""`make soak SECONDS=300`: prints what it sees, writes `build/soak.html`, and ends with 1 if anything is wrong."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import uvloop

from tests.e2e.rig import rigged
from tests.soak.page import write_page
from tests.soak.soak import Report, soak
from tests.soak.verdict import complaints


async def run(seconds: float, seed: int) -> Report:
    with tempfile.TemporaryDirectory() as folder:
        async with rigged(Path(folder)) as rig:
            return await soak(rig, seconds, seed, lambda line: print(line, flush=True))


def main() -> int:
    parser = argparse.ArgumentParser(prog="make soak")
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--page", type=Path, default=Path("build/soak.html"))
    arguments = parser.parse_args()
    report = uvloop.run(run(arguments.seconds, arguments.seed))
    print(*report.lines(), sep="\n")
    arguments.page.parent.mkdir(exist_ok=True)
    write_page(report, arguments.page)
    wrong = complaints(report)
    print(*(wrong or ["all is well"]), sep="\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
