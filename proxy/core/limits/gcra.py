"""Rate limits: the generic cell rate algorithm, over a table of bounded size that all workers share.

Each client has one number: when it will have worked off all it has sent, at the rate it is allowed. It may be ahead of
the clock by its burst. A number that lies in the past says nothing any more, so its place in the table is free.

The table is memory that the supervisor provides (`controlplane.workers.sharing`). Where all eight places that a key may
have are taken, the client who is nearest to a clean slate is forgotten: it may send a burst more than it should, and
nobody is refused for what others sent. Nothing is locked: two workers that look for one client in the same microsecond
may let one request more through.
"""

from __future__ import annotations

from hashlib import blake2b
from math import ceil

from proxy.core.settings import RatePolicy

SLOTS = 8
"""Places that a key may have."""
BUCKETS = 8192
ENTRY = 2
"""Numbers of an entry: who it is, and when all is worked off."""
TABLE_SIZE = BUCKETS * SLOTS * ENTRY * 8
"""Bytes: 65,536 clients, 1 MiB; untouched pages take none."""
SECOND = 1_000_000_000

_LARGEST = (1 << 63) - 1


class RateTable:
    """What clients have sent, as far as it still matters."""

    __slots__ = ("_entries", "_seed")

    def __init__(self, memory: memoryview | None = None, seed: bytes = b"") -> None:
        self._entries = (memoryview(bytearray(TABLE_SIZE)) if memory is None else memory).cast("q")
        self._seed = seed
        """Makes places unpredictable to those who choose keys."""

    def __repr__(self) -> str:
        return f"<RateTable of {BUCKETS * SLOTS}>"

    def take(self, key: bytes, policy: RatePolicy, now: float) -> float:
        """Let one request through: 0; or the seconds after which the next one may come."""
        digest = blake2b(key, digest_size=16, key=self._seed).digest()
        who = int.from_bytes(digest[:8], "big") & _LARGEST or 1
        place = self._place(int.from_bytes(digest[8:], "big") % BUCKETS, who)
        entries, at = self._entries, int(now * SECOND)
        known = entries[place + 1] if entries[place] == who else 0
        step = ceil(SECOND / policy.rate)
        # A clock that begins anew, as after a reboot of what the table was kept in, must lock nobody out.
        done_at = min(max(known, at), at + policy.burst * step)
        early = done_at - (policy.burst - 1) * step - at
        if early > 0:
            return early / SECOND
        entries[place + 1] = done_at + step
        entries[place] = who
        return 0.0

    def _place(self, bucket: int, who: int) -> int:
        """Where this client is noted, or may be: in place of who is nearest to a clean slate."""
        entries = self._entries
        start = bucket * SLOTS * ENTRY
        places = range(start, start + SLOTS * ENTRY, ENTRY)
        for place in places:
            if entries[place] == who:
                return place
        return min(places, key=lambda place: entries[place + 1])
