"""Everything that decides whether to try again lives here: outcomes, conditions, the policy and its budget.

This file knows nothing of sockets. The rules are `behaviour.md`, section 2; the budget is Finagle's, counted over time.
"""

from __future__ import annotations

import enum
import random
from collections.abc import Callable
from dataclasses import astuple, dataclass
from functools import lru_cache

from proxy.core.pools.breaker import BAD, GOOD, NEUTRAL, Verdict
from proxy.errors import ERRORS, ErrorKind, Fault

IDEMPOTENT = frozenset({b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"})
"""Methods whose repetition changes nothing more (RFC 9110, section 9.2.2)."""

FIRST_RETRIED = 408
"""The lowest status that any condition names."""

ANSWERS_5XX = frozenset({501, 505})
"""5xx that are answers about the request, not failures of the Backend."""


class Progress(enum.IntEnum):
    """How far a request got on one Attempt. What the transport may still hold counts as sent."""

    NOT_SENT = 0
    PARTLY_SENT = 1
    SENT = 2
    ANSWERED = 3


NOT_SENT = Progress.NOT_SENT


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one Attempt ended."""

    kind: ErrorKind | None
    """None: the Backend answered with `status`."""
    status: int = 0
    progress: Progress = Progress.NOT_SENT
    reused: bool = False
    """Whether the connection had carried a request before."""
    detail: str = ""

    @property
    def is_stale_connection(self) -> bool:
        """A kept-alive connection that the Backend had closed before one byte of answer."""
        return self.reused and self.kind is ErrorKind.CONNECTION_TERMINATED and self.progress is not Progress.ANSWERED

    def verdict(self) -> Verdict:
        """What this says about the Backend. The client's mistakes and departures say nothing."""
        if self.kind is None:
            failed = self.status >= 500 and self.status not in ANSWERS_5XX
            return BAD if failed else GOOD
        if self.is_stale_connection:
            return NEUTRAL
        return BAD if ERRORS[self.kind].fault is Fault.BACKEND else NEUTRAL


@lru_cache(maxsize=2048)
def answered(status: int, reused: bool) -> Outcome:  # noqa: FBT001 - a cache key
    """The Outcome of an answer; kept, since nearly all requests end with one of a few (1 µs each to make anew)."""
    return Outcome(None, status, Progress.ANSWERED, reused)


CLIENT_GONE = Outcome(ErrorKind.PROXY_INTERNAL_RESPONSE, detail="the client has left")

_CONNECT = frozenset(
    {
        ErrorKind.DNS_ERROR,
        ErrorKind.DESTINATION_UNAVAILABLE,
        ErrorKind.CONNECTION_REFUSED,
        ErrorKind.CONNECTION_TIMEOUT,
        ErrorKind.CONNECTION_LIMIT_REACHED,
        ErrorKind.TLS_PROTOCOL_ERROR,
        ErrorKind.TLS_CERTIFICATE_ERROR,
        ErrorKind.TLS_ALERT_RECEIVED,
    }
)
_RESET = frozenset({ErrorKind.CONNECTION_TERMINATED, ErrorKind.HTTP_RESPONSE_INCOMPLETE})
_TIMEOUT = frozenset(
    {ErrorKind.HTTP_RESPONSE_TIMEOUT, ErrorKind.CONNECTION_READ_TIMEOUT, ErrorKind.CONNECTION_WRITE_TIMEOUT}
)


def _on_status(status: int) -> Callable[[Outcome], bool]:
    """A condition that holds for this status, answered by the Backend or due to be answered by us."""
    own = frozenset(kind for kind, rule in ERRORS.items() if rule.status == status and kind not in _CONNECT | _RESET)
    return lambda outcome: outcome.status == status if outcome.kind is None else outcome.kind in own


CONDITIONS: dict[str, Callable[[Outcome], bool]] = {
    "connect": lambda outcome: outcome.kind in _CONNECT,
    "reset": lambda outcome: outcome.kind in _RESET,
    "timeout": lambda outcome: outcome.kind in _TIMEOUT,
    **{str(status): _on_status(status) for status in (408, 425, 429, 500, 502, 503, 504)},
}
"""Names that `retries.on` may list."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When a failed Attempt may be tried again on another Backend."""

    attempts: int = 3
    """Most Attempts per request, the first included."""
    on: tuple[str, ...] = ("connect", "reset", "502", "503", "504")
    """Conditions under which to try again; names of `CONDITIONS`."""
    budget: float = 0.2
    """Retries of the last 10 s may be this share of the requests of the last 10 s …"""
    budget_min: float = 10.0
    """… plus so many a second."""
    backoff: float = 0.025
    """Seconds; the first wait's upper bound once every Backend was tried. Doubles, with full jitter."""
    backoff_max: float = 0.25
    """Seconds; the longest wait."""
    hold_answer: int = 65536
    """Bytes of an answer to an idempotent request that are held until it is whole."""
    buffer_body: int = 65536
    """Bytes of a request's body that are kept for another Attempt."""
    unsafe_reuse: float = 1.0
    """Seconds a connection may have been idle to carry a request that must not be repeated."""

    def __reduce__(self) -> tuple[object, ...]:
        """By its values: where it is compiled, pickle would set them one by one, and frozen means no."""
        return (RetryPolicy, astuple(self))

    def names(self, outcome: Outcome) -> bool:
        """Whether the policy lists this outcome."""
        return any(CONDITIONS[name](outcome) for name in self.on)

    def permits(self, outcome: Outcome, *, idempotent: bool) -> bool:
        """Whether this outcome may be followed by another Attempt (a, b and c of `behaviour.md`, section 2)."""
        if outcome.kind is not None and outcome.progress is Progress.NOT_SENT:
            return self.names(outcome) or outcome.kind in _RESET
        if not idempotent or (outcome.kind is None and outcome.status < FIRST_RETRIED):
            return False
        return outcome.is_stale_connection or self.names(outcome)

    def backoff_for(self, round_number: int, rng: random.Random) -> float:
        """Seconds to wait before round `round_number` (1 = the second time round), with full jitter."""
        return rng.random() * min(self.backoff * 2.0 ** (round_number - 1), self.backoff_max)


BUDGET_WINDOW = 10
"""Seconds over which requests are counted for the budget."""


class RetryBudget:
    """How much extra load retries may cost, counted over time and not over what is active now (Envoy issue 30205).

    One slot a second: requests over the newest ten slots, retries over eleven, so that at no moment the retries of the
    last ten seconds exceed the share of the requests of the same time plus the reserve.
    """

    __slots__ = ("_requests", "_retries", "_slot", "_slot_ends", "exhausted_total", "reserve", "share")

    def __init__(self, policy: RetryPolicy, now: float, workers: int = 1) -> None:
        self.obey(policy, workers)
        self.exhausted_total = 0
        self._requests = [0] * (BUDGET_WINDOW + 1)
        self._retries = [0] * (BUDGET_WINDOW + 1)
        self._slot = 0
        self._slot_ends = now + 1.0

    def __repr__(self) -> str:
        return f"<RetryBudget {sum(self._retries)} of {self._allowed():g}>"

    def obey(self, policy: RetryPolicy, workers: int) -> None:
        """Use other numbers from now on; what was counted counts on."""
        self.share = policy.budget
        self.reserve = policy.budget_min * BUDGET_WINDOW / workers

    def count_request(self, now: float) -> None:
        """A client's request has come."""
        if now >= self._slot_ends:
            self._turn(now)
        self._requests[self._slot] += 1

    def withdraw(self, now: float) -> bool:
        """Take one retry (or hedge) from the budget; False if it is exhausted."""
        if now >= self._slot_ends:
            self._turn(now)
        if sum(self._retries) + 1 > self._allowed():
            self.exhausted_total += 1
            return False
        self._retries[self._slot] += 1
        return True

    def standing(self, now: float) -> tuple[float, float]:
        """The retries of the last seconds, and how many there might have been."""
        if now >= self._slot_ends:
            self._turn(now)
        return float(sum(self._retries)), self._allowed()

    def _allowed(self) -> float:
        oldest = (self._slot + 1) % (BUDGET_WINDOW + 1)
        return self.share * (sum(self._requests) - self._requests[oldest]) + self.reserve

    def _turn(self, now: float) -> None:
        passed = int(now - self._slot_ends) + 1
        for _ in range(min(passed, BUDGET_WINDOW + 1)):
            self._slot = (self._slot + 1) % (BUDGET_WINDOW + 1)
            self._requests[self._slot] = self._retries[self._slot] = 0
        self._slot_ends += passed
