"""What one request gets when nothing can serve it: another Pool, the last good answer, or a fixed one.

`exchange` makes a Rescue for requests on Routes that have a `fallback`; others never come here. What may stand in for
what is decided in `core.fallback`, what may be kept of good answers in `core.stale`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from proxy.core.requests.decisions import Refuse
from proxy.core.requests.fallback import Fallback, FixedAnswer, may_be_stale, may_stand_in
from proxy.core.requests.stale import as_kept
from proxy.core.telling.accesslog import STOOD_IN, flags_of
from proxy.core.wire import answers
from proxy.core.wire.grammar import END_OF_HEAD
from proxy.core.wire.headers import ends_with_connection
from proxy.dataplane.exchanges.relay import Answer, again
from proxy.dataplane.reload import rewrite
from proxy.errors import ErrorKind

if TYPE_CHECKING:
    from proxy.core.limits.waiting import Priority
    from proxy.core.pools.pool import Pool
    from proxy.core.requests.routing import Route
    from proxy.core.requests.stale import Kept
    from proxy.core.wire.headers import Forwarding, Rewrite
    from proxy.core.wire.http1 import RequestHead
    from proxy.core.wire.http1_answers import ResponseHead
    from proxy.dataplane.clients.downstream import Downstream

POOL, STALE, FIXED = "pool", "stale", "fixed"
"""What stood in: a label of a metric, a parameter of Proxy-Status."""


ASKED_AT = frozenset({b"x-forwarded-proto", b"x-forwarded-host"})
_ASKED_AT = re.compile(rb"(?:proto|host)=[^;,]*", re.IGNORECASE)


class StoodIn(NamedTuple):
    """A whole answer in place of a refusal."""

    data: bytes
    status: int
    flags: str


class Rescue:
    """One request that may be rescued."""

    __slots__ = ("_attempts", "_received", "_request", "_route", "_scheme", "_worker", "home", "is_elsewhere", "policy")

    def __init__(self, client: Downstream, request: RequestHead, route: Route, policy: Fallback, home: Pool) -> None:
        self._worker = client.worker
        self._route = route
        self._request = request
        # A client with a certificate is somebody, as one with Authorization is.
        self._scheme = b"" if client.forwarding.is_vouched_for else _asked_at(client.forwarding, request)
        self._attempts = self._received = 0
        self.policy = policy
        self.home = home
        """The Pool that should have served."""
        self.is_elsewhere = False
        """Whether another Pool serves."""

    def __repr__(self) -> str:
        return f"<Rescue {self._route.name}{' elsewhere' if self.is_elsewhere else ''}>"

    # Answers that could be passed on

    def keep(self, response: ResponseHead, pieces: list[bytes] | None, now: float) -> None:
        """An answer has come from the Pool that should serve; `pieces`: its body, if all of it is here."""
        memory = self._route.last_good
        if memory is not None and self._scheme and not self.is_elsewhere:
            body = None if pieces is None else b"".join(pieces)
            memory.keep(self._request, self._scheme, response, body, now)

    def is_better_than(self, status: int, now: float) -> bool:
        """Whether something could stand in for this answer of a Backend's to an idempotent request."""
        if may_stand_in(status, None) and (self.policy.answer is not None or self._other() is not None):
            return True
        return self._kept(status, now) is not None

    def instead_of(self, status: int) -> Refuse:
        """An answer of a Backend's is not passed on."""
        self._received = status
        return Refuse(ErrorKind.DESTINATION_UNAVAILABLE, status, "")

    # What stands in

    def go_elsewhere(self, refuse: Refuse, attempts: int) -> Pool | None:
        """The other Pool, where this request may go there; once."""
        other = self._other() if may_stand_in(refuse.status, refuse.executed) else None
        if other is not None:
            self._attempts += attempts
            self.is_elsewhere = True
        return other

    def _other(self) -> Pool | None:
        other = None if self.is_elsewhere else self._worker.pools.get(self.policy.pool)
        return None if other is self.home else other

    @property
    def priority(self) -> Priority:
        """Of the request, there as here."""
        return self._route.settings.priority

    def rewrite(self) -> Rewrite | None:
        """How the request is changed for the other Pool."""
        return rewrite(replace(self._route.settings, split=((self.policy.pool, 1.0),)), self._worker.pools)

    def answer(self, refuse: Refuse, attempts: int, now: float, *, close: bool, exhausted: bool) -> StoodIn | None:
        """What the client gets in place of a refusal; None where nothing may stand in."""
        kept = self._kept(refuse.status, now)
        flags = ",".join(filter(None, (flags_of(refuse.kind, exhausted=exhausted), STOOD_IN)))
        if kept is not None:
            self.count(STALE, 200)
            status = self.proxy_status(STALE, attempts, refuse)
            return StoodIn(_stale(*kept, self._request, status, close=close), 200, flags)
        fixed = self.policy.answer
        if fixed is None or not may_stand_in(refuse.status, refuse.executed):
            return None
        self.count(FIXED, fixed.status)
        status = self.proxy_status(FIXED, attempts, refuse)
        return StoodIn(_fixed(fixed, self._request, status, close=close), fixed.status, flags)

    def _kept(self, status: int, now: float) -> tuple[Kept, int] | None:
        memory = self._route.last_good
        if memory is None or not self._scheme or not may_be_stale(status, self._request.method):
            return None
        return memory.find(self._request, self._scheme, now)

    # What is said of it

    def proxy_status(self, kind: str, attempts: int, refuse: Refuse | None = None, *, panic: bool = False) -> bytes:
        """The value of Proxy-Status: what failed, and what stood in for it."""
        error = None if refuse is None or self._received else refuse.kind
        status = answers.proxy_status(error, attempts=self._attempts + attempts, panic=panic)
        if self._received:
            status += b"; received-status=%d" % self._received
        return status + b"; degraded=" + kind.encode()

    def count_if_elsewhere(self, status: int) -> None:
        """The request has come to its end: where another Pool has served, it has stood in."""
        if self.is_elsewhere:
            self.count(POOL, status)

    def count(self, kind: str, status: int) -> None:
        """It has stood in."""
        name = self.home.name
        counted_by = self.policy.pool if kind == POOL else name
        self._worker.stats.count_degraded(self._route.name, name, kind, status, counted_by)


def _asked_at(told: Forwarding, request: RequestHead) -> bytes:
    """The scheme, and what a proxy in front that we trust says of it and of the host: a Backend may heed that."""
    if not told.is_trusted:
        return told.scheme
    said = [value for name, value in request.forwarded if name in ASKED_AT]
    standard = [part for name, value in request.forwarded if name == b"forwarded" for part in _ASKED_AT.findall(value)]
    return b" ".join((told.scheme, *said, *standard))


def _stale(kept: Kept, age: int, request: RequestHead, proxy_status: bytes, *, close: bool) -> bytes:
    """A kept answer as it goes to a client (RFC 9111, section 5.1)."""
    answer = Answer(as_kept(kept.head), [kept.body] if kept.body else [], b"", b"Age: %d\r\n" % age)
    close = close or ends_with_connection(request, kept.head)
    data = again(answer, request, close=close, proxy_status=proxy_status)
    return data[: data.find(END_OF_HEAD) + len(END_OF_HEAD)] if request.method == b"HEAD" else data


def _fixed(fixed: FixedAnswer, request: RequestHead, proxy_status: bytes, *, close: bool) -> bytes:
    fields = [b"Proxy-Status: " + proxy_status]
    if fixed.body:
        fields.append(b"Content-Type: " + fixed.content_type.encode())
    fields += [b"%b: %b" % (name.encode(), value.encode()) for name, value in fixed.headers]
    return answers.message(fixed.status, fields, fixed.body, request=request, close=close)


def hand_on(before: Iterable[Route], after: Iterable[Route]) -> None:
    """After a reload, what was kept of a Route that has not changed stays."""
    kept = {route.name: route for route in before if route.last_good is not None}
    for route in after:
        known = kept.get(route.name) if route.last_good is not None else None
        if known is not None and known.settings == route.settings:
            route.last_good = known.last_good
