"""The demo's last word: what clients saw, what each fault cost, and whether that is good. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from proxy.samples.client import Tally, Verdict
from proxy.samples.screen import Screen


class Round(NamedTuple):
    """One fault, and the seconds until its backend was out, and back; None: it never was."""

    fault: str
    out: float | None
    back: float | None


@dataclass(frozen=True, slots=True)
class Figures:
    """Everything that was counted."""

    tally: Tally
    connections: int
    rounds: list[Round]
    pool: dict[str, Any]
    """The pool as the admin API showed it last."""
    repeated: list[str]
    """Writes that were executed more than once."""

    @property
    def is_good(self) -> bool:
        """Whether the proxy kept its promise."""
        timely = all(round_.out is not None and round_.back is not None for round_ in self.rounds)
        verdicts = self.tally.verdicts
        return timely and not self.repeated and verdicts[Verdict.GOOD] > 0 and not verdicts[Verdict.FAILED]


def summarise(figures: Figures, screen: Screen) -> str:
    """Put the figures in words."""
    tally, pool = figures.tally, figures.pool
    verdicts = tally.verdicts
    unknown = verdicts[Verdict.UNKNOWN]
    good = screen.paint("PASSED", "green") if figures.is_good else screen.paint("FAILED", "red")
    lines = [
        "",
        f"requests     {verdicts.total()} over {figures.connections} connections",
        f"failed       {verdicts[Verdict.FAILED]}",
        f"retried      {pool['retries_total']}, which saved {pool['saved_requests_total']} requests",
        f"slowest      {_ms(max(tally.seconds, default=0.0))}",
        f"half within  {_ms(tally.quantile(0.5))}, 99 % within {_ms(tally.quantile(0.99))}",
        f"writes       {len(tally.writes)}, unknown outcome {unknown}, executed twice {len(figures.repeated)}",
        "",
        f"{'fault':<32}{'out after':>12}{'back after':>12}",
        *(f"{round_.fault:<32}{_seconds(round_.out):>12}{_seconds(round_.back):>12}" for round_ in figures.rounds),
        "",
    ]
    if unknown:
        lines += [
            "Unknown outcome: a backend failed while it had the write, and may have executed it. Another one",
            "might execute it again, so the client is told the truth, and not the write sent a second time.",
            "",
        ]
    lines += [f"  {count} × {description}" for description, count in tally.failures.most_common(10)]
    return "\n".join([*lines, good])


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"


def _seconds(seconds: float | None) -> str:
    return "never" if seconds is None else f"{seconds:.2f} s"
