"""Fuzz for long: `make fuzz [SECONDS=600] [SEED=1]`. Both sides of the proxy in turns, with the seed and all counts printed."""

from __future__ import annotations

import os
import random
import sys

from tests.fuzz.run import SIDES, run

TURN = 60.0
"""Seconds that one side has before it is the other's turn."""


def main() -> int:
    """0: nothing was found; 1: something was, and the bytes are printed."""
    seconds = float(os.environ.get("SECONDS") or 600)
    seed = int(os.environ.get("SEED") or random.SystemRandom().getrandbits(32))
    print(f"seed {seed}: {seconds:g} seconds; the same seed plays the same inputs", flush=True)
    while seconds > 0:
        for name, side in SIDES.items():
            try:
                seen = run(side, min(TURN, seconds / len(SIDES)), seed, tell=lambda text, name=name: _tell(name, text))
            except AssertionError as error:
                print(f"{name}: {error}", flush=True)
                return 1
            _tell(name, f"nothing found with seed {seed}: {dict(seen)}")
        seconds -= TURN * len(SIDES)
        seed += 1
    return 0


def _tell(name: str, text: str) -> None:
    print(f"{name}: {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
