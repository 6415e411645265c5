"""What is decided for a request: an Attempt on a Backend, a wait, a refusal, or to pass the answer on. Values only.

`dispatch` and `keyed` make them; `dataplane.exchange` carries them out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from proxy.core.limits.waiting import End, Waiter
from proxy.core.pools.balancer import Keyed
from proxy.core.pools.breaker import Ticket
from proxy.core.pools.model import Backend
from proxy.core.requests.retry import Outcome, Progress
from proxy.errors import ERRORS, ErrorKind

RETRY_AFTER = 1
"""Seconds that a client is asked to wait where nothing was sent."""
OVERLOADED = "overloaded"
"""What a problem document calls it that all Backends are full."""
WHY_OVERLOADED = {
    End.FULL: "all backends are full, and so is the queue",
    End.TIMEOUT: "all backends are full, and none was free in time",
    End.DISPLACED: "all backends are full, and requests of higher priority came",
}
HEDGE_LOST = Outcome(ErrorKind.PROXY_INTERNAL_RESPONSE, progress=Progress.SENT, detail="another answered first")
"""Says nothing of the Backend: that it is slow, its durations tell."""


class Request(Keyed, Protocol):
    """What the decisions need of a request's head."""

    @property
    def idempotent(self) -> bool:
        """Whether repeating it changes nothing more (RFC 9110, section 9.2.2)."""

    @property
    def has_body(self) -> bool:
        """Whether body bytes follow; there may be too many of them to send them again."""


class Attempt:
    """One try on one Backend. Send the request there, then report."""

    __slots__ = ("backend", "number", "started", "ticket")

    def __init__(self, backend: Backend, ticket: Ticket, number: int, now: float) -> None:
        self.backend = backend
        self.ticket = ticket
        self.number = number
        self.started = now

    def __repr__(self) -> str:
        return f"<Attempt {self.number} on {self.backend.name}{' trial' if self.ticket.is_trial else ''}>"


@dataclass(frozen=True, slots=True)
class Wait:
    """Wait, then call `resume`."""

    seconds: float
    waiter: Waiter | None = None
    """Wait until it is over, instead."""


@dataclass(frozen=True, slots=True)
class Refuse:
    """Nothing more can be done: tell the client so, or give it the last real answer of a Backend."""

    kind: ErrorKind
    status: int
    detail: str
    executed: str | None = None
    """For a request that must not be repeated: `no`, or `unknown` if it may have been executed."""
    retry_after: int | None = None
    """Seconds."""
    name: str = ""
    """What a problem document calls it, where it is not the kind."""
    title: str = ""

    @staticmethod
    def overloaded(end: End, *, is_idempotent: bool) -> Refuse:
        """There is too much: a wait has ended like this, or could not begin. Nothing was sent."""
        kind = ErrorKind.CONNECTION_LIMIT_REACHED
        executed = None if is_idempotent else "no"
        title = "Too many requests at a time"
        return Refuse(kind, ERRORS[kind].status, WHY_OVERLOADED[end], executed, RETRY_AFTER, OVERLOADED, title)


@dataclass(frozen=True, slots=True)
class Relay:
    """Pass this answer on, then call `finish`."""


RELAY = Relay()

Decision = Attempt | Wait | Refuse | Relay
