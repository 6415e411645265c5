"""Requests as OpenTelemetry spans, sent by OTLP over HTTP. Needs the extra `[otel]`.

One span for each request, and one below it for each Attempt, named and attributed as the semantic conventions for HTTP
say. Nothing of OpenTelemetry runs while a request does: spans are made of Entries afterwards, in the thread of `spans`,
which alone loads this module.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from secrets import token_hex

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from proxy import __version__
from proxy.core.telling.accesslog import Entry, Tried
from proxy.core.wire.tracing import TracingPolicy
from proxy.dataplane.stats import METHODS

SECONDS = 5
"""For one message, with what the exporter itself tries again."""
NS = 1_000_000_000
FIRST_FAILURE = 500
"""The lowest status that makes a span one of an error: what is less is the client's own mistake."""
SCOPE = InstrumentationScope("failover-proxy", __version__)

Attributes = dict[str, str | int]


class OtlpExporter:
    """Sends spans to one collector."""

    def __init__(self, policy: TracingPolicy) -> None:
        # It says itself, with a traceback, what `spans` says once.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        self._resource = Resource.create({"service.name": policy.service, "service.version": __version__})
        self._exporter = OTLPSpanExporter(endpoint=policy.export, timeout=SECONDS)

    def export(self, entries: list[Entry]) -> str:
        """Send the spans of these requests; what went wrong, empty if nothing."""
        try:
            result = self._exporter.export([span for entry in entries for span in self._spans(entry)])
        except Exception as error:  # noqa: BLE001 - whatever it is, requests go on, and the log names it
            return f"{type(error).__name__}: {error}"
        return "" if result is SpanExportResult.SUCCESS else "the collector did not take them"

    def close(self) -> None:
        """Send no more."""
        self._exporter.shutdown()  # type: ignore[no-untyped-call]

    def _spans(self, entry: Entry) -> Iterator[ReadableSpan]:
        trace = entry.record.trace
        if trace is None:
            return
        whole = _context(trace.trace_id, trace.span)
        parent = _context(trace.trace_id, trace.parent, is_remote=True) if trace.parent else None
        failed = entry.status >= FIRST_FAILURE or entry.status == 0
        yield self._span(
            _name(entry),
            whole,
            parent,
            kind=SpanKind.SERVER,
            attributes=_of_request(entry),
            times=(entry.at, entry.total),
            failed=failed,
        )
        for number, tried in enumerate(entry.record.tried):
            yield self._span(
                f"{_method(entry)} {entry.pool}/{tried.backend}",
                _context(trace.trace_id, tried.span or token_hex(8).encode()),
                whole,
                kind=SpanKind.CLIENT,
                attributes=_of_attempt(entry, tried, number),
                times=(entry.at + tried.began, tried.total),
                failed=not tried.outcome.isdigit() or int(tried.outcome) >= FIRST_FAILURE,
            )

    def _span(
        self,
        name: str,
        context: SpanContext,
        parent: SpanContext | None,
        *,
        kind: SpanKind,
        attributes: Attributes,
        times: tuple[float, float],
        failed: bool,
    ) -> ReadableSpan:
        began, seconds = times
        return ReadableSpan(
            name=name,
            context=context,
            parent=parent,
            resource=self._resource,
            attributes=attributes,
            kind=kind,
            status=Status(StatusCode.ERROR) if failed else Status(StatusCode.UNSET),
            start_time=int(began * NS),
            end_time=int((began + seconds) * NS),
            instrumentation_scope=SCOPE,
        )


def _context(trace_id: bytes, span: bytes, *, is_remote: bool = False) -> SpanContext:
    return SpanContext(
        int(trace_id, 16), int(span, 16), is_remote=is_remote, trace_flags=TraceFlags(TraceFlags.SAMPLED)
    )


def _method(entry: Entry) -> str:
    """Methods that a client made up share one name, as they share a label."""
    return METHODS.get(entry.request.method, "OTHER") if entry.request is not None else "OTHER"


def _name(entry: Entry) -> str:
    return f"{_method(entry)} {entry.route}".rstrip()


def _of_request(entry: Entry) -> Attributes:
    found: Attributes = {
        "http.request.method": _method(entry),
        "http.response.status_code": entry.status,
        "http.request.body.size": entry.received,
        "http.response.body.size": entry.sent,
        "client.address": entry.client,
        "failover.route": entry.route,
        "failover.pool": entry.pool,
        "failover.attempts": len(entry.record.tried),
        "failover.flags": entry.flags,
        "failover.executed": entry.executed,
    }
    if entry.request is not None:
        # Not the query: it may hold what the access log is told to leave out.
        found["url.path"] = entry.request.path.decode("latin-1")
        found["server.address"] = entry.request.authority.decode("latin-1")
        found["http.request.header.x-request-id"] = entry.request.request_id.decode("latin-1")
    return {name: value for name, value in found.items() if value != ""}


def _of_attempt(entry: Entry, tried: Tried, number: int) -> Attributes:
    found: Attributes = {
        "http.request.method": _method(entry),
        "failover.pool": entry.pool,
        "failover.backend": tried.backend,
        "failover.outcome": tried.outcome,
        "failover.sent": tried.sent,
    }
    if tried.outcome.isdigit():
        found["http.response.status_code"] = int(tried.outcome)
    else:
        found["error.type"] = tried.outcome
    if number:
        found["http.request.resend_count"] = number
    return found
