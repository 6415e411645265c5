from __future__ import annotations

from collections.abc import Iterator
from math import inf, isnan, nan

import pytest
from prometheus_client import generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.parser import text_string_to_metric_families

from proxy.controlplane.admin.exposition import WORTH_A_THREAD, Family
from proxy.controlplane.pools.tally import Histogram
from proxy.core.messages import DURATION_BUCKETS, BackendCounts
from tests.controlplane.conftest import Api, Make

BUCKETS = (2, 0, 0, 4) + (0,) * (len(DURATION_BUCKETS) - 4) + (1,)


def reference(family: Family) -> str:
    """The family as prometheus-client writes it."""
    kinds = {"counter": CounterMetricFamily, "gauge": GaugeMetricFamily, "histogram": HistogramMetricFamily}
    metric = kinds[family.kind](family.name, family.text, labels=list(family.labels))
    for values, value in family.rows:
        if isinstance(value, Histogram):
            bounds = [*map(str, DURATION_BUCKETS), "+Inf"]
            totals = [sum(value.buckets[: n + 1]) for n in range(len(value.buckets))]
            metric.add_metric(values, list(zip(bounds, totals, strict=True)), value.seconds)
        else:
            metric.add_metric(values, value)

    class Registered:
        def collect(self) -> Iterator[object]:
            yield metric

    return generate_latest(Registered()).decode()


def samples(text: str) -> list[tuple[str, frozenset[tuple[str, str]], float]]:
    families = text_string_to_metric_families(text)
    found = [
        (one.name, frozenset(one.labels.items()), float(one.value)) for family in families for one in family.samples
    ]
    return sorted(found, key=str)


@pytest.mark.parametrize(
    "family",
    [
        Family(
            "gauge", "failover_x", 'A "text"\\ of\ntwo lines.', ("a",), [(('q"\\\n',), 1), (("",), 0.5), (("é",), True)]
        ),
        Family("gauge", "failover_x", "Numbers.", (), [((), inf)]),
        Family("gauge", "failover_x", "Numbers.", ("a",), [(("1",), -inf), (("2",), 1e300), (("3",), 10**20)]),
        Family("counter", "failover_x", "Four labels.", ("a", "b", "c", "d"), [(("1", "2", '"', "}"), 3)]),
        Family("histogram", "failover_x", "Durations.", ("a", "b"), [(("1", "2"), Histogram(BUCKETS, 1.25))]),
        Family("gauge", "failover_x", "None at all.", ("a",), []),
    ],
)
def test_the_text_says_what_prometheus_clients_says(family: Family) -> None:
    assert samples(reference(family)) == samples("".join(family.lines(openmetrics=False)))


def test_what_is_no_number_is_written_as_such() -> None:
    lines = "".join(Family("gauge", "x", "", (), [((), nan)]).lines(openmetrics=False))

    assert isnan(float(lines.split()[-1]))


async def test_the_page_is_compressed_for_who_asks(api: Api, make: Make) -> None:
    """Small ones at once, long ones in a thread."""
    sizes = []
    for backends in (1, 100):
        names = {("app", f"backend-{number}"): BackendCounts(duration_buckets=BUCKETS) for number in range(backends)}
        api.control.registry.take_report(make.report(backends=names))
        status, text = await api.get("/metrics", **{"Accept-Encoding": "gzip"})
        sizes.append(len(text))
        assert (200, backends) == (status, text.count('_seconds_count{pool="app",backend="backend-'))

    assert sizes[0] < WORTH_A_THREAD < sizes[1]
