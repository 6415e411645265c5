"""Promises of `proxy.dataplane.exchanges.sticking`: where a request goes, and what its client is told, byte by byte."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from proxy.core.messages import AdminState, BackendState, Snapshot
from proxy.core.requests.hedging import HedgeAfter, HedgePolicy
from proxy.core.requests.retry import RetryPolicy
from proxy.core.settings import BackendSettings, HashOn, HoldPolicy, PoolSettings, RouteSettings, Settings, StickyPolicy
from proxy.dataplane.backends.upstream import Upstream
from proxy.dataplane.clients.downstream import Downstream
from proxy.dataplane.clients.reception import Arrival
from tests.dataplane.plane import NOWHERE, ONCE, UNMOVED, WEB, Plane, Wire

STICKY = StickyPolicy("where", keys=(b"k" * 32,))
BOTH = (("app", 0.5), ("next", 0.5))
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
DRAIN = BackendState(admin=AdminState.DRAIN)
MAINT = BackendState(admin=AdminState.MAINT)


class Stage:
    """A worker with sticky or split Routes; a test answers for each Backend."""

    def __init__(self, *routes: RouteSettings, trusted: tuple[str, ...] = (), **policies: Any) -> None:
        self.plane = Plane()
        self.worker, self.loop = self.plane.worker, self.plane.loop
        policies = {"breaker": UNMOVED, "retries": ONCE, **policies}
        pools = tuple(
            PoolSettings(
                name, tuple(BackendSettings(f"{name}-{n}", NOWHERE, max_in_flight=1) for n in (1, 2)), **policies
            )
            for name in ("app", "next")
        )
        self.settings = Settings((), pools, routes, trusted_proxies=trusted)
        self.version = 10
        self.tell({})

    def tell(self, states: dict[tuple[str, str], BackendState], **cuts: str) -> None:
        """A Snapshot."""
        self.version += 1
        everybody = {backend.key: BackendState() for pool in self.worker.pools.values() for backend in pool.backends}
        self.worker.heed(Snapshot(self.version, 2, self.settings, everybody | states, cuts=cuts))

    def obey(self, settings: Settings) -> None:
        """A reload."""
        self.settings = settings
        self.version += 1
        self.worker.heed(Snapshot(self.version, self.worker.settings_version + 1, settings, {}))

    def ask(self, *fields: str, answer: bytes = OK, method: str = "GET") -> tuple[str, bytes, bytes]:
        """One request: who got it, what it got, and what came back."""
        before = {key: len(self.worker.idle[backend]) for key, backend in self.backends.items()}
        assert not any(before.values())
        wires = {key: self.open(backend) for key, backend in self.backends.items()}
        client = Wire(self.loop, Downstream(self.worker, Arrival(WEB)))
        client.hear("\r\n".join([f"{method} / HTTP/1.1", "Host: a.example", *fields, "", ""]).encode("latin-1"))
        asked = [(key, wire) for key, wire in wires.items() if wire.written]
        for _, wire in asked:
            wire.hear(answer)
        for home in self.worker.idle.values():
            home.clear()
        self.loop.turn()
        name = asked[0][0][1] if asked else ""
        return name, bytes(asked[0][1].written) if asked else b"", bytes(client.written)

    @property
    def backends(self) -> dict[tuple[str, str], Any]:
        return {one.key: one for pool in self.worker.pools.values() for one in pool.backends}

    def open(self, backend: Any) -> Wire:
        upstream = Upstream(self.worker.idle[backend])
        wire = Wire(self.loop, upstream)
        self.worker.idle[backend].keep(upstream, 1e9)
        return wire


def cookie_of(answer: bytes) -> str:
    """What a client sends from now on."""
    match = re.search(rb"Set-Cookie: (where=[^;]*)", answer)
    assert match is not None, answer
    return f"Cookie: {match[1].decode()}"


def sticky(*pools: str) -> RouteSettings:
    pools = pools or ("app",)
    split = tuple((pool, 1 / len(pools)) for pool in pools)
    return RouteSettings("all", split=split, sticky=STICKY)


def test_a_client_gets_a_cookie_once_and_the_backend_does_not_see_it() -> None:
    stage = Stage(sticky())
    first, _, answer = stage.ask()
    cookie = cookie_of(answer)
    later = [stage.ask(f"{cookie}; a=1") for _ in range(10)]

    assert {first} == {name for name, _, _ in later}
    assert {(True, False)} == {(b"Cookie: a=1\r\n" in asked, b"where=" in asked) for _, asked, _ in later}
    assert b"Set-Cookie" not in b"".join(answer for _, _, answer in later)


@pytest.mark.parametrize(("status", "is_kept"), [(200, True), (404, True), (499, True), (500, False), (503, False)])
def test_who_answers_with_a_failure_is_no_place_to_come_back_to(status: int, *, is_kept: bool) -> None:
    stage = Stage(sticky())
    _, _, answer = stage.ask(answer=b"HTTP/1.1 %d X\r\nContent-Length: 2\r\n\r\nok" % status)

    assert is_kept is (b"Set-Cookie" in answer)


def test_a_client_of_one_that_drains_stays_and_its_cookie_is_not_renewed() -> None:
    stage = Stage(replace(sticky(), sticky=replace(STICKY, ttl=1e9)))
    owner, _, answer = stage.ask()
    cookie = cookie_of(answer)
    # From now on every cookie is due.
    stage.obey(replace(stage.settings, routes=(replace(sticky(), sticky=replace(STICKY, ttl=60.0)),)))
    renewed = stage.ask(cookie)
    stage.tell({("app", owner): DRAIN})
    kept = stage.ask(cookie)
    stage.tell({("app", owner): MAINT})
    moved = stage.ask(cookie)

    assert [(owner, True), (owner, False)] == [(name, b"Set-Cookie" in told) for name, _, told in (renewed, kept)]
    assert (True, True) == (moved[0] != owner, b"Set-Cookie" in moved[2])


def test_a_client_whose_owner_is_full_is_served_by_another_and_keeps_its_cookie() -> None:
    stage = Stage(sticky())
    owner, _, answer = stage.ask()
    stage.backends["app", owner].in_flight = 1
    other, _, told = stage.ask(cookie_of(answer))

    assert (True, False) == (other != owner, b"Set-Cookie" in told)


def test_a_backend_of_another_address_keeps_its_clients_and_another_name_does_not() -> None:
    stage = Stage(sticky())
    owner, _, answer = stage.ask()
    cookie = cookie_of(answer)
    app, following = stage.settings.pools
    moved = tuple(replace(one, address=replace(NOWHERE, port=81)) for one in app.backends)
    stage.obey(replace(stage.settings, pools=(replace(app, backends=moved), following)))
    same_name = stage.ask(cookie)
    renamed = tuple(replace(one, name=f"new-{one.name}") for one in app.backends)
    stage.obey(replace(stage.settings, pools=(replace(app, backends=renamed), following)))
    other_name = stage.ask(cookie)

    assert (owner, False) == (same_name[0], b"Set-Cookie" in same_name[2])
    assert b"Set-Cookie" in other_name[2]


@pytest.mark.parametrize(
    ("trusted", "fields", "is_secure"),
    [
        ((), (), False),
        ((), ("X-Forwarded-Proto: https",), False),
        (("192.0.2.0/24",), ("X-Forwarded-Proto: https",), True),
        (("192.0.2.0/24",), ("X-Forwarded-Proto: http",), False),
    ],
)
def test_a_cookie_is_for_tls_alone_if_its_client_came_over_tls_to_whom_we_trust(
    trusted: tuple[str, ...], fields: tuple[str, ...], *, is_secure: bool
) -> None:
    _, _, answer = Stage(sticky(), trusted=trusted).ask(*fields)

    assert is_secure is (b"; Secure" in answer)


def test_a_stream_and_a_head_bear_the_cookie_too() -> None:
    stage = Stage(sticky())
    _, _, chunked = stage.ask(answer=b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n")
    _, _, to_head = stage.ask(method="HEAD", answer=b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")

    assert [1, 1] == [answer.count(b"Set-Cookie: where=") for answer in (chunked, to_head)]


@pytest.mark.parametrize(("is_known", "asked"), [(False, 2), (True, 1)])
def test_a_client_with_an_owner_is_not_hedged(asked: int, *, is_known: bool) -> None:
    stage = Stage(sticky(), hedge=HedgePolicy(HedgeAfter(seconds=1e-9)), retries=RetryPolicy(unsafe_reuse=1e6))
    _, _, answer = stage.ask()
    cookie = cookie_of(answer) if is_known else "Cookie: a=1"
    wires = [stage.open(backend) for backend in stage.backends.values()]
    client = Wire(stage.loop, Downstream(stage.worker, Arrival(WEB)))
    client.hear(f"GET / HTTP/1.1\r\nHost: a.example\r\n{cookie}\r\n\r\n".encode())

    assert asked == sum(bool(wire.written) for wire in wires)


FUZZED = Stage(sticky())


TOKENS = ("where=", "where", "Where=", "=", ";", "; ", " ", "\t", "a", '"', ",", "\xff", "A" * 48, "where=" + "A" * 48)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.lists(st.sampled_from(TOKENS), max_size=8).map("".join), min_size=1, max_size=4))
@example(["where=;where=;;where=", "where==", ";"])
def test_no_cookie_harms_a_worker_or_gets_by(lines: list[str]) -> None:
    name, asked, answer = FUZZED.ask(*(f"Cookie: {line}" for line in lines))
    seen = [line.partition(b":")[2] for line in asked.split(b"\r\n") if line.startswith(b"Cookie:")]

    assert name.startswith("app-")
    assert [] == [pair for line in seen for pair in line.split(b";") if pair.strip(b" \t").startswith(b"where=")]
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"Set-Cookie: where=" in answer


# Splits


def test_a_client_of_a_split_stays_in_its_pool_and_goes_to_the_other_one_when_that_is_cut_off() -> None:
    stage = Stage(sticky("app", "next"))
    owner, _, answer = stage.ask()
    pool = owner.partition("-")[0]
    cookie = cookie_of(answer)
    stayed = {stage.ask(cookie)[0] for _ in range(10)}
    stage.tell({}, all=pool)
    moved, _, told = stage.ask(cookie)
    stage.tell({})
    back, _, _ = stage.ask(cookie_of(told))

    assert {owner} == stayed
    assert (True, True) == (moved.partition("-")[0] != pool, back.partition("-")[0] == pool)


def test_a_request_that_its_pool_refuses_is_served_by_the_other_one() -> None:
    stage = Stage(RouteSettings("all", split=BOTH), retries=RetryPolicy(attempts=1))
    stage.tell({("app", f"app-{n}"): MAINT for n in (1, 2)})

    assert {"next"} == {stage.ask()[0].partition("-")[0] for _ in range(20)}


def test_where_all_pools_are_out_the_answer_is_the_usual_one() -> None:
    stage = Stage(RouteSettings("all", split=BOTH), hold=HoldPolicy(0.0))
    stage.tell({(pool, f"{pool}-{n}"): MAINT for n in (1, 2) for pool in ("app", "next")})
    name, _, answer = stage.ask()

    assert ("", True) == (name, answer.startswith(b"HTTP/1.1 503"))


def test_a_client_of_a_draining_pool_stays_there_and_new_ones_go_to_the_other() -> None:
    stage = Stage(sticky("app", "next"))
    owner, _, answer = stage.ask()
    pool = owner.partition("-")[0]
    cookie = cookie_of(answer)
    stage.tell({(pool, f"{pool}-{n}"): DRAIN for n in (1, 2)})

    assert {owner} == {stage.ask(cookie)[0] for _ in range(5)}
    assert pool not in {stage.ask()[0].partition("-")[0] for _ in range(20)}


def test_the_pool_may_follow_from_what_the_request_says() -> None:
    stage = Stage(RouteSettings("all", split=BOTH, sticky=StickyPolicy(hash_on=HashOn("header", "x-user"))))
    found = {user: {stage.ask(f"X-User: {user}")[0].partition("-")[0] for _ in range(5)} for user in range(20)}

    assert {1} == {len(pools) for pools in found.values()}
    assert {"app", "next"} == set().union(*found.values())
    assert b"Set-Cookie" not in stage.ask()[2]


def test_a_request_whose_pool_is_out_of_reach_goes_to_the_other_one_before_it_waits() -> None:
    stage = Stage(RouteSettings("all", split=BOTH), retries=RetryPolicy())
    client = Wire(stage.loop, Downstream(stage.worker, Arrival(WEB)))
    client.hear(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n")
    asked = []
    while len({name.partition("-")[0] for name in asked}) < 2:
        backend = next(one for one in stage.backends.values() if one.in_flight)
        asked.append(backend.name)
        last = stage.loop.connecting.pop(0)
        if len({name.partition("-")[0] for name in asked}) < 2:
            last.end(None, ConnectionRefusedError())
    upstream = Upstream(stage.worker.idle[backend])
    wire = Wire(stage.loop, upstream)
    last.end(upstream)
    wire.hear(OK)
    stage.loop.turn()

    assert 3 == len(asked)
    assert client.written.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"Proxy-Status: failover-proxy; attempts=3" in client.written
    assert {0} == {one.in_flight for one in stage.backends.values()}
    assert 0 == sum(pool.holding for pool in stage.worker.pools.values())


def test_a_write_that_may_have_been_executed_goes_to_no_other_pool() -> None:
    stage = Stage(RouteSettings("all", split=BOTH))
    wires = [stage.open(backend) for backend in stage.backends.values()]
    client = Wire(stage.loop, Downstream(stage.worker, Arrival(WEB)))
    client.hear(b"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 2\r\n\r\nhi")
    (asked,) = [wire for wire in wires if wire.written]
    asked.hear_reset()

    assert [asked] == [wire for wire in wires if wire.written]
    assert b'"executed": "unknown"' in client.written
