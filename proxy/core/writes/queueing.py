"""Writes that are accepted for later: what their client is told, and when they are tried again. Store and forward.

A Route that is marked so (`on_unavailable: queue`) accepts a keyed write that no Backend can take. This file knows
nothing of stores and sockets; `ledger.queue` keeps what is accepted, `dataplane.delivery` delivers it.
"""

from __future__ import annotations

import base64
import enum
import json
from dataclasses import dataclass
from datetime import UTC, datetime

from proxy.core.settings import Limits
from proxy.core.wire.http1_answers import ResponseHead
from proxy.core.writes.idempotency import Kept

STATUS_PATH = "/.failover/writes/"
"""Before the token of an accepted write, its status URL."""
FIRST_WAIT = 0.5
LONGEST_WAIT = 15.0
"""Seconds between two tries of a write whose outcome is not known: it waits for one Backend."""
CHECKED = Limits(headers=1_000_000, header_bytes=1 << 30)


class QueuedState(enum.IntEnum):
    """What became of an accepted write."""

    PENDING = 0
    DELIVERED = 1
    FAILED = 2


@dataclass(frozen=True, slots=True)
class Parcel:
    """An accepted write, as it came."""

    request: bytes
    """Head and framed body."""
    client: str
    scheme: str
    route: str


@dataclass(frozen=True, slots=True)
class Queued:
    """What is known of an accepted write."""

    state: QueuedState
    accepted: float
    """Wall time."""
    tries: int
    may_be_executed: bool
    answer: Kept | None = None


def wait_after(tries: int) -> float:
    """Seconds before the next try, after so many."""
    return min(FIRST_WAIT * 2.0 ** min(tries, 16), LONGEST_WAIT)


def acceptance(token: str) -> tuple[bytes, bytes]:
    """Head and body of the answer 202."""
    url = STATUS_PATH + token
    body = _json({"state": "pending", "status_url": url})
    fields = [b"Location: " + url.encode(), b"Retry-After: 1"]
    return _head(b"202 Accepted", fields, body), body


def report(queued: Queued | None) -> tuple[bytes, bytes]:
    """Head and body of what the status URL answers."""
    if queued is None:
        body = _json({"title": "No such write was accepted, or it is forgotten", "status": 404})
        return _head(b"404 Not Found", [], body, b"application/problem+json"), body
    document = _document(queued)
    fields = [b"Retry-After: 1"] if queued.state is QueuedState.PENDING else []
    body = _json(document)
    return _head(b"200 OK", fields, body), body


def unknown() -> tuple[bytes, bytes]:
    """Head and body of what the status URL answers while the ledger fails."""
    body = _json({"title": "It can't be said now; ask again", "status": 503})
    return _head(b"503 Service Unavailable", [b"Retry-After: 1"], body, b"application/problem+json"), body


def _document(queued: Queued) -> dict[str, object]:
    accepted = datetime.fromtimestamp(queued.accepted, UTC).isoformat(timespec="milliseconds")
    document: dict[str, object] = {
        "state": queued.state.name.lower(),
        "accepted": accepted.replace("+00:00", "Z"),
        "tries": queued.tries,
    }
    if queued.state is QueuedState.DELIVERED:
        document["answer"] = None if queued.answer is None else _answer(queued.answer)
    else:
        document["executed"] = "unknown" if queued.may_be_executed else "no"
    return document


def _answer(kept: Kept) -> dict[str, object]:
    """The Backend's answer; its body as text where it is text."""
    lines = kept.head.split(b"\r\n")[1:-2]
    pairs = [line.partition(b":") for line in lines]
    document: dict[str, object] = {
        "status": ResponseHead(kept.head, CHECKED).status,
        "fields": [[name.decode("latin-1"), value.strip().decode("latin-1")] for name, _, value in pairs],
    }
    try:
        document["body"] = kept.body.decode()
    except UnicodeDecodeError:
        document["body_base64"] = base64.b64encode(kept.body).decode()
    return document


def _head(status: bytes, fields: list[bytes], body: bytes, kind: bytes = b"application/json") -> bytes:
    lines = [
        b"HTTP/1.1 " + status,
        b"Content-Type: " + kind,
        b"Cache-Control: no-store",
        *fields,
        b"Content-Length: %d" % len(body),
    ]
    return b"\r\n".join([*lines, b"", b""])


def _json(document: dict[str, object]) -> bytes:
    return json.dumps(document).encode()
