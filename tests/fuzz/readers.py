"""Two readers of the same bytes: h11 and `strict`. What the proxy sends must be the same messages for both."""

from __future__ import annotations

from dataclasses import dataclass

import h11

from tests.fuzz.strict import Fields, MalformedError, Message, read_answer, read_request

LARGEST = 1_000_000


class Finding(AssertionError):  # noqa: N818 - not an error of ours to handle, but what is looked for
    """The proxy did what it must not do."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One message as a reader sees it; names in lower case."""

    start: tuple[bytes, ...]
    fields: Fields
    body: bytes
    trailer: Fields
    is_whole: bool

    def values(self, name: bytes) -> list[bytes]:
        """All values of a field."""
        return [value for known, value in self.fields if known == name]


def lowered(fields: Fields) -> Fields:
    return tuple((name.lower(), value) for name, value in fields)


def reading(message: Message, *, is_request: bool) -> Reading:
    """A message of `strict`, without what h11 does not tell."""
    start = message.start[:2] if is_request else message.start[1:2]
    return Reading(start, lowered(message.fields), message.body, lowered(message.trailer), message.is_whole)


# Requests


def strict_requests(data: bytes) -> tuple[list[Reading], bytes]:
    """All requests on a connection, and what is left of bytes that are none yet. Raises MalformedError."""
    found = []
    while data:
        message, rest = read_request(data)
        if message is None:
            break
        found.append(reading(message, is_request=True))
        if not message.is_whole:
            break
        data = rest
    return found, data if not found or found[-1].is_whole else b""


def h11_requests(data: bytes) -> list[Reading]:
    """All requests on a connection as h11 reads them. Raises Finding where it can't."""
    reader = h11.Connection(h11.SERVER, max_incomplete_event_size=LARGEST)
    reader.receive_data(data)
    found = []
    try:
        while isinstance(event := reader.next_event(), h11.Request):
            one = _finish(reader, (bytes(event.method), bytes(event.target)), tuple(event.headers))
            found.append(one)
            if not one.is_whole:
                break
            _answer(reader)
    except h11.RemoteProtocolError as error:
        raise Finding(f"h11 can't read what we send upstream: {error}") from None
    return found


def _finish(reader: h11.Connection, start: tuple[bytes, ...], fields: Fields) -> Reading:
    """The rest of the message that has begun."""
    body = b""
    while isinstance(event := reader.next_event(), h11.Data):
        body += bytes(event.data)
    if isinstance(event, h11.EndOfMessage):
        return Reading(start, fields, body, tuple(event.headers), is_whole=True)
    return Reading(start, fields, body, (), is_whole=False)


def _answer(reader: h11.Connection) -> None:
    """As a server does before it reads the next request."""
    reader.send(h11.Response(status_code=200, headers=[("Content-Length", "0")]))
    reader.send(h11.EndOfMessage())
    reader.start_next_cycle()


# Answers


@dataclass(frozen=True, slots=True)
class Answers:
    """What a client hears for one request."""

    interims: list[Reading]
    final: Reading | None
    rest: bytes


def strict_answers(data: bytes, method: bytes, end: str | None, *, bears_needless: bool = False) -> Answers:
    """The answer to one request and the interim ones before it. Raises MalformedError."""
    interims: list[Reading] = []
    message, rest = read_answer(data, method, end, bears_needless=bears_needless)
    while message is not None and message.status < 200 and message.status != 101:
        interims.append(reading(message, is_request=False))
        message, rest = read_answer(rest, method, end, bears_needless=bears_needless)
    return Answers(interims, reading(message, is_request=False) if message is not None else None, rest)


def h11_answers(data: bytes, request: h11.Request, end: str | None) -> Answers:
    """The same as h11 reads it. Raises Finding where it can't."""
    reader = h11.Connection(h11.CLIENT, max_incomplete_event_size=LARGEST)
    reader.send(request)
    reader.send(h11.EndOfMessage())
    reader.receive_data(data)
    if end == "eof":
        reader.receive_data(b"")
    interims: list[Reading] = []
    try:
        event = reader.next_event()
        while isinstance(event, h11.InformationalResponse) and event.status_code != 101:
            interims.append(Reading((b"%d" % event.status_code,), tuple(event.headers), b"", (), is_whole=True))
            event = reader.next_event()
        if isinstance(event, h11.InformationalResponse):
            rest = reader.trailing_data[0]
            return Answers(interims, Reading((b"101",), tuple(event.headers), rest, (), is_whole=end == "eof"), b"")
        if not isinstance(event, h11.Response):
            return Answers(interims, None, reader.trailing_data[0])
        final = _finish_answer(reader, event)
    except h11.RemoteProtocolError as error:
        raise Finding(f"h11 can't read what we send to the client: {error}") from None
    return Answers(interims, final, reader.trailing_data[0] if final.is_whole else b"")


def _finish_answer(reader: h11.Connection, event: h11.Response) -> Reading:
    """A body that breaks off is an error for h11; for us it is what it should be."""
    start, fields = (b"%d" % event.status_code,), tuple(event.headers)
    body = b""
    try:
        while isinstance(piece := reader.next_event(), h11.Data):
            body += bytes(piece.data)
    except h11.RemoteProtocolError as error:
        if "closed" not in str(error):
            raise
        return Reading(start, fields, body, (), is_whole=False)
    if isinstance(piece, h11.EndOfMessage):
        return Reading(start, fields, body, tuple(piece.headers), is_whole=True)
    return Reading(start, fields, body, (), is_whole=False)


__all__ = [
    "Answers",
    "Finding",
    "MalformedError",
    "Reading",
    "h11_answers",
    "h11_requests",
    "strict_answers",
    "strict_requests",
]
