"""What the comparison with peers leads to: less weight, an ejection that all workers hear of, a pool that is degraded."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import replace

from proxy.controlplane.pools.change import Change
from proxy.controlplane.pools.registry import Registry
from proxy.core.messages import DURATION_BUCKETS, BackendCounts, BreakerNews
from proxy.core.pools.active import FailoverPolicy
from proxy.core.pools.breaker import BreakerState
from proxy.core.pools.outlier import EjectionPolicy, OutlierPolicy
from proxy.core.settings import Address, BackendSettings, PoolSettings
from tests.controlplane.conftest import Make

NAMES = ("a", "b", "c")


class Played:
    """A registry with two workers whose backends do a hundred requests a second each."""

    def __init__(self, make: Make, **pool: object) -> None:
        address = Address("127.0.0.1", 9)
        backends = tuple(BackendSettings(name, address) for name in NAMES)
        self.make = make
        self.settings = replace(make.settings(), pools=(PoolSettings("app", backends, **pool),))
        self.registry = Registry(self.settings, 0.0)
        self.registry.told = lambda: (0, 1)
        self.errors = dict.fromkeys(NAMES, 0.0)
        self.latency = dict.fromkeys(NAMES, 0.008)
        self.counts = {(worker, name): BackendCounts() for worker in (0, 1) for name in NAMES}
        self.now = 0.0
        self.changes: list[Change] = []

    def second(self) -> None:
        """One more second of traffic, the Reports of both workers, and a look."""
        self.now += 1.0
        for (worker, name), counts in self.counts.items():
            buckets = list(counts.duration_buckets or (0,) * (len(DURATION_BUCKETS) + 1))
            if not self.registry.pools["app"].backends[name].reasons:
                buckets[bisect_left(DURATION_BUCKETS, self.latency[name])] += 50
                failures = counts.failures + round(50 * self.errors[name])
                self.counts[worker, name] = replace(counts, duration_buckets=tuple(buckets), failures=failures)
        for worker in (0, 1):
            backends = {("app", name): self.counts[worker, name] for name in NAMES}
            self.registry.take_report(self.make.report(worker, worker + 1, at=self.now, backends=backends))
        self.changes += self.registry.compare(self.now)

    def seconds(self, number: int) -> list[Change]:
        self.changes = []
        for _ in range(number):
            self.second()
        return self.changes

    def reasons(self) -> dict[str, tuple[str, ...]]:
        return {one.settings.name: one.reasons for one in self.registry.records() if one.reasons}


def test_a_brown_out_leads_to_less_weight_and_then_to_an_ejection_that_all_workers_hear_of(make: Make) -> None:
    played = Played(make)
    played.seconds(20)
    played.errors["a"] = 0.2
    version = played.registry.version

    changes = played.seconds(10)[:3]

    assert [("share", "50%"), ("share", "25%"), ("outlier", "ejected")] == [(one.subject, one.after) for one in changes]
    news = changes[-1].news
    assert isinstance(news, BreakerNews)
    assert (BreakerState.OPEN, 30.0, True) == (news.state, news.until - news.at, news.outlier)
    assert "20% of its requests fail, 0% of its peers'" == news.reason
    assert played.registry.version >= version + 3
    assert 0.25 == played.registry.snapshot().backends["app", "a"].share
    assert {"a": ("outlier",)} == played.reasons()


def test_since_when_and_until_when_it_is_ejected_is_known(make: Make) -> None:
    played = Played(make)
    played.errors["a"] = 0.5
    played.seconds(4)
    record = played.registry.pools["app"].backends["a"]

    assert [30.0] == [(record.until(reason) or 0.0) - since for reason, since in record.vetoes.items()]


def test_a_worker_that_begins_is_told_of_it(make: Make) -> None:
    played = Played(make)
    played.errors["a"] = 0.5
    played.seconds(4)

    assert {True} == {news.outlier for news in played.registry.openings()}


def test_a_report_from_before_it_was_heard_does_not_undo_it(make: Make) -> None:
    played = Played(make)
    played.errors["a"] = 0.5
    played.seconds(4)

    changes = played.registry.take_report(
        make.report(0, 1, at=played.now + 0.01, backends={("app", "a"): BackendCounts()})
    )

    assert [] == changes
    assert {"a": ("outlier",)} == played.reasons()


def test_a_worker_that_may_not_eject_it_says_so_in_its_report(make: Make) -> None:
    played = Played(make)
    played.errors["a"] = 0.5
    played.seconds(4)

    for worker in (0, 1):
        counts = {("app", "a"): BackendCounts()}
        played.registry.take_report(make.report(worker, worker + 1, at=played.now + 1.0, backends=counts))

    assert {} == played.reasons()


def test_trials_bring_it_back_with_the_least_weight(make: Make) -> None:
    played = Played(make)
    played.errors["a"] = 0.5
    played.seconds(4)
    at = played.now + 31.0

    played.registry.take_breaker_news(BreakerNews(0, "app", "a", BreakerState.HALF_OPEN, 0.0, "on trial", at))
    assert {"a": ("outlier",)} == played.reasons()
    played.registry.take_breaker_news(BreakerNews(0, "app", "a", BreakerState.CLOSED, 0.0, "2 trials passed", at + 1))

    assert {} == played.reasons()
    assert 0.25 == played.registry.snapshot().backends["app", "a"].share


def test_where_all_degrade_nobody_is_ejected_and_the_pool_says_so_once(make: Make) -> None:
    played = Played(make)
    played.seconds(20)
    played.errors = dict.fromkeys(NAMES, 0.3)

    changes = played.seconds(10)

    assert [("degraded", "true")] == [(one.subject, one.after) for one in changes]
    assert "30% of the requests fail on most backends" == played.registry.pools["app"].governor.degraded
    assert {} == played.reasons()
    played.errors = dict.fromkeys(NAMES, 0.0)
    assert [("degraded", "false")] == [(one.subject, one.after) for one in played.seconds(10)]


def test_the_cap_is_kept(make: Make) -> None:
    """Of three, one may go; of the two that are bad, each loses weight."""
    played = Played(make, ejection=EjectionPolicy(max_ejected=0.5))
    played.seconds(5)
    played.latency["a"] = 0.2
    played.seconds(5)
    played.errors["b"] = 0.5
    played.seconds(10)

    assert {"a": ("outlier",)} == played.reasons()


def test_it_can_be_switched_off(make: Make) -> None:
    played = Played(make, outlier=OutlierPolicy(detect=False))
    played.errors["a"] = 1.0

    assert [] == played.seconds(10)


def test_where_one_serves_at_a_time_nobody_is_compared(make: Make) -> None:
    assert Played(make, failover=FailoverPolicy()).registry.pools["app"].governor.detector is None


def test_a_reload_keeps_the_steps(make: Make) -> None:
    played = Played(make)
    played.errors["a"] = 0.2
    played.seconds(3)

    played.registry.obey(replace(played.settings, drain_timeout=1.0), played.now)

    assert played.registry.snapshot().backends["app", "a"].share < 1.0
