"""Promises of `proxy.dataplane.unanswered`: who has waited for an answer's head, and for how long."""

from __future__ import annotations

from proxy.dataplane.unanswered import LONGEST, Unanswered
from tests.dataplane.plane import Plane

GET = b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Watched(Plane):
    """A Plane that is looked at."""

    def __init__(self) -> None:
        super().__init__()
        self.unanswered = Unanswered()

    def look(self) -> dict[int, int]:
        """Seconds, and how many have waited for so long."""
        self.unanswered.look(self.worker.connections, self.worker.idle.items())
        assert self.backend.unanswered == self.backend.counts(0).unanswered
        return {seconds: number for seconds, number in enumerate(self.backend.unanswered, 1) if number}


def test_a_request_has_waited_for_as_many_seconds_as_looks_have_passed() -> None:
    plane = Watched()
    plane.open_upstream()
    plane.client().hear(GET)

    assert [{}, {1: 1}, {2: 1}] == [plane.look() for _ in range(3)]


def test_who_has_its_answer_waits_no_more_even_if_it_streams() -> None:
    plane = Watched()
    upstream, client = plane.open_upstream(), plane.client()
    client.hear(GET)
    plane.look()
    before = plane.look()
    upstream.hear(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nbegun")

    assert [{1: 1}, {}, {}] == [before, plane.look(), plane.look()]


def test_the_next_request_on_a_connection_waits_anew() -> None:
    plane = Watched()
    upstream, client = plane.open_upstream(), plane.client()
    client.hear(GET)
    plane.look()
    upstream.hear(OK)
    client.hear(GET)

    assert [{}, {1: 1}] == [plane.look(), plane.look()]


def test_what_a_client_has_yet_to_send_is_no_wait_for_an_answer() -> None:
    plane = Watched()
    plane.open_upstream()
    client = plane.client()
    client.hear(POST + b"he")
    plane.look()
    sending = plane.look()
    client.hear(b"llo")

    assert [{}, {}, {1: 1}] == [sending, plane.look(), plane.look()]


def test_who_waits_for_very_long_is_counted_with_the_longest() -> None:
    plane = Watched()
    plane.open_upstream()
    plane.client().hear(GET)
    for _ in range(LONGEST + 5):
        plane.look()

    assert {LONGEST: 1} == plane.look()
    assert "<Unanswered 1>" == repr(plane.unanswered)
