"""Does the `tracing` block fit together. Called by `checks`."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec

from proxy.config.mistakes import Finding
from proxy.config.reading import Reading

EXPORTER = "opentelemetry.exporter.otlp.proto.http"
FOR_EXPORT = ("service", "buffer")


def tracing(reading: Reading) -> Iterator[Finding]:
    """Find what does not fit together."""
    block = reading.config.tracing
    if block is None or not reading.is_sure("tracing", "export"):
        return
    if not block.export:
        for key in FOR_EXPORT:
            if reading.has("tracing", key):
                yield Finding(("tracing", key), "does nothing without 'tracing.export'", at_key=True)
    elif not _is_installed(EXPORTER):
        message = "needs the extra 'otel', which is not installed: pip install 'failover-proxy[otel]'"
        yield Finding(("tracing", "export"), message)


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False
