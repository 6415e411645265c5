"""Requests: what a client sends, what the Backend gets for it, and what two readers make of both.

Whatever the client sends: each connection to the Backend carries whole, well-formed requests and at most the beginning
of one more, which then is never finished; h11 and the strict reader see the same ones; they are those that the strict
reader sees in the client's own bytes; and each answer goes to the client in the order of the requests.
"""

from __future__ import annotations

import random
import re
from collections import Counter

from proxy.core.settings import Limits
from tests.dataplane.plane import Plane, Wire
from tests.fuzz.mutator import cut
from tests.fuzz.readers import Finding, Reading, h11_requests, strict_answers, strict_requests
from tests.fuzz.strict import Fields, MalformedError, Message, read_request

_ABSOLUTE = re.compile(rb"(?i:https?)://[^/?#]*(.*)", re.DOTALL)
_CHANGED = re.compile(
    rb"connection|keep-alive|proxy(?:-.*)?|te|trailer|transfer[-_]encoding|upgrade|content[-_]length|host|via|expect|max-forwards|"
    rb"x[-_]request[-_]id|forwarded|x[-_]forwarded[-_].*",
    re.DOTALL,
)
"""Fields that the proxy removes, changes or adds; how, the corpus says. All others must go on as they came."""
UNNAMEABLE = frozenset(
    b"authorization idempotency-key cookie set-cookie cache-control date content-type content-encoding location".split()
)
NARROW = Limits(request_line=60, headers=6, header_bytes=200, body=20)
"""Limits that many inputs reach."""
EXPIRIES = 4
"""Deadlines that follow one another at the most: of the head, the body, the answer, the last bytes."""


class RequestFuzz:
    """Plays inputs; `seen` counts what became of them."""

    def __init__(self) -> None:
        self._planes = (*[Plane()] * 7, Plane(limits=NARROW))
        self._plane = self._planes[0]
        self.seen: Counter[str] = Counter()

    def check(self, data: bytes, rng: random.Random) -> None:
        """Raises Finding."""
        plane = self._plane = rng.choice(self._planes)
        plane.begin_anew()
        client, backend = plane.client(), _Backend(plane)
        backend.serve()
        for piece in cut(data, rng):
            client.hear(piece)
            backend.serve()
        if rng.getrandbits(1):
            client.hear_end()
            backend.serve()
        for _ in range(EXPIRIES):
            plane.expire()
            backend.serve()
        check_end(plane, client)
        forwarded = [*backend.requests, *self._unfinished()]
        _judge_origin(data, forwarded)
        self.seen["forwarded"] += len(backend.requests)
        status = _judge_answers(bytes(client.written), backend.requests)
        self.seen[f"refused with {status}" if status else "not refused"] += 1

    def _unfinished(self) -> list[Reading]:
        """Compare what both readers see on each connection; the request that was begun and not finished, if any."""
        found = []
        for wire in self._plane.upstreams:
            data = bytes(wire.written)
            requests, rest = strict_requests(data)
            others = h11_requests(data)
            if requests != others:
                raise Finding(f"h11 reads {others!r}, the strict reader {requests!r}")
            unfinished = [one for one in requests if not one.is_whole]
            if (rest or unfinished) and not wire.is_closing():
                raise Finding(f"a connection with part of a request on it lives on: {data!r}")
            found += unfinished
        return found


class _Backend:
    """Answers each whole request with its number, so that its answer can be told from all others."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        self._read: dict[Wire, int] = {}
        self.requests: list[Reading] = []

    def serve(self) -> None:
        """Answer what has come, and what comes because of that."""
        plane = self._plane
        while True:
            if not plane.idle:
                plane.open_upstream()
            if not sum(self._answer(wire) for wire in plane.upstreams):
                return

    def _answer(self, wire: Wire) -> bool:
        begun = bytes(wire.written[self._read.get(wire, 0) :])
        if not begun or wire.is_closing():
            return False
        try:
            requests, rest = strict_requests(begun)
        except MalformedError as error:
            raise Finding(f"the strict reader can't read what we send upstream: {error}; {begun!r}") from None
        if len(requests) > 1 or (requests and requests[0].is_whole and rest):
            raise Finding(f"more than one request at a time on one connection: {begun!r}")
        if not requests or not requests[0].is_whole:
            return False
        self._read[wire] = len(wire.written)
        body = b"%d" % len(self.requests)
        self.requests += requests
        head = b"HTTP/1.1 200 OK\r\nX-Number: %b\r\nContent-Length: %d\r\n\r\n" % (body, len(body))
        wire.hear(head if requests[0].start[0] == b"HEAD" else head + body)
        return True


def check_end(plane: Plane, client: Wire) -> None:
    """Nothing is left of a client after every wait has run out."""
    if not client.is_closing():
        raise Finding("the client's connection outlives every deadline")
    if plane.worker.connections:
        raise Finding("a connection that is gone is still known")
    if plane.backend.in_flight:
        raise Finding("an Attempt was not settled")
    if plane.mistakes:
        raise Finding(f"a mistake of ours: {plane.mistakes!r}")


def _judge_origin(data: bytes, forwarded: list[Reading]) -> None:
    """What was forwarded is what the letter of the RFC finds in the client's own bytes."""
    rest = data
    for one in forwarded:
        message, rest = _next(rest, one)
        while message is not None and _is_answered_here(message) and message.start[:2] != one.start:
            message, rest = _next(rest, one)
        if message is not None:
            _compare(one, message)


def _next(rest: bytes, one: Reading) -> tuple[Message | None, bytes]:
    while rest.startswith(b"\r\n"):
        rest = rest[2:]
    try:
        message, rest = read_request(rest)
    except MalformedError as error:
        if not one.is_whole:
            return None, b""
        raise Finding(f"forwarded, though the strict reader refuses it: {error}; {one!r}") from None
    if message is None:
        raise Finding(f"forwarded, though its head has not come: {one!r}")
    return message, rest


def _is_answered_here(message: Message) -> bool:
    """OPTIONS that may go no further."""
    hops = [value for value in message.values(b"max-forwards") if value.isdigit()]
    return message.start[0] == b"OPTIONS" and any(int(value) == 0 for value in hops)


def _compare(one: Reading, origin: Message) -> None:
    method, target = origin.start[:2]
    match = _ABSOLUTE.fullmatch(target)
    if match is not None:
        target = match[1] if match[1].startswith(b"/") else b"/" + match[1]
        target = b"*" if method == b"OPTIONS" and not match[1] else target
    expected = (method, target, origin.values(b"host") or [b"localhost"], _end_to_end(origin.fields))
    actual = (*one.start, one.values(b"host"), _end_to_end(one.fields))
    if expected != actual:
        raise Finding(f"{expected!r} became {actual!r}")
    trailer = tuple((name.lower(), value) for name, value in origin.trailer)
    if one.is_whole and (origin.body, trailer, origin.is_whole) != (one.body, one.trailer, True):
        raise Finding(f"the body {origin.body!r} {trailer!r} became {one.body!r} {one.trailer!r}")
    if not origin.body.startswith(one.body):
        raise Finding(f"the body {origin.body!r} became {one.body!r}")


def _end_to_end(fields: Fields) -> list[tuple[bytes, bytes]]:
    """The fields that go on untouched."""
    lowered = [(name.lower(), value) for name, value in fields]
    options = {
        one.strip(b" \t").lower() for name, value in lowered if name == b"connection" for one in value.split(b",")
    }
    return [
        (name, value)
        for name, value in lowered
        if not _CHANGED.fullmatch(name) and (name in UNNAMEABLE or name not in options)
    ]


def _judge_answers(data: bytes, requests: list[Reading]) -> int:
    """Each request has its own answer, in order; a refusal comes last: its status, or 0."""
    number = 0
    while data:
        method = requests[number].start[0] if number < len(requests) else b"GET"
        answer = strict_answers(data, method, "eof")
        if answer.final is None or not answer.final.is_whole:
            answer = strict_answers(data, b"HEAD", "eof")
        final, data = answer.final, answer.rest
        if final is None or not final.is_whole:
            raise Finding(f"no whole answer: {final!r}")
        if final.values(b"x-number"):
            body = b"" if method == b"HEAD" else b"%d" % number
            if (final.values(b"x-number"), final.body) != ([b"%d" % number], body):
                raise Finding(f"request {number} was answered {final!r}")
            number += 1
        elif final.start != (b"200",) or not final.values(b"allow"):
            if data or not 400 <= int(final.start[0]) <= 599 or final.start == (b"500",):
                raise Finding(f"refused with {final!r}, followed by {data!r}")
            return _refused(number, requests, int(final.start[0]))
    return _refused(number, requests, 0)


def _refused(number: int, requests: list[Reading], status: int) -> int:
    if number != len(requests):
        raise Finding(f"{len(requests)} requests had {number} answers")
    return status
