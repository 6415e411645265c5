"""The metrics: the workers' Reports, summed, and the supervisor's own knowledge.

It keeps no number of its own, so nothing here can drift from the API. How the numbers become text is `exposition`;
`docs/observability.md` has the table of all of them, which a test compares with this file.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

from prometheus_client import CollectorRegistry
from prometheus_client.process_collector import ProcessCollector

from proxy import __version__
from proxy.controlplane.admin.exposition import Family, Page, Row, Source
from proxy.controlplane.admin.standing import standing
from proxy.controlplane.pools.registry import Registry
from proxy.controlplane.pools.tally import Histogram, Totals
from proxy.controlplane.probing.expiry import expiries

BACKEND = ("pool", "backend")
KEYS = ("pool", "state")
CERTIFICATE = ("listener", "pool", "certificate")
KEY_STATES = ("kept", "running", "unknown", "queued")
SUPERVISOR = "supervisor"


def metrics_page(registry: Registry, restarts: Callable[[], int], *others: Source) -> Page:
    """What the metrics page serves: ours, what `others` tell, and the supervisor process's own numbers."""
    reported, own = partial(_reported, registry), partial(_own, registry, restarts)
    return Page(reported, partial(standing, registry), own, *others, _process)


def _reported(registry: Registry) -> Iterator[Family]:
    """What the workers' Reports say, summed."""
    totals = registry.tally.totals()
    yield from _requests(totals)
    yield from _backend_traffic(totals)
    yield from _pools(totals)
    yield from _workers(registry, totals)


def _requests(totals: Totals) -> Iterator[Family]:
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
    limited = [((route,), count) for route, count in totals.rate_limited.items()]
    yield _counter("rate_limited", "Requests of clients that sent more than their Route takes.", ("route",), limited)
    yield _histogram(
        "request_duration_seconds", "Requests, to the last byte.", ("route", "pool"), totals.durations.items()
    )


def _backend_traffic(totals: Totals) -> Iterator[Family]:
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


def _pools(totals: Totals) -> Iterator[Family]:
    pools = totals.pools.items()
    retries = [((pool, *names), count) for pool, one in pools for names, count in one.retries.items()]
    yield _counter("retries", "Attempts after the first.", ("pool", "reason", "result"), retries)
    for name, text, attribute in (
        ("retry_budget_exhausted", "Retries that the budget refused.", "budget_exhausted"),
        ("saved_requests", "Requests that would have failed without another Attempt.", "saved"),
        ("held_requests", "Requests that waited for a Backend.", "held"),
    ):
        yield _counter(name, text, ("pool",), [((pool,), getattr(one, attribute)) for pool, one in pools])
    used = [((pool,), one.budget_used) for pool, one in pools]
    yield _gauge("retry_budget_used_ratio", "Share of the retry budget that the last 10 s took.", ("pool",), used)
    waiting = [((pool,), one.holding + one.strain.waiting) for pool, one in pools]
    yield _gauge("waiting_requests", "Requests that wait for a Backend now.", ("pool",), waiting)
    waits = [((pool, end), count) for pool, one in pools for end, count in one.strain.waits.items()]
    yield _counter("waits", "Requests that found all Backends full, by how that ended.", ("pool", "result"), waits)
    hedges = [((pool, result), count) for pool, one in pools for result, count in one.strain.hedges.items()]
    yield _counter(
        "hedges", "Requests slow enough for a second Attempt, by what came of it.", ("pool", "result"), hedges
    )
    limits = [
        ((pool,), one.strain.concurrency_limit) for pool, one in pools if one.strain.concurrency_limit is not None
    ]
    yield _gauge("concurrency_limit", "What adaptive concurrency allows, over all workers.", ("pool",), limits)


def _workers(registry: Registry, totals: Totals) -> Iterator[Family]:
    live = registry.tally.live
    lags = [((_worker(worker),), report.loop_lag) for worker, report in live.items()]
    lags.append(((SUPERVISOR,), registry.own.loop_lag))
    text = "Longest delay of the loop of a worker, or of the supervisor, in the last second."
    yield _gauge("event_loop_lag_seconds", text, ("worker",), lags)
    connections = [((_worker(worker),), report.connections) for worker, report in live.items()]
    yield _gauge("client_connections", "Client connections.", ("worker",), connections)
    tasks = [((_worker(worker),), report.tasks) for worker, report in live.items()]
    yield _gauge("worker_tasks", "Tasks of a worker's loop.", ("worker",), tasks)
    refused = [((code,), count) for code, count in totals.refused.items()]
    yield _counter("refused_messages", "Client messages that were refused.", ("code",), refused)
    yield _counter(
        "client_aborts", "Clients that left before their answer was whole.", (), [((), totals.client_aborts)]
    )
    text = "Client connections that were closed without being served."
    yield _counter("refused_connections", text, ("listener", "reason"), totals.turned_away.items())
    dropped = [((), totals.log_dropped)]
    yield _counter("access_log_dropped_lines", "Lines of the access log that were lost.", (), dropped)
    spans = [((result,), count) for result, count in totals.spans.items()]
    yield _counter("spans", "Sampled requests whose spans were exported, or dropped.", ("result",), spans)
    handshakes = [((result,), count) for result, count in totals.handshakes.items()]
    yield _counter("tls_handshakes", "Clients' TLS handshakes by result.", ("result",), handshakes)


def _own(registry: Registry, restarts: Callable[[], int]) -> Iterator[Family]:
    """What the supervisor itself has counted and knows."""
    own = registry.own
    yield _counter("ejections", "Ejections of a Backend that did worse than its peers.", BACKEND, own.ejections.items())
    text = "Switches of an active-passive Pool to another Backend, by cause."
    yield _counter("switches", text, ("pool", "cause"), own.switches.items())
    yield from _ledger(registry)
    cuts = [((name, cut.pool), 1) for name, cut in registry.cuts().items()]
    yield _gauge("split_cut_off", "1 for a Pool that is cut off from the split of a Route.", ("route", "pool"), cuts)
    yield _counter("worker_restarts", "Workers that died and were replaced.", (), [((), restarts())])
    expiry = expiries(registry.settings).items()
    text = "Unix time at which a certificate of ours expires."
    yield _gauge("tls_certificate_not_after_seconds", text, CERTIFICATE, expiry)
    reloads = [((result,), count) for result, count in registry.reloads.items()]
    yield _counter("config_reloads", "Reloads of the config by result.", ("result",), reloads)
    good = [((), own.is_last_reload_good)]
    yield _gauge("config_last_reload_successful", "1 unless the last reload was refused.", (), good)
    text = "Unix time at which the config in force was read."
    yield _gauge("config_last_reload_success_timestamp_seconds", text, (), [((), own.reloaded_at)])
    build = [((__version__, platform.python_version()), 1)]
    yield _gauge("build_info", "1, with the versions as labels.", ("version", "python"), build)


def _ledger(registry: Registry) -> Iterator[Family]:
    counts = registry.keys.items()
    keys = [((pool, state), getattr(one, state)) for pool, one in counts for state in KEY_STATES]
    yield _gauge("idempotency_keys", "Keys in the ledger: all that are kept, and the open ones.", KEYS, keys)
    sizes = [((pool,), one.queue_bytes) for pool, one in counts]
    yield _gauge("queued_bytes", "Size of the writes that wait for a Backend.", ("pool",), sizes)
    ages = [((pool,), one.queue_oldest) for pool, one in counts]
    yield _gauge("queue_oldest_seconds", "Age of the oldest write that waits for a Backend.", ("pool",), ages)


def _worker(number: int) -> str:
    """Its number; of one from before a replacement or a takeover, its process id."""
    return str(number) if number >= 0 else f"pid {-number}"


def _process() -> Iterator[Family]:
    """The supervisor's process: processor time, memory, descriptors."""
    for metric in ProcessCollector(registry=CollectorRegistry()).collect():
        samples = [((), sample.value) for sample in metric.samples]
        yield Family(metric.type, metric.name, metric.documentation, (), samples)


def _counter(name: str, text: str, labels: Sequence[str], rows: Iterable[Row]) -> Family:
    return Family("counter", f"failover_{name}", text, labels, list(rows))


def _gauge(name: str, text: str, labels: Sequence[str], rows: Iterable[Row]) -> Family:
    return Family("gauge", f"failover_{name}", text, labels, list(rows))


def _histogram(name: str, text: str, labels: Sequence[str], rows: Iterable[tuple[Sequence[str], Histogram]]) -> Family:
    return Family("histogram", f"failover_{name}", text, labels, list(rows))
