"""A whole proxy in a heap of events: workers, supervisor, Backends and clients, from one seed.

The decisions are those of the production code; only sockets, processes and the clock are played. A simulation with the
same seed runs the same again: `SIM_SEED=7 pytest tests/sim`.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Sequence
from functools import partial

from proxy.core.messages import AdminState
from proxy.core.pools.breaker import BreakerPolicy
from proxy.core.pools.health import HealthPolicy
from proxy.core.requests.fallback import StalePolicy
from proxy.core.settings import Address, BackendSettings, ListenerSettings, PoolSettings, Settings, Timeouts
from tests.core.pools import request as head
from tests.sim.backends import Mode, ScriptedBackend
from tests.sim.supervision import Supervision
from tests.sim.timeline import Timeline
from tests.sim.worker import Request, Worker

CLIENTS = [f"192.0.2.{number}" for number in range(1, 51)]
GETS = [head("GET", client=client) for client in CLIENTS]
PUTS = [head("PUT", "/cart", "Content-Length: 3", client=client) for client in CLIENTS]
POSTS = [head("POST", "/cart", "Content-Length: 3", client=client) for client in CLIENTS]
TIMEOUTS = Timeouts(connect=0.5, first_byte=1.0)
HEALTH = HealthPolicy(path="/healthz", interval=1.0, timeout=0.5, fall=3, rise=2)
BREAKER = BreakerPolicy(open_for=5.0)
LONGEST = 30.0
"""Seconds in which whatever is under way comes to its end."""


class Simulation:
    """One pool of Backends `b0`, `b1`, … behind some workers, under an open-loop load."""

    def __init__(
        self,
        seed: int,
        *,
        backends: int = 3,
        tiers: Sequence[int] = (),
        regions: Sequence[str] = (),
        workers: int = 2,
        is_quiet: bool = False,
        stale: StalePolicy | None = None,
        **pool: object,
    ) -> None:
        if not is_quiet:
            print(f"seed {seed}: to see this again, run SIM_SEED={seed} pytest tests/sim")
        self.seed = seed
        self.rng = random.Random(seed)
        self.timeline = Timeline()
        self.backends = {name: ScriptedBackend(name) for name in (f"b{n}" for n in range(backends))}
        defaults: dict[str, object] = {"timeouts": TIMEOUTS, "health": HEALTH, "breaker": BREAKER}
        members = tuple(
            BackendSettings(
                name,
                Address("192.0.2.1", 80),
                tier=tiers[number] if tiers else 1,
                region=regions[number] if regions else "",
            )
            for number, name in enumerate(self.backends)
        )
        self.settings = PoolSettings("app", members, **{**defaults, **pool})
        listener = ListenerSettings("web", Address("127.0.0.1", 0))
        settings = Settings((listener,), (self.settings,), (), workers=workers)
        self.supervision = Supervision(settings, self.backends, self.timeline, self.rng)
        self.workers = [
            Worker(
                number,
                self.settings,
                self.backends,
                timeline=self.timeline,
                rng=self.rng,
                workers=workers,
                tell=self.supervision.hear,
                stale=stale,
            )
            for number in range(workers)
        ]
        self.requests: list[Request] = []
        self._asking_until = 0.0
        self.most_active = 0
        """Backends of an active-passive pool that any workers took for the active one at the same moment."""
        self.supervision.heeded = self._look_who_is_active

    def _look_who_is_active(self) -> None:
        active = {b.name for worker in self.workers for b in worker.pool.backends if not b.standby}
        self.most_active = max(self.most_active, len(active))

    @property
    def now(self) -> float:
        return self.timeline.now

    # What happens

    def turns(self, name: str, mode: Mode, at: float, until: float | None = None) -> None:
        """This Backend changes so, and is well again after a time."""
        self.timeline.at(at, lambda: self.backends[name].turn(mode, self.now))
        if until is not None:
            self.timeline.at(until, lambda: self.backends[name].turn(Mode.WELL, self.now))

    def browns_out(self, name: str, at: float, until: float, share: float) -> None:
        """This Backend fails a share of its requests, and its health check is green."""

        def begin() -> None:
            self.backends[name].lies, self.backends[name].resets = True, share

        def end() -> None:
            self.backends[name].resets, self.backends[name].well_since = 0.0, self.now

        self.timeline.at(at, begin)
        self.timeline.at(until, end)

    def set_admin(self, name: str, state: AdminState, at: float) -> None:
        self.timeline.at(at, lambda: self.supervision.set_admin(name, state))

    def run(
        self, seconds: float, *, rate: float = 100.0, writes: float = 0.2, leaving: float = 0.0, streams: float = 0.0
    ) -> None:
        """Serve so many requests a second for so long, then let everything come to its end.

        `writes`: the share of POST; `leaving`: of clients who do not wait; `streams`: of answers that take seconds.
        """
        self.supervision.begin(self.workers)
        self._asking_until = seconds
        ask = partial(self._ask, rate, writes, leaving, streams)
        self.timeline.after(self.rng.expovariate(rate), ask)
        self.timeline.run(seconds + LONGEST)

    def _ask(self, rate: float, writes: float, leaving: float, streams: float) -> None:
        rng = self.rng
        kind = POSTS if rng.random() < writes else PUTS if rng.random() < 0.05 else GETS
        request = Request(rng.choice(kind), self.now, rng.uniform(0.5, 5.0) if rng.random() < streams else 0.0)
        self.requests.append(request)
        rng.choice(self.workers).ask(request, rng.uniform(0.0, 0.05) if rng.random() < leaving else None)
        pause = rng.expovariate(rate)
        if self.now + pause < self._asking_until:
            self.timeline.after(pause, partial(self._ask, rate, writes, leaving, streams))

    # What came of it

    @property
    def reads(self) -> list[Request]:
        return [one for one in self.requests if one.head.idempotent]

    @property
    def writes(self) -> list[Request]:
        return [one for one in self.requests if not one.head.idempotent]

    @property
    def failed_reads(self) -> list[str]:
        """Reads whose clients saw a failure."""
        return [self._describe(one) for one in self.reads if one.failed]

    @property
    def preventable(self) -> list[str]:
        """Failures of reads that another Backend could have prevented."""
        return [self._describe(one) for one in self.reads if one.failed and one.blame]

    @property
    def executed_twice(self) -> list[int]:
        """Writes that Backends carried out more than once."""
        return [one.number for one in self.writes if self.executions(one) > 1]

    @property
    def told_lies(self) -> list[str]:
        """Writes whose clients were told that they were not executed, and they were."""
        return [self._describe(one) for one in self.requests if one.executed == "no" and self.executions(one)]

    @property
    def unended(self) -> list[Request]:
        """Requests that got no end of any kind."""
        return [one for one in self.requests if one.ended is None]

    def executions(self, request: Request) -> int:
        return sum(backend.executions[request.number] for backend in self.backends.values())

    @property
    def in_flight(self) -> int:
        return sum(backend.in_flight for worker in self.workers for backend in worker.pool.backends)

    @property
    def holding(self) -> int:
        return sum(worker.pool.holding for worker in self.workers)

    @property
    def over_budget(self) -> list[str]:
        """Moments at which a worker had retried more than its budget allows, each against its last ten seconds."""
        return [moment for worker in self.workers for moment in self._over_budget(worker)]

    def _over_budget(self, worker: Worker) -> list[str]:
        policy = self.settings.retries
        reserve = policy.budget_min * 10 / len(self.workers)
        wrong = []
        for at in worker.retries:
            retries, asked = (
                bisect_right(times, at) - bisect_right(times, at - 10) for times in (worker.retries, worker.requests)
            )
            if retries > policy.budget * asked + reserve:
                wrong.append(f"worker {worker.number} at {at:.2f}: {retries} retries of {asked} requests")
        return wrong

    def served(self, name: str, since: float, until: float) -> int:
        """How many requests reached a Backend in this time."""
        return sum(since <= at < until for at in self.backends[name].requests)

    def _describe(self, request: Request) -> str:
        return f"seed {self.seed}: {request.head!r} at {request.begun:.3f}, tried {request.tried}: {request.status} {request.blame}"
