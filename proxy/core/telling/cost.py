"""What a switch has cost: the time it took, and what became of requests meanwhile. Arithmetic only.

Counts are totals over all workers. `Course` keeps a few seconds of them, so that those of before the trouble began can
be taken off those of after it.
"""

from __future__ import annotations

from collections import deque
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

KEPT_FOR = 120.0
"""Seconds for which counts are remembered; trouble that began earlier is counted from then on."""


class Harm(NamedTuple):
    """What has become of a Pool's requests, in all."""

    failed: int = 0
    retried: int = 0
    saved: int = 0
    held: int = 0
    unknown: int = 0

    def since(self, before: Harm) -> Harm:
        """What came in between; never less than nothing."""
        return Harm(*(max(0, now - then) for now, then in zip(self, before, strict=True)))

    def plus(self, other: Harm) -> Harm:
        """Both together."""
        return Harm(*(one + two for one, two in zip(self, other, strict=True)))


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one switch."""

    detect_s: float
    """Seconds from the first sign of trouble until it was known that the active one is out."""
    switch_s: float
    """Seconds from then until another was the active one in every worker."""
    failed: int = 0
    retried: int = 0
    saved: int = 0
    held: int = 0
    unknown: int = 0

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self) | {"detect_s": round(self.detect_s, 3), "switch_s": round(self.switch_s, 3)}

    def words(self) -> str:
        """What became of requests."""
        said = [f"{count} {word}" for word, count in self._counts() if count]
        return ", ".join(said) if said else "no request was harmed"

    def _counts(self) -> tuple[tuple[str, int], ...]:
        return (
            ("failed", self.failed),
            ("retried", self.retried),
            ("saved", self.saved),
            ("held", self.held),
            ("with unknown outcome", self.unknown),
        )


class Course:
    """The last two minutes of one Pool's counts."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, Harm]] = deque()

    def __repr__(self) -> str:
        return f"<Course {len(self._samples)} samples>"

    def note(self, at: float, harm: Harm) -> None:
        """What it is at `at`, which is later than what was noted before."""
        self._samples.append((at, harm))
        while self._samples[0][0] < at - KEPT_FOR:
            self._samples.popleft()

    def before(self, at: float) -> Harm:
        """The newest counts that are surely of before `at`: the last ones noted by then, or the oldest there are."""
        known = next((harm for noted, harm in reversed(self._samples) if noted <= at), None)
        if known is not None:
            return known
        return self._samples[0][1] if self._samples else Harm()
