"""The memory in which workers count together (`core.counts`): made here, inherited by each worker, cleared after it."""

from __future__ import annotations

import mmap
import os
import secrets

from proxy.core.pools.counts import PAGE, ROW_SIZE, ROWS, SEED_SIZE, WHOLE, used_rows


class SharedMemory:
    """A nameless file in memory, made when the first worker needs it."""

    def __init__(self) -> None:
        self.fd = -1
        self._map: mmap.mmap | None = None

    def __repr__(self) -> str:
        return f"<SharedMemory {self.fd}>"

    def begin(self, row: int) -> None:
        """A worker is about to start."""
        if row >= ROWS:
            raise ValueError(f"there is no row {row}")
        memory = self._map or self._make()
        self.clear(row)
        with memoryview(memory) as view, used_rows(view) as used:
            used[0] = max(used[0], row + 1)

    def clear(self, row: int) -> None:
        """A worker has ended, and its connections with it."""
        if self._map is not None:
            self._map.madvise(mmap.MADV_REMOVE, PAGE + row * ROW_SIZE, ROW_SIZE)

    def _make(self) -> mmap.mmap:
        self.fd = os.memfd_create("failover-proxy-counts")
        try:
            os.truncate(self.fd, WHOLE)
            self._map = mmap.mmap(self.fd, WHOLE)
        except OSError:
            os.close(self.fd)
            raise
        self._map[:SEED_SIZE] = secrets.token_bytes(SEED_SIZE)
        return self._map

    def close(self) -> None:
        """Give the memory up; workers that live on keep theirs."""
        if self._map is not None:
            self._map.close()
            self._map = None
            os.close(self.fd)
