"""What is kept of each request while it runs, and who is told at its end: the access log, and the export of spans.

A worker has a Recorder where one of the two, or tracing, is configured; without one a request pays nothing for it.
`asking` begins a Record; `exchange` and `downstream` say how the request ended.
"""

from __future__ import annotations

import random
from time import monotonic, time
from typing import TYPE_CHECKING

from proxy.core.telling.accesslog import Entry, Record, flags_of
from proxy.core.wire.http1 import RequestHead
from proxy.core.wire.tracing import TracingPolicy, begin_trace
from proxy.dataplane.accesslog import AccessLog
from proxy.dataplane.spans import SpanExport
from proxy.errors import RequestError

if TYPE_CHECKING:
    from proxy.dataplane.clients.downstream import Downstream


class Recorder:
    """Begins Records, and hands on the Entries that become of them."""

    __slots__ = ("_log", "_rng", "_spans", "_tracing")

    def __init__(
        self, log: AccessLog | None, tracing: TracingPolicy | None, spans: SpanExport | None, rng: random.Random
    ) -> None:
        self._log = log
        self._tracing = tracing
        self._spans = spans
        self._rng = rng

    def __repr__(self) -> str:
        return f"<Recorder {self._log} {self._tracing} {self._spans}>"

    def begin(self, request: RequestHead, now: float) -> Record:
        """A request is about to be served."""
        if self._tracing is None:
            return Record(now)
        return Record(now, begin_trace(request.head, self._tracing.sample, self._rng))

    def note(self, entry: Entry) -> None:
        """A request has ended."""
        if self._log is not None:
            self._log.note(entry)
        trace = entry.record.trace
        if self._spans is not None and trace is not None and trace.is_sampled:
            self._spans.add(entry)

    def note_refusal(self, client: Downstream, request: RequestHead | None, error: RequestError) -> None:
        """A client's message was refused, whole or not."""
        now = monotonic()
        record = client.record or Record(now)
        total, flags = now - record.began, flags_of(error.kind)
        asked = (time() - total, client.client, request, error.status, record.received, 0, record.route, record.pool)
        self.note(Entry(*asked, record, total, flags))


def recorder_of(
    log: AccessLog | None, tracing: TracingPolicy | None, spans: SpanExport | None, rng: random.Random
) -> Recorder | None:
    """None where nobody wants to know."""
    return None if log is None and tracing is None else Recorder(log, tracing, spans, rng)
