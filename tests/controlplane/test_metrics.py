from __future__ import annotations

import re

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from proxy import __version__
from proxy.controlplane.admin.metrics import metrics_registry
from proxy.controlplane.pools.registry import Registry
from proxy.core.health import HealthPolicy, Probe
from proxy.core.messages import DURATION_BUCKETS, BackendCounts
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
                retries={("connect", "success"): 2}, budget_exhausted=3, saved=2, held=4, panic=True
            )
        },
        refused={"400": 6},
        client_aborts=7,
        unknown_outcomes={("pay", "app"): 1},
        keyed={("app", "replayed"): 3},
    )
    registry.take_report(report)
    return registry


@pytest.fixture
def page(registry: Registry) -> CollectorRegistry:
    return metrics_registry(registry, lambda: 9)


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
        ("failover_unknown_outcomes_total", {"pool": "app", "route": "pay"}, 1),
        ("failover_keyed_requests_total", {"pool": "app", "result": "replayed"}, 3),
        ("failover_pool_panic", {"pool": "app"}, 1),
        ("failover_refused_messages_total", {"code": "400"}, 6),
        ("failover_client_aborts_total", {}, 7),
        ("failover_client_connections", {"worker": "0"}, 8),
        ("failover_worker_tasks", {"worker": "0"}, 3),
        ("failover_event_loop_lag_seconds", {"worker": "0"}, 0.25),
        ("failover_worker_restarts_total", {}, 9),
        ("failover_config_reloads_total", {"result": "success"}, 0),
        ("failover_config_reloads_total", {"result": "failure"}, 0),
        ("failover_backend_available", BACKEND, 1),
    ],
)
def test_what_workers_report_is_on_the_page(
    page: CollectorRegistry, name: str, labels: dict[str, str], value: float
) -> None:
    assert value == page.get_sample_value(name, labels)


def test_the_build_is_on_the_page(page: CollectorRegistry) -> None:
    [build] = [metric for metric in page.collect() if metric.name == "failover_build_info"]

    assert (__version__, 1.0) == (build.samples[0].labels["version"], build.samples[0].value)


def test_the_supervisors_own_process_is_on_the_page(page: CollectorRegistry) -> None:
    assert page.get_sample_value("process_resident_memory_bytes") > 0


def test_each_reason_is_a_series_that_is_0_or_1(page: CollectorRegistry, registry: Registry) -> None:
    """All of them at all times, so that an alert sees a change and not a gap."""
    registry.take_probe(KEY, Probe(1.0, ok=False, duration=0.0, detail=""))

    def series(reason: str) -> float | None:
        return page.get_sample_value("failover_backend_unavailable", {**BACKEND, "reason": reason})

    assert [1.0, 0.0, 0.0] == [series("failed_probes"), series("breaker_open"), series("maint")]
    assert 0.0 == page.get_sample_value("failover_backend_available", BACKEND)


def test_the_breakers_state_is_a_series_for_each_state(page: CollectorRegistry, registry: Registry, make: Make) -> None:
    registry.take_breaker_news(make.opened(0, until=5.0))

    states = ("closed", "open", "half-open")
    assert [0.0, 1.0, 0.0] == [
        page.get_sample_value("failover_breaker_state", {**BACKEND, "state": state}) for state in states
    ]


def test_probes_are_counted_by_result(page: CollectorRegistry, registry: Registry) -> None:
    for ok in (True, True, False):
        registry.take_probe(KEY, Probe(1.0, ok=ok, duration=0.0, detail=""))

    results = ("success", "failure")
    assert [2.0, 1.0] == [
        page.get_sample_value("failover_probes_total", {**BACKEND, "result": result}) for result in results
    ]


def test_the_page_is_there_before_any_worker_has_reported(make: Make) -> None:
    page = metrics_registry(Registry(make.settings(), 0.0), lambda: 0)

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
