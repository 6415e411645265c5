"""What one program leaves to the next, through JSON, as it is handed over."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from proxy.controlplane.pools.registry import Registry
from proxy.controlplane.replacement.legacy import Legacy, bequeath, inherit
from proxy.core.messages import AdminState
from proxy.core.pools.breaker import BreakerState
from proxy.core.pools.health import HealthState, Probe
from proxy.core.portable import dump, load
from proxy.core.settings import Address, Settings
from tests.controlplane.conftest import Make

KEY = ("app", "b0")


def handed_over(registry: Registry, settings: Settings) -> Registry:
    """The registry of the next program."""
    legacy = load(Legacy, json.loads(json.dumps(dump(bequeath(registry)))))
    successor = Registry(settings, 100.0)
    inherit(successor, legacy, 100.0)
    return successor


@pytest.fixture
def registry(make: Make) -> Registry:
    return Registry(make.settings(), 0.0)


def down(registry: Registry) -> None:
    for at in range(10):
        registry.take_probe(KEY, Probe(float(at), ok=False, duration=0.1, detail="refused"))


def test_health_goes_along(registry: Registry) -> None:
    down(registry)

    record = handed_over(registry, registry.settings).record(KEY)

    assert record is not None
    assert (HealthState.DOWN, 10, ["failed_probes"]) == (
        record.health.state,
        record.probes_failed,
        list(record.reasons),
    )


def test_what_was_found_at_another_address_is_forgotten(registry: Registry, make: Make) -> None:
    down(registry)
    elsewhere = make.settings(Address("127.0.0.1", 10), Address("127.0.0.1", 11))

    record = handed_over(registry, elsewhere).record(KEY)

    assert record is not None
    assert HealthState.UP is record.health.state


def test_the_administrators_intent_goes_along(registry: Registry) -> None:
    record = registry.record(KEY)
    assert record is not None
    registry.set_admin(record, AdminState.DRAIN, 1.0)
    registry.set_weight(record, 3, 1.0)

    after = handed_over(registry, registry.settings).record(KEY)

    assert after is not None
    assert (AdminState.DRAIN, 3) == (after.admin, after.weight)


def test_an_open_breaker_stays_open_until_the_new_workers_say_otherwise(registry: Registry, make: Make) -> None:
    registry.take_breaker_news(make.opened(1, until=50.0))

    after = handed_over(registry, registry.settings)

    record = after.record(KEY)
    assert record is not None
    assert BreakerState.OPEN is record.breaker().state
    assert [50.0] == [news.until for news in after.openings()]
    after.take_report(make.report(0, 77, at=200.0, backends={KEY: make.backend_counts()}))
    assert BreakerState.CLOSED is record.breaker().state


def test_no_count_is_lost_and_none_is_counted_twice(registry: Registry, make: Make) -> None:
    """Neither of a worker that had ended, nor of one that serves on and reports to the new program."""
    requests = {("all", "app", "GET", 200): 5}
    registry.take_report(make.report(0, 10, requests=requests))
    registry.lose_worker(0)
    registry.take_report(make.report(0, 11, requests=requests))
    after = handed_over(registry, registry.settings)
    assert {("all", "app", "GET", 200): 10} == after.tally.totals().requests

    after.tally.take(make.report(-11, 11, requests={("all", "app", "GET", 200): 7}))
    after.take_report(make.report(0, 12, requests=requests))
    after.lose_worker(-11)

    assert {("all", "app", "GET", 200): 17} == after.tally.totals().requests


def test_a_backend_that_is_gone_is_no_trouble(registry: Registry, make: Make) -> None:
    registry.take_breaker_news(make.opened(1, until=50.0))
    settings = make.settings()
    [pool] = settings.pools
    smaller = replace(settings, pools=(replace(pool, backends=pool.backends[1:]),))

    assert [] == handed_over(registry, smaller).openings()
