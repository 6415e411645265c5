"""Promises of `proxy.dataplane.exchanges.turns`: who waits for a place is woken when it is free, and by nobody else."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.core.limits.concurrency import ConcurrencyPolicy
from proxy.core.limits.waiting import WaitingPolicy
from proxy.core.settings import Timeouts
from tests.dataplane.plane import Plane, Wire

GET = b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Crowd:
    """A Pool that takes one request at a time, and two clients: the first one is served, the second one waits."""

    def __init__(self, request: bytes = GET, *, wait: float = 60.0, **policies: Any) -> None:
        self.plane = Plane(
            concurrency=ConcurrencyPolicy(min_limit=1, max_limit=1), waiting=WaitingPolicy(max_wait=wait), **policies
        )
        self.upstream = self.plane.open_upstream()
        self.first, self.second = self.plane.client(), self.plane.client()
        self.first.hear(GET)
        self.asked = len(self.upstream.written)
        self.second.hear(request)

    @property
    def was_asked_again(self) -> bool:
        return len(self.upstream.written) > self.asked

    @property
    def waits(self) -> dict[str, int]:
        return self.plane.pool.counts().strain.waits

    def assert_empty(self) -> None:
        assert (0, 0) == (self.plane.backend.in_flight, self.plane.pool.strain.waiting)
        assert [] == self.plane.mistakes


def status(client: Wire) -> bytes:
    return bytes(client.written[9:12])


def test_who_waits_is_served_as_soon_as_a_place_is_free() -> None:
    crowd = Crowd()
    assert (False, b"") == (crowd.was_asked_again, status(crowd.second))

    crowd.upstream.hear(OK)
    assert crowd.was_asked_again
    crowd.upstream.hear(OK)

    assert [b"200", b"200"] == [status(crowd.first), status(crowd.second)]
    assert {"served": 1} == crowd.waits
    crowd.assert_empty()


def test_who_has_waited_for_too_long_is_told_so_and_keeps_its_connection() -> None:
    crowd = Crowd(wait=0.0)
    crowd.plane.loop.pass_time()

    assert (b"503", False, {"timeout": 1}) == (status(crowd.second), crowd.second.is_closing(), crowd.waits)
    crowd.upstream.hear(OK)
    crowd.assert_empty()


def test_a_request_whose_whole_time_is_over_waits_no_longer() -> None:
    crowd = Crowd(timeouts=Timeouts(total=30.0, backend_idle=1e6))
    for client in crowd.plane.worker.connections:
        if not client.upstream:
            client.expire()
    crowd.plane.loop.turn()

    assert (b"503", {"timeout": 1}) == (status(crowd.second), crowd.waits)


def test_one_look_after_all_who_wait_is_enough_and_ends_with_them() -> None:
    crowd = Crowd()
    third = crowd.plane.client()
    third.hear(GET)
    assert 1 == len(crowd.plane.loop.later)
    crowd.plane.loop.pass_time()
    assert 1 == len(crowd.plane.loop.later)

    for _ in range(3):
        crowd.upstream.hear(OK)
    crowd.plane.loop.pass_time()

    assert (b"200", 0) == (status(third), len(crowd.plane.loop.later))


@pytest.mark.parametrize("request_", [GET, POST + b"he"])
def test_a_client_that_leaves_waits_no_longer(request_: bytes) -> None:
    crowd = Crowd(request_)
    crowd.second.hear_reset()
    crowd.upstream.hear(OK)

    assert ({"left": 1}, False) == (crowd.waits, crowd.was_asked_again)
    crowd.assert_empty()


def test_a_body_that_came_while_waiting_is_sent_whole() -> None:
    crowd = Crowd(POST + b"he")
    crowd.second.hear(b"llo")
    crowd.upstream.hear(OK)

    assert crowd.upstream.written.endswith(b"\r\n\r\nhello")


def test_a_worker_that_ends_lets_nobody_wait() -> None:
    crowd = Crowd()
    for client in list(crowd.plane.worker.connections):
        client.abort()
    crowd.plane.loop.turn()

    crowd.assert_empty()
