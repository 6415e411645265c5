"""What a Backend says of itself in the answer to a probe: `X-Backend-State: drain` and `X-Backend-Weight: 50%`.

The idea is HAProxy's agent check. It is obeyed where the pool says so. An answer without these fields takes back what
was said before; without an answer it stands. Only the Backend can take its word back, and it never brings back whom
probes or an administrator keep out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

STATE, WEIGHT = "X-Backend-State", "X-Backend-Weight"
STATES = ("ready", "drain", "maint")
_WEIGHT = re.compile(r"([0-9]{1,3})%")
SHOWN = 40
"""Characters of a word that is not understood which are repeated."""


@dataclass(frozen=True, slots=True)
class BackendWord:
    """One Backend's own word."""

    state: str = "ready"
    """`ready`, `drain` or `maint`."""
    part: float = 1.0
    """Of its weight that it wants, from 0 to 1; 0 is `drain`."""

    def __str__(self) -> str:
        return self.state if self.state != "ready" or self.part == 1.0 else f"{self.part:.0%} of its weight"


def read_word(state: str | None, weight: str | None) -> tuple[BackendWord, str]:
    """From the two fields, and what of them is not understood, which counts as not said."""
    wrong = []
    said = (state or "ready").strip().lower()
    if said not in STATES:
        wrong.append(f"{STATE} {state[:SHOWN] if state else ''!r} is not understood")
        said = "ready"
    match = _WEIGHT.fullmatch((weight or "100%").strip())
    part = int(match[1]) / 100 if match else 1.0
    if match is None or part > 1.0:
        wrong.append(f"{WEIGHT} {weight[:SHOWN] if weight else ''!r} is not a share up to 100%")
        part = 1.0
    if part == 0.0:
        said, part = ("drain" if said == "ready" else said), 1.0
    return BackendWord(said, part), "; ".join(wrong)
