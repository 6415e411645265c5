"""Ledgers to test with, and how to call them without a loop."""

from __future__ import annotations

import random
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

from proxy.core.writes.idempotency import Entry, Kept
from proxy.ledger.sqlite import SqliteStore
from proxy.ledger.store import Claim

T = TypeVar("T")


def done(call: Coroutine[Any, Any, T]) -> T:
    """What a call returns that does not wait for anything."""
    try:
        call.send(None)
    except StopIteration as ended:
        value: T = ended.value
        return value
    raise AssertionError("it waits")


class Turns:
    """A loop whose turns end at once, and whose later comes when a test says so."""

    def __init__(self) -> None:
        self.later: list[Callable[[], object]] = []

    def call_soon(self, callback: Callable[[], object]) -> object:
        return callback()

    def call_later(self, delay: float, callback: Callable[[], object]) -> None:
        self.later.append(callback)

    def turn(self) -> None:
        """Call what waits for later."""
        waiting, self.later = self.later, []
        for callback in waiting:
            callback()


class Ledger(SqliteStore):
    """As a process would have it, with calls that can be made without a loop."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.turns = Turns()
        self.woken = 0
        super().__init__(folder, random.Random(seed), self.turns)

    def look(self, key: bytes, now: float) -> Entry | None:
        return done(self.find(key, now))

    def take(self, claim: Claim, before: Entry | None, now: float) -> Entry | None:
        return done(self.claim(claim, before, now, self.wake))

    def finish(self, entry: Entry, answer: Kept | None) -> None:
        done(self.settle(entry, answer, self.wake))

    def kept(self, entry: Entry) -> Kept | None:
        return done(self.answer(entry))

    def wake(self) -> None:
        self.woken += 1


def open_store(folder: Path, seed: int = 0) -> Ledger:
    """As a process would; each seed is another process."""
    return Ledger(folder, seed)


def claim(
    key: bytes = b"key", backend: str = "b0", *, pool: str = "app", keep_for: float = 100.0, most: int = 1000
) -> Claim:
    return Claim(key, pool, b"print", backend, keep_for, most)
