"""Pools, requests and Outcomes to test with: real ones, and short to write down."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from proxy.core.breaker import Verdict
from proxy.core.dispatch import Attempt, Decision, Dispatch
from proxy.core.http1 import RequestHead
from proxy.core.model import Backend
from proxy.core.pool import Pool
from proxy.core.retry import Outcome, Progress, answered
from proxy.core.settings import Address, BackendSettings, Limits, PoolSettings
from proxy.errors import ErrorKind

NOWHERE = Address("192.0.2.1", 80)
LIMITS = Limits()

REFUSED = Outcome(ErrorKind.CONNECTION_REFUSED, progress=Progress.NOT_SENT)
UNREACHED = Outcome(ErrorKind.CONNECTION_TIMEOUT, progress=Progress.NOT_SENT)
RESET = Outcome(ErrorKind.CONNECTION_TERMINATED, progress=Progress.SENT)
PARTLY_RESET = Outcome(ErrorKind.CONNECTION_TERMINATED, progress=Progress.PARTLY_SENT)
STALE = Outcome(ErrorKind.CONNECTION_TERMINATED, progress=Progress.SENT, reused=True)
TIMED_OUT = Outcome(ErrorKind.HTTP_RESPONSE_TIMEOUT, progress=Progress.SENT)
BROKEN_HEAD = Outcome(ErrorKind.HTTP_PROTOCOL_ERROR, progress=Progress.ANSWERED)
BROKEN_OFF = Outcome(ErrorKind.HTTP_RESPONSE_INCOMPLETE, progress=Progress.ANSWERED)
OK = answered(200, False)
UNAVAILABLE = answered(503, False)


def request(method: str = "GET", target: str = "/", *fields: str, client: str = "192.0.2.9") -> RequestHead:
    """One request's head as a client sends it, with these fields beside Host."""
    lines = [f"{method} {target} HTTP/1.1", "Host: shop.example", *fields]
    return RequestHead("\r\n".join([*lines, "", ""]).encode("latin-1"), LIMITS, client)


GET = request()
POST = request("POST")


def members(number: int, weights: Sequence[int] = (), **changes: object) -> tuple[BackendSettings, ...]:
    """Backends `b0`, `b1`, … of these weights."""
    return tuple(
        BackendSettings(f"b{n}", NOWHERE, weight=weights[n] if weights else 1, **changes) for n in range(number)
    )


def make_pool(backends: int | Sequence[BackendSettings] = 3, *, workers: int = 1, **changes: object) -> Pool:
    """A Pool at time 0."""
    settings = members(backends) if isinstance(backends, int) else tuple(backends)
    return Pool(PoolSettings("app", settings, **changes), 0.0, workers=workers)


def make_dispatch(pool: Pool, head: RequestHead = GET, seed: int = 0) -> Dispatch:
    return Dispatch(pool, head, random.Random(seed))


def trip(backend: Backend, now: float = 0.0) -> None:
    """Let this Backend's own traffic open its Breaker."""
    for _ in range(backend.breaker.policy.consecutive):
        backend.breaker.settle(backend.breaker.admit(now), Verdict.BAD, now)


def close(backend: Backend, now: float) -> None:
    """Let good trials close this Backend's Breaker."""
    while not backend.breaker.is_closed:
        backend.breaker.settle(backend.breaker.admit(now), Verdict.GOOD, now)


def attempt(decision: Decision) -> Attempt:
    """The Attempt that was decided; nothing else will do."""
    assert isinstance(decision, Attempt), decision
    return decision


def serve(pool: Pool, now: float, ends: Callable[[Backend], Outcome], head: RequestHead = GET) -> Decision:
    """Carry one request through all its Attempts, each of which ends at once as `ends` says; the last decision."""
    dispatch = make_dispatch(pool, head)
    decision = dispatch.start(now)
    while isinstance(decision, Attempt):
        outcome = ends(decision.backend)
        decision = dispatch.report(outcome, now)
    if dispatch.attempt is not None:
        dispatch.finish(outcome, now)
    return decision
