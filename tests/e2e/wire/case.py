"""What a case of the corpus is: bytes in from the client, what the backend must have received, what it answers, what the
client must have got. Data only; `stage` plays it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

HOST = b"a.example"
VIA = b"Via: 1.1 failover-proxy"
CLIENT = b"127.0.0.1"
ID = b"X-Request-Id: *"
"""How an id that the proxy made is written here."""

_MADE_ID = re.compile(rb"X-Request-Id: [0-9a-f]{32}\r\n")
_TRANSFER_FIELDS = (b"content-length:", b"transfer-encoding:")


class Act(Enum):
    """What an end of a connection does beside sending bytes and waiting for some."""

    WHOLE = "wait until the whole request has come"
    HEARD = "wait until the head that was sent has been heard on the other side of the proxy"
    ANSWERED = "wait until the client has heard its whole answer"
    END = "send no more, but go on listening"
    CLOSE = "close"
    RESET = "close with a reset"
    GONE = "wait until the other end has closed"


@dataclass(frozen=True, slots=True)
class Await:
    """Wait until these bytes have come."""

    marker: bytes


Step = bytes | Await | Act


class End(Enum):
    """What becomes of the client's connection."""

    KEPT = "kept: the next request on it is answered"
    CLOSED = "closed after a whole answer, or without any"
    BROKEN = "closed within the answer, so that the break shows"


@dataclass(frozen=True, slots=True)
class Sent:
    """One request as the backend must have received it."""

    head: bytes
    body: bytes = b""
    trailer: tuple[tuple[bytes, bytes], ...] = ()
    is_whole: bool = True
    """Whether all of it must have come. If not, `body` is how it must have begun, and the connection was closed."""


class Unsent(Enum):
    """Where no whole request may reach the backend."""

    NOTHING = "not one byte"
    AT_MOST_A_PART = "a request whose end never came, since what is wrong came after its beginning"


NOTHING = Unsent.NOTHING
AT_MOST_A_PART = Unsent.AT_MOST_A_PART


@dataclass(frozen=True, slots=True)
class Got:
    """What the client must have got. None for what this case says nothing of."""

    status: int = 200
    """0: no answer at all."""
    body: bytes | None = b"ok"
    end: End = End.KEPT
    head: bytes | None = None
    """All of it, to the byte, where the case is about it."""
    trailer: tuple[tuple[bytes, bytes], ...] = ()
    interims: tuple[bytes, ...] | None = ()
    """The 1xx heads before it, to the byte."""
    names: tuple[bytes, ...] = ()
    """Lines that the head must have."""


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
ANSWERED: tuple[Step, ...] = (Act.WHOLE, OK)


@dataclass(frozen=True, slots=True)
class Case:
    """One case. `answer_whole`: what the backend sends must come in one piece, since the case is about just that."""

    name: str
    section: str
    client: tuple[Step, ...]
    received: Sent | Unsent
    got: Got = Got()
    backend: tuple[Step, ...] = ANSWERED
    answer_whole: bool = False
    is_upstream_kept: bool | None = None
    """Whether the connection to the backend serves again; None: not looked at."""

    def __repr__(self) -> str:
        return f"<Case {self.name}>"

    @property
    def method(self) -> bytes:
        first = next((step for step in self.client if isinstance(step, bytes)), b"")
        return first.partition(b" ")[0]

    @property
    def may_be_followed(self) -> bool:
        """Whether another request may come right behind this one."""
        return len(self.client) == 1 and self.got.end is End.KEPT and Act.ANSWERED not in self.backend


def lines(*parts: bytes) -> bytes:
    """A head of these lines."""
    return b"\r\n".join([*parts, b"", b""])


def get(*fields: bytes, line: bytes = b"GET / HTTP/1.1", host: bytes = HOST) -> bytes:
    """A request's head as a client sends it: Host, then these fields."""
    return lines(line, b"Host: " + host, *fields)


def post(*fields: bytes, host: bytes = HOST) -> bytes:
    return get(*fields, line=b"POST / HTTP/1.1", host=host)


def ours(host: bytes = HOST, client: bytes = CLIENT) -> tuple[bytes, ...]:
    """The lines that the proxy adds for a client that it does not trust."""
    return (
        VIA,
        b"X-Forwarded-For: " + client,
        b"X-Forwarded-Proto: http",
        b"X-Forwarded-Host: " + host,
        b'Forwarded: for=%b;proto=http;host="%b"' % (client, host),
    )


def onward(*kept: bytes, line: bytes = b"GET / HTTP/1.1", host: bytes = HOST, last: tuple[bytes, ...] = ()) -> bytes:
    """A head as the backend gets it: what is kept of the client's, then the proxy's own, then `last` (framing)."""
    return lines(line, b"Host: " + host, *kept, *ours(host), ID, *last)


def back(*kept: bytes, line: bytes = b"HTTP/1.1 200 OK", last: tuple[bytes, ...] = ()) -> bytes:
    """A head as the client gets it: what is kept of the backend's, then the proxy's own, then `last`."""
    return lines(line, *kept, VIA, ID, *last)


def without_made_id(head: bytes) -> bytes:
    """The same head with the id that the proxy made written as `ID`."""
    return _MADE_ID.sub(ID + b"\r\n", head)


def refused(
    name: str, section: str, sent: bytes, status: int = 400, *, received: Sent | Unsent = NOTHING, **changes: object
) -> Case:
    """A request that is answered with an error of ours, after which the connection is closed."""
    return Case(name, section, (sent,), received, Got(status, None, End.CLOSED), **changes)


def passed(name: str, section: str, sent: bytes, received: bytes, got: Got = Got(), **changes: object) -> Case:
    """A request without a body that is passed on with this head."""
    return Case(name, section, (sent,), Sent(received), got, **changes)


def answered(
    name: str, section: str, answer: bytes, got: Got, *after: Step, request: bytes = b"", **changes: object
) -> Case:
    """A case about what the backend answers: to a GET, unless `request` is the head of another."""
    request = request or get()
    line, _, kept = request.partition(b"\r\nHost: a.example\r\n")
    fields = [field for field in kept.split(b"\r\n")[:-2] if not field.startswith(b"Connection:")]
    received = Sent(onward(*fields, line=line.replace(b"HTTP/1.0", b"HTTP/1.1")))
    return Case(name, section, (request,), received, got, (Act.WHOLE, answer, *after), **changes)
