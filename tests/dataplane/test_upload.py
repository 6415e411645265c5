"""Promises of `proxy.dataplane.exchanges.upload`: what of a body is kept, for how long, and what happens to the rest."""

from __future__ import annotations

import re
from typing import cast

import pytest

from proxy.core.requests.retry import RetryPolicy
from proxy.core.settings import Limits
from proxy.core.wire.http1 import RequestHead
from proxy.dataplane.clients.downstream import Downstream
from proxy.dataplane.exchanges.upload import Upload
from tests.dataplane.plane import Plane, Wire

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
SMALL = RetryPolicy(attempts=2, buffer_body=10)


def put(body: bytes, *fields: bytes, length: int | None = None) -> bytes:
    """A PUT, which may be sent again."""
    size = len(body) if length is None else length
    return b"\r\n".join((b"PUT / HTTP/1.1", b"Host: a.example", *fields, b"Content-Length: %d" % size, b"", body))


def chunked(*rest: bytes) -> bytes:
    return b"\r\n".join((b"PUT / HTTP/1.1", b"Host: a.example", b"Transfer-Encoding: chunked", b"", *rest))


def body_of(upstream: Wire) -> bytes:
    return bytes(upstream.written).partition(b"\r\n\r\n")[2]


def status(client: Wire) -> bytes:
    return bytes(client.written[9:12])


def test_what_comes_while_the_proxy_connects_goes_out_with_the_head() -> None:
    plane = Plane()
    client = plane.client()
    client.hear(put(b"hel", length=5))
    client.hear(b"lo")

    upstream = plane.connect()

    assert b"hello" == body_of(upstream)


def test_more_than_may_be_kept_is_left_with_the_client_until_the_proxy_is_connected() -> None:
    plane = Plane(retries=SMALL)
    client = plane.client()
    client.hear(put(b"x" * 11, length=20))
    waiting = client.is_paused

    upstream = plane.connect()

    assert (True, False, b"x" * 11) == (waiting, client.is_paused, body_of(upstream))


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (put(b"hello"), b"hello"),
        (chunked(b"5", b"hello", b"0", b"X-Sum: 1", b"", b""), b"5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n"),
    ],
    ids=["counted", "chunked"],
)
def test_a_body_that_was_kept_is_sent_again_whole(request_: bytes, expected: bytes) -> None:
    plane = Plane(backends=2, retries=SMALL)
    client = plane.client()
    client.hear(request_)
    first = plane.connect()

    first.hear_reset()
    second = plane.connect()
    second.hear(OK)

    assert (expected, expected, b"200") == (body_of(first), body_of(second), status(client))


def test_a_body_of_which_a_part_has_come_is_sent_again_as_far_as_it_has_and_then_goes_on() -> None:
    plane = Plane(backends=2, retries=SMALL)
    client = plane.client()
    client.hear(put(b"hel", length=5))
    plane.connect().hear_reset()
    second = plane.connect()

    client.hear(b"lo")
    second.hear(OK)

    assert (b"hello", b"200") == (body_of(second), status(client))


def test_a_body_that_was_not_kept_is_not_sent_again() -> None:
    plane = Plane(backends=2, retries=SMALL)
    client = plane.client()
    client.hear(put(b"x" * 11))

    plane.connect().hear_reset()

    assert ([], b"502") == (plane.loop.connecting, status(client))


def test_a_body_that_no_connection_was_found_for_is_still_whole_however_large() -> None:
    """Nothing of it was sent: (a) of `behaviour.md`, section 2."""
    plane = Plane(backends=2, retries=SMALL)
    client = plane.client()
    client.hear(put(b"x" * 11))

    plane.refuse()
    second = plane.connect()
    second.hear(OK)

    assert (b"x" * 11, b"200") == (body_of(second), status(client))


def test_a_backend_that_reads_no_more_stops_the_reading_of_the_body_until_it_reads_again() -> None:
    plane = Plane()
    upstream, client = plane.open_upstream(), plane.client()
    client.hear(put(b"x", length=100))

    upstream.fill()
    full = client.is_paused
    upstream.drain()

    assert (True, False) == (full, client.is_paused)


@pytest.mark.parametrize(
    "pieces",
    [
        [put(b"", length=11)],
        [chunked(b"b", b"hello world", b"0", b"", b"")],
        [chunked(b"5", b"hello", b""), b"6\r\n world\r\n"],
    ],
    ids=["announced", "at once", "bit by bit"],
)
def test_a_body_over_the_limit_is_refused_and_never_whole_for_the_backend(pieces: list[bytes]) -> None:
    plane = Plane(limits=Limits(body=10))
    upstream, client = plane.open_upstream(), plane.client()

    for piece in pieces:
        client.hear(piece)

    assert (b"413", True) == (status(client), client.is_ended)
    assert b"world" not in upstream.written
    assert upstream.is_cut or not upstream.written
    assert 0 == plane.backend.in_flight


@pytest.mark.parametrize("bad", [b"x\r\n", b"5\r\nhelloXX", b"0\r\nHost: b\r\n\r\n"])
def test_a_bad_chunk_is_refused_and_ends_what_was_begun_at_the_backend(bad: bytes) -> None:
    plane = Plane()
    upstream, client = plane.open_upstream(), plane.client()
    client.hear(chunked(b"2", b"ok", b""))

    client.hear(bad)

    assert (b"400", True, 0, 0) == (status(client), upstream.is_cut, plane.backend.in_flight, plane.backend.failures)


def test_a_body_that_can_come_to_no_end_is_not_begun() -> None:
    """Its client had ended its side while the request before was served; the stall was waited for, and 408 said."""
    plane = Plane()
    upstream, client = plane.open_upstream(), plane.client()
    client.hear(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n" + put(b"hel", length=5))
    client.hear_end()
    upstream.written.clear()

    upstream.hear(OK)

    assert (b"", True, 0) == (bytes(upstream.written), client.is_closing(), plane.backend.in_flight)


def test_after_a_body_that_is_refused_at_its_end_neither_connection_serves_again() -> None:
    """Its end had come, so it was taken for complete, though the Backend had not been sent it."""
    client = Plane(limits=Limits(body=10)).client()
    asked = RequestHead(chunked(), Limits())
    upload = Upload(cast(Downstream, client._protocol), asked, keep=0, limit=10)

    rest = upload.feed(b"b\r\nhello world\r\n0\r\n\r\nGET / HTTP/1.1\r\n")

    assert (b"", False, 413) == (rest, upload.is_complete, upload.error and upload.error.status)


@pytest.mark.parametrize("name", [b"X-Subject", b"x_subject"])
def test_what_the_proxy_vouches_for_can_not_be_forged_in_a_trailer(name: bytes) -> None:
    plane = Plane()
    plane.worker._forged = re.compile(rb"\n(?:X[-_]Subject):[^\n]*\r(?=\n)", re.IGNORECASE)
    upstream, client = plane.open_upstream(), plane.client()

    client.hear(chunked(b"2", b"ok", b"0", b"X-A: 1", name + b": CN=admin", b"", b""))

    assert (b"400", False) == (status(client), b"admin" in upstream.written)
