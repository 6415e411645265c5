"""Bytes that are nearly right: the corpus, changed a little, from a seed."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence

LONGEST_SEED = 2500
"""Larger cases of the corpus are about size alone."""
MOST_BYTES = 20_000
MOSTLY = 0.8
ODD = [
    *(
        bytes([byte])
        for byte in (0, 1, 8, 9, 10, 11, 12, 13, 27, 32, 34, 35, 37, 44, 47, 58, 59, 61, 64, 92, 127, 128, 255)
    ),
    *(b"\r\n", b"\r\n\r\n", b"\n\n", b"\r\r\n", b"\n\r\n", b"\r\n ", b"\r\n\t", b" ", b"\t", b": ", b" :", b"0", b"00"),
    *(
        b"0\r\n\r\n",
        b"0\r\n",
        b"5\r\nhello\r\n",
        b"1;a\r\nx\r\n",
        b"ffffffffffffffff\r\n",
        b"-1",
        b"+1",
        b"0x5",
        b"1_0",
        b", ",
    ),
    *(b"HTTP/1.1", b"HTTP/1.0", b"GET / HTTP/1.1\r\n", b"Host: a.example\r\n", b"http://a.example", b"*", b"chunked"),
]
FIELDS = [
    b"Host: a.example",
    b"Host: b.example",
    b"Content-Length: 0",
    b"Content-Length: 5",
    b"Content-Length: 5, 5",
    b"Content-Length: 05",
    b"Content-Length : 5",
    b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: Chunked ",
    b"Transfer-Encoding:\x0bchunked",
    b"Transfer-Encoding: gzip, chunked",
    b"Transfer_Encoding: chunked",
    b"Connection: close",
    b"Connection: keep-alive",
    b"Connection: upgrade, x-a",
    b"Connection: content-length",
    b"Connection: transfer-encoding, host",
    b"Upgrade: websocket",
    b"TE: trailers",
    b"Trailer: X-Sum",
    b"Expect: 100-continue",
    b"Keep-Alive: 5",
    b"X-A: 1",
    b"X-A: \xff",
    b"X-Forwarded-For: 192.0.2.7",
    b"Via: 1.1 failover-proxy",
    b"Max-Forwards: 1",
    b" folded: 1",
]
NUMBERS = [b"0", b"1", b"2", b"4", b"6", b"10", b"100", b"101", b"103", b"199", b"200", b"204", b"304", b"417", b"599"]
NUMBERS += [b"9" * 18, b"9" * 19, b"18446744073709551617", b"00000000000000000005", b"1e1", b""]


class Mutator:
    """Chooses a seed and changes it; mostly one of the good ones, since what is nearly right is more telling."""

    def __init__(self, good: Sequence[bytes], bad: Sequence[bytes]) -> None:
        self._good = [seed for seed in good if len(seed) <= LONGEST_SEED]
        self._bad = [seed for seed in bad if len(seed) <= LONGEST_SEED]
        self._ways: list[Callable[[bytes, random.Random], bytes]] = [
            self._insert_odd,
            self._insert_odd,
            self._replace_byte,
            self._delete,
            self._repeat,
            self._add_field,
            self._add_field,
            self._move_line,
            self._repeat_line,
            self._drop_line,
            self._change_number,
            self._change_case,
            self._break_line_end,
            self._splice,
            self._follow,
        ]

    def make(self, rng: random.Random) -> bytes:
        """One input; now and then a seed as it is."""
        data = self._seed(rng)
        for _ in range(rng.choice((0, 1, 1, 1, 2, 2, 3, 5))):
            data = rng.choice(self._ways)(data, rng)
        return data[:MOST_BYTES]

    def _seed(self, rng: random.Random) -> bytes:
        return rng.choice(self._good if rng.random() < MOSTLY else self._bad)

    def _insert_odd(self, data: bytes, rng: random.Random) -> bytes:
        at = rng.randint(0, len(data))
        return data[:at] + rng.choice(ODD) + data[at:]

    def _replace_byte(self, data: bytes, rng: random.Random) -> bytes:
        at = rng.randint(0, max(0, len(data) - 1))
        return data[:at] + bytes([rng.getrandbits(8)]) + data[at + 1 :]

    def _delete(self, data: bytes, rng: random.Random) -> bytes:
        at = rng.randint(0, len(data))
        return data[:at] + data[at + rng.choice((1, 1, 2, 4, 20)) :]

    def _repeat(self, data: bytes, rng: random.Random) -> bytes:
        at, size = rng.randint(0, len(data)), rng.choice((1, 2, 5, 20))
        return data[:at] + data[at : at + size] * 2 + data[at + size :]

    def _add_field(self, data: bytes, rng: random.Random) -> bytes:
        lines = data.split(b"\r\n")
        lines.insert(rng.randint(1, max(1, min(len(lines), 6))), rng.choice(FIELDS))
        return b"\r\n".join(lines)

    def _move_line(self, data: bytes, rng: random.Random) -> bytes:
        lines = data.split(b"\r\n")
        line = lines.pop(rng.randrange(len(lines)))
        lines.insert(rng.randint(0, len(lines)), line)
        return b"\r\n".join(lines)

    def _repeat_line(self, data: bytes, rng: random.Random) -> bytes:
        lines = data.split(b"\r\n")
        lines.insert(rng.randint(0, len(lines)), rng.choice(lines))
        return b"\r\n".join(lines)

    def _drop_line(self, data: bytes, rng: random.Random) -> bytes:
        lines = data.split(b"\r\n")
        del lines[rng.randrange(len(lines))]
        return b"\r\n".join(lines)

    def _change_number(self, data: bytes, rng: random.Random) -> bytes:
        found = list(re.finditer(rb"[0-9]+", data))
        if not found:
            return data
        start, end = rng.choice(found).span()
        return data[:start] + rng.choice(NUMBERS) + data[end:]

    def _change_case(self, data: bytes, rng: random.Random) -> bytes:
        at = rng.randint(0, len(data))
        return data[:at] + data[at : at + rng.choice((1, 8))].swapcase() + data[at + 8 :]

    def _break_line_end(self, data: bytes, rng: random.Random) -> bytes:
        found = list(re.finditer(rb"\r\n", data))
        if not found:
            return data
        start, end = rng.choice(found).span()
        return data[:start] + rng.choice((b"\n", b"\r", b"\r\r\n", b"\n\r", b"\r\n ", b"", b"\x0b\r\n")) + data[end:]

    def _splice(self, data: bytes, rng: random.Random) -> bytes:
        other = self._seed(rng)
        return data[: rng.randint(0, len(data))] + other[rng.randint(0, len(other)) :]

    def _follow(self, data: bytes, rng: random.Random) -> bytes:
        return data + self._seed(rng)


def cut(data: bytes, rng: random.Random) -> list[bytes]:
    """The same bytes in pieces: one, many of one byte, or some."""
    way = rng.random()
    if way < 0.4 or len(data) < 2:
        return [data]
    if way < 0.5 and len(data) < 400:
        return [data[at : at + 1] for at in range(len(data))]
    ends = sorted(rng.sample(range(1, len(data)), min(rng.randint(1, 5), len(data) - 1)))
    return [data[start:end] for start, end in zip([0, *ends], [*ends, len(data)], strict=True)]
