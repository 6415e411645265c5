"""Pools, requests and Outcomes to test with: real ones, and short to write down."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence

from proxy.core.messages import AdminState, BackendState
from proxy.core.pools.breaker import Verdict
from proxy.core.pools.health import HealthState
from proxy.core.pools.model import Backend
from proxy.core.pools.pool import Pool
from proxy.core.requests.decisions import Attempt, Decision, Refuse
from proxy.core.requests.dispatch import Dispatch
from proxy.core.requests.retry import Outcome, Progress, RetryPolicy, answered
from proxy.core.settings import Address, BackendSettings, Limits, PoolSettings
from proxy.core.wire.http1 import RequestHead
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

DOWN = BackendState(health=HealthState.DOWN)
MAINT = BackendState(admin=AdminState.MAINT)
DRAIN = BackendState(admin=AdminState.DRAIN)
NO_BUDGET = RetryPolicy(budget=0.0, budget_min=0.0)

OURS = [
    (b"Via", b"1.1 failover-proxy"),
    (b"X-Forwarded-For", b"192.0.2.9"),
    (b"X-Forwarded-Proto", b"http"),
    (b"X-Forwarded-Host", b"shop.example"),
    (b"Forwarded", b'for=192.0.2.9;proto=http;host="shop.example"'),
    (b"X-Request-Id", b"made"),
]
"""The fields that are added to a plain request of this client."""


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


def begin(pool: Pool, head: RequestHead = GET, now: float = 0.0) -> tuple[Dispatch, Attempt]:
    """A request whose first Attempt is under way."""
    dispatch = make_dispatch(pool, head)
    return dispatch, attempt(dispatch.start(now))


def refusal(decision: object) -> Refuse:
    assert isinstance(decision, Refuse), decision
    return decision


def ejected(number: int = 2, **changes: object) -> tuple[Pool, Backend]:
    pool = make_pool(number, **changes)
    trip(pool.backends[0])
    return pool, pool.backends[0]


def tiered(*tiers: int, **changes: object) -> Pool:
    """Backends `b0`, `b1`, … of these tiers."""
    settings = [BackendSettings(f"b{n}", NOWHERE, tier=tier) for n, tier in enumerate(tiers)]
    return make_pool(settings, **changes)


def tell(pool: Pool, now: float = 0.0, **states: BackendState) -> None:
    """A Snapshot says this of the Backends named."""
    pool.heed({("app", name): state for name, state in states.items()}, now)


def picked(
    pool: Pool, now: float = 0.0, *, number: int = 300, may_try: bool = False, tried: Sequence[Backend] = ()
) -> dict[str, int]:
    """How often each Backend gets one of so many requests that leave at once."""
    rng = random.Random(0)
    found = (pool.pick(GET, now, rng, tried, may_try=may_try) for _ in range(number))
    return Counter("nobody" if one is None else one.name for one in found)
