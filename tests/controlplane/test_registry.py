from __future__ import annotations

from dataclasses import replace

import pytest

from proxy.controlplane.pools.change import Change
from proxy.controlplane.pools.records import BackendRecord, BreakerView
from proxy.controlplane.pools.registry import Registry
from proxy.core.messages import AdminState, BackendCounts, BackendState, BreakerNews, PoolNews
from proxy.core.pools.breaker import BreakerState
from proxy.core.pools.health import HealthPolicy, HealthState, Probe
from proxy.core.settings import Address, BackendSettings, PoolSettings
from tests.controlplane.conftest import Make

KEY = ("app", "b0")
QUICK = HealthPolicy(fall=1, rise=1)


@pytest.fixture
def registry(make: Make) -> Registry:
    return Registry(make.settings(health=QUICK), 0.0)


def first(registry: Registry) -> BackendRecord:
    return registry.pools["app"].backends["b0"]


def bad(at: float) -> Probe:
    return Probe(at, ok=False, duration=0.001, detail="connection refused")


def good(at: float) -> Probe:
    return Probe(at, ok=True, duration=0.001, detail="connected")


def tiered(make: Make, *tiers: int, **changes: object) -> Registry:
    """One pool whose backends `b0`, `b1`, … are of these tiers."""
    address = Address("127.0.0.1", 9)
    backends = tuple(BackendSettings(f"b{n}", address, tier=tier, **changes) for n, tier in enumerate(tiers))
    return Registry(replace(make.settings(), pools=(PoolSettings("app", backends, health=QUICK),)), 0.0)


def reasons(registry: Registry) -> dict[str, list[str]]:
    return {record.settings.name: list(record.reasons) for record in registry.records() if record.reasons}


# Reasons


def test_a_backend_that_nothing_vetoes_is_available(registry: Registry) -> None:
    assert {} == reasons(registry)
    assert 2 == registry.pools["app"].available


def test_failed_probes_are_a_reason_until_good_ones_come(registry: Registry) -> None:
    registry.take_probe(KEY, bad(1.0))
    assert {"b0": ["failed_probes"]} == reasons(registry)

    registry.take_probe(KEY, good(2.0))
    assert {} == reasons(registry)


def test_a_backend_that_begins_down_is_unchecked(make: Make) -> None:
    registry = Registry(make.settings(health=HealthPolicy(initial="down", rise=1)), 0.0)
    assert ["unchecked"] == reasons(registry)["b0"]

    registry.take_probe(KEY, good(1.0))

    assert "b0" not in reasons(registry)


@pytest.mark.parametrize("state", [BreakerState.OPEN, BreakerState.HALF_OPEN])
def test_a_breaker_that_is_not_closed_is_a_reason(registry: Registry, make: Make, state: BreakerState) -> None:
    """Half-open, it gets trials but not its share."""
    registry.take_breaker_news(replace(make.opened(0, until=5.0), state=state))

    assert {"b0": ["breaker_open"]} == reasons(registry)


@pytest.mark.parametrize("state", [AdminState.DRAIN, AdminState.MAINT])
def test_the_administrators_intent_is_a_reason(registry: Registry, state: AdminState) -> None:
    registry.set_admin(first(registry), state, 1.0)

    assert {"b0": [state]} == reasons(registry)


def test_a_weight_of_zero_is_a_drain(registry: Registry) -> None:
    registry.set_weight(first(registry), 0, 1.0)

    assert {"b0": ["drain"]} == reasons(registry)


def test_the_requests_of_all_workers_together_make_a_backend_full(make: Make) -> None:
    registry = tiered(make, 1, 1, max_in_flight=5)
    three = {KEY: BackendCounts(in_flight=3)}

    registry.take_report(make.report(0, backends=three))
    assert {} == reasons(registry)
    registry.take_report(make.report(1, backends=three))

    assert {"b0": ["full"]} == reasons(registry)


def test_every_reason_is_given(registry: Registry, make: Make) -> None:
    """So that nobody who mends one is surprised by the next."""
    registry.take_probe(KEY, bad(1.0))
    registry.take_breaker_news(make.opened(0, until=5.0))
    registry.set_admin(first(registry), AdminState.MAINT, 1.0)

    assert {"b0": ["maint", "failed_probes", "breaker_open"]} == reasons(registry)


def test_a_higher_tier_stands_by_while_the_lower_one_serves(make: Make) -> None:
    assert {"b2": ["standby"]} == reasons(tiered(make, 1, 1, 2))


def test_a_higher_tier_serves_when_the_lower_one_cannot_take_the_load(make: Make) -> None:
    """Half of tier 1, overprovisioned, is 70 %: the rest spills over."""
    registry = tiered(make, 1, 1, 2)

    registry.take_probe(KEY, bad(1.0))

    assert {"b0": ["failed_probes"]} == reasons(registry)


def test_availability_dates_from_its_last_change(registry: Registry, make: Make) -> None:
    registry.take_probe(KEY, bad(1.0))
    registry.take_breaker_news(make.opened(0, until=5.0, at=2.0))
    assert 1.0 == first(registry).since

    registry.take_probe(KEY, good(3.0))
    registry.take_breaker_news(replace(make.opened(0, until=0.0, at=4.0), state=BreakerState.CLOSED))
    assert 4.0 == first(registry).since


# Breakers of several workers


def test_open_in_any_worker_is_open(registry: Registry, make: Make) -> None:
    registry.take_breaker_news(make.opened(0, until=5.0))
    registry.take_breaker_news(make.opened(1, until=7.0))
    registry.take_breaker_news(replace(make.opened(0, until=0.0), state=BreakerState.CLOSED))

    assert BreakerView(BreakerState.OPEN, 7.0, "5 failures in a row", 0.0) == first(registry).breaker()


def test_a_report_stands_above_older_news(registry: Registry, make: Make) -> None:
    """News that were lost are made good within a second."""
    registry.take_breaker_news(make.opened(0, until=5.0))

    registry.take_report(make.report(backends={KEY: BackendCounts()}))

    assert BreakerState.CLOSED is first(registry).breaker().state


def test_a_closing_ends_what_the_others_had_before_it(registry: Registry, make: Make) -> None:
    """They are told at once; nobody has to wait for their next Reports."""
    registry.take_breaker_news(make.opened(0, until=5.0, at=1.0))
    registry.take_report(make.report(1, at=2.0, backends={KEY: BackendCounts(breaker=BreakerState.OPEN)}))

    registry.take_breaker_news(closed(make, at=5.0))

    assert BreakerState.CLOSED is first(registry).breaker().state


def test_a_report_from_before_a_closing_was_heard_does_not_stand_above_it(registry: Registry, make: Make) -> None:
    """The next opening was not relayed, since another worker's seemed to be open already."""
    registry.take_breaker_news(make.opened(0, until=5.0, at=1.0))
    registry.take_breaker_news(closed(make, at=5.0))
    registry.take_report(make.report(1, at=5.001, backends={KEY: BackendCounts(breaker=BreakerState.OPEN)}))

    assert registry.is_worth_relaying(make.opened(0, until=10.0, at=5.5))


def closed(make: Make, at: float) -> BreakerNews:
    return replace(make.opened(0, until=0.0, at=at), state=BreakerState.CLOSED)


def test_a_dead_workers_breaker_counts_until_its_successor_reports(registry: Registry, make: Make) -> None:
    """The successor must learn of it, and nobody else may know."""
    news = make.opened(0, until=5.0)
    registry.take_breaker_news(news)

    registry.lose_worker(0)

    assert [news] == registry.openings()


def test_a_breaker_on_trial_is_told_to_a_new_worker_as_an_opening_that_is_over(registry: Registry, make: Make) -> None:
    """So it begins with a trial, too."""
    registry.take_breaker_news(replace(make.opened(0, until=5.0), state=BreakerState.HALF_OPEN))

    assert [make.opened(0, until=5.0)] == registry.openings()


# What is told and logged


def test_a_change_of_health_is_a_new_version_and_a_change(registry: Registry) -> None:
    changes = registry.take_probe(KEY, bad(1.0))

    assert [Change("health", "app", "b0", "up", "down", "connection refused")] == changes
    assert 2 == registry.snapshot().version
    assert BackendState(health=HealthState.DOWN) == registry.snapshot().backends[KEY]


def test_a_result_that_changes_nothing_is_neither(registry: Registry) -> None:
    assert [] == registry.take_probe(KEY, good(1.0))
    assert 1 == registry.snapshot().version


def test_an_intent_that_holds_already_changes_nothing(registry: Registry) -> None:
    assert [] == registry.set_admin(first(registry), AdminState.READY, 1.0)
    assert [] == registry.set_weight(first(registry), 1, 1.0)
    assert 1 == registry.snapshot().version


def test_an_opening_is_one_change_however_many_workers_follow(registry: Registry, make: Make) -> None:
    one = [Change("breaker", "app", "b0", "closed", "open", "5 failures in a row")]

    assert one == registry.take_breaker_news(make.opened(0, until=5.0))
    assert [] == registry.take_breaker_news(make.opened(1, until=5.0))


def test_panic_begins_with_the_first_worker_and_ends_with_the_last(registry: Registry) -> None:
    def news(worker: int, *, panic: bool) -> list[str]:
        return [change.after for change in registry.take_pool_news(PoolNews(worker, "app", panic, 1.0))]

    assert ["true"] == news(0, panic=True)
    assert [] == news(1, panic=True)
    assert [] == news(0, panic=False)
    assert ["false"] == news(1, panic=False)


def test_a_weight_can_be_given_back(registry: Registry) -> None:
    registry.set_weight(first(registry), 7, 1.0)

    registry.set_weight(first(registry), None, 2.0)

    assert (1, None) == (first(registry).weight, registry.snapshot().backends[KEY].weight)


def test_news_of_what_is_not_there_change_nothing(registry: Registry, make: Make) -> None:
    gone = ("app", "gone")

    assert [] == registry.take_probe(gone, bad(1.0))
    assert [] == registry.take_breaker_news(make.opened(0, until=5.0, backend="gone"))
    assert [] == registry.take_report(make.report(backends={gone: BackendCounts()}, pools={"x": make.pool_counts()}))


def test_what_survived_a_restart_is_where_it_begins(make: Make) -> None:
    was = {KEY: BackendState(AdminState.DRAIN, HealthState.DOWN, 5)}

    registry = Registry(make.settings(health=HealthPolicy(initial="last")), 0.0, was)

    assert was[KEY] == first(registry).state
    assert {"b0": ["drain", "failed_probes"]} == reasons(registry)


def test_the_last_health_is_believed_only_where_the_policy_says_so(make: Make) -> None:
    registry = Registry(make.settings(), 0.0, {KEY: BackendState(health=HealthState.DOWN)})

    assert HealthState.UP is first(registry).health.state


@pytest.mark.parametrize("thing", ["record", "pool"])
def test_what_is_shown_in_a_failing_test_says_what_matters(registry: Registry, thing: str) -> None:
    registry.take_probe(KEY, bad(1.0))

    shown = {"record": first(registry), "pool": registry.pools["app"]}
    wanted = {"record": "<BackendRecord app/b0 failed_probes>", "pool": "<PoolRecord app 1 of 2>"}
    assert wanted[thing] == repr(shown[thing])


# Other settings


def obey(registry: Registry, *backends: BackendSettings, now: float = 5.0, **changes: object) -> None:
    pool = replace(registry.settings.pools[0], backends=backends, **changes)
    registry.obey(replace(registry.settings, pools=(pool,)), now)


def test_what_is_known_of_a_backend_stays_with_its_name_and_address(registry: Registry, make: Make) -> None:
    known = first(registry)
    registry.take_probe(KEY, bad(1.0))
    registry.set_admin(known, AdminState.DRAIN, 2.0)
    registry.set_weight(known, 7, 2.0)
    registry.take_breaker_news(make.opened(0, until=65.0, at=3.0))

    obey(registry, replace(known.settings, tier=2), health=HealthPolicy(fall=9))

    assert registry.record(KEY) is known
    assert (9, 2, 7) == (known.health.policy.fall, known.settings.tier, known.weight)
    assert {"b0": ["drain", "failed_probes", "breaker_open"]} == reasons(registry)
    assert BackendState(AdminState.DRAIN, HealthState.DOWN, 7) == registry.snapshot().backends[KEY]


def test_of_another_address_only_what_was_said_of_the_name_is_known(registry: Registry) -> None:
    registry.take_probe(KEY, bad(1.0))
    registry.set_admin(first(registry), AdminState.DRAIN, 2.0)

    obey(registry, BackendSettings("b0", Address("127.0.0.1", 10)))

    assert {"b0": ["drain"]} == reasons(registry)
    assert HealthState.UP is first(registry).health.state


def test_what_is_removed_is_forgotten_and_begins_anew_when_it_comes_back(registry: Registry) -> None:
    both = [record.settings for record in registry.records()]
    registry.set_admin(first(registry), AdminState.MAINT, 2.0)

    obey(registry, both[1])
    assert None is registry.record(KEY)
    obey(registry, *both)

    assert {} == reasons(registry)


def test_pools_come_and_go_and_each_change_is_a_new_version(registry: Registry) -> None:
    settings = registry.settings
    before = registry.snapshot()

    registry.obey(replace(settings, pools=(replace(settings.pools[0], name="other"),)), 5.0)

    after = registry.snapshot()
    assert ["other"] == list(registry.pools)
    assert [("other", "b0"), ("other", "b1")] == list(after.backends)
    assert after.version > before.version
    assert after.settings_version > before.settings_version


def test_a_backend_is_drained_when_every_worker_knows_and_nothing_is_in_flight(registry: Registry, make: Make) -> None:
    record = first(registry)
    registry.take_report(make.report(0, snapshot_version=registry.version))
    registry.take_report(make.report(1, snapshot_version=registry.version))
    seen = [registry.is_drained(record)]

    registry.set_admin(record, AdminState.DRAIN, 1.0)
    version = registry.version
    for worker, in_flight in ((0, 0), (1, 1), (1, 0)):
        seen.append(registry.is_drained(record))
        backends = {KEY: BackendCounts(in_flight=in_flight)}
        registry.take_report(make.report(worker, snapshot_version=version, backends=backends))

    assert [False, False, False, False, True] == [*seen, registry.is_drained(record)]


def test_probes_that_were_counted_stay_with_the_name(registry: Registry) -> None:
    here, there = first(registry).settings, BackendSettings("b0", Address("127.0.0.1", 10))
    registry.take_probe(KEY, good(1.0))
    registry.take_probe(KEY, bad(1.0))

    obey(registry, there)
    registry.take_probe(KEY, good(2.0))
    obey(registry, BackendSettings("other", Address("127.0.0.1", 10)))
    assert {KEY: (2, 1), ("app", "b1"): (0, 0)} == registry.past_probes
    obey(registry, here)

    assert (2, 1) == (first(registry).probes_passed, first(registry).probes_failed)
    assert KEY not in registry.past_probes
