"""Balancers: each picks one of the available Backends. To add one, write a class and name it in `ALGORITHMS`.

They get a list that is already filtered and never ask why somebody is not on it. `candidates` is the same tuple object
until availability or weights change, so a Balancer may keep what it derived from it.
"""

from __future__ import annotations

import heapq
import math
import random
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from hashlib import blake2b
from itertools import accumulate
from typing import Protocol

from proxy.core.pools.model import Backend
from proxy.core.settings import PoolSettings

SCAN_AT_MOST = 8
"""Up to so many candidates are all compared; above, two random ones are."""


class Keyed(Protocol):
    """What a Balancer may know of a request."""

    def balance_key(self, source: str, name: str) -> bytes:
        """The value that the `hash` Balancer hashes."""


class Balancer(Protocol):
    """Picks one of `candidates`, which is never empty."""

    def pick(self, candidates: Sequence[Backend], request: Keyed, now: float, rng: random.Random) -> Backend:
        """The Backend that gets the request."""


class Learner(Protocol):
    """A Balancer that learns from how Attempts end: it has an `observe`."""

    def observe(self, backend: Backend, duration: float, *, failed: bool, now: float) -> None:
        """An Attempt ended after `duration` seconds."""


def load(backend: Backend) -> float:
    """Requests in flight for its weight."""
    return backend.in_flight / backend.weight


def _give_turns(candidates: Sequence[Backend], now: float, rng: random.Random) -> None:
    """Random first turns for those who missed theirs, so that workers and readmissions do not step in time.

    The others keep theirs: candidates may change with every request, and the shares must hold all the same.
    """
    for backend in candidates:
        if backend.turn <= now:
            backend.turn = now + rng.random() / backend.weight


class RoundRobin:
    """Smooth weighted turns: earliest deadline first, each turn 1/weight later than the last (Envoy's EDF)."""

    __slots__ = ("_candidates", "_heap", "_turn")

    def __init__(self, settings: PoolSettings, backends: Sequence[Backend]) -> None:
        self._candidates: Sequence[Backend] = ()
        self._heap: list[tuple[float, int, Backend]] = []
        self._turn = 0.0

    def pick(self, candidates: Sequence[Backend], request: Keyed, now: float, rng: random.Random) -> Backend:
        if candidates is not self._candidates:
            self._candidates = candidates
            _give_turns(candidates, self._turn, rng)
            self._heap = [(b.turn, number, b) for number, b in enumerate(candidates)]
            heapq.heapify(self._heap)
        self._turn, number, backend = self._heap[0]
        backend.turn = self._turn + 1 / backend.weight
        heapq.heapreplace(self._heap, (backend.turn, number, backend))
        return backend


class Weighted:
    """At random, in proportion to the weights."""

    __slots__ = ("_bounds", "_candidates")

    def __init__(self, settings: PoolSettings, backends: Sequence[Backend]) -> None:
        self._candidates: Sequence[Backend] = ()
        self._bounds: list[float] = []

    def pick(self, candidates: Sequence[Backend], request: Keyed, now: float, rng: random.Random) -> Backend:
        if candidates is not self._candidates:
            self._candidates = candidates
            self._bounds = list(accumulate(b.weight for b in candidates))
        return candidates[bisect_right(self._bounds, rng.random() * self._bounds[-1], 0, len(candidates) - 1)]


class LeastRequests:
    """Fewest requests in flight for its weight; among equals in weighted turns, above eight of two drawn at random."""

    __slots__ = ("_candidates", "_drawn", "_is_even", "_next", "_turn")

    def __init__(self, settings: PoolSettings, backends: Sequence[Backend]) -> None:
        self._candidates: Sequence[Backend] = ()
        self._drawn = Weighted(settings, backends)
        self._is_even = False
        self._next = 0
        self._turn = 0.0

    def pick(self, candidates: Sequence[Backend], request: Keyed, now: float, rng: random.Random) -> Backend:
        if len(candidates) > SCAN_AT_MOST:
            first = self._drawn.pick(candidates, request, now, rng)
            second = self._drawn.pick(candidates, request, now, rng)
            return second if load(second) < load(first) else first
        if candidates is not self._candidates:
            self._candidates = candidates
            self._is_even = len({backend.weight for backend in candidates}) == 1
            self._next = int(rng.random() * len(candidates))
            _give_turns(candidates, self._turn, rng)
        return self._evenly(candidates) if self._is_even else self._by_weight(candidates)

    def _evenly(self, candidates: Sequence[Backend]) -> Backend:
        """Equal weights need no arithmetic: in turn, unless another has fewer."""
        self._next = turn = (self._next + 1) % len(candidates)
        best = candidates[turn]
        if best.in_flight:
            for backend in candidates:
                if backend.in_flight < best.in_flight:
                    best = backend
        return best

    def _by_weight(self, candidates: Sequence[Backend]) -> Backend:
        best = candidates[0]
        best_load = best.in_flight / best.weight
        for backend in candidates:
            this_load = backend.in_flight / backend.weight
            if this_load < best_load or (this_load == best_load and backend.turn < best.turn):
                best, best_load = backend, this_load
        # Who was busy for long does not make up for all the turns it missed.
        self._turn = turn = max(self._turn, best.turn)
        best.turn = turn + 1 / best.weight
        return best


DECAY = 10.0
"""Seconds in which the memory of a slow answer fades to a third (Finagle's default)."""
UNKNOWN_COST = 1e6
"""Score of a Backend with requests in flight and no answer yet: tried, but not piled upon."""
FAILURE_COST = 5.0
"""Seconds that a failed Attempt counts as, so that fast errors are not attractive (linkerd's load biaser)."""


class PeakEwma:
    """Two random choices by latency that rises at once and falls slowly, times the requests in flight."""

    __slots__ = ("_drawn",)

    def __init__(self, settings: PoolSettings, backends: Sequence[Backend]) -> None:
        self._drawn = Weighted(settings, backends)

    def pick(self, candidates: Sequence[Backend], request: Keyed, now: float, rng: random.Random) -> Backend:
        first = self._drawn.pick(candidates, request, now, rng)
        second = self._drawn.pick(candidates, request, now, rng)
        if second is first:
            second = self._drawn.pick(candidates, request, now, rng)
        return second if self._score(second, now) < self._score(first, now) else first

    def observe(self, backend: Backend, duration: float, *, failed: bool, now: float) -> None:
        """Take in one latency; a failure counts as a slow answer."""
        sample = max(duration, FAILURE_COST) if failed else duration
        cost, at = backend.cost or (0.0, now)
        if sample < cost:
            kept = math.exp(-(now - at) / DECAY)
            sample = cost * kept + sample * (1 - kept)
        backend.cost = (sample, now)

    def _score(self, backend: Backend, now: float) -> float:
        known = backend.cost
        if known is None:
            return UNKNOWN_COST * backend.in_flight
        cost, at = known
        return cost * math.exp(-(now - at) / DECAY) * (backend.in_flight / backend.weight + 1)


POINTS = 100
"""Points on the ring for each unit of weight."""
BOUND = 1.25
"""No Backend gets more than this times its fair share of what is in flight (HAProxy advises 125 to 200 %)."""


def hashed(value: bytes) -> int:
    """A stable 64-bit hash: the same in every worker and after every restart."""
    return int.from_bytes(blake2b(value, digest_size=8).digest(), "big")


OWN = "own"
"""The `source` of a key that own code finds."""
KEYS: dict[str, Callable[[Keyed], bytes]] = {}
"""What finds it, by its dotted path (`extending`)."""


class Hash:
    """Consistent hashing with bounded load; what is over the bound goes to the next on the ring, so it is stable too.

    The ring holds all Backends of the tier; those not available are stepped over, so an ejection moves only their keys.
    """

    __slots__ = ("_allowed", "_candidates", "_hash_on", "_own_key", "_owners", "_points", "_weights")

    def __init__(self, settings: PoolSettings, backends: Sequence[Backend]) -> None:
        self._hash_on = settings.hash_on
        self._own_key = KEYS[settings.hash_on.name] if settings.hash_on.source == OWN else None
        self._candidates: Sequence[Backend] = ()
        self._allowed: frozenset[Backend] = frozenset()
        self._weights = 0.0
        ring = sorted(
            (hashed(f"{backend.name}\0{number}".encode()), index)
            for index, backend in enumerate(backends)
            for number in range(POINTS * backend.settings.weight)
        )
        self._points = [point for point, _ in ring]
        self._owners = [backends[index] for _, index in ring]

    def pick(self, candidates: Sequence[Backend], request: Keyed, now: float, rng: random.Random) -> Backend:
        if candidates is not self._candidates:
            self._candidates, self._allowed = candidates, frozenset(candidates)
            self._weights = sum(b.weight for b in candidates)
        own = self._own_key
        key = request.balance_key(self._hash_on.source, self._hash_on.name) if own is None else own(request)
        per_weight = (sum(b.in_flight for b in candidates) + 1) / self._weights
        start = bisect_left(self._points, hashed(key))
        for step in range(len(self._owners)):
            backend = self._owners[(start + step) % len(self._owners)]
            if backend in self._allowed and backend.in_flight < math.ceil(BOUND * per_weight * backend.weight):
                return backend
        return min(candidates, key=load)


ALGORITHMS: dict[str, Callable[[PoolSettings, Sequence[Backend]], Balancer]] = {
    "round_robin": RoundRobin,
    "least_requests": LeastRequests,
    "peak_ewma": PeakEwma,
    "random": Weighted,
    "hash": Hash,
}
"""Names that `balance` may have."""
