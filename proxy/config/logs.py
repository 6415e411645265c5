"""The blocks of a config file that say what is told of each request: `access_log` and `tracing`. Part of `models`."""

from __future__ import annotations

from typing import Annotated

from proxy.config.mistakes import quoted
from proxy.config.names import FILE
from proxy.config.policies import Block
from proxy.config.quantities import Quantity, WrongValueError, share, size, text, whole
from proxy.core.settings import AccessLogSettings
from proxy.core.telling.accesslog import TEMPLATES, fault_of
from proxy.core.wire.tracing import TracingPolicy

ACCESS_LOG = AccessLogSettings("")
NAMED = ("json", *TEMPLATES)


def read_log_format(value: object) -> str:
    """`json`, `combined`, or a template."""
    if not isinstance(value, str):
        raise WrongValueError(
            f"expected json, combined or a template such as '{{method}} {{status}}', not {quoted(value)}"
        )
    if value in NAMED:
        return str(value)
    if not value.isprintable():
        raise WrongValueError("a template is one line of printable characters")
    fault = fault_of(value)
    if fault is not None:
        raise WrongValueError(f"not json, combined or a template that can be used: {fault}")
    return str(value)


LOG_FORMAT = Quantity(
    "`json`, `combined` or a template", read_log_format, {"type": "string", "pattern": r"^(json|combined|.*\{.*)$"}
)
PARAMETER = text("parameter's name", "a query parameter's name, or '*' for the whole query", r"\*|[^\s&=?#]+", "token")

TRACING = TracingPolicy()
COLLECTOR = text(
    "URL",
    "the URL of a collector, without a password",
    r"https?://[^\s/?#@]+[^\s?#@]*",
    "http://127.0.0.1:4318/v1/traces",
)
SERVICE = text("name", "a service's name", r"\S(?:.*\S)?", "failover-proxy")


class AccessLog(Block):
    """One line for each request, in a file. Just the path does."""

    path: Annotated[str, FILE]
    """A file, `stdout` or `stderr`; a relative path starts at the config file. USR1 opens it anew."""
    format: Annotated[str, LOG_FORMAT] = ACCESS_LOG.format
    """`json`, `combined` (as Apache and nginx write it), or a template: text with fields in braces."""
    sample: Annotated[float, share(0, 1)] = ACCESS_LOG.sample
    """The share of successful requests that get a line. What failed, was retried or refused always gets one."""
    redact: tuple[Annotated[str, PARAMETER], ...] = ACCESS_LOG.redact
    """Query parameters whose values are not written; `"*"`: no query is written at all."""
    buffer: Annotated[int, size(4096, 2**30)] = ACCESS_LOG.buffer
    """What may wait to be written, for each worker. Lines beyond are dropped, and counted."""


class Tracing(Block):
    """Take part in traces: `traceparent` goes on with a new parent, or is made. Without it, it passes untouched."""

    sample: Annotated[float, share(0, 1)] = TRACING.sample
    """The share of requests without a `traceparent` that are sampled. The others do as theirs says."""
    export: Annotated[str, COLLECTOR] = TRACING.export
    """Where spans of sampled requests are sent, as OTLP over HTTP. Needs the extra `[otel]`."""
    service: Annotated[str, SERVICE] = TRACING.service
    """The name under which they are sent."""
    buffer: Annotated[int, whole(1, 1_000_000)] = TRACING.buffer
    """Requests whose spans may wait to be sent, for each worker. More are dropped, and counted."""
