from __future__ import annotations

import asyncio
import platform
import re
from time import process_time

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from proxy import __version__
from proxy.controlplane.admin.exposition import Page
from proxy.controlplane.admin.metrics import metrics_page
from proxy.controlplane.pools.change import Change
from proxy.controlplane.pools.registry import Registry
from proxy.controlplane.pools.tally import MOST_GONE
from proxy.core.messages import DURATION_BUCKETS, AdminState, BackendCounts
from proxy.core.pools.active import FailoverPolicy, Switch
from proxy.core.pools.health import HealthPolicy, Probe
from proxy.core.settings import Address, BackendSettings, PoolSettings, Settings
from tests.controlplane.conftest import Api, Make

KEY = ("app", "b0")
BACKEND = {"pool": "app", "backend": "b0"}
BUCKETS = (2, 0, 0, 4) + (0,) * (len(DURATION_BUCKETS) - 4) + (1,)


@pytest.fixture
def registry(make: Make) -> Registry:
    registry = Registry(make.settings(health=HealthPolicy(fall=1)), 0.0)
    counts = BackendCounts(
        in_flight=3,
        idle_connections=2,
        requests=10,
        failures=1,
        duration_buckets=BUCKETS,
        duration_sum=31.5,
        breaker_transitions={"open": 2},
    )
    report = make.report(
        connections=8,
        loop_lag=0.25,
        tasks=3,
        requests={("all", "app", "GET", 200): 5},
        durations={("all", "app"): (BUCKETS, 31.5)},
        backends={KEY: counts},
        pools={
            "app": make.pool_counts(
                retries={("connect", "success"): 2},
                budget_exhausted=3,
                saved=2,
                held=4,
                panic=True,
                holding=5,
                budget_spent=30.0,
                budget_allowed=120.0,
            )
        },
        refused={"400": 6},
        client_aborts=7,
        unknown_outcomes={("pay", "app"): 1},
        keyed={("app", "replayed"): 3},
    )
    registry.take_report(report)
    switch = Switch("app", "b0", "b1", "failover", "it is out", 1.0, 2.0, 3.0)
    registry.own.note(Change("outlier", "app", "b0", "compared", "ejected"))
    registry.own.note(Change("active", "app", "", "b0", "b1", switch=switch))
    registry.own.note(Change("health", "app", "b0", "up", "down"))
    registry.own.note_settings(1700000000.5)
    registry.own.loop_lag = 0.125
    return registry


class Read:
    """A page as Prometheus's own parser reads it, each time that it is asked."""

    def __init__(self, page: Page) -> None:
        self._page = page

    def get_sample_value(self, name: str, labels: dict[str, str] | None = None) -> float | None:
        found = [
            sample.value
            for family in text_string_to_metric_families("".join(self._page.parts()))
            for sample in family.samples
            if sample.name == name and sample.labels == (labels or {})
        ]
        assert len(found) <= 1, found
        return found[0] if found else None


@pytest.fixture
def page(registry: Registry) -> Read:
    return Read(metrics_page(registry, lambda: 9))


@pytest.mark.parametrize(
    ("name", "labels", "value"),
    [
        ("failover_requests_total", {"route": "all", "pool": "app", "method": "GET", "code": "200"}, 5),
        ("failover_request_duration_seconds_bucket", {"route": "all", "pool": "app", "le": "0.0025"}, 2),
        ("failover_request_duration_seconds_bucket", {"route": "all", "pool": "app", "le": "0.01"}, 6),
        ("failover_request_duration_seconds_bucket", {"route": "all", "pool": "app", "le": "30.0"}, 6),
        ("failover_request_duration_seconds_bucket", {"route": "all", "pool": "app", "le": "+Inf"}, 7),
        ("failover_request_duration_seconds_count", {"route": "all", "pool": "app"}, 7),
        ("failover_request_duration_seconds_sum", {"route": "all", "pool": "app"}, 31.5),
        ("failover_backend_request_duration_seconds_bucket", {**BACKEND, "le": "0.01"}, 6),
        ("failover_backend_request_duration_seconds_sum", BACKEND, 31.5),
        ("failover_backend_requests_total", BACKEND, 10),
        ("failover_backend_failures_total", BACKEND, 1),
        ("failover_backend_in_flight", BACKEND, 3),
        ("failover_backend_idle_connections", BACKEND, 2),
        ("failover_backend_weight", BACKEND, 1),
        ("failover_breaker_transitions_total", {**BACKEND, "state": "open"}, 2),
        ("failover_retries_total", {"pool": "app", "reason": "connect", "result": "success"}, 2),
        ("failover_retry_budget_exhausted_total", {"pool": "app"}, 3),
        ("failover_saved_requests_total", {"pool": "app"}, 2),
        ("failover_held_requests_total", {"pool": "app"}, 4),
        ("failover_waiting_requests", {"pool": "app"}, 5),
        ("failover_retry_budget_used_ratio", {"pool": "app"}, 0.25),
        ("failover_unknown_outcomes_total", {"pool": "app", "route": "pay"}, 1),
        ("failover_keyed_requests_total", {"pool": "app", "result": "replayed"}, 3),
        ("failover_pool_panic", {"pool": "app"}, 1),
        ("failover_refused_messages_total", {"code": "400"}, 6),
        ("failover_client_aborts_total", {}, 7),
        ("failover_client_connections", {"worker": "0"}, 8),
        ("failover_worker_tasks", {"worker": "0"}, 3),
        ("failover_event_loop_lag_seconds", {"worker": "0"}, 0.25),
        ("failover_event_loop_lag_seconds", {"worker": "supervisor"}, 0.125),
        ("failover_worker_restarts_total", {}, 9),
        ("failover_ejections_total", BACKEND, 1),
        ("failover_switches_total", {"pool": "app", "cause": "failover"}, 1),
        ("failover_backend_outages_total", BACKEND, 0),
        ("failover_pool_backends", {"pool": "app"}, 2),
        ("failover_pool_available_backends", {"pool": "app"}, 2),
        ("failover_pool_on_standby", {"pool": "app"}, 0),
        ("failover_pool_state", {"pool": "app", "state": "panic"}, 1),
        ("failover_pool_state", {"pool": "app", "state": "up"}, 0),
        ("failover_pool_switch_pending", {"pool": "app"}, 0),
        ("failover_pool_degraded", {"pool": "app"}, 0),
        ("failover_config_last_reload_successful", {}, 1),
        ("failover_config_last_reload_success_timestamp_seconds", {}, 1700000000.5),
        ("failover_config_reloads_total", {"result": "success"}, 0),
        ("failover_config_reloads_total", {"result": "failure"}, 0),
        ("failover_backend_available", BACKEND, 1),
    ],
)
def test_what_workers_report_is_on_the_page(page: Read, name: str, labels: dict[str, str], value: float) -> None:
    assert value == page.get_sample_value(name, labels)


def test_the_build_is_on_the_page(page: Read) -> None:
    labels = {"version": __version__, "python": platform.python_version()}

    assert 1.0 == page.get_sample_value("failover_build_info", labels)


def test_the_supervisors_own_process_is_on_the_page(page: Read) -> None:
    assert page.get_sample_value("process_resident_memory_bytes") > 0


def test_each_reason_is_a_series_that_is_0_or_1(page: Read, registry: Registry) -> None:
    """All of them at all times, so that an alert sees a change and not a gap."""
    registry.take_probe(KEY, Probe(1.0, ok=False, duration=0.0, detail=""))

    def series(reason: str) -> float | None:
        return page.get_sample_value("failover_backend_unavailable", {**BACKEND, "reason": reason})

    assert [1.0, 0.0, 0.0] == [series("failed_probes"), series("breaker_open"), series("maint")]
    assert 0.0 == page.get_sample_value("failover_backend_available", BACKEND)


def test_the_breakers_state_is_a_series_for_each_state(page: Read, registry: Registry, make: Make) -> None:
    registry.take_breaker_news(make.opened(0, until=5.0))

    states = ("closed", "open", "half-open")
    assert [0.0, 1.0, 0.0] == [
        page.get_sample_value("failover_breaker_state", {**BACKEND, "state": state}) for state in states
    ]


def test_probes_are_counted_by_result(page: Read, registry: Registry) -> None:
    for ok in (True, True, False):
        registry.take_probe(KEY, Probe(1.0, ok=ok, duration=0.0, detail=""))

    results = ("success", "failure")
    assert [2.0, 1.0] == [
        page.get_sample_value("failover_probes_total", {**BACKEND, "result": result}) for result in results
    ]


def test_the_page_is_there_before_any_worker_has_reported(make: Make) -> None:
    page = Read(metrics_page(Registry(make.settings(), 0.0), lambda: 0))

    assert 1.0 == page.get_sample_value("failover_backend_available", BACKEND)


@pytest.mark.parametrize(
    ("accept", "parse"),
    [
        ("text/plain", text_string_to_metric_families),
        ("application/openmetrics-text; version=1.0.0", parse_openmetrics),
    ],
)
async def test_prometheus_can_read_the_page(api: Api, make: Make, accept: str, parse: object) -> None:
    """In both of its formats, every name with our prefix or the process's."""
    api.control.registry.take_report(make.report(requests={('a"b\\c\nd', "app", "GET", 200): 1}))
    _, text = await api.get("/metrics", Accept=accept)

    families = list(parse(text))

    assert all(re.match("failover_|process_", family.name) for family in families)
    assert 'a"b\\c\nd' in {sample.labels.get("route") for family in families for sample in family.samples}


def test_an_outage_is_counted_when_a_backend_goes_out_by_itself(page: Read, registry: Registry) -> None:
    """Not again while it is out, and not for what a person wants."""
    record = registry.pools["app"].backends["b0"]
    for ok in (False, False, True, True, False):
        registry.take_probe(KEY, Probe(1.0, ok=ok, duration=0.0, detail=""))
    registry.set_admin(registry.pools["app"].backends["b1"], AdminState.MAINT, 2.0)

    assert ("failed_probes",) == record.reasons
    assert [2.0, 0.0] == [
        page.get_sample_value("failover_backend_outages_total", {"pool": "app", "backend": name})
        for name in ("b0", "b1")
    ]


def two_tiers(failover: FailoverPolicy | None) -> Registry:
    backends = tuple(BackendSettings(f"b{n}", Address("127.0.0.1", 9), tier=n + 1) for n in range(2))
    pool = PoolSettings("app", backends, health=HealthPolicy(fall=1, rise=1), failover=failover)
    return Registry(Settings((), (pool,), ()), 0.0)


@pytest.mark.parametrize("failover", [None, FailoverPolicy()])
def test_a_pool_is_on_standby_while_one_serves_that_should_stand_by(failover: FailoverPolicy | None) -> None:
    registry = two_tiers(failover)
    page = Read(metrics_page(registry, lambda: 0))
    seen = []
    for at, ok in ((1.0, True), (2.0, False), (60.0, False)):
        registry.take_probe(KEY, Probe(at, ok=ok, duration=0.0, detail=""))
        registry.tick(at + 30.0)
        seen.append(page.get_sample_value("failover_pool_on_standby", {"pool": "app"}))

    assert [0.0, 1.0, 1.0] == seen


def test_a_switch_that_waits_for_a_person_is_on_the_page() -> None:
    registry = two_tiers(FailoverPolicy(automatic=False))
    registry.take_probe(KEY, Probe(1.0, ok=False, duration=0.0, detail=""))
    registry.tick(30.0)

    page = Read(metrics_page(registry, lambda: 0))

    assert 1.0 == page.get_sample_value("failover_pool_switch_pending", {"pool": "app"})


# Names that are gone


def test_totals_of_names_that_reloads_have_removed_are_bounded(make: Make) -> None:
    registry = Registry(make.settings(), 0.0)
    for number in range(MOST_GONE + 10):
        old, new = {("gone", f"g{number}"): BackendCounts(requests=1)}, {KEY: BackendCounts(requests=number)}
        requests = {(f"route {number}", "app", "GET", 200): 1}
        registry.take_report(make.report(backends=old | new, requests=requests, keyed={(f"p{number}", "fresh"): 1}))
    registry.obey(make.settings(), 0.0)
    text = "".join(metrics_page(registry, lambda: 0).parts())

    assert MOST_GONE + 10 > text.count('failover_backend_requests_total{pool="gone"') >= MOST_GONE
    assert MOST_GONE + 10 > text.count("failover_requests_total{") >= MOST_GONE
    assert MOST_GONE + 10 > text.count("failover_keyed_requests_total{") >= MOST_GONE
    assert f'failover_backend_requests_total{{pool="app",backend="b0"}} {MOST_GONE + 9}\n' in text


def test_a_total_under_a_name_that_is_gone_does_not_go_back(make: Make) -> None:
    """A worker stops reporting it; what it had reported stays, and what comes late is added."""
    registry = Registry(make.settings(), 0.0)
    key, durations = ("old", "app", "GET", 200), {("old", "app"): (BUCKETS, 2.0)}
    registry.take_report(make.report(requests={key: 5}, durations=durations, turned_away={("web", "full"): 1}))
    registry.take_report(make.report())
    registry.take_report(make.report(requests={key: 1}, durations=durations))
    totals = registry.tally.totals()

    assert (6, 4.0, 1) == (
        totals.requests[key],
        totals.durations["old", "app"].seconds,
        totals.turned_away["web", "full"],
    )


def test_lines_that_a_log_has_lost_stay_counted_when_the_config_wants_no_log_any_more(make: Make) -> None:
    registry = Registry(make.settings(), 0.0)
    for dropped in (5, 7, 0, 2):
        registry.take_report(make.report(log_dropped=dropped))

    assert 9 == registry.tally.totals().log_dropped


# Many Backends


def many(make: Make) -> Page:
    pools = tuple(
        PoolSettings(
            f"pool-{p}", tuple(BackendSettings(f"10.0.{p}.{n}:80", Address("127.0.0.1", 9)) for n in range(100))
        )
        for p in range(10)
    )
    registry = Registry(Settings((), pools, ()), 0.0)
    counts = BackendCounts(requests=10, duration_buckets=BUCKETS, breaker_transitions={"open": 1, "closed": 1})
    registry.take_report(make.report(backends={record.key: counts for record in registry.records()}))
    return metrics_page(registry, lambda: 0)


async def test_a_thousand_backends_are_written_quickly_and_others_have_their_turn(make: Make) -> None:
    """In less than 100 ms of processor time, and never more than a part of it in one piece."""
    page, turns = many(make), 0

    async def others() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    watching = asyncio.create_task(others())
    times = []
    for _ in range(5):
        began = process_time()
        body = await page.write()
        times.append(process_time() - began)
    watching.cancel()

    assert 1000 == body.count(b"failover_backend_available{")
    assert min(times) < 0.1
    assert turns >= 5 * 4
