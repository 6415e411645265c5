"""What a store of keys must do, whoever keeps it. `sqlite` is the one for a single machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from proxy.core.writes.idempotency import Entry, Kept, KeyState


class StoreError(Exception):
    """The store failed: nothing may be sent that it does not know of."""


class StoreBusyError(StoreError):
    """Another process holds the store for a moment; the same call may succeed soon."""


class StoreFullError(StoreError):
    """There are as many entries as there may be."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What is noted of a write before it is sent."""

    key: bytes
    pool: str
    fingerprint: bytes
    backend: str
    keep_for: float
    """Seconds."""
    most: int
    """Entries of the Pool."""


class Store(Protocol):
    """Keeps what is known of keys. What a call has noted is there for every process when it returns.

    `now` is wall time, since entries outlive processes. A call that has to wait yields as `dataplane.pause` does, and
    calls `wake` when it need not wait any more. Calls may raise StoreError.
    """

    async def find(self, key: bytes, now: float) -> Entry | None:
        """What is known of this key. A running write whose process is dead is of unknown outcome."""

    async def claim(self, claim: Claim, before: Entry | None, now: float, wake: Callable[[], None]) -> Entry | None:
        """Note that this Backend may execute the write from now on; None if somebody else was quicker.

        `before`: what the caller has found, or claimed itself; None for a new key. Raises StoreFullError.
        """

    async def settle(self, entry: Entry, answer: Kept | None, wake: Callable[[], None]) -> None:
        """The write was answered. None: so that the answer could not be kept."""

    async def answer(self, entry: Entry) -> Kept | None:
        """The answer of a write that is done; None if it was not kept."""

    def let_go(self, entry: Entry, state: KeyState | None) -> None:
        """The caller will do no more: this is what is known; None if nothing was sent. Never fails, may be late."""

    def tend(self) -> None:
        """Note what is late."""
