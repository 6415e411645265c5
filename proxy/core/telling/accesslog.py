"""What the access log says of one request: its fields, and the lines that are made of them.

Pure: `dataplane.exchange` fills a Record while a request runs, `dataplane.logfile` writes the line. Response flags are
Envoy's letters (%RESPONSE_FLAGS%), so that those who know them need not learn new ones.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from functools import lru_cache
from string import Formatter
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from proxy.core.requests.retry import Outcome
from proxy.core.settings import AccessLogSettings
from proxy.core.wire.http1 import RequestHead
from proxy.core.wire.tracing import Trace, trace_id_of
from proxy.errors import ErrorKind

FLAGS: dict[ErrorKind, str] = {
    ErrorKind.DNS_ERROR: "DF",
    ErrorKind.DESTINATION_NOT_FOUND: "NR",
    ErrorKind.DESTINATION_UNAVAILABLE: "UH",
    ErrorKind.CONNECTION_REFUSED: "UF",
    ErrorKind.CONNECTION_TIMEOUT: "UF",
    ErrorKind.TLS_PROTOCOL_ERROR: "UF",
    ErrorKind.TLS_CERTIFICATE_ERROR: "UF",
    ErrorKind.TLS_ALERT_RECEIVED: "UF",
    ErrorKind.CONNECTION_TERMINATED: "UC",
    ErrorKind.HTTP_RESPONSE_INCOMPLETE: "UC",
    ErrorKind.CONNECTION_READ_TIMEOUT: "SI",
    ErrorKind.CONNECTION_WRITE_TIMEOUT: "SI",
    ErrorKind.HTTP_RESPONSE_TIMEOUT: "UT",
    ErrorKind.CONNECTION_LIMIT_REACHED: "UO",
    ErrorKind.HTTP_REQUEST_ERROR: "DPE",
    ErrorKind.HTTP_REQUEST_DENIED: "UAEX",
    ErrorKind.HTTP_PROTOCOL_ERROR: "UPE",
    ErrorKind.HTTP_RESPONSE_HEADER_SECTION_SIZE: "UPE",
    ErrorKind.HTTP_UPGRADE_FAILED: "UPE",
    ErrorKind.PROXY_INTERNAL_RESPONSE: "LR",
    ErrorKind.PROXY_INTERNAL_ERROR: "LR",
    ErrorKind.PROXY_LOOP_DETECTED: "LR",
}
CLIENT_LEFT = "DC"
"""The client went before its answer was whole."""
GIVEN_UP = "client_left"
"""The result of an Attempt whose client went."""
RETRIES_EXHAUSTED = "URX"
STOOD_IN = "DG"
"""Something else stood in for the Pool: another one, a kept answer or a fixed one."""
RATE_LIMITED = "RL"
LOST_RACE = "lost_race"
"""The result of an Attempt beside which another one answered first."""
EVERYTHING = "*"
"""In `redact`: the whole query."""
REDACTED = b"REDACTED"

_USER_AGENT = re.compile(rb"\r\nuser-agent:[ \t]*([^\r]*)", re.IGNORECASE)
_REFERER = re.compile(rb"\r\nreferer:[ \t]*([^\r]*)", re.IGNORECASE)


class Tried(NamedTuple):
    """One Attempt. Times in seconds."""

    backend: str
    total: float
    connect: float
    """Until the request was written; 0 on a connection that was kept."""
    first_byte: float
    """From then until the answer could be judged, or failed."""
    outcome: str
    """The answer's status, the kind of failure, or `client_left`."""
    sent: int
    """Bytes of the request that were written, or handed to the transport."""
    began: float = 0.0
    """From the request's beginning to the Attempt's."""
    span: bytes = b""
    """The Attempt's id in the request's trace, where a Backend was told it."""


class Record:
    """What is noted of one request while it runs."""

    __slots__ = (
        "_judged_at",
        "_sent_at",
        "began",
        "pool",
        "received",
        "route",
        "sent",
        "span",
        "trace",
        "tried",
        "wait",
    )

    def __init__(self, began: float, trace: Trace | None = None) -> None:
        self.began = began
        self.trace = trace
        self.span = b""
        """Of the Attempt under way."""
        self.route = self.pool = ""
        """Where it had come to when it was refused."""
        self.received = 0
        self.tried: tuple[Tried, ...] = ()
        self.wait = 0.0
        """Seconds before the first Attempt: what limits and holding cost."""
        self.sent = 0
        self._sent_at = self._judged_at = 0.0

    def __repr__(self) -> str:
        return f"<Record {len(self.tried)} tried>"

    def send(self, size: int, now: float, span: bytes = b"") -> None:
        """The request's head, `size` bytes with what was there of its body, goes out, under this id in the trace."""
        self.sent = size
        self.span = span
        self._sent_at = now

    @property
    def sending(self) -> tuple[int, float, bytes]:
        """What `send` was told last."""
        return self.sent, self._sent_at, self.span

    def judge(self, now: float) -> None:
        """The answer can be judged."""
        self._judged_at = now

    def end(self, backend: str, started: float, result: str, now: float) -> None:
        """An Attempt that began at `started` has ended."""
        if not self.tried:
            self.wait = started - self.began
        sent_at, judged_at = self._sent_at or now, self._judged_at or now
        times = (now - started, sent_at - started, judged_at - sent_at)
        one = Tried(backend, *times, result, self.sent, started - self.began, self.span)
        self.tried = (*self.tried, one)
        self.sent = 0
        self.span = b""
        self._sent_at = self._judged_at = 0.0


def result_of(outcome: Outcome) -> str:
    """An Attempt's Outcome in a word."""
    return str(outcome.status) if outcome.kind is None else outcome.kind.value


class Entry(NamedTuple):
    """One request as the log tells it."""

    at: float
    """Seconds since 1970, when it began."""
    client: str
    request: RequestHead | None
    """None where its head could not be read."""
    status: int
    """0: the client left before one was sent."""
    received: int
    """Bytes of its body."""
    sent: int
    """Bytes of the answer's body."""
    route: str
    pool: str
    record: Record
    total: float
    """Seconds."""
    flags: str = ""
    executed: str = ""
    """`no` or `unknown`, where a write failed."""


def flags_of(kind: ErrorKind | None, *, exhausted: bool = False) -> str:
    """The flags of a request that ended so."""
    flags = [FLAGS[kind]] if kind is not None else []
    return ",".join([*flags, RETRIES_EXHAUSTED] if exhausted else flags)


def redact(target: bytes, names: Collection[str]) -> bytes:
    """The target, the values of these query parameters taken out; `*`: the query as a whole."""
    path, mark, query = target.partition(b"?")
    if not names or not query:
        return target
    if EVERYTHING in names:
        return path + mark + REDACTED
    return path + mark + b"&".join(_redact_one(pair, names) for pair in query.split(b"&"))


def _redact_one(pair: bytes, names: Collection[str]) -> bytes:
    """Names count as a Backend reads them, percent signs decoded. Some Backends end a parameter at a semicolon, too."""
    shown: list[bytes] = []
    for part in pair.split(b";"):
        name, equals, _ = part.partition(b"=")
        if equals and unquote_to_bytes(name).decode("latin-1").lower() in names:
            # What follows may belong to it.
            return b";".join((*shown, name + equals + REDACTED))
        shown.append(part)
    return pair


# Fields

_ORDINARY = bytes(byte for byte in range(0x20, 0x7F) if byte not in b'"\\')
"""What stands for itself in a JSON string."""
_ATTEMPT = b'{"backend":"%b","ms":%.3f,"outcome":"%b","sent":%d}'
_JSON = (
    b'{"time":"%b.%03dZ","client":"%b","method":"%b","host":"%b","target":"%b","protocol":"%b","status":%d,'
    b'"bytes_in":%d,"bytes_out":%d,"route":"%b","pool":"%b","attempts":[%b],"flags":"%b","executed":"%b",'
    b'"wait_ms":%.3f,"connect_ms":%.3f,"first_byte_ms":%.3f,"total_ms":%.3f,"request_id":"%b",'
    b'"trace_id":"%b","user_agent":"%b"}\n'
)
"""One format for all: half the cost of joining texts (3 µs a line)."""
NOT_TRIED = Tried("", 0.0, 0.0, 0.0, "", 0)


def _text(value: bytes | str) -> str:
    """As text that can't break a line or a quoted string."""
    text = value if isinstance(value, str) else value.decode("latin-1")
    return text if text.isprintable() and '"' not in text and "\\" not in text else json.dumps(text)[1:-1]


def _field(pattern: re.Pattern[bytes], request: RequestHead | None) -> bytes:
    found = pattern.search(request.head) if request is not None else None
    return found[1].rstrip(b" \t") if found is not None else b""


def _trace_id(entry: Entry) -> bytes:
    """Of the trace that the request is part of, whether or not we have a part in it."""
    if entry.record.trace is not None:
        return entry.record.trace.trace_id
    return trace_id_of(entry.request.head) if entry.request is not None else b""


def _last(entry: Entry) -> Tried | None:
    return entry.record.tried[-1] if entry.record.tried else None


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.3f}"


def _quotable(value: bytes) -> bytes:
    """For a string in JSON; nearly all values stand for themselves."""
    return json.dumps(value.decode("latin-1"))[1:-1].encode()


@lru_cache(maxsize=4096)
def _name(name: str) -> bytes:
    """A name of the config's, for a string in JSON."""
    return json.dumps(name)[1:-1].encode()


def _attempt(one: Tried) -> bytes:
    """An Attempt as JSON."""
    return _ATTEMPT % (_name(one.backend), one.total * 1000, one.outcome.encode(), one.sent)


def _attempts(entry: Entry) -> str:
    return b",".join(map(_attempt, entry.record.tried)).decode()


class Lines:
    """Makes lines as `settings` say. Keeps the text of the second that it was last asked for."""

    __slots__ = ("_clf", "_iso", "_make", "_redact", "_second", "_template")

    def __init__(self, settings: AccessLogSettings) -> None:
        self._redact = frozenset(name.lower() for name in settings.redact)
        self._second = -1
        self._iso = b""
        self._clf = ""
        self._template = TEMPLATES.get(settings.format, settings.format)
        self._make = self._json if settings.format == "json" else self._from_template

    def line(self, entry: Entry) -> bytes:
        """One line, with its end."""
        second = int(entry.at)
        if second != self._second:
            moment = datetime.fromtimestamp(second, UTC)
            self._second = second
            self._iso = moment.strftime("%Y-%m-%dT%H:%M:%S").encode()
            self._clf = moment.strftime("%d/%b/%Y:%H:%M:%S +0000")
        return self._make(entry)

    def _time(self, entry: Entry) -> str:
        return f"{self._iso.decode()}.{int(entry.at * 1000) % 1000:03d}Z"

    def _target(self, entry: Entry) -> str:
        target = entry.request.target if entry.request is not None else b""
        return _text(redact(target, self._redact) if self._redact else target)

    def _json(self, entry: Entry) -> bytes:
        request, tried = entry.request, entry.record.tried
        method = host = target = request_id = protocol = agent = b""
        if request is not None:
            method, host, target, request_id = request.method, request.authority, request.target, request.request_id
            protocol = b"HTTP/1.1" if request.minor else b"HTTP/1.0"
            agent = _field(_USER_AGENT, request)
            if self._redact:
                target = redact(target, self._redact)
            if b"".join((host, target, request_id, agent)).translate(None, _ORDINARY):
                host, target, request_id, agent = map(_quotable, (host, target, request_id, agent))
        last = tried[-1] if tried else NOT_TRIED
        one = _attempt(last) if len(tried) == 1 else b",".join(map(_attempt, tried))
        return _JSON % (
            self._iso,
            int(entry.at * 1000) % 1000,
            entry.client.encode(),
            method,
            host,
            target,
            protocol,
            entry.status,
            entry.received,
            entry.sent,
            _name(entry.route),
            _name(entry.pool),
            one,
            entry.flags.encode(),
            entry.executed.encode(),
            entry.record.wait * 1000,
            last.connect * 1000,
            last.first_byte * 1000,
            entry.total * 1000,
            request_id,
            _trace_id(entry),
            agent,
        )

    def _from_template(self, entry: Entry) -> bytes:
        values = {name: make(entry) or "-" for name, make in FIELDS.items()}
        values |= {"time": self._time(entry), "clf_time": self._clf, "target": self._target(entry) or "-"}
        referer = redact(_field(_REFERER, entry.request), self._redact)
        line = self._template.format_map(values | {"referer": _text(referer) or "-"})
        return line.encode() + b"\n"


FIELDS: dict[str, Callable[[Entry], str]] = {
    "client": lambda entry: entry.client,
    "method": lambda entry: _text(entry.request.method) if entry.request is not None else "",
    "host": lambda entry: _text(entry.request.authority) if entry.request is not None else "",
    "protocol": lambda entry: f"HTTP/1.{entry.request.minor}" if entry.request is not None else "",
    "status": lambda entry: str(entry.status),
    "bytes_in": lambda entry: str(entry.received),
    "bytes_out": lambda entry: str(entry.sent),
    "route": lambda entry: _text(entry.route),
    "pool": lambda entry: _text(entry.pool),
    "backend": lambda entry: _text(last.backend) if (last := _last(entry)) is not None else "",
    "attempts": lambda entry: f"[{_attempts(entry)}]",
    "flags": lambda entry: entry.flags,
    "executed": lambda entry: entry.executed,
    "wait_ms": lambda entry: _ms(entry.record.wait),
    "connect_ms": lambda entry: _ms(last.connect if (last := _last(entry)) is not None else 0.0),
    "first_byte_ms": lambda entry: _ms(last.first_byte if (last := _last(entry)) is not None else 0.0),
    "total_ms": lambda entry: _ms(entry.total),
    "request_id": lambda entry: _text(entry.request.request_id) if entry.request is not None else "",
    "trace_id": lambda entry: _trace_id(entry).decode(),
    "user_agent": lambda entry: _text(_field(_USER_AGENT, entry.request)),
}
"""What a template may name, besides `time`, `clf_time`, `target` and `referer`."""
NAMES = frozenset((*FIELDS, "time", "clf_time", "target", "referer"))
TEMPLATES = {
    "combined": '{client} - - [{clf_time}] "{method} {target} {protocol}" {status} {bytes_out}'
    ' "{referer}" "{user_agent}"'
}
"""Formats that have a name, besides `json`."""


def fault_of(template: str) -> str | None:
    """What is wrong with a template; None if it can be used."""
    try:
        parts = list(Formatter().parse(template))
    except ValueError as error:
        return str(error)
    named = [(name, spec, conversion) for _, name, spec, conversion in parts if name is not None]
    for name, spec, conversion in named:
        if name not in NAMES:
            return f"there is no field {name!r}; there are {', '.join(sorted(NAMES))}"
        if spec or conversion:
            return f"a field is named and nothing more: {{{name}}}"
    return None if named else "it names no field in braces, such as {status}"
