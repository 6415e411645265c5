"""What a worker without a supervisor and the supervisor that takes over from the dead one say to each other.

The worker listens on an abstract Unix socket whose name says where it serves. A supervisor that connects gets an Offer,
together with the worker's listening sockets, and Words every second; it sends an Order once its own workers serve. One
line of JSON each, because the two may be of different versions. Who may connect, and how, is the planes' matter.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar
from zlib import crc32

from proxy.core.messages import Report
from proxy.core.portable import dump, load

PREFIX = "failover-proxy/orphan/"
"""Of the names of the sockets in the abstract namespace."""
MARKS = 8
"""Listeners that a name tells of; a longer one would not fit (unix(7): 108 bytes)."""
LINE_MAX = 16 * 1024 * 1024
"""Bytes of a line: a Report of ten thousand routes is far below."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Offer:
    """A worker's first words."""

    pid: int
    sockets: int
    """How many listening sockets come with the first byte."""


@dataclass(frozen=True, slots=True)
class Word:
    """What a worker has counted, once a second and at its end."""

    report: Report


@dataclass(frozen=True, slots=True)
class Order:
    """Take nothing new, finish what runs within so many seconds, end; or something less."""

    drain: float | None
    """None: go on. A worker of an older version does not understand that, says so, and goes on."""
    closes_idle: bool = False
    """Whether idle connections are closed at once, and not after one more request or `client_idle`."""
    reopens_logs: bool = False
    """The access log's file may have been renamed."""


def mark(bound: Any) -> str:
    """A short sign of an address as `getsockname` gives it. Two may share one; their sockets tell them apart."""
    text = bound if isinstance(bound, str) else f"{bound[0]}:{bound[1]}"
    return f"{crc32(text.encode(errors='surrogateescape')):08x}"


def name_of(pid: int, salt: str, marks: Iterable[str]) -> str:
    """The name under which a worker waits; `salt`, so that nobody can take it beforehand."""
    return f"{PREFIX}{pid}/{salt}/{''.join(islice(marks, MARKS))}"


def read_name(name: str) -> tuple[int, frozenset[str]] | None:
    """Process id and marks; None from a name that is none of ours."""
    pid, _, rest = name.removeprefix(PREFIX).partition("/")
    if not name.startswith(PREFIX) or not pid.isdecimal():
        return None
    marks = rest.rpartition("/")[2]
    return int(pid), frozenset(marks[at : at + 8] for at in range(0, len(marks), 8))


def to_line(value: Offer | Word | Order) -> bytes:
    """One value as a line."""
    return json.dumps(dump(value), separators=(",", ":")).encode() + b"\n"


def from_line(kind: type[T], line: bytes) -> T:
    """The value that a line holds. Raises ValueError."""
    try:
        document: Any = json.loads(line)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    return load(kind, document)
