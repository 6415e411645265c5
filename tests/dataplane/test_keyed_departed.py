"""A write with a key whose Pool a reload removes while its body is still coming: it is served as it would have been."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.core.messages import Snapshot
from proxy.core.settings import BackendSettings, IdempotencyPolicy, PoolSettings, RouteSettings, Settings
from proxy.dataplane.departed import QUIET
from tests.dataplane.plane import NOWHERE, Plane

HEAD = b"POST / HTTP/1.1\r\nHost: a.example\r\nIdempotency-Key: one\r\nContent-Length: 10\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Book:
    """A ledger that remembers nothing."""

    async def find(self, key: bytes, now: float) -> None:
        return None

    async def claim(self, claim: object, *_: object) -> object:
        return claim

    async def settle(self, *_: object) -> None:
        return None

    def let_go(self, *_: object) -> None:
        return None


@pytest.fixture
def plane() -> Plane:
    plane = Plane(idempotency=IdempotencyPolicy())
    plane.worker.ledger = Book()  # type: ignore[assignment]
    return plane


def remove(plane: Plane) -> None:
    """A reload knows another Pool, and time passes."""
    ledger, plane.worker.ledger = plane.worker.ledger, None
    other = PoolSettings("other", (BackendSettings("b", NOWHERE),))
    route = RouteSettings("web", split=(("other", 1.0),))
    plane.worker.heed(Snapshot(2, 2, Settings((), (other,), (route,)), {}))
    plane.worker.ledger = ledger
    for now in (1.0, 2.0 + QUIET, 4.0 + QUIET):
        plane.worker.report(now)


def test_a_write_whose_pool_is_removed_while_its_body_comes_is_served(plane: Plane) -> None:
    pool, client = plane.pool, plane.client()
    client.hear(HEAD + b"hello")
    remove(plane)
    assert 1 == pool.strain.preparing

    client.hear(b"world")
    plane.connect().hear(OK)

    assert client.written.startswith(b"HTTP/1.1 200 OK")
    assert (0, 0) == (pool.strain.preparing, pool.backends[0].in_flight)


@pytest.mark.parametrize("leave", ["hear_reset", "hear_end"])
def test_one_whose_client_leaves_before_its_body_is_whole_counts_no_more(plane: Plane, leave: str) -> None:
    client: Any = plane.client()
    client.hear(HEAD + b"hello")
    getattr(client, leave)()
    plane.loop.turn()

    assert 0 == plane.pool.strain.preparing
