"""Backends that can do only so much at a time, and clients with little patience: what the Gate and hedging are for.

The decisions are those of the production code; a Backend is a queue before some places, and does not notice that a
client has left.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from functools import partial
from math import inf

from proxy.core.limits.waiting import Priority
from proxy.core.pools.pool import Pool
from proxy.core.requests.decisions import HEDGE_LOST, Attempt, Decision, Refuse, Relay, Wait
from proxy.core.requests.dispatch import Dispatch
from proxy.core.requests.hedging import HedgeResult
from proxy.core.settings import PoolSettings
from tests.core.pools import GET, OK, members
from tests.sim.timeline import Timeline

Service = Callable[[random.Random], float]


class Server:
    """A Backend: so many places, each of which takes a while for a request; the others wait."""

    def __init__(self, timeline: Timeline, rng: random.Random, places: int, service: Service) -> None:
        self._timeline, self._rng, self._service = timeline, rng, service
        self._free = places
        self._waiting: deque[Callable[[], None]] = deque()
        self.taken = 0

    def take(self, done: Callable[[], None]) -> None:
        self.taken += 1
        self._waiting.append(done)
        self._serve()

    def _serve(self) -> None:
        while self._free and self._waiting:
            self._free -= 1
            self._timeline.after(self._service(self._rng), partial(self._done, self._waiting.popleft()))

    def _done(self, done: Callable[[], None]) -> None:
        self._free += 1
        done()
        self._serve()


class Strained:
    """A Pool, its servers, and clients that come at a rate."""

    def __init__(
        self,
        seed: int,
        service: Service,
        *,
        backends: int = 2,
        places: int = 10,
        patience: float = 0.5,
        limit: int | None = None,
        **pool: object,
    ) -> None:
        self.timeline = Timeline()
        self.rng = random.Random(seed)
        self.pool = Pool(PoolSettings("app", members(backends, max_in_flight=limit), **pool), 0.0)
        self.servers = {b.name: Server(self.timeline, self.rng, places, service) for b in self.pool.backends}
        self.patience = patience
        self.clients: list[Client] = []

    def come(self, rate: float, since: float, until: float, priority: Priority = Priority.NORMAL) -> None:
        """So many clients a second come in this time."""
        at = since
        while (at := at + self.rng.expovariate(rate)) < until:
            client = Client(self, at, priority)
            self.clients.append(client)
            self.timeline.at(at, client.begin)

    def run(self, until: float) -> None:
        self.timeline.run(until)

    def served(self, since: float, until: float, priority: Priority | None = None) -> float:
        """The share of those who came then and got their answer while they waited for it."""
        came = [one for one in self.clients if since <= one.at < until and priority in (None, one.priority)]
        return sum(one.took is not None for one in came) / len(came)

    def quantile(self, share: float, since: float, until: float) -> float:
        """How long it took for so many of those who were served."""
        took = sorted(one.took for one in self.clients if since <= one.at < until and one.took is not None)
        return took[int(share * len(took))] if took else inf

    @property
    def in_flight(self) -> int:
        return sum(backend.in_flight for backend in self.pool.backends)

    @property
    def taken(self) -> int:
        return sum(server.taken for server in self.servers.values())


class Client:
    """One client: asks once, and leaves when it took too long."""

    def __init__(self, world: Strained, at: float, priority: Priority) -> None:
        self._world = world
        self.at = at
        self.priority = priority
        self._dispatch = Dispatch(world.pool, GET, world.rng)
        self._dispatch.priority = priority
        self._is_over = False
        self.took: float | None = None
        self.is_shed = False

    def begin(self) -> None:
        world = self._world
        world.timeline.after(world.patience, self._leave)
        self._carry_out(self._dispatch.start(world.timeline.now))

    def _leave(self) -> None:
        if not self._is_over:
            self._is_over = True
            self._dispatch.abandon(self._world.timeline.now)

    def _carry_out(self, decision: Decision) -> None:
        if isinstance(decision, Attempt):
            self._send(decision)
            self._hedge_later(decision)
        elif isinstance(decision, Wait):
            self._world.timeline.after(decision.seconds, self._resume)
        elif isinstance(decision, Refuse):
            self._is_over = self.is_shed = True

    def _resume(self) -> None:
        if not self._is_over:
            self._carry_out(self._dispatch.resume(self._world.timeline.now))

    def _send(self, attempt: Attempt) -> None:
        self._world.servers[attempt.backend.name].take(partial(self._answered, attempt))

    def _answered(self, attempt: Attempt) -> None:
        dispatch, now = self._dispatch, self._world.timeline.now
        if self._is_over:
            return
        if dispatch.rival is not None and dispatch.attempt is not None:
            assert self._world.pool.hedging is not None
            is_won = attempt is dispatch.rival
            self._world.pool.hedging.note(HedgeResult.WON if is_won else HedgeResult.LOST)
            dispatch.drop(dispatch.attempt if is_won else dispatch.rival, HEDGE_LOST, now)
        self._is_over = True
        assert isinstance(dispatch.report(OK, now), Relay)
        dispatch.finish(OK, now)
        self.took = now - self.at

    def _hedge_later(self, attempt: Attempt) -> None:
        hedging = self._world.pool.hedging
        after = None if hedging is None else hedging.after(self._world.timeline.now)
        if after is not None:
            self._world.timeline.after(after, partial(self._hedge, attempt))

    def _hedge(self, attempt: Attempt) -> None:
        if not self._is_over and self._dispatch.attempt is attempt:
            second = self._dispatch.hedge(self._world.timeline.now)
            if isinstance(second, Attempt):
                self._send(second)
