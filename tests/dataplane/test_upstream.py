"""Promises of `proxy.dataplane.backends.upstream`: one connection, one answer at a time, and not a byte for anybody else."""

from __future__ import annotations

import select
from typing import Any, cast

import pytest

from proxy.core.requests.retry import RetryPolicy
from tests.dataplane.plane import Plane, Wire

GET = b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a.example\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
EVIL = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"


def status(client: Wire) -> int:
    return int(client.written[9:12])


@pytest.mark.parametrize(
    "answer", [OK, CHUNKED, b"HTTP/1.1 204 No Content\r\n\r\n"], ids=["counted", "chunked", "none"]
)
@pytest.mark.parametrize("surplus", [b"!", EVIL], ids=["a byte", "an answer"])
def test_surplus_in_the_read_that_ends_an_answer_spoils_it_and_closes_the_connection(
    answer: bytes, surplus: bytes
) -> None:
    plane = Plane()
    upstream, client = plane.open_upstream(), plane.client()
    client.hear(GET)

    upstream.hear(answer + surplus)

    assert (502, True, 0, False) == (status(client), upstream.is_cut, plane.idle, b"evil" in client.written)


@pytest.mark.parametrize(
    "answer", [OK, CHUNKED, b"HTTP/1.1 204 No Content\r\n\r\n"], ids=["counted", "chunked", "none"]
)
@pytest.mark.parametrize("surplus", [b"!", EVIL], ids=["a byte", "an answer"])
def test_surplus_in_the_next_read_comes_too_late_to_spoil_it_and_closes_the_connection(
    answer: bytes, surplus: bytes
) -> None:
    """The answer has gone to the client, whole as it was announced; nothing more can be said of it."""
    plane = Plane()
    upstream, client = plane.open_upstream(), plane.client()
    client.hear(GET)

    upstream.hear(answer)
    kept = plane.idle
    upstream.hear(surplus)

    assert (1, 0, True) == (kept, plane.idle, upstream.is_cut)
    assert (answer[9:12], False) == (bytes(client.written[9:12]), b"evil" in client.written)


def test_what_comes_before_a_request_has_been_written_is_no_answer_to_it() -> None:
    """The next client's request waits for the end of the turn; by then the connection is spoilt."""
    plane = Plane()
    upstream, first, second = plane.open_upstream(), plane.client(), plane.client()
    first.hear(GET)
    upstream.hear(OK)
    upstream.written.clear()

    second._protocol.data_received(GET)
    upstream._protocol.data_received(EVIL)
    plane.loop.turn()

    assert (b"", True) == (bytes(upstream.written), upstream.is_cut)
    assert (502, False) == (status(second), b"evil" in second.written)


@pytest.mark.parametrize("end", ["eof", "reset", "surplus"])
def test_a_write_whose_connection_ends_before_it_was_written_goes_out_on_another(end: str) -> None:
    """Nothing of it was sent, so it can't be executed twice."""
    plane = Plane(backends=2, retries=RetryPolicy(attempts=2))
    upstream, client = plane.open_upstream(), plane.client()

    client._protocol.data_received(POST)
    if end == "surplus":
        upstream._protocol.data_received(EVIL)
    elif end == "eof":
        upstream._protocol.eof_received()
    else:
        upstream._protocol.connection_lost(ConnectionResetError())
    plane.loop.turn()
    other = plane.connect()
    other.hear(OK)

    assert (b"", POST[:-2]) == (bytes(upstream.written), bytes(other.written[: len(POST) - 2]))
    assert (200, False) == (status(client), b"evil" in client.written)


@pytest.mark.parametrize("piece", [b"SSH-2.0-x\r\n", b"\x15\x03", b"HTTP/1.1 200 OK\nX", b"HTTP/1.1 200 OK\r\nX: \x00"])
def test_what_can_become_no_answer_is_not_waited_for(piece: bytes) -> None:
    """It was, for `first_byte`, because the empty line that ends a head never came."""
    plane = Plane()
    upstream, client = plane.open_upstream(), plane.client()
    client.hear(GET)

    upstream.hear(piece)

    assert (502, True) == (status(client), upstream.is_cut)


def test_a_large_answer_that_came_in_one_read_leaves_reading_on() -> None:
    plane = Plane()
    upstream, client = plane.open_upstream(), plane.client()
    client.hear(GET)

    upstream.hear(b"HTTP/1.1 200 OK\r\nContent-Length: 900000\r\n\r\n" + b"x" * 300_000)
    paused = upstream.is_paused
    upstream.hear(b"x" * 600_000)

    assert (False, True, 1) == (paused, client.written.endswith(b"x" * 900_000), plane.idle)


def test_a_client_that_reads_no_more_stops_the_reading_of_its_answer_until_it_reads_again() -> None:
    plane = Plane()
    upstream, client = plane.open_upstream(), plane.client()
    client.hear(GET)
    upstream.hear(b"HTTP/1.1 200 OK\r\nContent-Length: 900000\r\n\r\n" + b"x" * 300_000)

    client.fill()
    full = upstream.is_paused
    client.drain()

    assert (True, False) == (full, upstream.is_paused)


def test_a_connection_that_was_paused_reads_again_when_it_serves_another() -> None:
    """Its last client read no more when its answer had come to its end."""
    plane = Plane()
    upstream, client = plane.open_upstream(), plane.client()
    client.hear(GET)
    upstream.hear(b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n" + b"x" * 200_000)
    client.fill()
    upstream.hear(b"x" * 100_000)

    assert (False, 1) == (upstream.is_paused, plane.idle)


class Noise:
    """The kernel, with one connection on which something has come that the loop has not read yet; and its socket."""

    def register(self, descriptor: int, events: int) -> None:
        pass

    def poll(self, timeout: float) -> list[tuple[int, int]]:
        return [(self.fileno(), select.EPOLLIN)]

    def fileno(self) -> int:
        return 7


def test_what_has_come_unread_under_tls_is_no_answer_to_a_second_request() -> None:
    """It could be the tickets of the handshake before the first request, and so it is no reason for distrust."""
    plane = Plane()
    upstream, client = plane.open_upstream(), plane.client()
    plane.home.tls = cast(Any, "TLS")
    plane.worker.outbox._poll = cast(Any, Noise())
    upstream.get_extra_info = cast(Any, {"socket": Noise()}.get)

    client.hear(GET)
    first = bytes(upstream.written)
    upstream.hear(OK)
    upstream.written.clear()
    client.written.clear()
    client.hear(GET)
    upstream.hear(EVIL)

    assert (True, b"", True) == (first.startswith(b"GET"), bytes(upstream.written), upstream.is_cut)
    assert (502, False) == (status(client), b"evil" in client.written)
    assert 0.0 == plane.home._distrusted_until


def test_a_client_that_reads_no_interim_answers_stops_the_reading_of_them() -> None:
    """A Backend that never stops sending them filled the memory."""
    plane = Plane()
    upstream, client = plane.open_upstream(), plane.client()
    client.hear(GET)
    client.fill()
    before = upstream.is_paused

    upstream.hear(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n")
    during = upstream.is_paused
    client.drain()
    upstream.hear(OK)

    assert (False, True, False) == (before, during, upstream.is_paused)
    assert client.written.endswith(b"\r\n\r\nok")
