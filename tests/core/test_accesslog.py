"""Promises of the access log's lines."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.requests.retry import Outcome, answered
from proxy.core.settings import AccessLogSettings, Limits
from proxy.core.telling.accesslog import FLAGS, NAMES, Entry, Lines, Record, fault_of, flags_of, redact, result_of
from proxy.core.wire.http1 import RequestHead
from proxy.core.wire.tracing import Trace
from proxy.errors import ErrorKind

HEAD = (
    b"GET /pay?card=4111&x=1 HTTP/1.1\r\nHost: Shop.example\r\nX-Request-Id: abc\r\n"
    b'User-Agent: a "quoted" agent\r\nReferer: http://a/?card=4111\r\n\r\n'
)
NOON = 1_767_960_000.25
"""2026-01-09 12:00:00.25 UTC."""


def tried_twice() -> Record:
    record = Record(10.0)
    record.end("b1", 10.5, result_of(Outcome(ErrorKind.CONNECTION_REFUSED)), 10.75)
    record.send(300, 10.8)
    record.judge(10.9)
    record.end("b2", 10.75, result_of(answered(200, False)), 11.0)
    return record


def entry(**changes: object) -> Entry:
    usual = Entry(
        at=NOON,
        client="10.0.0.1",
        request=RequestHead(HEAD, Limits()),
        status=200,
        received=0,
        sent=100,
        route="pay",
        pool="payments",
        record=tried_twice(),
        total=1.0,
    )
    return usual._replace(**changes)


def line(form: str = "json", redacted: tuple[str, ...] = (), **changes: object) -> str:
    text = Lines(AccessLogSettings("x", form, redact=redacted)).line(entry(**changes)).decode()
    assert 1 == text.count("\n")
    return text.removesuffix("\n")


def test_a_json_line_tells_the_whole_request() -> None:
    assert {
        "time": "2026-01-09T12:00:00.250Z",
        "client": "10.0.0.1",
        "method": "GET",
        "host": "shop.example",
        "target": "/pay?card=4111&x=1",
        "protocol": "HTTP/1.1",
        "status": 200,
        "bytes_in": 0,
        "bytes_out": 100,
        "route": "pay",
        "pool": "payments",
        "attempts": [
            {"backend": "b1", "ms": 250.0, "outcome": "connection_refused", "sent": 0},
            {"backend": "b2", "ms": 250.0, "outcome": "200", "sent": 300},
        ],
        "flags": "",
        "executed": "",
        "wait_ms": 500.0,
        "connect_ms": 50.0,
        "first_byte_ms": 100.0,
        "total_ms": 1000.0,
        "request_id": "abc",
        "trace_id": "",
        "user_agent": 'a "quoted" agent',
    } == json.loads(line())


def test_lines_of_one_second_differ_in_their_milliseconds_alone() -> None:
    lines = Lines(AccessLogSettings("x", "{time}"))

    assert [b"2026-01-09T12:00:00.250Z\n", b"2026-01-09T12:00:00.500Z\n", b"2026-01-09T12:00:01.000Z\n"] == [
        lines.line(entry(at=NOON + later)) for later in (0, 0.25, 0.75)
    ]


def test_a_request_that_could_not_be_read_has_a_line_too() -> None:
    told = json.loads(line(request=None, status=400, record=Record(0.0), flags="DPE"))

    assert ("", "", "", 400, [], "DPE") == (
        told["method"],
        told["target"],
        told["protocol"],
        told["status"],
        told["attempts"],
        told["flags"],
    )


def test_combined_is_what_web_servers_write() -> None:
    assert (
        '10.0.0.1 - - [09/Jan/2026:12:00:00 +0000] "GET /pay?card=4111&x=1 HTTP/1.1" 200 100'
        ' "http://a/?card=4111" "a \\"quoted\\" agent"'
    ) == line("combined")


def test_a_template_takes_any_field() -> None:
    template = " ".join(f"{name}={{{name}}}" for name in sorted(NAMES))
    told = dict(re.findall(r"(\w+)=(\S+)", line(template)))

    assert NAMES == set(told)
    assert ("b2", "200", "2026-01-09T12:00:00.250Z", "1000.000") == (
        told["backend"],
        told["status"],
        told["time"],
        told["total_ms"],
    )


def test_what_a_template_finds_nothing_for_is_a_dash() -> None:
    bare = RequestHead(b"GET / HTTP/1.0\r\n\r\n", Limits())

    assert "- - - HTTP/1.0 -" == line("{backend} {referer} {host} {protocol} {flags}", request=bare, record=Record(0.0))
    assert "- - - -" == line("{method} {protocol} {target} {request_id}", request=None)


@pytest.mark.parametrize("name", sorted(NAMES & set(json.loads(line()))))
def test_json_and_templates_say_the_same(name: str) -> None:
    in_json, in_template = json.loads(line())[name], line(f"{{{name}}}")

    if isinstance(in_json, str):
        assert in_json == json.loads(f'"{in_template}"').removeprefix("-")
    else:
        assert in_json == json.loads(in_template)


@given(st.binary(min_size=1, max_size=40).map(lambda b: bytes(c for c in b if (c >= 32 and c != 127) or c == 9)))
def test_nothing_that_a_client_sends_breaks_a_line(value: bytes) -> None:
    request = RequestHead(b"GET / HTTP/1.1\r\nHost: a\r\nUser-Agent:" + value + b"\r\n\r\n", Limits())

    assert value.strip(b" \t").decode("latin-1") == json.loads(line(request=request))["user_agent"]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ((), b"/a?x=1&Card=2&b"),
        (("*",), b"/a?REDACTED"),
        (("card",), b"/a?x=1&Card=REDACTED&b"),
        (("x", "b"), b"/a?x=REDACTED&Card=2&b"),
    ],
)
def test_query_strings_are_redacted_as_asked(names: tuple[str, ...], expected: bytes) -> None:
    assert expected == redact(b"/a?x=1&Card=2&b", names)
    assert b"/a" == redact(b"/a", names)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (b"/a?%43ar%64=2&b=1", b"/a?%43ar%64=REDACTED&b=1"),
        (b"/a?x=1;card=2&b=1", b"/a?x=1;card=REDACTED&b=1"),
        (b"/a?card=2;3&b=1", b"/a?card=REDACTED&b=1"),
        (b"/a?x=1;b=%43ard&c;d", b"/a?x=1;b=%43ard&c;d"),
        (b"/a?ca%ZZrd=1", b"/a?ca%ZZrd=1"),
    ],
)
def test_a_parameter_is_redacted_as_a_backend_reads_its_name(target: bytes, expected: bytes) -> None:
    assert expected == redact(target, {"card"})


def test_what_is_redacted_shows_nowhere_in_a_line() -> None:
    for form in ("json", "combined"):
        assert "4111" not in line(form, redacted=("Card",))


def test_what_was_sent_last_can_be_put_aside_for_a_while() -> None:
    """Where two Attempts run beside each other, each has its own."""
    record = Record(0.0)
    record.send(10, 1.5, b"span")
    aside = record.sending
    record.end("b", 1.0, "200", 2.0)
    record.send(*aside)

    assert (10, 1.5, b"span") == aside == record.sending


def test_the_trace_is_told_whether_it_is_ours_or_passes_by() -> None:
    trace_id, field = b"a" * 32, b"Traceparent: 00-%b-%b-01" % (b"b" * 32, b"c" * 16)
    passing = RequestHead(b"GET / HTTP/1.1\r\nHost: a\r\n" + field + b"\r\n\r\n", Limits())
    ours = Record(0.0, Trace(trace_id, b"", b"d" * 16, 1, has_fields=False))

    told = [
        json.loads(line(request=one, record=two))["trace_id"]
        for one, two in ((passing, Record(0.0)), (passing, ours), (None, Record(0.0)))
    ]
    assert ["b" * 32, "a" * 32, ""] == told
    assert "b" * 32 == line("{trace_id}", request=passing, record=Record(0.0))


def test_each_failure_has_its_letters() -> None:
    assert set(ErrorKind) == set(FLAGS)
    assert "" == flags_of(None)
    assert "UF,URX" == flags_of(ErrorKind.CONNECTION_REFUSED, exhausted=True)


def test_times_of_a_failed_attempt_count_to_its_end() -> None:
    record = Record(0.0)
    record.send(10, 1.5)
    record.end("b", 1.0, "http_response_timeout", 4.0)

    assert [("b", 3.0, 0.5, 2.5, "http_response_timeout", 10, 1.0, b"")] == list(record.tried)
    assert 1.0 == record.wait
    assert "<Record 1 tried>" == repr(record)


@pytest.mark.parametrize(
    ("template", "fault"),
    [
        ("{status", "expected '}' before end of string"),
        ("no fields", "it names no field in braces, such as {status}"),
        ("{nonsense}", "there is no field 'nonsense'; there are"),
        ("{}", "there is no field ''; there are"),
        ("{client.__class__}", "there is no field 'client.__class__'; there are"),
        ("{status:d}", "a field is named and nothing more: {status}"),
        ("{status!r}", "a field is named and nothing more: {status}"),
    ],
)
def test_a_template_that_can_not_be_used_is_refused(template: str, fault: str) -> None:
    found = fault_of(template)

    assert found is not None
    assert found.startswith(fault)


def test_a_template_may_hold_braces_of_its_own() -> None:
    assert fault_of("{{{status}}}") is None
    assert "{200}" == line("{{{status}}}")
