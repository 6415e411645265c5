"""Promises of `proxy.dataplane.spans` and `proxy.dataplane.otlp`."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from queue import SimpleQueue

import pytest

from proxy.core.settings import Limits
from proxy.core.telling.accesslog import Entry, Record
from proxy.core.wire.http1 import RequestHead
from proxy.core.wire.tracing import Trace, TracingPolicy
from proxy.dataplane import spans as spans_module
from proxy.dataplane.otlp import OtlpExporter
from proxy.dataplane.spans import SpanExport, follow_spans
from tests.collector import Collector, attributes, collecting

TRACE, PARENT, SPAN = b"0af7651916cd43dd8448eb211c80319c", b"b7ad6b7169203331", b"00f067aa0ba902b7"
PATIENCE = 20.0


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as one:
        yield one


def entry(status: int = 200, *, parent: bytes = PARENT, method: bytes = b"GET") -> Entry:
    """A request that was refused by one Backend and answered by another."""
    request = RequestHead(
        method + b" /pay?card=4111 HTTP/1.1\r\nHost: shop.example\r\nX-Request-Id: r1\r\n\r\n", Limits()
    )
    record = Record(100.0, Trace(TRACE, parent, SPAN, 1, has_fields=True))
    record.send(0, 100.5, b"1" * 16)
    record.end("b1", 100.25, "connection_refused", 100.5)
    record.send(300, 100.5, b"2" * 16)
    record.end("b2", 100.5, str(status), 101.0)
    return Entry(1_800_000_000.0, "10.0.0.1", request, status, 5, 100, "pay", "payments", record, 1.0, "")


# What is sent


def send(collector: Collector, *entries: Entry, **changes: str) -> str:
    """Export these, and leave nothing open; what went wrong."""
    exporter = OtlpExporter(TracingPolicy(export=collector.url, **changes))
    try:
        return exporter.export(list(entries))
    finally:
        exporter.close()


def test_a_request_is_a_span_with_one_below_it_for_each_attempt(collector: Collector) -> None:
    assert "" == send(collector, entry(), service="edge")

    whole, first, second = collector.spans
    assert {"edge"} == collector.services
    assert {bytes.fromhex(TRACE.decode())} == {span.trace_id for span in collector.spans}
    assert (PARENT.decode(), SPAN.decode()) == (whole.parent_span_id.hex(), whole.span_id.hex())
    assert [(SPAN.decode(), "1" * 16), (SPAN.decode(), "2" * 16)] == [
        (one.parent_span_id.hex(), one.span_id.hex()) for one in (first, second)
    ]
    assert ("GET pay", "GET payments/b1", "GET payments/b2") == (whole.name, first.name, second.name)
    assert [(0, 1000), (250, 500), (500, 1000)] == [
        tuple(round(at / 1e6 - 1_800_000_000_000) for at in (one.start_time_unix_nano, one.end_time_unix_nano))
        for one in collector.spans
    ]


def test_spans_say_what_happened_and_never_the_query(collector: Collector) -> None:
    send(collector, entry())

    whole, first, second = map(attributes, collector.spans)
    assert {
        "http.request.method": "GET",
        "http.response.status_code": 200,
        "url.path": "/pay",
        "server.address": "shop.example",
        "failover.route": "pay",
        "failover.pool": "payments",
        "failover.attempts": 2,
    }.items() <= whole.items()
    assert "4111" not in str(collector.spans)
    assert ("connection_refused", "b1") == (first["error.type"], first["failover.backend"])
    assert (200, 1, 300) == (
        second["http.response.status_code"],
        second["http.request.resend_count"],
        second["failover.sent"],
    )


def test_our_failures_are_errors_and_the_clients_are_not(collector: Collector) -> None:
    send(collector, entry(404), entry(503), entry(0), entry(200, parent=b"", method=b"PROPFIND"))

    wholes = collector.spans[::3]
    assert [0, 2, 2, 0] == [span.status.code for span in wholes]
    assert [2, 2, 2, 2] == [span.status.code for span in collector.spans[1::3]]
    assert (b"", "OTHER pay") == (wholes[3].parent_span_id, wholes[3].name)


def test_what_the_collector_does_not_take_is_told(collector: Collector) -> None:
    collector.status = 400

    assert "the collector did not take them" == send(collector, entry())


def test_a_collector_that_wants_a_token_gets_it_from_the_environment(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "Authorization=Bearer%20t")

    send(collector, entry())

    assert ["Bearer t"] == collector.secrets


def test_what_is_no_request_of_a_trace_has_no_span(collector: Collector) -> None:
    refused = entry()._replace(request=None, record=Record(0.0))
    headless = entry()._replace(request=None)

    send(collector, refused, headless)

    assert ["OTHER pay", "OTHER payments/b1", "OTHER payments/b2"] == [span.name for span in collector.spans]


# The queue


class Slow:
    """An exporter that takes what it is allowed to take."""

    def __init__(self) -> None:
        self.allowed: SimpleQueue[str] = SimpleQueue()
        self.began = threading.Event()
        self.batches: list[int] = []

    def export(self, entries: list[Entry]) -> str:
        self.began.set()
        problem = self.allowed.get(timeout=PATIENCE)
        self.batches.append(len(entries))
        return problem

    def close(self) -> None:
        self.allowed.put("closed")


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Slow:
    one = Slow()
    monkeypatch.setattr(spans_module, "_exporter", lambda policy: one)
    monkeypatch.setattr(spans_module, "EVERY", 0.01)
    return one


def test_a_collector_that_hangs_stops_nobody_and_what_finds_no_room_is_counted(slow: Slow) -> None:
    export = SpanExport(TracingPolicy(export="http://x", buffer=3))
    export.add(entry())
    assert slow.began.wait(PATIENCE)
    for _ in range(5):
        export.add(entry())
    assert {"exported": 0, "dropped": 2} == export.counts()

    slow.allowed.put("")
    slow.allowed.put("")
    export.close()

    assert {"exported": 4, "dropped": 2} == export.counts()


def test_spans_that_nobody_took_are_dropped_and_that_is_said_once(slow: Slow, caplog: pytest.LogCaptureFixture) -> None:
    export = SpanExport(TracingPolicy(export="http://x"))
    with caplog.at_level(logging.INFO, "proxy.dataplane.spans"):
        for problem in ("refused", "refused", ""):
            slow.began.clear()
            slow.allowed.put(problem)
            export.add(entry())
            assert slow.began.wait(PATIENCE)
        export.close()

    assert {"exported": 1, "dropped": 2} == export.counts()
    assert ["WARNING", "INFO"] == [record.levelname for record in caplog.records]


def test_the_end_is_not_kept_waiting_by_a_collector_that_hangs(slow: Slow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spans_module, "LAST_WORD", 0.05)
    export = SpanExport(TracingPolicy(export="http://x"))
    export.add(entry())
    assert slow.began.wait(PATIENCE)

    export.close()
    export._thread.join(PATIENCE)

    assert {"exported": 0, "dropped": 1} == export.counts()


def test_many_go_in_several_messages(slow: Slow) -> None:
    export = SpanExport(TracingPolicy(export="http://x"))
    export.add(entry())
    assert slow.began.wait(PATIENCE)
    for _ in range(300):
        export.add(entry())
    for _ in range(5):
        slow.allowed.put("")
    export.close()

    assert 301 == sum(slow.batches)
    assert spans_module.BATCH == max(slow.batches)


def test_an_exporter_that_can_not_be_had_drops_and_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(policy: TracingPolicy) -> None:
        raise ImportError("no such package")

    monkeypatch.setattr(spans_module, "_exporter", fail)
    export = SpanExport(TracingPolicy(export="http://x"))
    export.add(entry())
    export.close()

    assert {"exported": 0, "dropped": 1} == export.counts()
    assert "spans can't be exported" in caplog.text


def test_a_reload_keeps_the_export_that_it_does_not_change_and_the_counts_of_one_that_it_does(slow: Slow) -> None:
    policy = TracingPolicy(export="http://x")
    first = follow_spans(None, policy)
    assert first is not None
    slow.allowed.put("")
    first.add(entry())
    assert slow.began.wait(PATIENCE)

    assert follow_spans(first, policy) is first
    first._thread.join(0)
    first.finish()
    first._thread.join(PATIENCE)
    second = follow_spans(first, TracingPolicy(export="http://y"))

    assert second is not None
    assert (1, "<SpanExport http://y 0 waiting>") == (second.exported, repr(second))
    second.close()
    assert follow_spans(second, None) is None
    assert follow_spans(None, TracingPolicy()) is None
