"""What would become of a request: which Route and why no other, which Pool, which Backend, by whose leave.

It asks the code that serves (`routing`, `pool`, `dispatch`), on Pools that are made for this one question from what is
known: nothing that counts is counted, no trial is used up, no Balancer moves on. `controlplane.admin.explain` asks.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from proxy.core.breaker import BreakerState
from proxy.core.dispatch import Attempt, Dispatch, Refuse, Wait
from proxy.core.headers import forgeable, is_loop, remove_forged
from proxy.core.http1 import RequestHead
from proxy.core.messages import BackendState
from proxy.core.model import Unavailable
from proxy.core.pool import Pool
from proxy.core.routing import Route, Router, last_hop, mismatch
from proxy.core.settings import PoolSettings, Settings
from proxy.core.waiting import Priority
from proxy.errors import ErrorKind, RequestError

DRAWS = 200
"""How often a Pool is asked whom it would pick, to say with what chance."""
EARLIER_SHOWN = 100
"""Routes that are said not to have matched."""
LEARNING = frozenset({"peak_ewma"})
"""Balancers that pick by what each worker has learnt, which nobody else knows."""

Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of one Backend."""

    state: BackendState = BackendState()
    breaker: BreakerState = BreakerState.CLOSED
    breaker_until: float = 0.0
    breaker_reason: str = ""
    is_outlier: bool = False
    in_flight: int = 0
    """Over all workers."""
    since: float = 0.0
    """When it last came in or went out."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Whom a Pool would give the request to."""

    pool: Pool
    share: float
    """Of such requests that come to this Pool; 1 where there is no split."""
    decision: Attempt | Wait | Refuse
    chances: Mapping[str, float]
    """By name, who else could get it: a draw, or a turn, decides. The one that is named in the decision is one of them,
    unless it is a trial."""
    reasons: Mapping[str, Sequence[Unavailable]]
    """Why each Backend gets no new request; empty for those that may."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """All of it."""

    route: Route | None = None
    earlier: tuple[tuple[str, str], ...] = ()
    """Routes before it, and why each did not match."""
    left_out: int = 0
    """More of them, which are not named."""
    choices: tuple[Choice, ...] = ()
    """A choice for each Pool of the split; none where the Route answers by itself."""
    refusal: RequestError | None = None
    """Why it goes nowhere."""


@dataclass(frozen=True, slots=True)
class World:
    """All that is known at one moment."""

    settings: Settings
    router: Router
    known: Mapping[Key, Known]
    now: float
    rng: random.Random

    def explain(self, head: bytes, client: str = "") -> Explanation:
        """What would become of the request with this head, from a client at this address."""
        try:
            request = RequestHead(head, self.settings.limits, client)
        except RequestError as refusal:
            return Explanation(refusal=refusal)
        try:
            route = find_route(self.settings, self.router, request)
        except RequestError as refusal:
            return Explanation(refusal=refusal, **self._earlier(len(self.router.routes), request))
        return Explanation(route, choices=self._choices(route, request), **self._earlier(route.number, request))

    def _earlier(self, number: int, request: RequestHead) -> dict[str, Any]:
        """So many Routes did not match."""
        named = islice(self.router.routes, min(number, EARLIER_SHOWN))
        earlier = tuple((route.name, mismatch(route, request)) for route in named)
        return {"earlier": earlier, "left_out": number - len(earlier)}

    def _choices(self, route: Route, request: RequestHead) -> tuple[Choice, ...]:
        if route.settings.answer is not None:
            return ()
        pools = {one.name: one for one in self.settings.pools}
        priority = route.settings.priority
        return tuple(self._choose(pools[name], share, request, priority) for name, share in route.settings.split)

    def _choose(self, settings: PoolSettings, share: float, request: RequestHead, priority: Priority) -> Choice:
        now, rng = self.now, self.rng
        pool = dry_pool(settings, self.known, now)
        reasons = {backend.name: pool.reasons(backend, now) for backend in pool.backends}
        drawn = [pool.pick(request, now, rng) for _ in range(DRAWS)]
        counted = Counter(backend.name for backend in drawn if backend is not None)
        chances = {name: count / DRAWS for name, count in counted.most_common()}
        dispatch = Dispatch(pool, request, rng)
        dispatch.priority = priority
        decision = dispatch.start(now)
        assert isinstance(decision, Attempt | Wait | Refuse)
        return Choice(pool, share, decision, chances, reasons)


def find_route(settings: Settings, router: Router, request: RequestHead) -> Route:
    """The Route that takes this request, as a worker finds it. Raises RequestError."""
    forged = forgeable(settings.listeners)
    if forged is not None:
        remove_forged(request, forged)
    route = router.find(request)
    if route is None:
        raise RequestError(404, "no route matches", ErrorKind.DESTINATION_NOT_FOUND)
    if is_loop(request):
        raise RequestError(508, "the request has passed this proxy before", ErrorKind.PROXY_LOOP_DETECTED)
    return last_hop(route) if request.max_forwards == 0 else route


def dry_pool(settings: PoolSettings, known: Mapping[Key, Known], now: float) -> Pool:
    """A Pool as one worker would have it that had all the traffic: what it does changes nothing but itself."""
    pool = Pool(settings, now)
    facts = {backend.key: known.get(backend.key, Known()) for backend in pool.backends}
    for backend in pool.backends:
        one = facts[backend.key]
        backend.in_flight = one.in_flight
        if one.breaker is not BreakerState.CLOSED:
            until = one.breaker_until if one.breaker is BreakerState.OPEN else now
            backend.breaker.follow(BreakerState.OPEN, until, one.breaker_reason, now, outlier=one.is_outlier)
    # Not since the moment of the question: a hold may be over.
    pool.lost_at = max(one.since for one in facts.values())
    pool.heed({key: one.state for key, one in facts.items()}, now)
    return pool
