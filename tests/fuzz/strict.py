"""A second opinion: HTTP/1.1 messages read by the letter of RFC 9112, and nothing that two readers could read differently.

Written for tests alone, slow and short, and with none of the proxy's code. Whatever the proxy sends must pass here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_REQUEST_LINE = re.compile(rb"(" + TOKEN + rb") ([\x21-\x7e]+) HTTP/1\.([01])\Z")
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9][0-9])(?: ([\t \x21-\x7e\x80-\xff]*))?\Z")
_FIELD = re.compile(rb"(" + TOKEN + rb"):[ \t]*((?:[\x21-\x7e\x80-\xff](?:[ \t]*[\x21-\x7e\x80-\xff])*)?)[ \t]*\Z")
_LENGTH = re.compile(rb"[0-9]{1,18}\Z")
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})((?:[ \t]*;[\t \x21-\x7e\x80-\xff]*)?)\Z")
_BEGUN_SIZE = re.compile(rb"[0-9A-Fa-f]{0,15}[ \t]*(?:;[\t \x21-\x7e\x80-\xff]*)?\r?\Z")
_HOST = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|(?:[A-Za-z0-9\-._~!$&'()*+,;=]|%[0-9A-Fa-f]{2})*)(?::[0-9]*)?\Z")
_FRAMING = frozenset({b"content-length", b"transfer-encoding", b"host", b"connection", b"trailer", b"te", b"upgrade"})

Fields = tuple[tuple[bytes, bytes], ...]


class MalformedError(ValueError):
    """The bytes are not what RFC 9112 describes."""


@dataclass(frozen=True, slots=True)
class Message:
    """One request or answer as far as it has come; `is_whole` says whether that is all of it."""

    head: bytes
    start: tuple[bytes, ...]
    """Method, target and minor version; or minor version, status and reason."""
    fields: Fields
    body: bytes = b""
    trailer: Fields = ()
    is_whole: bool = True
    is_raw: bool = False
    """Whether what follows the head belongs to another protocol."""
    framing: str = "none"

    def values(self, name: bytes) -> list[bytes]:
        """All values of a field, given in lower case."""
        return [value for known, value in self.fields if known.lower() == name]

    @property
    def status(self) -> int:
        return int(self.start[1])


@dataclass(slots=True)
class Answers:
    """Answers on one connection: final ones, and the interim ones before each of them."""

    final: list[Message] = field(default_factory=list)
    interim: list[list[Message]] = field(default_factory=list)


def _split_head(data: bytes) -> tuple[list[bytes], bytes, bytes] | None:
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return None
    head = data[: end + 4]
    lines = head[:-4].split(b"\r\n")
    for line in lines:
        if b"\r" in line or b"\n" in line or b"\0" in line:
            raise MalformedError(f"a bare CR, LF or NUL in {line!r}")
    return lines, head, data[end + 4 :]


def _fields(lines: list[bytes]) -> Fields:
    found = []
    for line in lines:
        match = _FIELD.match(line)
        if match is None:
            raise MalformedError(f"not a field: {line!r}")
        found.append((match[1], match[2]))
    return tuple(found)


def _values(fields: Fields, name: bytes) -> list[bytes]:
    return [value for known, value in fields if known.lower() == name]


def _framing(fields: Fields, minor: bytes) -> tuple[str, int]:
    lengths, codings = _values(fields, b"content-length"), _values(fields, b"transfer-encoding")
    if len(lengths) + len(codings) > 1:
        raise MalformedError("more than one framing field")
    if lengths:
        if not _LENGTH.match(lengths[0]):
            raise MalformedError(f"Content-Length is {lengths[0]!r}")
        return "counted", int(lengths[0])
    if codings:
        if codings[0].lower() != b"chunked" or minor != b"1":
            raise MalformedError(f"Transfer-Encoding is {codings[0]!r} in HTTP/1.{minor.decode()}")
        return "chunked", 0
    return "none", 0


def _check_host(fields: Fields, minor: bytes) -> None:
    hosts = _values(fields, b"host")
    if len(hosts) != 1 and (hosts or minor == b"1"):
        raise MalformedError(f"{len(hosts)} Host fields")
    if hosts and not _HOST.match(hosts[0]):
        raise MalformedError(f"Host is {hosts[0]!r}")


def read_request(data: bytes, *, is_switched: bool = False) -> tuple[Message | None, bytes]:
    """The first request in `data` and what follows it; None while the head is not there.

    `is_switched`: the answer to it was 101, so that whatever follows belongs to another protocol.
    """
    split = _split_head(data)
    if split is None:
        return None, data
    lines, head, rest = split
    match = _REQUEST_LINE.match(lines[0])
    if match is None:
        raise MalformedError(f"not a request line: {lines[0]!r}")
    fields = _fields(lines[1:])
    _check_host(fields, match[3])
    framing, length = _framing(fields, match[3])
    if is_switched:
        return Message(head, match.groups(), fields, rest, framing=framing, is_raw=True), b""
    return _with_body(Message(head, match.groups(), fields, framing=framing), rest, length)


def read_answer(
    data: bytes, method: bytes, end: str | None = None, *, bears_needless: bool = False
) -> tuple[Message | None, bytes]:
    """The first answer in `data` and what follows it. `end`: how the connection ended ("eof", "reset"), if it has.

    `bears_needless`: a length of an answer that can have no body is passed over, as RFC 9112, section 6.3, reads it.
    """
    split = _split_head(data)
    if split is None:
        return None, data
    lines, head, rest = split
    match = _STATUS_LINE.match(lines[0])
    if match is None:
        raise MalformedError(f"not a status line: {lines[0]!r}")
    fields = _fields(lines[1:])
    status = int(match[2])
    framing, length = _framing(fields, match[1])
    message = Message(head, match.groups(), fields, framing=framing)
    if status == 101:
        return Message(head, match.groups(), fields, rest, is_raw=True, is_whole=end == "eof"), b""
    if (status < 200 or status == 204) and framing != "none" and not bears_needless:
        raise MalformedError(f"{status} with a length")
    if status < 200 or status in (204, 304) or method == b"HEAD":
        return message, rest
    if framing == "none":
        whole = end == "eof"
        return Message(head, match.groups(), fields, rest, is_whole=whole, framing="until close"), b""
    return _with_body(message, rest, length)


def _with_body(message: Message, rest: bytes, length: int) -> tuple[Message, bytes]:
    head, start, fields, framing = message.head, message.start, message.fields, message.framing
    if framing != "chunked":
        body = rest[:length]
        return Message(head, start, fields, body, (), len(body) == length, framing=framing), rest[length:]
    body, trailer, rest, is_whole = read_chunked(rest)
    return Message(head, start, fields, body, trailer, is_whole, framing=framing), rest


def read_chunked(data: bytes) -> tuple[bytes, Fields, bytes, bool]:
    """The body, the trailer fields, what follows, and whether the end has come."""
    body = []
    at = 0
    while (line_end := data.find(b"\r\n", at)) >= 0:
        match = _SIZE.match(data[at:line_end])
        if match is None:
            raise MalformedError(f"not a chunk's first line: {data[at:line_end]!r}")
        start, size = line_end + 2, int(match[1], 16)
        if not size:
            return _read_trailer(b"".join(body), data[start:])
        body.append(data[start : start + size])
        end = data[start + size : start + size + 2]
        if not b"\r\n".startswith(end):
            raise MalformedError(f"{end!r} after a chunk")
        if len(end) < 2:
            return b"".join(body), (), b"", False
        at = start + size + 2
    if not _BEGUN_SIZE.match(data[at:]):
        raise MalformedError(f"the beginning of no chunk: {data[at:]!r}")
    return b"".join(body), (), b"", False


def _read_trailer(body: bytes, data: bytes) -> tuple[bytes, Fields, bytes, bool]:
    if data.startswith(b"\r\n"):
        return body, (), data[2:], True
    split = _split_head(data)
    if split is None:
        return body, (), b"", False
    lines, _, rest = split
    fields = _fields(lines)
    for name, _ in fields:
        if name.lower() in _FRAMING:
            raise MalformedError(f"{name!r} in a trailer")
    return body, fields, rest, True
