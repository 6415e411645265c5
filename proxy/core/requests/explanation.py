"""What would become of a request: which Route and why no other, which Pool, which Backend, by whose leave.

It asks the code that serves (`routing`, `pool`, `dispatch`), on Pools that are made for this one question from what is
known: nothing that counts is counted, no trial is used up, no Balancer moves on. `controlplane.admin.explain` asks.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from proxy.core.messages import BackendState
from proxy.core.pools.balancer import hashed
from proxy.core.pools.breaker import BreakerState
from proxy.core.pools.model import Unavailable
from proxy.core.pools.pool import Pool
from proxy.core.requests.decisions import Attempt, Refuse, Wait
from proxy.core.requests.dispatch import Dispatch
from proxy.core.requests.routing import Route, Router, last_hop, mismatch
from proxy.core.requests.splitting import Split, is_passed_over
from proxy.core.requests.staying import stays
from proxy.core.requests.sticky import Bond, Stickiness
from proxy.core.settings import PoolSettings, Settings
from proxy.core.wire.headers import forgeable, is_loop, remove_forged
from proxy.core.wire.http1 import RequestHead
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
    is_kept: bool = False
    """Whether a cookie of the client says that it belongs there."""


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
    wall: float = 0.0
    """Unix time, for cookies."""
    cuts: Mapping[str, str] = field(default_factory=dict)
    """Pools that are cut off, by Route."""

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
        known = {one.name: one for one in self.settings.pools}
        pools = {name: dry_pool(known[name], self.known, self.now) for name, _ in route.settings.split}
        bond, seed = self._bond(route, request, pools)
        owner = None if bond is None else bond.owner
        shares = self._shares(route, pools, seed, owner)
        return tuple(self._choose(pools[name], share, request, route, owner) for name, share in shares.items())

    def _bond(self, route: Route, request: RequestHead, pools: Mapping[str, Pool]) -> tuple[Bond | None, int | None]:
        """What the client's cookie says, and what decides for it in a split; None: each request is drawn for."""
        policy = route.settings.sticky
        if policy is None:
            return None, None
        if not policy.cookie:
            hash_on = policy.hash_on
            seed = None if hash_on is None else hashed(request.balance_key(hash_on.source, hash_on.name))
            return None, seed
        owners = [backend.key for pool in pools.values() for backend in pool.backends]
        bond = Stickiness(policy, owners).take(request, self.wall)
        return bond, None if bond is None else bond.seed

    def _shares(self, route: Route, pools: Mapping[str, Pool], seed: int | None, owner: Key | None) -> dict[str, float]:
        """Of such requests, how many come to each Pool; one in which nobody serves is passed over."""
        split = Split(route.settings.split)
        split.cut_off = self.cuts.get(route.name, "")

        def is_out(name: str) -> bool:
            pool = pools[name]
            if not is_passed_over(pool, self.now):
                return False
            return owner is None or owner[0] != name or not stays(pool, pool.by_name[owner[1]], self.now)

        if seed is not None:
            taken = split.of_client(seed, is_out)
            return {name: float(name == taken) for name in pools}
        left = [(name, share) for name, share in split.shares if name != split.cut_off]
        serving = [one for one in left if not is_out(one[0])] or left
        whole = sum(share for _, share in serving)
        return {name: dict(serving).get(name, 0.0) / whole for name in pools}

    def _choose(self, pool: Pool, share: float, request: RequestHead, route: Route, owner: Key | None) -> Choice:
        now, rng = self.now, self.rng
        reasons = {backend.name: pool.reasons(backend, now) for backend in pool.backends}
        drawn = [pool.pick(request, now, rng) for _ in range(DRAWS)]
        counted = Counter(backend.name for backend in drawn if backend is not None)
        chances = {name: count / DRAWS for name, count in counted.most_common()}
        dispatch = Dispatch(pool, request, rng)
        dispatch.priority = route.settings.priority
        if owner is not None and owner[0] == pool.name:
            dispatch.owner = pool.by_name[owner[1]]
        decision = dispatch.start(now)
        assert isinstance(decision, Attempt | Wait | Refuse)
        is_kept = isinstance(decision, Attempt) and decision.backend is dispatch.owner
        if is_kept and isinstance(decision, Attempt):
            chances = {decision.backend.name: 1.0}
        return Choice(pool, share, decision, chances, reasons, is_kept)


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
