"""Answers: what a Backend sends, what the client gets for it, and what two readers make of both.

Whatever the Backend sends and however it ends: h11 and the strict reader see the same in the client's bytes; what looks
whole to the client is what the strict reader finds whole in the Backend's own bytes; a connection that said anything
beyond that is never used again; and the next request on the client's connection gets its own answer.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from dataclasses import dataclass

import h11

from tests.dataplane.plane import Plane, Wire
from tests.fuzz.mutator import cut
from tests.fuzz.readers import Answers, Finding, Reading, h11_answers, strict_answers
from tests.fuzz.requests import EXPIRIES, UNNAMEABLE, check_end
from tests.fuzz.strict import Fields, MalformedError

_CHANGED = re.compile(
    rb"connection|keep-alive|proxy-.*|te|trailer|transfer-encoding|upgrade|content-length|via|x-request-id", re.DOTALL
)
CANARY = b"GET /canary HTTP/1.1\r\nHost: a.example\r\n\r\n"
CANARY_ANSWER = b"HTTP/1.1 200 OK\r\nX-Canary: 1\r\nContent-Length: 6\r\n\r\ncanary"
ENDS = ("eof", "eof", "reset", None)


@dataclass(frozen=True, slots=True)
class Asked:
    """A good request."""

    method: bytes
    version: bytes = b"1.1"
    fields: tuple[bytes, ...] = ()

    def __bytes__(self) -> bytes:
        line = b"%b / HTTP/%b" % (self.method, self.version)
        return b"\r\n".join((line, b"Host: a.example", *self.fields, b"", b""))

    @property
    def for_h11(self) -> h11.Request:
        """The same for h11, which writes HTTP/1.1 alone."""
        pairs = [tuple(field.split(b": ", 1)) for field in self.fields]
        return h11.Request(method=self.method, target=b"/", headers=[(b"Host", b"a.example"), *pairs])


ASKED = (
    Asked(b"GET"),
    Asked(b"GET"),
    Asked(b"POST"),
    Asked(b"POST"),
    Asked(b"HEAD"),
    Asked(b"GET", b"1.0"),
    Asked(b"POST", b"1.0"),
    Asked(b"GET", fields=(b"Connection: close",)),
    Asked(b"GET", fields=(b"Connection: upgrade", b"Upgrade: a")),
)


class AnswerFuzz:
    """Plays inputs; `seen` counts what became of them."""

    def __init__(self) -> None:
        self._plane = Plane()
        self.seen: Counter[str] = Counter()

    def check(self, data: bytes, rng: random.Random) -> None:
        """Raises Finding."""
        plane, asked, end = self._plane, rng.choice(ASKED), rng.choice(ENDS)
        plane.begin_anew()
        upstream, client = plane.open_upstream(), plane.client()
        client.hear(bytes(asked))
        self._answer(upstream, cut(data, rng), end)
        is_kept = plane.idle == 1 and not upstream.is_closing()
        heard = len(client.written)
        sang = self._sing(client)
        self._finish(client)
        self._judge(asked, data, end, client, heard=heard, is_kept=is_kept, sang=sang)

    def _answer(self, upstream: Wire, pieces: list[bytes], end: str | None) -> None:
        for piece in pieces:
            upstream.hear(piece)
        if end == "eof":
            upstream.hear_end()
        elif end == "reset":
            upstream.hear_reset()
        for _ in range(EXPIRIES):
            self._plane.expire(idle=False)

    def _sing(self, client: Wire) -> bool:
        """Ask once more on the same connection; whether the Backend was asked."""
        plane = self._plane
        before = {id(wire): len(wire.written) for wire in plane.upstreams}
        client.hear(CANARY)
        if plane.loop.connecting:
            plane.connect()
        asked = [wire for wire in plane.upstreams if wire.written[before.get(id(wire), 0) :].startswith(CANARY[:20])]
        for wire in asked:
            wire.hear(CANARY_ANSWER)
        return bool(asked)

    def _finish(self, client: Wire) -> None:
        for _ in range(EXPIRIES):
            self._plane.expire()
        check_end(self._plane, client)

    def _judge(
        self, asked: Asked, data: bytes, end: str | None, client: Wire, *, heard: int, is_kept: bool, sang: bool
    ) -> None:
        sent = bytes(client.written)
        client_end = "reset" if client.is_cut else "eof"
        answers = _read_alike(sent, asked, client_end)
        final, rest = answers.final, answers.rest
        if sang and final is not None and final.start != (b"101",):
            rest = _without_canary(rest)
        if rest:
            raise Finding(f"bytes behind the answer: {rest!r}")
        if final is None:
            raise Finding(f"no answer; the client heard {sent!r}")
        theirs, surplus = _theirs(data, asked, end)
        if final.is_whole and not final.values(b"proxy-status") and final.start != (b"101",):
            self._judge_whole(final, theirs, data)
        elif final.values(b"proxy-status") and (not final.is_whole or not 500 <= int(final.start[0]) <= 504):
            raise Finding(f"an answer of ours that is none: {final!r}")
        if is_kept and (theirs is None or not theirs.is_whole or surplus or b"close" in _options(theirs.fields)):
            raise Finding(f"a connection is kept that said {data!r}")
        self.seen["whole" if not final.values(b"proxy-status") and final.is_whole else "broken"] += 1
        self.seen["kept"] += is_kept
        self.seen["ours"] += bool(final.values(b"proxy-status"))

    def _judge_whole(self, final: Reading, theirs: Reading | None, data: bytes) -> None:
        if theirs is None or not theirs.is_whole:
            raise Finding(f"the client saw a clean end of {final!r}; the backend said {data!r}")
        expected = (theirs.start, theirs.body, theirs.trailer, _end_to_end(theirs.fields))
        actual = (final.start, final.body, final.trailer, _end_to_end(final.fields))
        if expected[:2] != actual[:2] or expected[3] != actual[3] or (final.trailer and expected[2] != actual[2]):
            raise Finding(f"{expected!r} became {actual!r}")


def _read_alike(sent: bytes, asked: Asked, end: str) -> Answers:
    try:
        answers = strict_answers(sent, asked.method, end)
    except MalformedError as error:
        raise Finding(f"the strict reader can't read what we send to the client: {error}; {sent!r}") from None
    others = h11_answers(sent, asked.for_h11, end)
    if answers.final != others.final or answers.interims != others.interims:
        raise Finding(f"h11 reads {others!r}, the strict reader {answers!r}")
    return answers


def _without_canary(rest: bytes) -> bytes:
    answers = strict_answers(rest, b"GET", "eof")
    if answers.final is None or answers.final.body != b"canary" or answers.interims:
        raise Finding(f"the next request was answered {rest!r}")
    return answers.rest


def _theirs(data: bytes, asked: Asked, end: str | None) -> tuple[Reading | None, bytes]:
    """The answer that the letter of the RFC finds in the Backend's bytes, and what follows it."""
    try:
        answers = strict_answers(data, asked.method, end, bears_needless=True)
    except MalformedError:
        return None, b""
    return answers.final, answers.rest


def _end_to_end(fields: Fields) -> list[tuple[bytes, bytes]]:
    options = _options(fields)
    return [
        (name, value)
        for name, value in fields
        if not _CHANGED.fullmatch(name) and (name in UNNAMEABLE or name not in options)
    ]


def _options(fields: Fields) -> set[bytes]:
    return {one.strip(b" \t").lower() for name, value in fields if name == b"connection" for one in value.split(b",")}
