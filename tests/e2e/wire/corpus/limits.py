"""How much of a request there may be. Limits hold while reading: who sends without end is answered all the same."""

from __future__ import annotations

from tests.e2e.wire.case import AT_MOST_A_PART, Act, Case, End, Got, Sent, get, lines, onward, passed, post, refused
from tests.e2e.wire.corpus.lengths import CHUNKED

SMALL = 16
"""Bytes that a body on `/small/` may have; see the config in `test_corpus`."""
LINE = b"POST /small/ HTTP/1.1"
MOST_FIELDS = 100
LONGEST_LINE = 8192
LARGEST_HEAD = 32768


def line_of(size: int) -> bytes:
    """A request line of this many bytes."""
    return b"GET /" + b"a" * (size - len(b"GET / HTTP/1.1")) + b" HTTP/1.1"


def fields(count: int) -> tuple[bytes, ...]:
    return tuple(b"X-%d: 1" % number for number in range(count))


HEADS = (
    passed(
        "a request line at the limit passes",
        "RFC 9112 3",
        get(line=line_of(LONGEST_LINE)),
        onward(line=line_of(LONGEST_LINE)),
    ),
    refused("a request line over the limit is 414", "RFC 9110 15.5.15", get(line=line_of(LONGEST_LINE + 1)), 414),
    refused("a request line of 100 KB is 414", "RFC 9110 15.5.15", get(line=line_of(100_000)), 414),
    refused("a request line without end is 414", "RFC 9110 15.5.15", b"GET /" + b"a" * 20_000, 414),
    refused("a method without end is 414", "RFC 9110 15.5.15", b"G" * 20_000, 414),
    passed(
        "as many fields as are allowed pass",
        "RFC 9110 5.4",
        get(*fields(MOST_FIELDS - 1)),
        onward(*fields(MOST_FIELDS - 1)),
    ),
    refused("one field more than is allowed is 431", "RFC 6585 5", get(*fields(MOST_FIELDS)), 431),
    refused("fields without end are 431", "RFC 6585 5", lines(b"GET / HTTP/1.1", *fields(5000))[:-2], 431),
    passed(
        "a head near the limit passes",
        "RFC 9110 5.4",
        get(b"X-A: " + b"a" * (LARGEST_HEAD - 100)),
        onward(b"X-A: " + b"a" * (LARGEST_HEAD - 100)),
    ),
    refused("a head over the limit is 431", "RFC 6585 5", get(b"X-A: " + b"a" * LARGEST_HEAD), 431),
    refused("a field without end is 431", "RFC 6585 5", get()[:-2] + b"X-A: " + b"a" * 100_000, 431),
    refused("a name without end is 431", "RFC 6585 5", get()[:-2] + b"a" * 100_000, 431),
)


def small(name: str, sent: bytes, body: bytes, framing: bytes) -> Case:
    received = Sent(onward(line=LINE, last=(framing,)), body)
    return Case(name, "RFC 9110 15.5.14", (get(framing, line=LINE) + sent,), received)


def too_large(name: str, sent: bytes, framing: bytes, **changes: object) -> Case:
    return refused(name, "RFC 9110 15.5.14", get(framing, line=LINE) + sent, 413, **changes)


BODIES = (
    small("a counted body at the limit passes", b"x" * SMALL, b"x" * SMALL, b"Content-Length: %d" % SMALL),
    small("a chunked body at the limit passes", b"10\r\n%b\r\n0\r\n\r\n" % (b"x" * SMALL), b"x" * SMALL, CHUNKED),
    too_large("a counted body over the limit is 413", b"x" * (SMALL + 1), b"Content-Length: %d" % (SMALL + 1)),
    too_large("a counted body over the limit is 413 before it comes", b"", b"Content-Length: 999999999999"),
    too_large(
        "a chunked body over the limit is 413", b"11\r\n%b\r\n0\r\n\r\n" % (b"x" * 17), CHUNKED, received=AT_MOST_A_PART
    ),
    too_large(
        "many small chunks over the limit are 413", b"1\r\nx\r\n" * 17 + b"0\r\n\r\n", CHUNKED, received=AT_MOST_A_PART
    ),
    too_large("chunks without end are 413", b"8\r\n12345678\r\n" * 3, CHUNKED, received=AT_MOST_A_PART),
)

EXPECTATIONS = (
    *(
        refused(f"the expectation {what.decode()} is 417", "RFC 9110 10.1.1", post(b"Expect: " + what), 417)
        for what in (b"a", b"200-ok", b"100-continue, a", b"100-continue;q=1")
    ),
)
LOOPS = (
    passed(
        "a request that passed nine proxies of ours passes",
        "RFC 9110 7.6.3",
        get(*[b"Via: 1.1 failover-proxy"] * 9),
        onward(*[b"Via: 1.1 failover-proxy"] * 9),
    ),
    refused("a request that runs in a circle is 508", "RFC 9110 7.6.3", get(*[b"Via: 1.1 failover-proxy"] * 10), 508),
    refused(
        "a circle in one field is 508",
        "RFC 9110 7.6.3",
        get(b"Via: " + b", ".join([b"1.1 failover-proxy"] * 10)),
        508,
    ),
)
SLOW = (
    Case(
        "a client that says nothing and leaves gets nothing",
        "RFC 9112 9.6",
        (b"\r\n", Act.END),
        AT_MOST_A_PART,
        Got(0, end=End.CLOSED),
    ),
    Case(
        "half a head is no request",
        "RFC 9112 8",
        (get()[:-2], Act.END),
        AT_MOST_A_PART,
        Got(0, end=End.CLOSED),
    ),
)

CASES = (*HEADS, *BODIES, *EXPECTATIONS, *LOOPS, *SLOW)
