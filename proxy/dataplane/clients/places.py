"""Who is inside: client connections by Listener and by address, over all workers, and whether there is room for more.

Numbers only: it holds no connection. The worker asks when one has come, and says when it is gone.
"""

from __future__ import annotations

import errno
import ipaddress
import mmap
import os
import resource
from math import inf

from proxy.core.limits.gcra import RateTable
from proxy.core.pools.counts import WHOLE, Cells, SharedCounts
from proxy.core.settings import ListenerSettings

LISTENER_FULL = "connections"
CLIENT_FULL = "connections_per_client"
NETWORK_V6 = 64
"""Bits of an IPv6 address that are one client: a household or a machine has all the rest for itself."""
RECOUNT = 0.1
"""Seconds between two looks at all open files."""
LEAST_SPARE = 16
"""Descriptors that are kept for connections to Backends; a quarter of all, where that is more."""


class Count:
    """The connections of one Listener, or of one client."""

    __slots__ = ("cells", "own")

    def __init__(self, cells: Cells) -> None:
        self.cells = cells
        self.own = 0


class Places:
    """The connections that count. One that was refused does not."""

    __slots__ = ("_counts", "_shared", "inside", "rates")

    def __init__(self, shared: SharedCounts | None = None) -> None:
        self._shared = shared
        self._counts: dict[bytes, Count] = {}
        self.inside = 0
        self.rates = RateTable() if shared is None else shared.rates
        """What clients have sent, where a Route limits that."""

    def __repr__(self) -> str:
        return f"<Places {self.inside} inside>"

    @property
    def shared(self) -> SharedCounts | None:
        """Where all workers count together; None: this one is alone."""
        return self._shared

    def enter(self, listener: ListenerSettings, client: str) -> tuple[bytes, ...] | str:
        """Take a place: what to `leave` with later, or the limit that is reached. Without an address none counts."""
        name = listener.name.encode()
        if not self._enter(name, listener.connections):
            return LISTENER_FULL
        keys: tuple[bytes, ...] = (name,)
        if client and listener.connections_per_client is not None:
            key = name + b"\0" + network_of(client)
            if not self._enter(key, listener.connections_per_client):
                self._leave(name)
                return CLIENT_FULL
            keys = (name, key)
        self.inside += 1
        return keys

    def leave(self, keys: tuple[bytes, ...]) -> None:
        """Give a place up."""
        self.inside -= 1
        for key in keys:
            self._leave(key)

    def _enter(self, key: bytes, most: int) -> bool:
        """Count first and look then: two workers that do so at one moment never let in too many."""
        shared, count = self._shared, self._counts.get(key)
        if count is None:
            count = self._counts[key] = Count(shared.cells(key) if shared is not None else ())
        count.own += 1
        total = count.own
        if shared is not None:
            shared.add(count.cells, 1)
            total += shared.others(count.cells)
        if total > most:
            self._leave(key)
            return False
        return True

    def _leave(self, key: bytes) -> None:
        count = self._counts[key]
        count.own -= 1
        if self._shared is not None:
            self._shared.add(count.cells, -1)
        if not count.own:
            del self._counts[key]


def shared_counts(fd: int, row: int) -> SharedCounts:
    """The memory that the supervisor has made for all workers, as it was inherited."""
    memory = memoryview(mmap.mmap(fd, WHOLE))
    os.close(fd)
    return SharedCounts(memory, row)


def network_of(client: str) -> bytes:
    """What counts as one client."""
    if ":" not in client:
        return client.encode()
    return ipaddress.IPv6Address(client.partition("%")[0]).packed[: NETWORK_V6 // 8]


class Descriptors:
    """Whether this process may open more files. Some are spared, or clients would have all and Backends none.

    To count them takes a look at each, so it is done only where it may matter: when as many clients have come as could
    have used them up, each of them with a connection to a Backend.
    """

    __slots__ = ("_clients", "_counted", "_counted_at")

    def __init__(self) -> None:
        self._clients = self._counted = 0
        self._counted_at = -inf

    def __repr__(self) -> str:
        return f"<Descriptors {self._counted} in use>"

    def are_short(self, clients: int, now: float) -> bool:
        """Whether none must be given to clients any more, of whom there are so many; by the limit as it is now."""
        most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if most == resource.RLIM_INFINITY:
            return False
        most -= max(LEAST_SPARE, most // 4)
        come = max(0, clients - self._clients)
        if self._counted_at > -inf and self._counted + 2 * come < most:
            return False
        if now - self._counted_at >= RECOUNT:
            self._counted, self._clients, self._counted_at, come = _open_files(), clients, now, 0
        return self._counted + come >= most


def _open_files() -> int:
    try:
        return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - no object for each of thousands
    except OSError as error:
        # Not even one is left to look with; or there is no /proc, and nobody can know.
        return 1 << 30 if error.errno in {errno.EMFILE, errno.ENFILE} else 0
