"""Promises of `proxy.dataplane.exchanges.exchange`: every way to end settles the Attempt once, and blames whose fault it was."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Any, cast

import pytest

from proxy.core.messages import BackendState, Snapshot
from proxy.core.settings import HoldPolicy, RouteSettings, Settings, StaticAnswer, Timeouts
from proxy.dataplane.clients.downstream import Downstream
from tests.core.pools import MAINT
from tests.dataplane.plane import Plane, Wire

GET = b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n\r\n"
UPGRADE = b"GET / HTTP/1.1\r\nHost: a.example\r\nConnection: upgrade\r\nUpgrade: a\r\n\r\n"
HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
OK = HEAD + b"Content-Length: 2\r\n\r\nok"
Play = Callable[[Plane, Wire, Wire], object]


def says(data: bytes, request: bytes = GET) -> Play:
    """The Backend says this, and then that it has no more to say."""

    def play(plane: Plane, client: Wire, upstream: Wire) -> None:
        client.hear(request)
        upstream.hear(data)
        upstream.hear_end()

    return play


def hangs(data: bytes, request: bytes = GET) -> Play:
    """The Backend says this, and then nothing."""

    def play(plane: Plane, client: Wire, upstream: Wire) -> None:
        client.hear(request)
        upstream.hear(data)
        for _ in range(2):
            plane.expire(idle=False)

    return play


def leaves(request: bytes, answer: bytes = b"") -> Play:
    """The client goes away."""

    def play(plane: Plane, client: Wire, upstream: Wire) -> None:
        client.hear(request)
        upstream.hear(answer)
        client.hear_reset()

    return play


def sends(*pieces: bytes) -> Play:
    """The client sends this, and then nothing."""

    def play(plane: Plane, client: Wire, upstream: Wire) -> None:
        for piece in pieces:
            client.hear(piece)
        for _ in range(2):
            plane.expire(idle=False)

    return play


ITS_OWN = {
    "no answer": says(b""),
    "half a head": says(b"HTTP/1.1 2"),
    "no HTTP": says(b"SSH-2.0-x\r\n"),
    "both lengths": says(HEAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n"),
    "too large a head": says(HEAD + b"X: " + b"x" * 40_000),
    "too many fields": says(HEAD + b"X: 1\r\n" * 101 + b"\r\n"),
    "interim answers without end": says(b"HTTP/1.1 102 Processing\r\n\r\n" * 101),
    "a body that ends early": says(HEAD + b"Content-Length: 3\r\n\r\nok"),
    "a streamed body that ends early": says(HEAD + b"Content-Length: 3\r\n\r\nok", POST + b"hello"),
    "a bad chunk": says(CHUNKED + b"x\r\n"),
    "a bad chunk in a stream": says(CHUNKED + b"2\r\nok\r\nx\r\n", POST + b"hello"),
    "chunks that end early": says(CHUNKED + b"2\r\nok\r\n"),
    "more than was announced": says(OK + b"!"),
    "101 that nobody asked for": says(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: a\r\nConnection: upgrade\r\n\r\n"),
    "silence": hangs(b""),
    "silence within a head": hangs(b"HTTP/1.1 200"),
    "silence behind an interim answer": hangs(b"HTTP/1.1 102 Processing\r\n\r\n"),
    "silence within a body": hangs(HEAD + b"Content-Length: 3\r\n\r\nok"),
    "silence within a stream": hangs(HEAD + b"Content-Length: 3\r\n\r\nok", POST + b"hello"),
}
NOT_ITS_OWN = {
    "an answer": says(OK),
    "an answer of any kind": says(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"),
    "an early answer": says(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n", POST + b"he"),
    "an answer until the close": says(HEAD + b"\r\nok"),
    "a client that leaves at once": leaves(GET),
    "a client that leaves within its body": leaves(POST + b"he"),
    "a client that leaves within a head": leaves(GET, b"HTTP/1.1 200"),
    "a client that leaves within an answer": leaves(POST + b"hello", HEAD + b"Content-Length: 3\r\n\r\nok"),
    "a client that leaves a tunnel": leaves(
        UPGRADE, b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: a\r\nConnection: upgrade\r\n\r\n"
    ),
    "a client that does not finish its body": sends(POST + b"he"),
    "a client whose chunk is bad": sends(
        b"POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", b"x\r\n"
    ),
}


def ended(play: Play) -> tuple[int, int]:
    """Failures that were counted against the Backend, and Attempts that were not settled."""
    plane = Plane()
    upstream, client = plane.open_upstream(), plane.client()
    play(plane, client, upstream)
    assert [] == plane.mistakes
    return plane.backend.failures, plane.backend.in_flight


@pytest.mark.parametrize("what", ITS_OWN)
def test_what_a_backend_does_wrong_counts_against_it_once(what: str) -> None:
    assert (1, 0) == ended(ITS_OWN[what])


@pytest.mark.parametrize("what", NOT_ITS_OWN)
def test_what_a_backend_can_not_help_does_not_count_against_it(what: str) -> None:
    assert (0, 0) == ended(NOT_ITS_OWN[what])


def test_a_client_that_leaves_while_the_proxy_connects_leaves_nothing_behind() -> None:
    """The connection comes all the same, when nobody waits for it any more."""
    plane = Plane()
    client = plane.client()
    client.hear(GET)
    connecting = plane.loop.connecting[0]

    client.hear_reset()
    late = plane.connect()

    assert (True, True, b"") == (connecting.was_given_up, late.is_cut, bytes(late.written))
    assert (0, 0, 0) == (plane.backend.in_flight, plane.backend.failures, plane.idle)


def test_options_that_may_go_no_further_are_answered_here_also_between_others() -> None:
    plane = Plane()
    upstream, client = plane.open_upstream(), plane.client()

    client.hear(GET + b"OPTIONS * HTTP/1.1\r\nHost: a.example\r\nMax-Forwards: 0\r\n\r\n" + GET)
    upstream.hear(OK)
    upstream.hear(OK)

    assert b"OPTIONS" not in upstream.written
    assert [b"ok", b"ok"] == [part[:2] for part in bytes(client.written).split(b"\r\n\r\n") if part[:2] == b"ok"]
    assert 1 == client.written.count(b"\r\nAllow: ")


def test_a_request_that_waits_for_its_turn_is_not_begun_once_its_client_is_gone() -> None:
    plane = Plane()
    upstream, client = plane.open_upstream(), plane.client()
    client.hear(GET + POST + b"hello")
    upstream.written.clear()

    client.hear_reset()

    assert (b"", True, 0) == (bytes(upstream.written), upstream.is_cut, plane.backend.in_flight)


def test_who_sends_many_requests_at_once_and_reads_nothing_is_not_answered_without_end() -> None:
    """Answers that need no Backend were all made in one turn, for 250 KB of requests in one read."""
    plane = Plane()
    route = RouteSettings("own", answer=StaticAnswer(body="x" * 1000))
    plane.worker.heed(Snapshot(2, 2, Settings((), (), (route,)), {}))
    client = plane.client()
    deliver = client.write

    def fill(data: bytes) -> None:
        deliver(data)
        client._protocol.pause_writing()

    client.write = cast(Any, fill)

    client.hear(GET * 100)
    first = client.written.count(b"HTTP/1.1 ")
    client.drain()

    assert [1, 2] == [first, client.written.count(b"HTTP/1.1 ")]


def test_a_mistake_of_ours_within_an_answer_is_no_part_of_its_body(caplog: pytest.LogCaptureFixture) -> None:
    """What was left of the body could be as long as our 500."""
    plane = Plane()
    upstream, client = plane.open_upstream(), plane.client()
    client.hear(GET)
    upstream.hear(HEAD + b"Content-Length: 1000000\r\n\r\nbegun")
    before = len(client.written)

    upstream._protocol.error = cast(Any, "not an error that we know")
    client._protocol.wake()

    assert (b"", True, 0) == (client.written[before:], client.is_cut, plane.backend.in_flight)
    assert ["a request failed by our own mistake"] == caplog.messages


def test_a_request_that_was_held_beyond_its_whole_time_blames_nobody_for_it() -> None:
    plane = Plane(hold=HoldPolicy(60.0), timeouts=Timeouts(total=1e-9))
    key = plane.backend.key
    plane.pool.heed({key: MAINT}, monotonic())
    client = plane.client()
    client.hear(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n")
    assert b"" == client.written
    plane.pool.heed({key: BackendState()}, monotonic())
    until = monotonic() + 60.0
    while not (client.written or plane.loop.connecting) and monotonic() < until:
        cast("Downstream", client._protocol).wake()
        plane.loop.turn()

    assert client.written.startswith(b"HTTP/1.1 503 ")
    assert (0, 0, []) == (plane.backend.requests, plane.pool.holding, plane.loop.connecting)
