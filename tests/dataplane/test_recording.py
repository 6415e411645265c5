"""Promises of `proxy.dataplane.recording` and of those who keep records: nothing of a request is missing in its Entry."""

from __future__ import annotations

import random
from typing import Any

import pytest

from proxy.core.requests.retry import RetryPolicy
from proxy.core.telling.accesslog import Entry
from proxy.core.wire.tracing import TracingPolicy, parse
from proxy.dataplane.recording import Recorder, recorder_of
from tests.dataplane.plane import Plane, Wire

TRACE, PARENT = b"0af7651916cd43dd8448eb211c80319c", b"b7ad6b7169203331"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Kept:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    def note(self, entry: Entry) -> None:
        self.entries.append(entry)

    add = note


def recorded(tracing: TracingPolicy | None = None, **policies: Any) -> tuple[Plane, Kept, Kept]:
    """A plane, its log, and its spans."""
    plane, log, spans = Plane(**policies), Kept(), Kept()
    plane.worker.recorder = Recorder(log, tracing, spans, random.Random(0))
    return plane, log, spans


def ask(plane: Plane, *fields: bytes, body: bytes = b"", method: bytes = b"GET") -> tuple[Wire, Wire]:
    """A client that has asked, and the connection that its request went to."""
    upstream, client = plane.open_upstream(), plane.client()
    client.hear(b"\r\n".join((method + b" /x HTTP/1.1", b"Host: h", *fields, b"", body)))
    return client, upstream


def test_all_bytes_of_a_body_count_for_the_attempt_that_they_went_to() -> None:
    """Also those that came after the head."""
    plane, log, _ = recorded()
    client, upstream = ask(plane, b"Content-Length: 10", body=b"123", method=b"POST")
    client.hear(b"4567")
    client.hear(b"890")
    upstream.hear(OK)

    [entry] = log.entries
    assert (10, len(upstream.written)) == (entry.received, entry.record.tried[0].sent)


def test_bytes_that_went_to_one_attempt_do_not_count_for_the_next() -> None:
    plane, log, _ = recorded(retries=RetryPolicy(attempts=2, unsafe_reuse=1e6), backends=2)
    client, first = ask(plane, b"Content-Length: 6", body=b"123", method=b"PUT")
    client.hear(b"456")
    first.hear_reset()
    second = plane.connect()
    second.hear(OK)

    [entry] = log.entries
    assert [len(first.written), len(second.written)] == [one.sent for one in entry.record.tried]


def test_a_client_that_leaves_before_the_next_attempt_was_sent_has_sent_nothing_to_it() -> None:
    plane, log, _ = recorded(retries=RetryPolicy(attempts=2, unsafe_reuse=1e6), backends=2)
    client, first = ask(plane, b"Content-Length: 6", body=b"123", method=b"PUT")
    client.hear(b"456")
    first.hear_reset()
    client.hear_reset()

    [entry] = log.entries
    assert [len(first.written), 0] == [one.sent for one in entry.record.tried]


def test_what_never_left_is_not_said_to_be_sent() -> None:
    """A Backend that speaks before it was asked: its connection is given up before the head is written."""
    plane, log, _ = recorded(retries=RetryPolicy(attempts=2, unsafe_reuse=1e6), backends=2)
    first, client = plane.open_upstream(), plane.client()
    client._protocol.data_received(b"GET /x HTTP/1.1\r\nHost: h\r\n\r\n")
    first._protocol.data_received(b"out of turn")
    plane.loop.turn()
    second = plane.connect()
    second.hear(OK)

    [entry] = log.entries
    assert b"" == first.written
    assert [("connection_terminated", 0), ("200", len(second.written))] == [
        (one.outcome, one.sent) for one in entry.record.tried
    ]


def test_a_body_that_comes_too_slowly_is_logged_with_the_attempt_that_it_was_for() -> None:
    plane, log, _ = recorded()
    client, upstream = ask(plane, b"Content-Length: 10", body=b"123", method=b"POST")
    plane.expire()

    [entry] = log.entries
    assert b" 408 " in client.written
    assert (408, "all", "app", 3) == (entry.status, entry.route, entry.pool, entry.received)
    assert [("one", "http_request_error", len(upstream.written))] == [
        (one.backend, one.outcome, one.sent) for one in entry.record.tried
    ]


def test_a_tunnel_counts_what_went_through_it() -> None:
    plane, log, _ = recorded()
    client, upstream = ask(plane, b"Connection: upgrade", b"Upgrade: x")
    upstream.hear(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nearly")
    client.hear(b"12345")
    upstream.hear(b"123")
    client.hear_end()
    upstream.hear_end()

    [entry] = log.entries
    assert (101, 5, 8) == (entry.status, entry.received, entry.sent)


# Traces


def parent_at(upstream: Wire) -> bytes:
    """The parent that a Backend was told."""
    values = [line[13:] for line in bytes(upstream.written).split(b"\r\n") if line.lower().startswith(b"traceparent:")]
    assert 1 == len(values)
    known = parse(values[0])
    assert known is not None
    return known[1]


def test_a_trace_goes_on_with_a_parent_of_our_own_for_each_attempt() -> None:
    plane, log, spans = recorded(TracingPolicy(), retries=RetryPolicy(attempts=2, unsafe_reuse=1e6), backends=2)
    _, first = ask(plane, b"traceparent: 00-%b-%b-01" % (TRACE, PARENT), b"tracestate: a=1")
    first.hear_reset()
    second = plane.connect()
    second.hear(OK)

    [entry] = log.entries
    assert log.entries == spans.entries
    assert (TRACE, PARENT) == (entry.record.trace.trace_id, entry.record.trace.parent)
    assert [parent_at(first), parent_at(second)] == [one.span for one in entry.record.tried]
    assert 3 == len({PARENT, parent_at(first), parent_at(second)})
    assert b"tracestate: a=1" in second.written


def test_the_body_still_follows_the_head_that_names_the_trace() -> None:
    plane, _, _ = recorded(TracingPolicy())
    _, upstream = ask(plane, b"Content-Length: 4", body=b"body", method=b"POST")

    parent_at(upstream)
    assert upstream.written.endswith(b"\r\n\r\nbody")


def test_without_tracing_the_fields_pass_untouched() -> None:
    plane, _, spans = recorded()
    fields = b"TraceParent: nonsense\r\ntracestate: a=1"
    _, upstream = ask(plane, fields)
    upstream.hear(OK)

    assert fields in upstream.written
    assert [] == spans.entries


def test_spans_are_kept_of_sampled_requests_only() -> None:
    plane, log, spans = recorded(TracingPolicy(sample=0.0))
    for _ in range(3):
        _, upstream = ask(plane)
        upstream.hear(OK)
        plane.begin_anew()

    assert (3, 0) == (len(log.entries), len(spans.entries))


@pytest.mark.parametrize(("log", "tracing"), [(None, TracingPolicy()), (Kept(), None)])
def test_a_worker_keeps_records_where_anybody_wants_them(log: Kept | None, tracing: TracingPolicy | None) -> None:
    assert recorder_of(None, None, None, random.Random(0)) is None
    recorder = recorder_of(log, tracing, None, random.Random(0))

    assert recorder is not None
    assert "Recorder" in repr(recorder)


def test_a_message_that_is_no_request_has_a_line_too() -> None:
    plane, log, spans = recorded(TracingPolicy(sample=1.0))
    plane.client().hear(b"nonsense\r\n\r\n")

    assert [(400, None)] == [(entry.status, entry.request) for entry in log.entries]
    assert [] == spans.entries
