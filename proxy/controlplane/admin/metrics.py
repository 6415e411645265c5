"""The metrics page: the workers' Reports, summed, and the supervisor's own knowledge, as Prometheus reads them.

prometheus-client does names, escaping and formats; it keeps no number of ours, so nothing here can drift from the API.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from proxy import __version__
from proxy.controlplane.pools.registry import Registry
from proxy.controlplane.pools.tally import Histogram, Totals
from proxy.controlplane.probing.expiry import expiries
from proxy.core.breaker import BreakerState
from proxy.core.messages import DURATION_BUCKETS
from proxy.core.model import Unavailable

BOUNDS = (*map(floatToGoString, DURATION_BUCKETS), "+Inf")
BACKEND = ("pool", "backend")
KEYS = ("pool", "state")
CERTIFICATE = ("listener", "pool", "certificate")
KEY_STATES = ("kept", "running", "unknown", "queued")

Row = tuple[Sequence[str], float]
"""Label values and the number."""


class Metrics(Collector):
    """Collects on each scrape what `registry` knows then."""

    def __init__(self, registry: Registry, restarts: Callable[[], int]) -> None:
        self._registry = registry
        self._restarts = restarts

    def collect(self) -> Iterator[Metric]:
        """All metrics of the project."""
        totals = self._registry.tally.totals()
        yield from _requests(totals)
        yield from _backend_traffic(totals)
        yield from _pools(totals)
        yield from self._backends()
        yield from self._workers(totals)

    def _backends(self) -> Iterator[Metric]:
        records = list(self._registry.records())
        pools = self._registry.pools.items()
        available = [(r.key, not r.reasons) for r in records]
        yield _gauge("backend_available", "1 where a Backend serves.", BACKEND, available)
        vetoes = [((*r.key, reason), reason in r.reasons) for r in records for reason in Unavailable]
        yield _gauge(
            "backend_unavailable", "1 for each reason why a Backend does not serve.", (*BACKEND, "reason"), vetoes
        )
        weights = [(r.key, r.weight) for r in records]
        yield _gauge("backend_weight", "Weight in force.", BACKEND, weights)
        states = [((*r.key, state), r.breaker().state is state) for r in records for state in BreakerState]
        yield _gauge(
            "breaker_state", "1 for the Breaker's state; open in any worker is open.", (*BACKEND, "state"), states
        )
        probes = {r.key: (r.probes_passed, r.probes_failed) for r in records} | self._registry.past_probes
        results = [
            ((*key, result), number)
            for key, numbers in probes.items()
            for result, number in zip(("success", "failure"), numbers, strict=True)
        ]
        yield _counter("probes", "Probes by result.", (*BACKEND, "result"), results)
        counts = self._registry.keys.items()
        keys = [((pool, state), getattr(one, state)) for pool, one in counts for state in KEY_STATES]
        yield _gauge("idempotency_keys", "Keys in the ledger: all that are kept, and the open ones.", KEYS, keys)
        sizes = [((pool,), one.queue_bytes) for pool, one in counts]
        yield _gauge("queued_bytes", "Size of the writes that wait for a Backend.", ("pool",), sizes)
        ages = [((pool,), one.queue_oldest) for pool, one in counts]
        yield _gauge("queue_oldest_seconds", "Age of the oldest write that waits for a Backend.", ("pool",), ages)
        panics = [((name,), pool.panic) for name, pool in pools]
        degraded = [((name,), bool(pool.governor.degraded)) for name, pool in pools]
        yield _gauge(
            "pool_degraded", "1 while most Backends do badly alike: no one of them is to blame.", ("pool",), degraded
        )
        yield _gauge("pool_panic", "1 while too few Backends are well to believe the verdicts.", ("pool",), panics)

    def _workers(self, totals: Totals) -> Iterator[Metric]:
        live = self._registry.tally.live
        lags = [((_worker(worker),), report.loop_lag) for worker, report in live.items()]
        yield _gauge(
            "event_loop_lag_seconds", "Longest delay of a worker's loop in its last Report.", ("worker",), lags
        )
        connections = [((_worker(worker),), report.connections) for worker, report in live.items()]
        yield _gauge("client_connections", "Client connections.", ("worker",), connections)
        tasks = [((str(worker),), report.tasks) for worker, report in live.items()]
        yield _gauge("worker_tasks", "Tasks of a worker's loop.", ("worker",), tasks)
        refused = [((code,), count) for code, count in totals.refused.items()]
        yield _counter("refused_messages", "Client messages that were refused.", ("code",), refused)
        yield _counter(
            "client_aborts", "Clients that left before their answer was whole.", (), [((), totals.client_aborts)]
        )
        yield _counter(
            "refused_connections",
            "Client connections that were closed without being served.",
            ("listener", "reason"),
            totals.turned_away.items(),
        )
        dropped = [((), totals.log_dropped)]
        yield _counter("access_log_dropped_lines", "Lines of the access log that were lost.", (), dropped)
        yield _counter("worker_restarts", "Workers that died and were replaced.", (), [((), self._restarts())])
        handshakes = [((result,), count) for result, count in totals.handshakes.items()]
        yield _counter("tls_handshakes", "Clients' TLS handshakes by result.", ("result",), handshakes)
        expiry = expiries(self._registry.settings).items()
        yield _gauge(
            "tls_certificate_not_after_seconds",
            "Unix time at which a certificate of ours expires.",
            CERTIFICATE,
            expiry,
        )
        reloads = [((result,), count) for result, count in self._registry.reloads.items()]
        yield _counter("config_reloads", "Reloads of the config by result.", ("result",), reloads)
        build = [((__version__, platform.python_version()), 1)]
        yield _gauge("build_info", "1, with the versions as labels.", ("version", "python"), build)


def _worker(number: int) -> str:
    """Its number; of one from before a replacement or a takeover, its process id."""
    return str(number) if number >= 0 else f"pid {-number}"


def _requests(totals: Totals) -> Iterator[Metric]:
    requests = [((*names, str(code)), count) for (*names, code), count in totals.requests.items()]
    yield _counter("requests", "Requests that were answered.", ("route", "pool", "method", "code"), requests)
    unknown = [((pool, route), count) for (route, pool), count in totals.unknown_outcomes.items()]
    text = "Writes that may have been executed though they failed."
    yield _counter("unknown_outcomes", text, ("pool", "route"), unknown)
    stood_in = [((route, pool, kind), count) for (route, pool, kind), count in totals.degraded.items()]
    text = "Requests whose Pool could not serve, by what stood in for it."
    yield _counter("degraded_answers", text, ("route", "pool", "kind"), stood_in)
    text = "Requests with an idempotency key, or without one that they need, by what they got."
    yield _counter("keyed_requests", text, ("pool", "result"), totals.keyed.items())
    yield _histogram(
        "request_duration_seconds", "Requests, to the last byte.", ("route", "pool"), totals.durations.items()
    )


def _backend_traffic(totals: Totals) -> Iterator[Metric]:
    backends = totals.backends.items()
    durations = [(key, one.durations) for key, one in backends]
    yield _histogram("backend_request_duration_seconds", "Attempts, to the last byte.", BACKEND, durations)
    yield _counter("backend_requests", "Attempts.", BACKEND, [(key, one.requests) for key, one in backends])
    yield _counter("backend_failures", "Attempts that failed.", BACKEND, [(key, one.failures) for key, one in backends])
    yield _gauge("backend_in_flight", "Attempts under way.", BACKEND, [(key, one.in_flight) for key, one in backends])
    idle = [(key, one.idle_connections) for key, one in backends]
    yield _gauge("backend_idle_connections", "Kept-alive connections.", BACKEND, idle)
    entered = [((*key, state), n) for key, one in backends for state, n in one.breaker_transitions.items()]
    yield _counter("breaker_transitions", "Changes of Breakers by the state entered.", (*BACKEND, "state"), entered)


def _pools(totals: Totals) -> Iterator[Metric]:
    pools = totals.pools.items()
    retries = [((pool, *names), count) for pool, one in pools for names, count in one.retries.items()]
    yield _counter("retries", "Attempts after the first.", ("pool", "reason", "result"), retries)
    for name, text, attribute in (
        ("retry_budget_exhausted", "Retries that the budget refused.", "budget_exhausted"),
        ("saved_requests", "Requests that would have failed without another Attempt.", "saved"),
        ("held_requests", "Requests that waited for a Backend.", "held"),
    ):
        yield _counter(name, text, ("pool",), [((pool,), getattr(one, attribute)) for pool, one in pools])


def _counter(name: str, text: str, labels: Sequence[str], rows: Iterable[Row]) -> Metric:
    family = CounterMetricFamily(f"failover_{name}", text, labels=labels)
    for values, number in rows:
        family.add_metric(values, number)
    return family


def _gauge(name: str, text: str, labels: Sequence[str], rows: Iterable[Row]) -> Metric:
    family = GaugeMetricFamily(f"failover_{name}", text, labels=labels)
    for values, number in rows:
        family.add_metric(values, float(number))
    return family


def _histogram(name: str, text: str, labels: Sequence[str], rows: Iterable[tuple[Sequence[str], Histogram]]) -> Metric:
    family = HistogramMetricFamily(f"failover_{name}", text, labels=labels)
    for values, histogram in rows:
        buckets = list(zip(BOUNDS, accumulate(map(float, histogram.buckets)), strict=True))
        family.add_metric(values, buckets, histogram.seconds)
    return family


def metrics_registry(registry: Registry, restarts: Callable[[], int]) -> CollectorRegistry:
    """What the metrics page serves: ours and the supervisor process's own numbers."""
    page = CollectorRegistry()
    page.register(Metrics(registry, restarts))
    ProcessCollector(registry=page)
    return page
