"""Promises of `proxy.dataplane.exchanges.rescue`: what a client gets when nothing can serve, and what is said of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from time import monotonic
from typing import Any

import pytest

from proxy.core.messages import BackendState, Snapshot
from proxy.core.requests.fallback import Fallback, FixedAnswer, StalePolicy
from proxy.core.settings import BackendSettings, HoldPolicy, PoolSettings, RouteSettings, Settings, Timeouts
from proxy.dataplane.backends.upstream import Upstream
from tests.core.pools import DOWN
from tests.dataplane.plane import NOWHERE, ONCE, UNMOVED, Plane, Wire

GET = b"GET /page HTTP/1.1\r\nHost: a.example\r\n\r\n"
HEAD = b"HEAD /page HTTP/1.1\r\nHost: a.example\r\n\r\n"
POST = b"POST /page HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n\r\nhello"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-From: app\r\n\r\nok"
OTHER = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nother"
BAD = b"HTTP/1.1 503 No\r\nContent-Length: 3\r\n\r\nbad"
SORRY = FixedAnswer(503, b"<p>Sorry</p>", "text/html", (("Retry-After", "30"),))


class Answer:
    """What a client has got."""

    def __init__(self, data: bytes) -> None:
        head, _, self.body = data.partition(b"\r\n\r\n")
        first, *lines = head.split(b"\r\n")
        self.status = int(first.split(b" ")[1])
        self.fields = {name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}

    @property
    def said(self) -> str:
        """Our Proxy-Status."""
        return self.fields.get(b"proxy-status", b"").decode()


class Degraded(Plane):
    """A Plane whose Route has this fallback, and a second Pool."""

    def __init__(self, total: float | None = None, **fallback: Any) -> None:
        super().__init__()
        self.version = 1
        self.total = total
        self.follow(Fallback(**fallback))
        self.other = self.worker.pools["other"].backends[0]

    def follow(self, fallback: Fallback | None) -> None:
        """The settings are these from now on."""
        self.version += 1
        policies: dict[str, Any] = {
            "timeouts": Timeouts(total=self.total),
            "breaker": UNMOVED,
            "retries": ONCE,
            "hold": HoldPolicy(0.0),
        }
        pools = [PoolSettings(name, (BackendSettings("one", NOWHERE),), **policies) for name in ("app", "other")]
        route = RouteSettings("web", split=(("app", 1.0),), fallback=fallback)
        self.worker.heed(Snapshot(self.version, self.version, Settings((), tuple(pools), (route,)), {}))

    def end_outages(self) -> None:
        """The next request tries anew, however soon it comes."""
        for pool in self.worker.pools.values():
            pool.end_outage(monotonic())

    def connect_other(self) -> Wire:
        upstream = Upstream(self.worker.idle[self.other])
        wire = Wire(self.loop, upstream)
        self.loop.connecting.pop(0).end(upstream)
        return wire

    def ask(self, request: bytes, play: Callable[[], object]) -> Answer:
        self.end_outages()
        client = self.client()
        client.hear(request)
        play()
        assert [] == self.mistakes
        return Answer(bytes(client.written))

    def answered(self, data: bytes, request: bytes = GET) -> Answer:
        """The Pool that should serve answers this."""
        return self.ask(request, lambda: self.connect_or_take().hear(data))

    def connect_or_take(self) -> Wire:
        return self.connect() if self.loop.connecting else self.upstreams[-1]

    def refused(self, request: bytes = GET) -> Answer:
        """Its Backend can't be reached."""
        self.begin_anew()
        return self.ask(request, self.refuse)

    @property
    def counted(self) -> dict[tuple[str, str, str], int]:
        return self.worker.report(0.0).degraded


def test_a_fixed_answer_stands_in_when_nobody_can_be_reached() -> None:
    plane = Degraded(answer=SORRY)

    got = plane.refused()

    assert (503, b"<p>Sorry</p>") == (got.status, got.body)
    assert (b"text/html", b"30", b"12") == tuple(
        got.fields[name] for name in (b"content-type", b"retry-after", b"content-length")
    )
    assert "failover-proxy; error=connection_refused; degraded=fixed" == got.said
    assert {("web", "app", "fixed"): 1} == plane.counted
    assert {("web", "app", "app", 503): 1} == plane.worker.report(0.0).degraded_ends


def test_a_fixed_answer_to_head_has_no_body() -> None:
    got = Degraded(answer=SORRY).refused(HEAD)

    assert (b"", b"12") == (got.body, got.fields[b"content-length"])


def test_a_write_that_was_not_sent_may_get_the_fixed_answer() -> None:
    assert b"<p>Sorry</p>" == Degraded(answer=SORRY).refused(POST).body


def test_a_write_that_may_have_been_executed_gets_the_truth() -> None:
    plane = Degraded(answer=SORRY, pool="other", stale=StalePolicy())

    def lose() -> None:
        plane.connect().hear_reset()

    got = plane.ask(POST, lose)

    assert (502, "unknown") == (got.status, json.loads(got.body)["executed"])
    assert {} == plane.counted
    assert 0 == plane.other.requests


def test_another_pool_serves_what_its_own_can_not_and_says_so() -> None:
    plane = Degraded(pool="other", answer=SORRY)

    def play() -> None:
        plane.refuse()
        plane.connect_other().hear(OTHER)

    got = plane.ask(GET, play)

    assert (200, b"other") == (got.status, got.body)
    assert "failover-proxy; attempts=2; degraded=pool" == got.said
    assert {("web", "app", "pool"): 1} == plane.counted
    assert {("web", "app", "other", 200): 1} == plane.worker.report(0.0).degraded_ends
    assert (0, 0) == (plane.backend.in_flight, plane.other.in_flight)


LONG = b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\nbeginning"


@pytest.mark.parametrize(
    ("end", "ends"),
    [
        (lambda wire, client: wire.hear(bytes(200_000 - 9)), {("web", "app", "other", 200): 1}),
        (lambda wire, client: wire.hear_reset(), {("web", "app", "other", 502): 1}),
        (lambda wire, client: client.hear_reset(), {}),
    ],
    ids=["it ends well", "it breaks off", "the client leaves"],
)
def test_what_another_pool_serves_counts_when_it_has_ended_and_not_before(
    end: Callable[[Wire, Wire], object], ends: dict[tuple[str, str, str, int], int]
) -> None:
    """Else a Report in between tells of an end that has not come, and of fewer good answers than the one before."""
    plane = Degraded(pool="other")
    plane.end_outages()
    client = plane.client()
    client.hear(GET)
    plane.refuse()
    wire = plane.connect_other()
    wire.hear(LONG)

    assert b"degraded=pool" in client.written
    assert ({}, {}) == (plane.counted, plane.worker.report(0.0).degraded_ends)
    end(wire, client)

    assert (ends, sum(ends.values())) == (plane.worker.report(0.0).degraded_ends, sum(plane.counted.values()))


def test_a_write_of_which_nothing_was_sent_goes_to_the_other_pool_with_all_of_its_body() -> None:
    plane = Degraded(pool="other")
    wires: list[Wire] = []

    def play() -> None:
        plane.refuse()
        wires.append(plane.connect_other())
        wires[0].hear(OTHER)

    got = plane.ask(POST, play)

    assert (200, b"other") == (got.status, got.body)
    assert wires[0].written.endswith(b"\r\n\r\nhello")


def test_a_fixed_answer_comes_when_the_other_pool_can_not_serve_either() -> None:
    plane = Degraded(pool="other", answer=SORRY)

    def play() -> None:
        plane.refuse()
        plane.refuse()

    got = plane.ask(GET, play)

    assert b"<p>Sorry</p>" == got.body
    assert "failover-proxy; error=connection_refused; attempts=2; degraded=fixed" == got.said
    assert {("web", "app", "fixed"): 1} == plane.counted
    assert (1, 0, 1, 0) == (
        plane.backend.failures,
        plane.backend.in_flight,
        plane.other.failures,
        plane.other.in_flight,
    )


def test_once_the_whole_time_is_over_no_other_pool_is_asked_and_blamed() -> None:
    plane = Degraded(total=1e-9, pool="other", answer=SORRY)

    assert b"<p>Sorry</p>" == plane.refused().body
    assert (0, 0) == (plane.other.requests, plane.other.failures)


def test_from_the_pool_that_stands_in_no_way_leads_back_to_the_split() -> None:
    plane = Degraded()
    plane.version += 1
    policies: dict[str, Any] = {"breaker": UNMOVED, "retries": ONCE, "hold": HoldPolicy(0.0)}
    names = ("app", "back", "other")
    pools = tuple(PoolSettings(name, (BackendSettings("one", NOWHERE),), **policies) for name in names)
    split = (("app", 0.5), ("back", 0.5))
    route = RouteSettings("web", split=split, fallback=Fallback(pool="other", answer=SORRY))
    plane.worker.heed(Snapshot(plane.version, plane.version, Settings((), pools, (route,)), {}))
    back = plane.worker.pools["back"]
    out = {("back", "one"): DOWN, ("app", "one"): BackendState()}
    back.heed(out, monotonic())

    def play() -> None:
        plane.refuse()
        back.heed({("back", "one"): BackendState()}, monotonic())
        plane.refuse()

    got = plane.ask(GET, play)

    assert b"<p>Sorry</p>" == got.body
    assert 0 == back.backends[0].requests
    assert [] == plane.mistakes


def test_without_anything_that_stands_in_the_refusal_is_that_of_the_last_attempt() -> None:
    plane = Degraded(pool="other")

    def play() -> None:
        plane.refuse()
        plane.refuse()

    assert (502, "connection_refused") == (
        (got := plane.ask(GET, play)).status,
        json.loads(got.body)["type"].rpartition(":")[2],
    )
    assert {} == plane.counted


def test_a_client_that_leaves_while_the_other_pool_is_asked_leaves_nothing_behind() -> None:
    plane = Degraded(pool="other")
    client = plane.client()
    client.hear(GET)
    plane.refuse()
    wire = plane.connect_other()

    client.hear_reset()

    assert (True, 0, 0) == (wire.is_cut, plane.backend.in_flight, plane.other.in_flight)


def test_a_backends_own_503_is_bettered_where_something_stands_in() -> None:
    plane = Degraded(answer=SORRY)

    got = plane.answered(BAD)

    assert b"<p>Sorry</p>" == got.body
    assert "failover-proxy; received-status=503; degraded=fixed" == got.said
    assert (1, 0) == (plane.backend.failures, plane.backend.in_flight)


def test_a_backends_own_503_to_a_write_is_passed_on() -> None:
    assert b"bad" == Degraded(answer=SORRY, pool="other").answered(BAD, POST).body


def test_a_backends_own_503_is_passed_on_where_the_other_pool_can_not_serve() -> None:
    plane = Degraded(pool="other")

    def play() -> None:
        plane.connect().hear(BAD)
        plane.refuse()

    got = plane.ask(GET, play)

    assert (503, b"bad") == (got.status, got.body)


def test_a_500_is_passed_on_unless_there_is_a_kept_answer() -> None:
    bad = BAD.replace(b"503", b"500")

    assert b"bad" == Degraded(answer=SORRY, stale=StalePolicy()).answered(bad).body


@pytest.mark.parametrize("failing", [b"500", b"502", b"503", b"504"])
def test_the_last_good_answer_stands_in_with_its_age(failing: bytes) -> None:
    plane = Degraded(answer=SORRY, stale=StalePolicy())
    assert b"ok" == plane.answered(OK).body

    got = plane.answered(BAD.replace(b"503", failing))

    assert (200, b"ok", b"app", b"0") == (got.status, got.body, got.fields[b"x-from"], got.fields[b"age"])
    assert f"failover-proxy; received-status={failing.decode()}; degraded=stale" == got.said
    assert {("web", "app", "stale"): 1} == plane.counted
    assert {("web", "app", "app", 200): 1} == plane.worker.report(0.0).degraded_ends


def test_a_write_that_another_pool_may_have_executed_counts_as_unknown_and_once() -> None:
    plane = Degraded(pool="other")

    def play() -> None:
        plane.refuse()
        plane.connect_other().hear_reset()

    got = plane.ask(POST, play)

    report = plane.worker.report(0.0)
    assert (502, "unknown") == (got.status, json.loads(got.body)["executed"])
    assert ({("web", "other"): 1}, {("web", "other", "POST", 502): 1}) == (report.unknown_outcomes, report.requests)


def test_a_kept_answer_whose_length_was_not_known_goes_out_again_in_chunks() -> None:
    plane = Degraded(stale=StalePolicy())
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
    assert chunked.partition(b"\r\n\r\n")[2] == plane.answered(chunked).body

    got = plane.refused()

    assert (b"2\r\nok\r\n0\r\n\r\n", b"chunked") == (got.body, got.fields[b"transfer-encoding"])
    assert b"" == plane.refused(HEAD).body


def test_head_gets_the_head_of_a_kept_answer() -> None:
    plane = Degraded(stale=StalePolicy())
    plane.answered(OK)

    got = plane.refused(HEAD)

    assert (200, b"", b"2") == (got.status, got.body, got.fields[b"content-length"])


def test_a_write_whose_answer_has_begun_ends_what_was_kept() -> None:
    plane = Degraded(stale=StalePolicy())
    plane.answered(OK)

    def play() -> None:
        wire = plane.connect_or_take()
        wire.hear(OK[:-2])
        wire.hear(OK[-2:])

    assert b"ok" == plane.ask(POST, play).body
    assert 502 == plane.refused().status


def test_a_client_that_says_who_it_is_gets_no_kept_answer() -> None:
    plane = Degraded(stale=StalePolicy())
    plane.answered(OK)

    got = plane.refused(GET.replace(b"\r\n\r\n", b"\r\nAuthorization: Bearer x\r\n\r\n"))

    assert 502 == got.status


def test_a_client_with_a_certificate_neither_leaves_an_answer_nor_gets_one() -> None:
    plane = Degraded(stale=StalePolicy())

    def ask() -> Wire:
        plane.end_outages()
        client = plane.client()
        client._protocol.forwarding.vouch("X-Client", b"CN=me")  # type: ignore[union-attr]
        client.hear(GET)
        return client

    ask()
    plane.connect().hear(OK)
    assert 502 == plane.refused().status
    plane.answered(OK)
    plane.begin_anew()
    client = ask()
    plane.refuse()

    assert 502 == Answer(bytes(client.written)).status


@pytest.mark.parametrize(
    ("first", "same", "other"),
    [
        (b"X-Forwarded-Proto: https", b"X-Forwarded-Proto: https", b"X-Forwarded-Proto: http"),
        (b"Forwarded: for=1.2.3.4;proto=https", b"Forwarded: for=5.6.7.8;proto=https", b"Forwarded: proto=http"),
    ],
)
def test_what_a_trusted_proxy_says_of_scheme_and_host_is_part_of_what_was_asked(
    first: bytes, same: bytes, other: bytes
) -> None:
    plane = Degraded(stale=StalePolicy())

    def status(field: bytes, play: Callable[[], object]) -> int:
        plane.end_outages()
        client = plane.client()
        client._protocol.forwarding.is_trusted = True  # type: ignore[union-attr]
        client.hear(GET.replace(b"\r\n\r\n", b"\r\n%b\r\n\r\n" % field))
        play()
        return Answer(bytes(client.written)).status

    status(first, lambda: plane.connect_or_take().hear(OK))
    plane.begin_anew()

    assert [200, 502] == [status(field, plane.refuse) for field in (same, other)]


def test_what_the_other_pool_answers_is_not_kept_for_later() -> None:
    plane = Degraded(pool="other", stale=StalePolicy())

    def play() -> None:
        plane.refuse()
        plane.connect_other().hear(OTHER)

    plane.ask(GET, play)

    def both() -> None:
        plane.refuse()
        plane.refuse()

    plane.worker.idle[plane.other].clear()
    assert 502 == plane.ask(GET, both).status


def test_a_reload_keeps_what_was_kept_unless_the_route_has_changed() -> None:
    plane = Degraded(stale=StalePolicy())
    plane.answered(OK)

    plane.follow(Fallback(stale=StalePolicy()))
    same = plane.refused().status
    plane.follow(Fallback(stale=StalePolicy(max_bytes=5000)))

    assert [200, 502] == [same, plane.refused().status]


def test_a_route_without_a_fallback_answers_as_ever() -> None:
    plane = Degraded()
    plane.follow(None)

    assert (b"ok", 502) == (plane.answered(OK).body, plane.refused().status)
    assert {} == plane.counted


def test_the_connection_goes_on_after_an_answer_that_stood_in() -> None:
    plane = Degraded(answer=SORRY)
    client = plane.client()

    client.hear(GET)
    plane.refuse()
    plane.end_outages()
    client.hear(GET)
    plane.connect().hear(OK)

    assert client.written.endswith(b"\r\n\r\nok")
    assert not client.is_ended
