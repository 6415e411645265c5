"""Spans on their way to an OpenTelemetry collector: bounded, sent by a thread of their own.

A collector that is slow or gone never stops a request: what finds no room is dropped and counted. `otlp`, which needs
the extra `[otel]`, is loaded by that thread, and only where spans are exported. Called by `recording` and `worker`.
"""

from __future__ import annotations

import logging
import threading
from importlib import import_module
from queue import Empty, SimpleQueue
from typing import Protocol, cast

from proxy.core.telling.accesslog import Entry
from proxy.core.wire.tracing import TracingPolicy

log = logging.getLogger("proxy.dataplane.spans")

BATCH = 256
"""Requests whose spans go in one message at most."""
EVERY = 0.5
"""Seconds for which a message waits for more."""
LAST_WORD = 2.0
"""Seconds that the last spans have to be sent when the worker ends."""


class Exporter(Protocol):
    """Sends spans."""

    def export(self, entries: list[Entry]) -> str:
        """Send the spans of these requests; what went wrong, empty if nothing."""

    def close(self) -> None:
        """Send no more; what is under way is cut short."""


class SpanExport:
    """Takes in Entries of sampled requests. All methods are for the loop's thread and never wait, except `close`."""

    def __init__(self, policy: TracingPolicy, exported: int = 0, dropped: int = 0) -> None:
        self.policy = policy
        self._orders: SimpleQueue[Entry | None] = SimpleQueue()
        self._refused = dropped
        self._exporter: Exporter | None = None
        # The thread's
        self.exported = exported
        """Requests whose spans the collector has taken."""
        self._lost = 0
        self._is_failing = False
        self._thread = threading.Thread(target=self._send_all, name="spans", daemon=True)
        self._thread.start()

    def __repr__(self) -> str:
        return f"<SpanExport {self.policy.export} {self._orders.qsize()} waiting>"

    @property
    def dropped(self) -> int:
        """Requests whose spans were lost: no room, or nobody took them."""
        return self._refused + self._lost

    def counts(self) -> dict[str, int]:
        """What a Report says."""
        return {"exported": self.exported, "dropped": self.dropped}

    def add(self, entry: Entry) -> None:
        """A sampled request has ended."""
        if self._orders.qsize() >= self.policy.buffer:
            self._refused += 1
        else:
            self._orders.put(entry)

    def finish(self) -> None:
        """Take no more; what is left is sent while others go on."""
        self._orders.put(None)

    def close(self) -> None:
        """Send what is left, within bounds."""
        self.finish()
        self._thread.join(LAST_WORD)
        if self._thread.is_alive() and self._exporter is not None:
            self._exporter.close()

    # The thread

    def _send_all(self) -> None:
        try:
            self._exporter = _exporter(self.policy)
        except Exception:
            # Without this its queue would be full for ever, and nobody would know why.
            log.exception("spans can't be exported")
        is_over = False
        while not is_over:
            batch, is_over = self._next()
            if batch:
                self._send(batch)
        if self._exporter is not None:
            self._exporter.close()

    def _next(self) -> tuple[list[Entry], bool]:
        """Some Entries, and whether they are the last."""
        batch: list[Entry] = []
        try:
            entry = self._orders.get()
            while entry is not None:
                batch.append(entry)
                if len(batch) >= BATCH:
                    return batch, False
                entry = self._orders.get(timeout=EVERY)
        except Empty:
            return batch, False
        return batch, True

    def _send(self, batch: list[Entry]) -> None:
        problem = self._exporter.export(batch) if self._exporter is not None else "there is no exporter"
        if problem:
            self._lost += len(batch)
        else:
            self.exported += len(batch)
        if bool(problem) is not self._is_failing:
            self._is_failing = bool(problem)
            fields = {"fields": {"url": self.policy.export, "problem": problem or "none"}}
            log.log(logging.WARNING if problem else logging.INFO, _words(problem), extra=fields)


def _words(problem: str) -> str:
    return "spans can't be sent: they are dropped" if problem else "spans are sent again"


def _exporter(policy: TracingPolicy) -> Exporter:
    return cast("Exporter", import_module("proxy.dataplane.otlp").OtlpExporter(policy))


def follow_spans(spans: SpanExport | None, policy: TracingPolicy | None) -> SpanExport | None:
    """The export as the Settings want it: the one that runs if nothing changed for it."""
    if spans is not None and spans.policy == policy:
        return spans
    exported, dropped = 0, 0
    if spans is not None:
        exported, dropped = spans.exported, spans.dropped
        spans.finish()
    return SpanExport(policy, exported, dropped) if policy is not None and policy.export else None
