"""Promises of `proxy.core.extending`: what own code sees, and that nothing it does fails a request."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from proxy.core.extending import BackendView, Ended, OwnBalancer, RequestView, own_condition, own_key
from proxy.core.pools import balancer
from proxy.core.pools.balancer import OWN, Hash
from proxy.core.pools.model import Backend
from proxy.core.requests.retry import Outcome
from proxy.core.settings import HashOn, PoolSettings
from tests.core.pools import OK, REFUSED, RESET, make_pool, members, request

RNG = random.Random(0)
ASKED = request("POST", "/a/b?c=d", "X-Country: DE", "Cookie: one=1; two=2")


class Complaints(list[tuple[str, str]]):
    """What was said of own code."""

    def hear(self, name: str, error: Exception) -> None:
        self.append((name, f"{type(error).__name__}: {error}"))


class Chooses:
    """Picks as it is told, and keeps what it was shown."""

    def __init__(self, choose: Callable[[Sequence[BackendView]], Any]) -> None:
        self.choose = choose
        self.shown: list[BackendView] = []

    def pick(self, asked: RequestView, candidates: Sequence[BackendView]) -> Any:
        self.shown = list(candidates)
        return self.choose(candidates)


def picked(choose: Callable[[Sequence[BackendView]], Any]) -> tuple[Backend, Complaints]:
    """Whom own code that chooses like this gives a request, of three Backends of which only the third is idle."""
    complaints, pool = Complaints(), make_pool(3)
    for backend in pool.backends[:2]:
        backend.in_flight = 1
    own = OwnBalancer("shop:own", lambda: Chooses(choose), complaints.hear, pool.settings, pool.backends)
    return own.pick(pool.backends, ASKED, 0.0, RNG), complaints


def raises(_: object) -> Any:
    raise ValueError("no")


def leaves(_: object) -> Any:
    raise SystemExit(3)


def test_a_request_is_shown_as_it_came() -> None:
    shown = RequestView(ASKED)

    assert ("POST", "shop.example", "/a/b?c=d", "/a/b", "192.0.2.9") == (
        shown.method,
        shown.host,
        shown.target,
        shown.path,
        shown.client,
    )
    assert ("DE", "DE", None) == (shown.header("X-Country"), shown.header("x-country"), shown.header("X-Other"))
    assert ("2", None) == (shown.cookie("two"), shown.cookie("three"))
    assert "<RequestView POST /a/b?c=d>" == repr(shown)


def test_what_is_shown_can_not_be_changed() -> None:
    shown = RequestView(ASKED)

    with pytest.raises(AttributeError):
        shown.path = "/other"  # type: ignore[misc]
    with pytest.raises(AttributeError):
        BackendView("a", "", 1, 1.0, 0).weight = 2.0  # type: ignore[misc]


def test_own_code_picks_among_the_candidates() -> None:
    backend, complaints = picked(lambda candidates: candidates[1])

    assert ("b1", []) == (backend.name, complaints)


def test_own_code_is_shown_who_could_serve() -> None:
    chooses = Chooses(lambda candidates: None)
    pool = make_pool(members(2, (1, 3), tier=2, region="eu"))
    pool.backends[1].in_flight = 4

    OwnBalancer("shop:own", lambda: chooses, raises, pool.settings, pool.backends).pick(pool.backends, ASKED, 0.0, RNG)

    assert [BackendView("b0", "eu", 2, 1.0, 0), BackendView("b1", "eu", 2, 3.0, 4)] == chooses.shown


def test_own_code_may_leave_the_choice_to_the_built_in_balancer() -> None:
    backend, complaints = picked(lambda candidates: None)

    assert ("b2", []) == (backend.name, complaints)


@pytest.mark.parametrize(
    ("choose", "error"),
    [
        (raises, "ValueError: no"),
        (leaves, "SystemExit: 3"),
        (lambda candidates: BackendView("other", "", 1, 1.0, 0), "ValueError"),
        (lambda candidates: "b1", "ValueError"),
    ],
)
def test_own_code_that_goes_wrong_is_passed_over_and_spoken_of(choose: Callable[..., Any], error: str) -> None:
    backend, complaints = picked(choose)

    assert "b2" == backend.name
    assert ["shop:own"] == [name for name, _ in complaints]
    assert complaints[0][1].startswith(error)


@pytest.mark.parametrize(("wrong", "error"), [(raises, "ValueError: no"), (leaves, "SystemExit: 3")])
def test_a_balancer_that_can_not_be_made_is_passed_over(wrong: Callable[..., Any], error: str) -> None:
    complaints, pool = Complaints(), make_pool(2)

    own = OwnBalancer("shop:own", lambda: wrong(0), complaints.hear, pool.settings, pool.backends)

    assert own.pick(pool.backends, ASKED, 0.0, RNG) in pool.backends
    assert [("shop:own", error)] == complaints


def test_a_pool_picks_with_own_code_among_those_that_were_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    def make(settings: PoolSettings, backends: Sequence[Backend]) -> OwnBalancer:
        return OwnBalancer("shop:first", lambda: Chooses(lambda candidates: candidates[0]), raises, settings, backends)

    monkeypatch.setitem(balancer.ALGORITHMS, "shop:first", make)
    pool = make_pool(3, balance="shop:first")

    names = [
        backend.name
        for tried in ((), pool.backends[:1], pool.backends[:2])
        if (backend := pool.pick(ASKED, 0.0, RNG, tried)) is not None
    ]
    assert ["b0", "b1", "b2"] == names


@pytest.mark.parametrize(
    ("outcome", "shown"),
    [
        (OK, Ended(None, 200, "answered", reused=False)),
        (REFUSED, Ended("connection_refused", 0, "not_sent", reused=False)),
        (RESET, Ended("connection_terminated", 0, "sent", reused=False)),
    ],
)
def test_a_condition_is_shown_how_an_attempt_ended(outcome: Outcome, shown: Ended) -> None:
    seen: list[Ended] = []

    holds = own_condition("shop:own", lambda ended: not seen.append(ended), raises)  # type: ignore[func-returns-value]

    assert (True, [shown]) == (holds(outcome), seen)


@pytest.mark.parametrize(("wrong", "error"), [(raises, "ValueError: no"), (leaves, "SystemExit: 3")])
def test_a_condition_that_goes_wrong_does_not_hold(wrong: Callable[..., Any], error: str) -> None:
    complaints = Complaints()

    assert (False, [("shop:own", error)]) == (own_condition("shop:own", wrong, complaints.hear)(OK), complaints)


@pytest.mark.parametrize(
    ("found", "key", "said"),
    [
        (lambda asked: asked.header("X-Country"), b"DE", 0),
        (lambda asked: "ä", "ä".encode(), 0),
        (lambda asked: None, b"192.0.2.9", 0),
        (raises, b"192.0.2.9", 1),
        (leaves, b"192.0.2.9", 1),
        (lambda asked: 7, b"192.0.2.9", 1),
    ],
)
def test_a_key_is_what_own_code_finds_or_else_the_clients_address(
    found: Callable[[RequestView], Any], key: bytes, said: int
) -> None:
    complaints = Complaints()

    assert (key, said) == (own_key("shop:own", found, complaints.hear)(ASKED), len(complaints))


def test_requests_with_one_key_go_to_one_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(balancer.KEYS, "shop:own", own_key("shop:own", lambda asked: asked.path, raises))
    pool = make_pool(5)
    settings = PoolSettings("app", pool.settings.backends, balance="hash", hash_on=HashOn(OWN, "shop:own"))
    hashes = Hash(settings, pool.backends)

    def owner(path: str, client: str) -> str:
        return hashes.pick(pool.backends, request("GET", path, client=client), 0.0, RNG).name

    assert 1 == len({owner("/a", f"192.0.2.{number}") for number in range(20)})
    assert 1 < len({owner(f"/{number}", "192.0.2.9") for number in range(20)})
