"""The chunked transfer coding (RFC 9112, section 7.1), read strictly and incrementally.

CRLF only, at most 16 hexadecimal digits of size, no chunk extension with quoted or control bytes, and after the data of
a chunk exactly CRLF. Trailer fields are checked, counted, and handed on as a trailer, never merged into the head.
"""

from __future__ import annotations

import re

_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})(?:;[\t\x20-\x7e\x80-\xff]{0,128})?\Z")
_CHUNK_BEGINS = re.compile(rb"([0-9A-Fa-f]{1,16}+)(?:;[\t\x20-\x7e\x80-\xff]{0,128}+)?+\r\n")
_TRAILER = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[\t\x20-\x7e\x80-\xff]*\Z")
_LONGEST_LINE = 256
_LONGEST_TRAILER = 8192
_FORBIDDEN_TRAILERS = frozenset(
    b"transfer-encoding content-length host connection te trailer upgrade authorization proxy-authorization cookie "
    b"set-cookie content-encoding content-type content-range expect max-forwards forwarded "
    b"cache-control via keep-alive x-request-id".split()
)
"""Fields of framing, routing and authority, which must not come late (RFC 9110, section 6.5.1): these, and all whose
names begin like those below. With `_` as good as `-`: programs that see fields as variables can't tell them apart."""
_FORBIDDEN_BEGINNINGS = (b"x-forwarded-", b"proxy")


class ChunkError(ValueError):
    """The bytes are not a chunked body; the text says why."""


class ChunkedDecoder:
    """Feed bytes as they come; get the body's bytes back. `rest` holds what came after the end."""

    __slots__ = ("_buffer", "_in_trailer", "_left", "is_complete", "rest", "trailer")

    def __init__(self) -> None:
        self._buffer = b""
        self._left = 0
        self._in_trailer = False
        self.is_complete = False
        self.rest = b""
        self.trailer = b""

    def feed(self, data: bytes) -> list[bytes]:
        """The pieces of the body in `data`. Raises ChunkError at the first byte that does not fit."""
        pieces: list[bytes] = []
        buffer = self._buffer + data if self._buffer else data
        position = 0 if self._left or self._in_trailer else self._take_whole_chunks(buffer, pieces)
        while not self.is_complete:
            if self._left > 2:
                piece = buffer[position : position + self._left - 2]
                if not piece:
                    break
                pieces.append(piece)
                position += len(piece)
                self._left -= len(piece)
            elif self._left:
                end = buffer[position : position + self._left]
                if not b"\r\n"[2 - self._left :].startswith(end):
                    raise ChunkError("no CRLF after a chunk")
                position += len(end)
                self._left -= len(end)
                if self._left:
                    break
            else:
                line_end = self._line_end(buffer, position)
                if line_end < 0:
                    break
                self._take_line(buffer[position:line_end])
                position = line_end + 2
        self._keep(buffer[position:])
        return pieces

    def _take_whole_chunks(self, buffer: bytes, pieces: list[bytes]) -> int:
        """Take the chunks that are here from their first byte to their last, as most are; where they end."""
        position = 0
        while (begin := _CHUNK_BEGINS.match(buffer, position)) is not None:
            start = begin.end()
            end = start + int(begin[1], 16)
            if end == start or buffer[end : end + 2] != b"\r\n":
                break
            pieces.append(buffer[start:end])
            position = end + 2
        return position

    def _keep(self, left: bytes) -> None:
        if self.is_complete:
            self.rest, self._buffer = left, b""
        else:
            self._buffer = left

    def _line_end(self, buffer: bytes, position: int) -> int:
        longest = _LONGEST_TRAILER if self._in_trailer else _LONGEST_LINE
        end = buffer.find(b"\r\n", position, position + longest)
        line = buffer[position : end if end >= 0 else position + longest]
        if b"\n" in line or b"\r" in line[:-1] or (end >= 0 and b"\r" in line):
            raise ChunkError("a bare CR or LF in a chunked body")
        if end < 0 and len(line) >= longest:
            raise ChunkError("too long a line in a chunked body")
        return end

    def _take_line(self, line: bytes) -> None:
        if self._in_trailer:
            self._take_trailer(line)
            return
        match = _SIZE_LINE.match(line)
        if match is None:
            raise ChunkError("a chunk's size is not valid")
        size = int(match[1], 16)
        if size:
            self._left = size + 2
        else:
            self._in_trailer = True

    def _take_trailer(self, line: bytes) -> None:
        if not line:
            self.is_complete = True
            return
        match = _TRAILER.match(line)
        if match is None:
            raise ChunkError("a trailer field is not valid")
        name = match[1].lower().replace(b"_", b"-")
        if name in _FORBIDDEN_TRAILERS or name.startswith(_FORBIDDEN_BEGINNINGS):
            raise ChunkError("a trailer field that may not come after the body")
        self.trailer += line + b"\r\n"
        if len(self.trailer) > _LONGEST_TRAILER:
            raise ChunkError("too many trailer fields")


def chunk(pieces: list[bytes]) -> list[bytes]:
    """The same bytes as one chunk; nothing for nothing, since an empty chunk would end the body."""
    size = sum(map(len, pieces))
    return [b"%x\r\n" % size, *pieces, b"\r\n"] if size else []


def last_chunk(trailer: bytes = b"") -> bytes:
    """The end of a chunked body, with the trailer fields as `ChunkedDecoder.trailer` has them."""
    return b"0\r\n" + trailer + b"\r\n"
