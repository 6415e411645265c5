"""Numbers that several workers count together, each in a row of its own: how many connections a client has in all.

A count-min sketch in memory that the supervisor provides (`controlplane.sharing`) and all workers share. Each key has
one cell in each of `DEPTH` lines; the smallest sum of the other workers' cells is what they count, or a little more
where keys share all their cells: with 10,000 keys, that is one key in 200. Never less. Only its owner writes to a row,
so no lock is needed.
"""

from __future__ import annotations

from hashlib import blake2b

from proxy.core.limits.gcra import TABLE_SIZE, RateTable

DEPTH = 4
WIDTH = 32768
ROWS = 1024
"""Workers that may count together."""
SEED_SIZE = 16
"""Bytes at the beginning that make the cells of a key unpredictable to those who choose keys."""
PAGE = 4096
"""The seed and the number of rows in use come first; a page, so that each row begins with one."""
ROW_SIZE = 4 * DEPTH * WIDTH
SIZE = PAGE + ROWS * ROW_SIZE
"""Bytes of memory; those of a row in which nothing is counted are never touched."""

WHOLE = SIZE + TABLE_SIZE
"""With the table of rate limits behind the rows."""

_ROW = DEPTH * WIDTH

Cells = tuple[int, ...]


class SharedCounts:
    """One worker's view; `row` is its own, and holds nothing but zeros at first."""

    __slots__ = ("_cells", "_key", "_start", "_used", "rates")

    def __init__(self, memory: memoryview, row: int) -> None:
        self._key = bytes(memory[:SEED_SIZE])
        self._used = used_rows(memory)
        self._cells = memory[PAGE:SIZE].cast("I")
        self._start = row * _ROW
        self.rates = RateTable(memory[SIZE:WHOLE], self._key) if len(memory) >= WHOLE else RateTable()

    def cells(self, key: bytes) -> Cells:
        """Where a key is counted."""
        digest = blake2b(key, digest_size=2 * DEPTH, key=self._key).digest()
        return tuple(line * WIDTH + int.from_bytes(digest[2 * line :][:2], "big") % WIDTH for line in range(DEPTH))

    def add(self, cells: Cells, change: int) -> None:
        """Count up or down in the own row."""
        for cell in cells:
            self._cells[self._start + cell] += change

    def others(self, cells: Cells) -> int:
        """What the other workers count for a key."""
        end = self._used[0] * _ROW
        if end == _ROW:
            return 0
        every, start = self._cells, self._start
        return min(sum(every[cell:end:_ROW]) - every[start + cell] for cell in cells)


def used_rows(memory: memoryview) -> memoryview:
    """The number of rows in use, which the supervisor writes."""
    return memory[SEED_SIZE : SEED_SIZE + 4].cast("I")
