"""Any sequence of settings, requests, ends and Reports: what is in flight is counted right, and no total goes back.

The Pools, the Backends that have departed, the Registry and its tally are the real ones; a model counts beside them.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from proxy.controlplane.pools.registry import Registry
from proxy.core.pools.breaker import BreakerPolicy
from proxy.core.pools.model import Backend
from proxy.core.pools.pool import Pool
from proxy.core.requests.decisions import Attempt, Relay
from proxy.core.requests.dispatch import Dispatch
from proxy.core.settings import Address, BackendSettings, PoolSettings, Settings
from proxy.dataplane.departed import Departed, Homes
from proxy.dataplane.reload import follow
from tests.controlplane.conftest import make_report
from tests.core.pools import GET, OK, RESET, UNAVAILABLE

backends = st.dictionaries(st.sampled_from("abc"), st.integers(1, 2), min_size=1).map(
    lambda chosen: tuple(BackendSettings(name, Address("192.0.2.1", port)) for name, port in chosen.items())
)
pools = st.dictionaries(st.sampled_from(["app", "shop"]), backends, min_size=1)
Key = tuple[str, str]


class Reloads(RuleBasedStateMachine):
    """One worker, its supervisor, and clients."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.rng = random.Random(0)
        self.homes: Homes = {}
        self.departed = Departed(self.homes)
        self.pools: dict[str, Pool] = {}
        self.registry = Registry(Settings((), (), ()), 0.0)
        # What must be
        self.open: list[Dispatch] = []
        self.entered: Counter[Key] = Counter()
        self.told: Counter[Key] = Counter()
        self.totals: dict[Key, int] = {}
        self.obey({"app": (BackendSettings("a", Address("192.0.2.1", 1)),)}, 1, 1)

    @rule(chosen=pools, consecutive=st.integers(1, 9), workers=st.integers(1, 3))
    def obey(self, chosen: dict[str, tuple[BackendSettings, ...]], consecutive: int, workers: int) -> None:
        """A reload."""
        policy = BreakerPolicy(consecutive=consecutive)
        changed = tuple(PoolSettings(name, members, breaker=policy) for name, members in chosen.items())
        settings = replace(self.registry.settings, pools=changed, workers=workers)
        self.registry.obey(settings, self.now)
        self.pools = follow(settings, self.pools, self.homes, self.departed, now=self.now, listener=lambda *_: None)
        for pool in self.pools.values():
            pool.heed(self.registry.snapshot().backends, self.now)

    @rule(data=st.data())
    def begin(self, data: st.DataObject) -> None:
        """A request comes."""
        pool = self.pools[data.draw(st.sampled_from(sorted(self.pools)))]
        dispatch = Dispatch(pool, GET, self.rng)
        self._note(dispatch, dispatch.start(self.now))

    def _note(self, dispatch: Dispatch, decision: object) -> None:
        if isinstance(decision, Attempt):
            self.entered[decision.backend.key] += 1
        if not dispatch.is_settled and dispatch not in self.open:
            self.open.append(dispatch)
        if dispatch.is_settled and dispatch in self.open:
            self.open.remove(dispatch)

    @precondition(lambda self: self.open)
    @rule(data=st.data(), outcome=st.sampled_from([OK, RESET, UNAVAILABLE]))
    def end(self, data: st.DataObject, outcome: object) -> None:
        """An Attempt ends, or a held request looks again."""
        dispatch = data.draw(st.sampled_from(self.open))
        decision = dispatch.resume(self.now) if dispatch.attempt is None else dispatch.report(outcome, self.now)
        if isinstance(decision, Relay):
            dispatch.finish(outcome, self.now)
        self._note(dispatch, decision)

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def abandon(self, data: st.DataObject) -> None:
        """A client leaves."""
        dispatch = data.draw(st.sampled_from(self.open))
        dispatch.abandon(self.now)
        self._note(dispatch, None)

    @rule(seconds=st.sampled_from([0.0, 0.5, 3.0]))
    def report(self, seconds: float) -> None:
        """The worker reports."""
        self.now += seconds
        self.departed.settle(self.now, self.pools)
        counts = {b.key: b.counts(len(self.homes[b])) for pool in self.pools.values() for b in pool.backends}
        pool_counts = {pool.name: pool.counts() for pool in self.pools.values()}
        self.departed.add_to(counts, pool_counts)
        self.registry.take_report(make_report(at=self.now, backends=counts, pools=pool_counts))
        self.told = Counter(self.entered)
        in_flight = Counter(one.attempt.backend.key for one in self.open if one.attempt is not None)
        seen = self.registry.tally.totals().backends
        assert in_flight == Counter({key: one.in_flight for key, one in seen.items() if one.in_flight})
        assert self.told == Counter({key: one.requests for key, one in seen.items() if one.requests})

    @invariant()
    def what_is_in_flight_is_on_the_backend_that_admitted_it(self) -> None:
        admitted: Counter[Backend] = Counter(one.attempt.backend for one in self.open if one.attempt is not None)
        known = [*self.homes, *admitted]
        assert admitted == Counter({backend: backend.in_flight for backend in known if backend.in_flight})

    @invariant()
    def whoever_has_something_in_flight_has_a_place_for_its_connections(self) -> None:
        assert all(one.attempt.backend in self.homes for one in self.open if one.attempt is not None)
        assert all(backend in self.homes for pool in self.pools.values() for backend in pool.backends)

    @invariant()
    def no_total_goes_back(self) -> None:
        totals = {key: one.requests for key, one in self.registry.tally.totals().backends.items()}
        assert all(totals.get(key, 0) >= before for key, before in self.totals.items())
        self.totals = totals

    def teardown(self) -> None:
        """When all is over nobody is left but who serves."""
        for dispatch in list(self.open):
            dispatch.abandon(self.now)
            self._note(dispatch, None)
        for _ in range(3):
            self.report(3.0)
        assert not self.departed
        assert set(self.homes) == {backend for pool in self.pools.values() for backend in pool.backends}


TestReloads = Reloads.TestCase
TestReloads.settings = hypothesis_settings(max_examples=60, stateful_step_count=40)


def test_a_request_from_before_two_reloads_may_still_go_to_who_left_with_the_pool() -> None:
    """The Pool was taken for empty: the request was on a Backend that had left it one reload earlier."""
    model = Reloads()
    dispatch = Dispatch(model.pools["app"], GET, model.rng)
    model._note(dispatch, dispatch.start(model.now))
    model.obey({"app": (BackendSettings("a", Address("192.0.2.1", 2)),)}, 1, 1)
    model.obey({"shop": (BackendSettings("a", Address("192.0.2.1", 1)),)}, 1, 1)
    model.report(0.0)
    model.report(3.0)

    model._note(dispatch, dispatch.report(RESET, model.now))

    model.whoever_has_something_in_flight_has_a_place_for_its_connections()
    model.report(0.0)
    model.teardown()
