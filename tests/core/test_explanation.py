"""Promises of `proxy.core.requests.explanation`: what would become of a request, found out dry."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

import pytest

from proxy.core.limits.waiting import Priority
from proxy.core.messages import BackendState
from proxy.core.pools.breaker import BreakerState
from proxy.core.pools.model import Unavailable
from proxy.core.requests.decisions import Attempt, Refuse, Wait
from proxy.core.requests.explanation import EARLIER_SHOWN, Explanation, Known, World, dry_pool
from proxy.core.requests.routing import Router
from proxy.core.requests.splitting import Split, is_passed_over
from proxy.core.requests.sticky import Seal
from proxy.core.settings import (
    Address,
    HashOn,
    ListenerSettings,
    Match,
    PoolSettings,
    RouteSettings,
    Settings,
    StaticAnswer,
    StickyPolicy,
)
from proxy.core.tls import ClientAuth, ListenerTls
from tests.core.pools import DOWN, DRAIN, MAINT, members

APP = PoolSettings("app", members(3), balance="round_robin")
ALL = RouteSettings("all", split=(("app", 1.0),))


def world(
    *routes: RouteSettings, now: float = 100.0, known: dict[str, Known] | None = None, **changes: object
) -> World:
    settings = Settings(listeners=(), pools=(APP,), routes=routes or (ALL,))
    settings = replace(settings, **changes)
    facts = {("app", name): one for name, one in (known or {}).items()}
    return World(settings, Router(settings.routes), facts, now, random.Random(1))


def head(method: str = "GET", target: str = "/", *fields: str) -> bytes:
    return "\r\n".join([f"{method} {target} HTTP/1.1", "Host: shop.example", *fields, "", ""]).encode()


def names() -> list[str]:
    return [one.name for one in APP.backends]


def test_a_request_goes_to_one_of_those_that_serve_by_their_weights() -> None:
    red, green, blue = names()
    found = world(known={blue: Known(DOWN)}).explain(head())

    assert "all" == found.route.name
    (choice,) = found.choices
    assert isinstance(choice.decision, Attempt)
    assert {red: 0.5, green: 0.5} == choice.chances
    assert {red: [], green: [], blue: [Unavailable.FAILED_PROBES]} == choice.reasons


def test_routes_before_the_one_that_matches_say_why_they_did_not() -> None:
    pay = RouteSettings("pay", Match(path="/pay/*"), (("app", 1.0),))
    found = world(pay, ALL, replace(ALL, name="later")).explain(head())

    assert ("all", (("pay", "the path is not below /pay/"),), 0) == (found.route.name, found.earlier, found.left_out)


def test_very_many_routes_are_not_all_named() -> None:
    many = [RouteSettings(f"r{number}", Match(path=f"/{number}"), (("app", 1.0),)) for number in range(250)]
    found = world(*many).explain(head())

    assert (404, EARLIER_SHOWN, 150) == (found.refusal.status, len(found.earlier), found.left_out)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (head("GET", "/ x"), 400),
        (head("GET", "/" + "x" * 9000), 414),
        (head("GET", "/", *["Via: 1.1 failover-proxy"] * 30), 508),
    ],
    ids=["no Host", "a space", "too long", "a circle"],
)
def test_a_request_that_would_be_refused_is(data: bytes, status: int) -> None:
    found = world().explain(data)

    assert (status, None, ()) == (found.refusal.status, found.route, found.choices)


def test_a_request_that_may_go_no_further_is_answered_here() -> None:
    found = world().explain(head("OPTIONS", "/", "Max-Forwards: 0"))

    assert StaticAnswer() == found.route.settings.answer
    assert () == found.choices


def test_a_field_that_nobody_but_we_may_set_matches_no_route() -> None:
    """As a worker, which leaves it out before it looks for the Route."""
    auth = ClientAuth("", header="X-Subject")
    listener = ListenerSettings("web", Address("127.0.0.1", 0), tls=ListenerTls((), client_auth=auth))
    admin = RouteSettings("admin", Match(headers=(("X-Subject", "CN=root"),)), (("app", 1.0),))

    found = world(admin, ALL, listeners=(listener,)).explain(head("GET", "/", "X-Subject: CN=root"))

    assert "all" == found.route.name


def test_a_split_has_a_choice_for_each_pool() -> None:
    other = replace(APP, name="canary")
    split = RouteSettings("split", split=(("app", 0.95), ("canary", 0.05)))
    found = world(split, pools=(APP, other)).explain(head())

    assert [("app", 0.95), ("canary", 0.05)] == [(one.pool.name, one.share) for one in found.choices]


# Sticky clients and splits

CANARY = replace(APP, name="canary")
STICKY = StickyPolicy(cookie="node", keys=(b"k" * 32,), ttl=3600.0)
SPLIT = RouteSettings("split", split=(("app", 0.75), ("canary", 0.25)))
OUT = {("canary", name): Known(MAINT) for name in ("b0", "b1", "b2")}


def splitting(route: RouteSettings, known: dict[tuple[str, str], Known] | None = None, **changes: object) -> World:
    return replace(world(route, pools=(APP, CANARY)), known=known or {}, wall=1000.0, **changes)


def cookie(owner: tuple[str, str], expires: int = 2000, seed: int = 7) -> str:
    seal = Seal(STICKY.keys[0], b"node")
    return f"Cookie: node={seal.write(expires, seed, seal.identity(owner)).decode()}"


def shares_of(found: Explanation) -> dict[str, float]:
    return {one.pool.name: one.share for one in found.choices}


def test_a_pool_of_a_split_in_which_nobody_serves_is_passed_over() -> None:
    assert {"app": 1.0, "canary": 0.0} == shares_of(splitting(SPLIT, OUT).explain(head()))


def test_a_pool_that_is_cut_off_gets_nothing() -> None:
    assert {"app": 1.0, "canary": 0.0} == shares_of(splitting(SPLIT, cuts={"split": "canary"}).explain(head()))


def test_where_no_pool_of_a_split_serves_the_shares_stay() -> None:
    out = OUT | {("app", name): Known(MAINT) for name in names()}

    assert {"app": 0.75, "canary": 0.25} == shares_of(splitting(SPLIT, out).explain(head()))


@pytest.mark.parametrize("known", [{}, OUT])
def test_the_shares_are_those_by_which_a_split_draws(known: dict[tuple[str, str], Known]) -> None:
    asked = splitting(SPLIT, known)
    told = shares_of(asked.explain(head()))
    pools = {one.name: dry_pool(one, asked.known, 100.0) for one in (APP, CANARY)}
    rng = random.Random(3)
    drawn = Counter(
        Split(SPLIT.split).at_random(rng, lambda name: is_passed_over(pools[name], 100.0)) for _ in range(4000)
    )

    assert told == pytest.approx({name: drawn[name] / 4000 for name in told}, abs=0.03)


def test_a_client_whose_cookie_names_its_backend_goes_there() -> None:
    route = replace(SPLIT, sticky=STICKY)
    found = splitting(route).explain(head("GET", "/", cookie(("canary", "b1"))))
    taken = max(found.choices, key=lambda one: one.share)

    seeds = [seed for seed in range(50) if Split(SPLIT.split).of_client(seed, lambda _: False) == "canary"]
    kept = splitting(route).explain(head("GET", "/", cookie(("canary", "b1"), seed=seeds[0]))).choices[1]
    assert (1.0, True, "b1", {"b1": 1.0}) == (kept.share, kept.is_kept, kept.decision.backend.name, kept.chances)
    assert 1.0 == taken.share


@pytest.mark.parametrize("line", [cookie(("app", "b1"), expires=999), "Cookie: node=forged", "A: b"])
def test_a_cookie_that_is_over_or_forged_counts_for_nothing(line: str) -> None:
    route = replace(ALL, sticky=STICKY)
    (choice,) = splitting(route).explain(head("GET", "/", line)).choices

    assert (False, 3) == (choice.is_kept, len(choice.chances))


@pytest.mark.parametrize(("state", "is_kept"), [(DRAIN, True), (MAINT, False)])
def test_an_owner_that_drains_keeps_its_clients_and_one_that_is_out_does_not(
    state: BackendState, *, is_kept: bool
) -> None:
    route = replace(ALL, sticky=STICKY)
    known = {("app", "b1"): Known(state)}
    (choice,) = splitting(route, known).explain(head("GET", "/", cookie(("app", "b1")))).choices

    assert is_kept is choice.is_kept


def test_a_client_that_a_pool_keeps_while_it_drains_is_not_passed_over() -> None:
    drained = {("canary", name): Known(DRAIN) for name in names()}
    seeds = [seed for seed in range(50) if Split(SPLIT.split).of_client(seed, lambda _: False) == "canary"]
    route = replace(SPLIT, sticky=STICKY)
    own, other = (
        splitting(route, drained).explain(head("GET", "/", cookie(owner, seed=seeds[0])))
        for owner in (("canary", "b1"), ("app", "b1"))
    )

    assert ({"app": 0.0, "canary": 1.0}, {"app": 1.0, "canary": 0.0}) == (shares_of(own), shares_of(other))


def test_a_hash_keeps_a_client_in_its_pool_of_a_split() -> None:
    route = replace(SPLIT, sticky=StickyPolicy(hash_on=HashOn("header", "X-User")))
    found = {user: shares_of(splitting(route).explain(head("GET", "/", f"X-User: {user}"))) for user in range(40)}

    assert {1.0} == {max(shares.values()) for shares in found.values()}
    assert {"app", "canary"} == {name for shares in found.values() for name, share in shares.items() if share}


# Breakers


def test_who_is_due_for_a_trial_gets_it_from_a_request_that_may_be_repeated() -> None:
    red = names()[0]
    known = {red: Known(breaker=BreakerState.OPEN, breaker_until=99.0, breaker_reason="5 failures in a row")}
    get, post = (world(known=known).explain(head(method)).choices[0].decision for method in ("GET", "POST"))

    assert (red, True) == (get.backend.name, get.ticket.is_trial)
    assert (True, False) == (post.backend.name != red, post.ticket.is_trial)


@pytest.mark.parametrize(
    ("one", "reason"),
    [
        (Known(breaker=BreakerState.OPEN, breaker_until=200.0), Unavailable.BREAKER_OPEN),
        (Known(breaker=BreakerState.OPEN, breaker_until=200.0, is_outlier=True), Unavailable.OUTLIER),
        (Known(breaker=BreakerState.HALF_OPEN), Unavailable.BREAKER_OPEN),
        (Known(MAINT), Unavailable.MAINT),
    ],
)
def test_who_is_out_gets_nothing_and_says_why(one: Known, reason: Unavailable) -> None:
    red = names()[0]
    (choice,) = world(known={red: one}).explain(head("POST")).choices

    assert ([reason], True) == (choice.reasons[red], red not in choice.chances)


def test_what_is_in_flight_counts() -> None:
    pool = replace(APP, balance="least_requests")
    red, green, blue = names()
    known = {red: Known(in_flight=5), green: Known(in_flight=5)}
    (choice,) = world(pools=(pool,), known=known).explain(head()).choices

    assert {blue: 1.0} == choice.chances


def test_a_hash_always_finds_the_same() -> None:
    pool = replace(APP, balance="hash", hash_on=HashOn("header", "X-User"))
    picked = {tuple(world(pools=(pool,)).explain(head("GET", "/", "X-User: ann")).choices[0].chances) for _ in range(3)}

    assert 1 == len(picked) == len(picked.pop())


def test_while_nobody_serves_a_request_waits_and_after_the_hold_it_is_refused() -> None:
    out = dict.fromkeys(names(), Known(MAINT, since=99.5))
    just, long_ago = (world(known=out, now=now).explain(head()).choices[0].decision for now in (100.0, 160.0))

    assert [Wait, Refuse] == [type(just), type(long_ago)]


def test_in_panic_somebody_who_is_out_is_tried() -> None:
    (choice,) = world(known=dict.fromkeys(names(), Known(DOWN, since=99.5))).explain(head()).choices

    assert (True, True) == (choice.pool.panic, isinstance(choice.decision, Attempt))


def test_to_ask_changes_nothing_for_the_next_who_asks() -> None:
    """A trial's place, turns and counts are those of Pools that are made for the question."""
    red = names()[0]
    asked = world(known={red: Known(breaker=BreakerState.OPEN, breaker_until=99.0)})

    assert [True] * 3 == [asked.explain(head()).choices[0].decision.ticket.is_trial for _ in range(3)]


def test_a_backend_of_which_nothing_is_known_is_taken_for_well() -> None:
    assert [[]] * 3 == [pool.reasons(one, 1.0) for pool in [dry_pool(APP, {}, 1.0)] for one in pool.backends]


def test_where_all_are_full_it_waits_as_its_priority_may() -> None:
    limited = PoolSettings("app", members(1, max_in_flight=10), has_priorities=True)
    low = replace(ALL, priority=Priority.LOW)
    for route, expected in ((ALL, Attempt), (low, Wait)):
        found = world(route, pools=(limited,), known={"b0": Known(in_flight=8)}).explain(head())

        assert isinstance(found.choices[0].decision, expected)
