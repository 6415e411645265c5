"""One supervisor and its workers as a state machine: messages take their time, workers die, Backends come and go.

Whatever the order of events, no two workers hold different Backends for the active one at the same moment, and
nobody sends a request to the old one once the new one has had its first.
"""

from __future__ import annotations

from collections import deque
from random import Random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from proxy.core.messages import BackendState
from proxy.core.pools.active import ActivePassive, FailoverPolicy, Standing
from proxy.core.pools.model import Backend
from proxy.core.pools.pool import Pool
from proxy.core.settings import BackendSettings
from tests.core.pools import GET, NOWHERE, make_pool

LINE = ("a", "b", "c")
POLICIES = [
    FailoverPolicy(failback_after=0.0),
    FailoverPolicy(after=2.0, failback_after=5.0),
    FailoverPolicy(failback=False),
    FailoverPolicy(automatic=False, failback=False),
]
Told = tuple[int, str | None]
"""A Snapshot's version, and who is active by it."""


class Worker:
    """A worker with a real Pool, and the messages that are on their way to and from it."""

    def __init__(self, first: Told) -> None:
        self.pool: Pool = make_pool(
            [BackendSettings(name, NOWHERE) for name in LINE], failover=FailoverPolicy(), workers=1
        )
        self.inbox: deque[Told] = deque([first])
        self.outbox: deque[int] = deque()
        self.version = 0

    def take(self, now: float) -> None:
        version, active = self.inbox.popleft()
        states = {("app", name): BackendState(standby=name != active) for name in LINE}
        self.pool.heed(states, now)
        self.version = version
        self.outbox.append(version)

    def pick(self, now: float) -> Backend | None:
        return self.pool.pick(GET, now, Random(0)) if self.version else None


class Machine(RuleBasedStateMachine):
    @initialize(policy=st.sampled_from(POLICIES), workers=st.integers(1, 3))
    def begin(self, policy: FailoverPolicy, workers: int) -> None:
        self.now = 0.0
        self.version = 1
        self.place = ActivePassive("app", policy, LINE)
        self.well = dict.fromkeys(LINE, True)
        self.workers = {number: Worker((1, "a")) for number in range(workers)}
        self.first_request: dict[str, int] = {}
        self.served: list[str] = []

    # The supervisor

    def _standings(self) -> dict[str, Standing]:
        return {name: Standing(well, "out") for name, well in self.well.items()}

    def _publish(self) -> None:
        self.version += 1
        for worker in self.workers.values():
            worker.inbox.append((self.version, self.place.active))

    def _complete(self) -> None:
        if self.place.complete(self.now) is not None:
            self._publish()

    @rule(seconds=st.floats(0, 6))
    def tick(self, seconds: float) -> None:
        self.now += seconds
        wanted = self.place.review(self._standings(), self.now)
        if wanted is not None:
            self.place.begin(wanted, self.now, self.workers, self.version + 1)
            self._publish()
        self._complete()

    @rule(name=st.sampled_from(LINE))
    def turn(self, name: str) -> None:
        self.well[name] = not self.well[name]

    @precondition(lambda self: self.place.active is not None)
    @rule(name=st.sampled_from(LINE))
    def order(self, name: str) -> None:
        if name != self.place.active:
            wanted = self.place.order(name, self._standings(), self.now)
            self.place.begin(wanted, self.now, self.workers, self.version + 1)
            self._publish()
            self._complete()

    # The workers

    @rule(number=st.integers(0, 2))
    def hear(self, number: int) -> None:
        worker = self.workers.get(number)
        if worker is not None and worker.inbox:
            worker.take(self.now)

    @rule(number=st.integers(0, 2))
    def is_heard(self, number: int) -> None:
        worker = self.workers.get(number)
        if worker is not None and worker.outbox:
            self.place.heard(number, worker.outbox.popleft())
            self._complete()

    @rule(number=st.integers(0, 2))
    def dies(self, number: int) -> None:
        if self.workers.pop(number, None) is not None:
            self.place.lost(number)
            self._complete()

    @rule(number=st.integers(0, 2))
    def begins(self, number: int) -> None:
        if number not in self.workers:
            self.workers[number] = Worker((self.version, self.place.active))

    @rule(number=st.integers(0, 2))
    def serves(self, number: int) -> None:
        worker = self.workers.get(number)
        backend = None if worker is None else worker.pick(self.now)
        if backend is not None:
            self.served.append(backend.name)

    # Always

    @invariant()
    def no_two_workers_have_different_ones(self) -> None:
        active = {b.name for w in self.workers.values() if w.version for b in w.pool.backends if not b.standby}

        assert len(active) <= 1

    @invariant()
    def nobody_serves_who_stands_by(self) -> None:
        for worker in self.workers.values():
            backend = worker.pick(self.now)
            assert backend is None or not backend.standby

    def teardown(self) -> None:
        """No veto without an exit: once all is delivered, somebody is active everywhere, and it is the same one."""
        if not hasattr(self, "workers"):
            return
        for _ in range(3):
            for number, worker in self.workers.items():
                while worker.inbox:
                    worker.take(self.now)
                while worker.outbox:
                    self.place.heard(number, worker.outbox.popleft())
            self._complete()

        assert self.place.active is not None
        for worker in self.workers.values():
            assert [self.place.active] == [b.name for b in worker.pool.backends if not b.standby]


TestActivePassive = Machine.TestCase
TestActivePassive.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
