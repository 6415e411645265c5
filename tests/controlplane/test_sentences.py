from __future__ import annotations

import pytest

from proxy.controlplane.pools.records import BreakerView
from proxy.controlplane.pools.registry import Registry
from proxy.controlplane.pools.sentences import (
    _CAUSES,
    _ENDS,
    PoolState,
    backend_sentence,
    flows_by_region,
    pool_sentence,
    state_of,
)
from proxy.core.messages import AdminState, BackendCounts, PoolNews
from proxy.core.pools.active import FailoverPolicy
from proxy.core.pools.breaker import BreakerState
from proxy.core.pools.health import HealthPolicy, Probe
from proxy.core.pools.model import Unavailable
from proxy.core.pools.word import BackendWord
from proxy.core.settings import Address, BackendSettings, PoolSettings
from tests.controlplane.conftest import Make

NOWHERE = Address("127.0.0.1", 9)


def registry_of(make: Make, *backends: BackendSettings, **policies: object) -> Registry:
    pool = PoolSettings("app", backends, health=HealthPolicy(fall=1, rise=2, interval=1.0), **policies)
    return Registry(make.settings(pools=(pool,)), 0.0)


def named(*names: str, **settings: object) -> tuple[BackendSettings, ...]:
    return tuple(BackendSettings(name, NOWHERE, **settings) for name in names)


def fail(registry: Registry, name: str, at: float = 10.0) -> None:
    registry.take_probe(("app", name), Probe(at, ok=False, duration=0.0, detail="connection refused"))


def of_pool(registry: Registry) -> tuple[PoolState, str]:
    pool = registry.pools["app"]
    return state_of(pool), pool_sentence(pool, registry.tally)


def of_backend(registry: Registry, name: str, now: float) -> str:
    pool = registry.pools["app"]
    return backend_sentence(pool.backends[name], pool, now)


# Pools


def test_a_pool_whose_backends_serve_is_up(make: Make) -> None:
    assert (PoolState.UP, "UP: all 2 app backends are well; nothing failed") == of_pool(
        registry_of(make, *named("red", "green"))
    )


def test_a_pool_with_somebody_out_is_degraded_and_says_who_where_and_at_what_cost(make: Make) -> None:
    backends = [BackendSettings(name, NOWHERE, region=name[:2]) for name in ("eu-1", "us-1", "ap-1")]
    registry = registry_of(make, *backends)
    for at, requests in ((0.0, 0), (1.0, 50)):
        counts = {("app", name): BackendCounts(requests=requests) for name in ("eu-1", "us-1")}
        registry.take_report(make.report(at=at, backends=counts, requests={("all", "app", "GET", 200): requests}))
    fail(registry, "ap-1")

    assert (
        PoolState.DEGRADED,
        "DEGRADED: 1 of 3 app backends out (ap-1 failed_probes); traffic in eu and us; nothing failed",
    ) == of_pool(registry)
    assert {"eu": 50.0, "us": 50.0, "ap": 0.0} == {
        region: flow.requests for region, flow in flows_by_region(registry.pools["app"], registry.tally).items()
    }


def test_failed_requests_are_told(make: Make) -> None:
    registry = registry_of(make, *named("red", "green"))
    for at, requests in ((0.0, 0), (1.0, 1500)):
        answered = {("all", "app", "GET", 200): requests, ("all", "app", "POST", 502): requests // 100}
        registry.take_report(make.report(at=at, requests=answered))

    assert "15 of 1,515 requests failed in the last minute" in of_pool(registry)[1]


def test_many_that_are_out_are_not_all_named(make: Make) -> None:
    registry = registry_of(make, *named("a", "b", "c", "d", "e", "f"))
    for name in "abcde":
        fail(registry, name)

    reasons = "a failed_probes, b failed_probes, c failed_probes and 2 more"
    assert f"DEGRADED: 5 of 6 app backends out ({reasons}); nothing failed" == of_pool(registry)[1]


def test_a_pool_without_anybody_is_down(make: Make) -> None:
    registry = registry_of(make, *named("red"))
    fail(registry, "red")

    assert (PoolState.DOWN, "DOWN: 1 of 1 app backends out (red failed_probes); nothing failed") == of_pool(registry)


def test_a_pool_in_panic_in_which_nobody_is_well_is_down(make: Make) -> None:
    registry = registry_of(make, *named("red"))
    fail(registry, "red")
    registry.take_pool_news(PoolNews(0, "app", panic=True, at=1.0))

    state, sentence = of_pool(registry)
    assert PoolState.DOWN is state
    assert "; too few are well, so verdicts are not believed; " in sentence


def test_a_pool_in_panic_says_so(make: Make) -> None:
    registry = registry_of(make, *named("red"))
    registry.take_pool_news(PoolNews(0, "app", panic=True, at=1.0))

    assert (
        PoolState.PANIC,
        "PANIC: the app backend is well; too few are well, so verdicts are not believed; nothing failed",
    ) == of_pool(registry)


def test_who_stands_by_or_is_full_does_not_degrade_a_pool(make: Make) -> None:
    registry = registry_of(make, BackendSettings("red", NOWHERE, max_in_flight=1), *named("green"), *named("b", tier=2))
    registry.take_report(make.report(backends={("app", "red"): BackendCounts(in_flight=1)}))

    assert PoolState.UP is of_pool(registry)[0]


def test_a_pool_whose_backends_are_all_full_serves_and_says_so(make: Make) -> None:
    registry = registry_of(make, BackendSettings("red", NOWHERE, max_in_flight=1))
    registry.take_report(make.report(backends={("app", "red"): BackendCounts(in_flight=1)}))

    assert (
        PoolState.UP,
        "UP: the app backend is well; every backend that serves is full; nothing failed",
    ) == of_pool(registry)


def test_a_failover_that_waits_for_a_person_is_told(make: Make) -> None:
    registry = registry_of(make, *named("primary", "backup"), failover=FailoverPolicy(automatic=False))
    fail(registry, "primary")

    state, sentence = of_pool(registry)
    assert PoolState.DOWN is state
    assert (
        "DOWN: 1 of 2 app backends out (primary failed_probes); primary is active; failover to backup waits" in sentence
    )


def test_a_switch_under_way_is_no_outage(make: Make) -> None:
    registry = registry_of(make, *named("primary", "backup"), failover=FailoverPolicy())
    registry.told = lambda: [0]
    fail(registry, "primary")

    state, sentence = of_pool(registry)
    assert PoolState.DEGRADED is state
    assert "; backup takes over; " in sentence


# Backends


def test_every_reason_has_a_cause_and_an_end() -> None:
    assert set(Unavailable) == set(_CAUSES) == set(_ENDS)


def test_one_that_serves_says_so(make: Make) -> None:
    assert "app/red serves" == of_backend(registry_of(make, *named("red", "green")), "red", 5.0)


def test_failed_probes_tell_what_was_seen_and_how_many_good_ones_it_takes(make: Make) -> None:
    registry = registry_of(make, *named("red", "green"))
    fail(registry, "red")
    registry.take_probe(("app", "red"), Probe(11.0, ok=True, duration=0.0, detail="200 OK"))

    assert (
        "app/red has been out for 12 s: its probes fail (connection refused); "
        "back after 2 good probes in a row, 1 so far, one about every 1 s"
    ) == of_backend(registry, "red", 22.0)


@pytest.mark.parametrize(
    ("state", "until", "end"),
    [
        (BreakerState.OPEN, 16.0, "2 good trials in a row, which begin in 4 s"),
        (BreakerState.OPEN, 11.0, "2 good trials in a row, which begin with the next requests"),
        (BreakerState.HALF_OPEN, 0.0, "2 good trials in a row, which are under way"),
    ],
)
def test_an_open_breaker_tells_its_reason_and_when_trials_begin(
    make: Make, state: BreakerState, until: float, end: str
) -> None:
    registry = registry_of(make, *named("red", "green"))
    registry.pools["app"].backends["red"].breakers[0] = BreakerView(state, until, "5 failures in a row")
    registry.refresh(10.0)

    assert (
        f"app/red has been out for 2 s: its breaker took it out (5 failures in a row); back after {end}"
    ) == of_backend(registry, "red", 12.0)


def test_a_persons_word_and_the_backends_own_are_told_apart(make: Make) -> None:
    registry = registry_of(make, *named("red", "green", "blue"))
    red, green, blue = registry.pools["app"].backends.values()
    registry.set_admin(red, AdminState.MAINT, 1.0)
    green.word = BackendWord("drain")
    registry.set_weight(blue, 0, 1.0)

    assert [
        "app/red has been out for 2 h: a person has put it in maint; back after a person says ready",
        "app/green has been out for 2 h: it asks for drain itself; back after it says ready itself",
        "app/blue has been out for 2 h: its weight is 0; back after a person raises its weight",
    ] == [of_backend(registry, name, 7201.0) for name in ("red", "green", "blue")]


def test_several_reasons_are_all_told(make: Make) -> None:
    registry = registry_of(make, *named("red", "green"))
    fail(registry, "red", at=0.0)
    registry.set_admin(registry.pools["app"].backends["red"], AdminState.MAINT, 0.0)

    assert (
        "app/red has been out for 5 min: a person has put it in maint and its probes fail (connection refused); "
        "back after a person says ready and 2 good probes in a row, once it is probed again"
    ) == of_backend(registry, "red", 300.0)


def test_who_waits_for_a_turn_is_not_called_out(make: Make) -> None:
    registry = registry_of(make, *named("primary", "backup"), failover=FailoverPolicy())
    tiers = registry_of(make, *named("red"), *named("b", tier=2))

    assert [
        "app/backup has got no new requests for 3 s: primary is the active one; back after a failover to it",
        "app/b has got no new requests for 3 s: a lower tier or a nearer region serves; back after a lower tier fails",
    ] == [of_backend(registry, "backup", 3.0), of_backend(tiers, "b", 3.0)]


def test_one_that_is_full_flapped_or_new_says_so(make: Make) -> None:
    pool = PoolSettings(
        "app",
        (BackendSettings("red", NOWHERE, max_in_flight=1),),
        health=HealthPolicy(initial="down", rise=2, interval=2.0),
    )
    registry = Registry(make.settings(pools=(pool,)), 0.0)
    registry.take_report(make.report(backends={("app", "red"): BackendCounts(in_flight=1)}))
    registry.pools["app"].backends["red"].damped_until = 60.0
    registry.refresh(0.0)
    registry.pools["app"].refresh(registry.tally, 0.0)

    sentence = of_backend(registry, "red", 3.0)
    assert "it waits for its first good probes" in sentence
    assert "it went up and down too often and it has as many requests as it may have, 1; back after" in sentence
    assert sentence.endswith("57 s without another change and one of them ends")
