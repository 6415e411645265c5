"""W3C trace context: what `traceparent` says, what goes on to a Backend, and which requests are sampled.

https://www.w3.org/TR/trace-context/. Only where `tracing` is configured; elsewhere the two fields pass untouched, like
any other. `dataplane.recording` begins a Trace for each request, `dataplane.spans` exports those that are sampled.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass

_FIELD = re.compile(rb"\r\ntraceparent:[ \t]*([^\r]*)", re.IGNORECASE)
_STATE = re.compile(rb"\r\ntracestate:", re.IGNORECASE)
_FIELDS = re.compile(rb"\r\ntraceparent:[^\r]*", re.IGNORECASE)
_ALL_FIELDS = re.compile(rb"\r\n(?:traceparent|tracestate):[^\r]*", re.IGNORECASE)
_VALUE = re.compile(rb"(?!ff)([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_NO_TRACE = b"0" * 32
_NO_PARENT = b"0" * 16
SAMPLED = 1
FLAGS = 3
"""The flags that we know: sampled, and that the trace's id is random. Others are not passed on (section 3.2.2.5)."""


@dataclass(frozen=True, slots=True)
class TracingPolicy:
    """Which requests are traced, and who is told."""

    sample: float = 0.01
    """The share of requests without a `traceparent` that are sampled; the others do as theirs says."""
    export: str = ""
    """The URL of an OpenTelemetry collector that takes OTLP over HTTP; empty: none is told."""
    service: str = "failover-proxy"
    """The name under which spans are exported."""
    buffer: int = 2048
    """Requests of one worker whose spans may wait to be sent; more are dropped, and counted."""


class Trace:
    """One request's place in its trace."""

    __slots__ = ("flags", "has_fields", "parent", "span", "trace_id")

    def __init__(self, trace_id: bytes, parent: bytes, span: bytes, flags: int, *, has_fields: bool) -> None:
        self.trace_id = trace_id
        self.parent = parent
        """The caller's span; empty where the trace begins here."""
        self.span = span
        """The request's own."""
        self.flags = flags
        self.has_fields = has_fields
        """Whether the client sent `traceparent` or `tracestate`, of whatever kind."""

    def __repr__(self) -> str:
        return f"<Trace {self.trace_id.decode()}{' sampled' if self.is_sampled else ''}>"

    @property
    def is_sampled(self) -> bool:
        """Whether somebody keeps its spans."""
        return bool(self.flags & SAMPLED)


def parse(value: bytes) -> tuple[bytes, bytes, int] | None:
    """Trace, parent and flags; None of what must be ignored (section 3.2.2)."""
    match = _VALUE.fullmatch(value)
    if match is None or (match[1] == b"00" and match[5] is not None):
        return None
    if match[2] == _NO_TRACE or match[3] == _NO_PARENT:
        return None
    return match[2], match[3], int(match[4], 16) & FLAGS


def new_span(rng: random.Random) -> bytes:
    """A span's id, which is never all zeros."""
    return b"%016x" % (rng.getrandbits(64) or 1)


def begin_trace(head: bytes, share: float, rng: random.Random) -> Trace:
    """The trace that a request's head says, or a new one of which `share` are sampled."""
    found = [match[1].rstrip(b" \t") for match in _FIELD.finditer(head)]
    has_fields = bool(found) or _STATE.search(head) is not None
    known = parse(found[0]) if len(found) == 1 else None
    if known is not None:
        return Trace(*known[:2], new_span(rng), known[2], has_fields=True)
    flags = SAMPLED if rng.random() < share else 0
    return Trace(b"%032x" % (rng.getrandbits(128) or 1), b"", new_span(rng), flags, has_fields=has_fields)


def with_trace(head: bytes, trace: Trace, span: bytes) -> bytes:
    """A head for a Backend, with `span` as the parent of what it does.

    A `tracestate` without a `traceparent` that could be read belongs to no trace (section 3.3.1.1): it is left out.
    """
    if trace.has_fields:
        head = (_FIELDS if trace.parent else _ALL_FIELDS).sub(b"", head)
    return b"%btraceparent: 00-%b-%b-%02x\r\n\r\n" % (head[:-2], trace.trace_id, span, trace.flags)


def trace_id_of(head: bytes) -> bytes:
    """The id of the trace that a head names; empty where it names none."""
    match = _FIELD.search(head)
    known = parse(match[1].rstrip(b" \t")) if match is not None else None
    return known[0] if known is not None else b""
