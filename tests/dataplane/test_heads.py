"""Promises of `proxy.dataplane.clients.downstream` about heads that come slowly, or are none."""

from __future__ import annotations

from math import inf
from typing import cast

import pytest

from proxy.dataplane.clients.downstream import Downstream
from tests.dataplane.plane import Plane, Wire

GET = b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"


def deadline(client: Wire) -> float:
    return cast("Downstream", client._protocol).deadline


@pytest.mark.parametrize("begun", [b"G", b"\r", b"\r\n", b"\r\nG", b"GET / HT"])
def test_the_time_for_a_head_begins_with_its_first_byte_and_nothing_puts_it_off(begun: bytes) -> None:
    """A single byte held a connection for ever: each look at it armed its deadline anew."""
    plane = Plane()
    client = plane.client()
    client.hear(begun)
    at = deadline(client)

    cast("Downstream", client._protocol).wake()
    client.hear(b"\r\n" if begun.endswith(b"\n") else b"")

    assert at == deadline(client) < inf


@pytest.mark.parametrize(
    ("begun", "answer"), [(b"G", b"408"), (b"GET / HTTP/1.1\r\n", b"408"), (b"\r\n", b""), (b"", b"")]
)
def test_a_head_that_does_not_come_in_time_is_408_and_none_at_all_is_silence(begun: bytes, answer: bytes) -> None:
    plane = Plane()
    client = plane.client()
    client.hear(begun)

    plane.expire()

    assert (answer, True) == (bytes(client.written[9:12]), client.is_ended)


@pytest.mark.parametrize("begun", [b"GET / HTTP/1.1\n", b"GET / HTTP/1.1\r\nX: \x00", b"\x16\x03\x01\x02\x00", b"G\rE"])
def test_what_can_become_no_head_is_refused_before_it_ends(begun: bytes) -> None:
    plane = Plane()
    client = plane.client()

    client.hear(begun)

    assert (b"400", True) == (bytes(client.written[9:12]), client.is_ended)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_empty_lines_before_a_request_mean_nothing_however_they_are_cut(count: int) -> None:
    plane = Plane()
    upstream, client = plane.open_upstream(), plane.client()

    for byte in b"\r\n" * count + GET:
        client.hear(bytes([byte]))

    assert upstream.written.startswith(GET[:-2])


def test_every_request_of_a_connection_has_its_own_time() -> None:
    plane = Plane()
    upstream, client = plane.open_upstream(), plane.client()
    client.hear(b"G")
    first = deadline(client)
    client.hear(GET[1:])
    upstream.hear(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    idle = deadline(client)

    client.hear(b"G")

    assert first < deadline(client) < idle
