"""What a Route answers with when nothing can serve: another Pool, the last good answer, or a fixed one, in this order.

Which failures they stand in for, and for whom; asked when every Attempt and every wait is over. What was kept of good
answers is in `stale`; `dataplane.exchanges.rescue` carries it out.
"""

from __future__ import annotations

from dataclasses import dataclass

INSTEAD_OF = frozenset({502, 503, 504})
"""Statuses that say that nobody could serve, whether they are ours or a Backend's."""
STALE_INSTEAD_OF = INSTEAD_OF | {500}
"""The same for a kept answer (RFC 5861, section 4)."""
SAFE = frozenset({b"GET", b"HEAD"})
"""Methods that a kept answer is good for."""


@dataclass(frozen=True, slots=True)
class FixedAnswer:
    """An answer that is written in the config, or in a file that it names."""

    status: int = 503
    body: bytes = b""
    content_type: str = "text/plain; charset=utf-8"
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class StalePolicy:
    """How long, and how much of, good answers to GET are kept for times when there are none."""

    duration: float = 600.0
    """Seconds (`for` in a config file)."""
    max_bytes: int = 16 * 1024**2
    """Of one worker, for one Route; the answers that were not asked for the longest go first."""


@dataclass(frozen=True, slots=True)
class Fallback:
    """All that a Route has for such times; what is empty it has not."""

    pool: str = ""
    stale: StalePolicy | None = None
    answer: FixedAnswer | None = None


def may_stand_in(status: int, executed: str | None) -> bool:
    """Whether another Pool, or a fixed answer, may stand for this failure.

    A write that a Backend may have executed goes to no other, and its client must learn that the outcome is not known.
    """
    return status in INSTEAD_OF and executed != "unknown"


def may_be_stale(status: int, method: bytes) -> bool:
    """Whether the last good answer may."""
    return status in STALE_INSTEAD_OF and method in SAFE
