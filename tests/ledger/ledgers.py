"""Ledgers to test with, and how to call them without a loop."""

from __future__ import annotations

import random
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

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


def open_store(folder: Path, seed: int = 0) -> SqliteStore:
    """As a process would; each seed is another process."""
    return SqliteStore(folder, random.Random(seed))


def claim(
    key: bytes = b"key", backend: str = "b0", *, pool: str = "app", keep_for: float = 100.0, most: int = 1000
) -> Claim:
    return Claim(key, pool, b"print", backend, keep_for, most)
