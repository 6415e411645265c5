from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.wire.tracing import begin_trace, new_span, parse, trace_id_of, with_trace

TRACE, PARENT, SPAN = b"0af7651916cd43dd8448eb211c80319c", b"b7ad6b7169203331", b"00f067aa0ba902b7"
VALUE = b"00-%b-%b-01" % (TRACE, PARENT)


def head(*fields: bytes) -> bytes:
    return b"\r\n".join((b"GET /traceparent:x HTTP/1.1", b"Host: h", *fields, b"", b""))


@pytest.mark.parametrize(
    ("value", "known"),
    [
        (VALUE, (TRACE, PARENT, 1)),
        (VALUE[:-2] + b"00", (TRACE, PARENT, 0)),
        (VALUE[:-2] + b"ff", (TRACE, PARENT, 3)),
        (b"01" + VALUE[2:], (TRACE, PARENT, 1)),
        (b"cc" + VALUE[2:] + b"-what-comes-later", (TRACE, PARENT, 1)),
        (b"ff" + VALUE[2:], None),
        (VALUE + b"-more", None),
        (VALUE + b".", None),
        (b"01" + VALUE[2:] + b".", None),
        (VALUE.upper(), None),
        (b"00-%b-%b-01" % (b"0" * 32, PARENT), None),
        (b"00-%b-%b-01" % (TRACE, b"0" * 16), None),
        (b"00-%b-%b-0" % (TRACE, PARENT), None),
        (b"", None),
    ],
)
def test_a_value_is_read_as_the_recommendation_says(value: bytes, known: object) -> None:
    assert known == parse(value)


@given(st.binary(max_size=80))
def test_no_value_breaks_the_reader(value: bytes) -> None:
    known = parse(value)

    assert known is None or (32, 16) == (len(known[0]), len(known[1]))


def test_a_request_goes_on_in_its_trace_with_us_as_the_parent() -> None:
    """Whatever the spelling of the name; `tracestate` is kept, and so is the decision to sample."""
    asked = head(b"TraceParent:\t" + VALUE + b" ", b"tracestate: vendor=1", b"Accept: */*")
    trace = begin_trace(asked, 0.0, random.Random(0))

    sent = with_trace(asked, trace, SPAN)

    assert (TRACE, PARENT, True) == (trace.trace_id, trace.parent, trace.is_sampled)
    assert head(b"tracestate: vendor=1", b"Accept: */*", b"traceparent: 00-%b-%b-01" % (TRACE, SPAN)) == sent


@pytest.mark.parametrize(
    "fields",
    [
        (),
        (b"tracestate: vendor=1",),
        (b"traceparent: nonsense", b"TRACESTATE: vendor=1"),
        (b"traceparent: " + VALUE, b"traceparent: " + VALUE, b"tracestate: a=1"),
    ],
)
def test_what_has_no_trace_that_can_be_read_begins_one(fields: tuple[bytes, ...]) -> None:
    """And nothing of the former one goes on: two of them are none."""
    asked = head(*fields)
    trace = begin_trace(asked, 1.0, random.Random(0))

    sent = with_trace(asked, trace, SPAN)

    assert (b"", True) == (trace.parent, trace.is_sampled)
    assert head(b"traceparent: 00-%b-%b-01" % (trace.trace_id, SPAN)) == sent
    assert (trace.trace_id, SPAN, 1) == parse(sent.split(b"traceparent: ")[1][:55])


def test_of_new_traces_a_share_is_sampled() -> None:
    rng = random.Random(1)

    sampled = sum(begin_trace(head(), 0.2, rng).is_sampled for _ in range(1000))

    assert 150 < sampled < 250


def test_a_trace_that_comes_unsampled_stays_so() -> None:
    trace = begin_trace(head(b"traceparent: " + VALUE[:-2] + b"00"), 1.0, random.Random(0))

    assert not trace.is_sampled
    assert f"<Trace {TRACE.decode()}>" == repr(trace)


def test_ids_are_never_all_zeros() -> None:
    class Zeros(random.Random):
        def getrandbits(self, k: int) -> int:
            return 0

    trace = begin_trace(head(), 1.0, Zeros(0))

    assert (int(trace.trace_id, 16), int(trace.span, 16), int(new_span(Zeros(0)), 16)) == (1, 1, 1)
    assert "sampled" in repr(trace)


def test_the_trace_that_passes_by_is_known_for_the_log() -> None:
    heads = (head(b"Traceparent: " + VALUE), head(b"traceparent: x"), head())

    assert [TRACE, b"", b""] == [trace_id_of(one) for one in heads]
