from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.requests.routing import Router, hostname, last_hop, mismatch
from proxy.core.settings import Match, RouteSettings, StaticAnswer, StickyPolicy
from proxy.core.wire.http1 import RequestHead
from tests.core.pools import LIMITS

HOSTS = ["", "a.example", "b.a.example", "*.a.example", "*.example"]
PATHS = ["", "/*", "/x", "/x/*", "/x/y", "/x/y/*"]


def asking(host: str = "a.example", path: str = "/", method: str = "GET", *fields: str) -> RequestHead:
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", *fields]
    return RequestHead("\r\n".join([*lines, "", ""]).encode(), LIMITS)


def router(*matches: Match) -> Router:
    """Routes `r0`, `r1`, … with these matches."""
    return Router([RouteSettings(f"r{n}", match, (("app", 1.0),)) for n, match in enumerate(matches)])


def found(matches: Sequence[Match], head: RequestHead) -> str | None:
    route = router(*matches).find(head)
    return route.settings.name if route is not None else None


# What a Route matches


@pytest.mark.parametrize(
    ("pattern", "host", "fits"),
    [
        ("", "anything", True),
        ("shop.example", "shop.example", True),
        ("shop.example", "SHOP.example", True),
        ("Shop.Example", "shop.example", True),
        ("shop.example", "shop.example:8080", True),
        ("shop.example", "shop.example.", True),
        ("shop.example", "other.example", False),
        ("shop.example", "a.shop.example", False),
        ("*.shop.example", "a.shop.example", True),
        ("*.shop.example", "b.a.shop.example:80", True),
        ("*.shop.example", "shop.example", False),
        ("*.shop.example", "ashop.example", False),
        ("[::1]", "[::1]", True),
        ("[::1]", "[::1]:8080", True),
    ],
)
def test_a_route_matches_by_host(pattern: str, host: str, fits: bool) -> None:  # noqa: FBT001 - a table's column
    assert fits is (found([Match(host=pattern), Match(host="never")], asking(host)) is not None)


@pytest.mark.parametrize(
    ("pattern", "path", "fits"),
    [
        ("", "/anything", True),
        ("/*", "/anything", True),
        ("/x", "/x", True),
        ("/x", "/x?q=1", True),
        ("/x", "/x/", False),
        ("/x", "/X", False),
        ("/x/*", "/x/", True),
        ("/x/*", "/x/y/z?q", True),
        ("/x/*", "/x", False),
        ("/x/*", "/xy", False),
        ("/x/*", "//x/", False),
        ("/x/y/*", "/x/y/z", True),
        ("/a%20b", "/a%20b", True),
        ("/a b", "/a%20b", False),
    ],
)
def test_a_route_matches_by_path_as_it_was_sent(pattern: str, path: str, fits: bool) -> None:  # noqa: FBT001
    assert fits is (found([Match(path=pattern), Match(path="/never")], asking(path=path)) is not None)


def test_a_route_matches_by_method() -> None:
    only = [Match(methods=("GET", "HEAD"))]

    assert "r0" == found(only, asking(method="HEAD"))
    assert found(only, asking(method="POST")) is None


def test_a_route_matches_by_the_exact_value_of_a_field() -> None:
    only = [Match(headers=(("X-Canary", "always"),))]

    assert "r0" == found(only, asking("a", "/", "GET", "x-canary: always"))
    assert found(only, asking("a", "/", "GET", "X-Canary: Always")) is None
    assert found(only, asking("a", "/", "GET")) is None


def test_all_that_a_match_names_must_fit() -> None:
    only = [Match("a.example", "/x/*", ("GET",), (("X-A", "1"), ("X-B", "2")))]

    assert "r0" == found(only, asking("a.example", "/x/y", "GET", "X-B: 2", "X-A: 1"))
    assert found(only, asking("a.example", "/x/y", "GET", "X-A: 1")) is None


# Which Route wins


def test_the_first_match_wins_even_over_one_that_is_more_exact() -> None:
    assert "r0" == found([Match(path="/x/*"), Match("a.example", "/x/y")], asking(path="/x/y"))


def test_a_route_that_does_not_accept_gives_way_to_the_next() -> None:
    assert "r1" == found([Match(path="/x", methods=("POST",)), Match(path="/x")], asking(path="/x"))


def test_where_nothing_matches_there_is_no_route() -> None:
    assert Router([]).find(asking()) is None


matches = st.builds(
    Match,
    st.sampled_from(HOSTS),
    st.sampled_from(PATHS),
    st.sampled_from([(), ("GET",), ("POST",)]),
    st.sampled_from([(), (("X-A", "1"),)]),
)
heads = st.builds(
    asking,
    st.sampled_from(["a.example", "b.a.example", "c.b.a.example", "other", "example"]),
    st.sampled_from(["/", "/x", "/x/", "/x/y", "/x/y/z", "/x/y/z?q", "/other"]),
    st.sampled_from(["GET", "POST"]),
    st.sampled_from(["X-A: 1", "X-A: 2"]),
)


def fits(match: Match, head: RequestHead) -> bool:
    """The rule in its plainest words, one Route at a time."""
    host, path = head.authority.decode(), head.path.decode()
    by_host = match.host in ("", host) or (match.host.startswith("*") and host.endswith(match.host[1:]))
    by_path = match.path in ("", "/*", path) or (match.path.endswith("/*") and path.startswith(match.path[:-1]))
    by_method = not match.methods or head.method.decode() in match.methods
    return (
        by_host and by_path and by_method and all((head.field(b"x-a") or b"").decode() == v for _, v in match.headers)
    )


@given(st.lists(matches, max_size=12), heads)
def test_what_is_found_is_what_comparing_one_by_one_would_find(all_matches: list[Match], head: RequestHead) -> None:
    expected = next((f"r{number}" for number, match in enumerate(all_matches) if fits(match, head)), None)

    assert expected == found(all_matches, head)


# What it costs


def looks(number: int) -> int:
    """How many Routes are asked in earnest among so many, for the last of them."""

    class Counting(RequestHead):
        asked = 0

        def field(self, name: bytes) -> bytes | None:
            Counting.asked += 1
            return super().field(name)

    both = [Match(f"h{n}.example", f"/p{n}/*", headers=(("X-A", "1"),)) for n in range(number)]
    raw = f"GET /p{number - 1}/x HTTP/1.1\r\nHost: h{number - 1}.example\r\nX-A: 1\r\n\r\n".encode()

    assert f"r{number - 1}" == found(both, Counting(raw, LIMITS))
    return Counting.asked


def test_the_cost_does_not_grow_with_the_number_of_routes() -> None:
    assert 1 == looks(10) == looks(10_000)


class Counting(dict[bytes, object]):
    """A table that counts how often something is looked up in it."""

    looks = 0

    def get(self, key: bytes, default: object = None) -> object:
        self.looks += 1
        return super().get(key, default)


def test_a_path_of_8000_slashes_is_not_looked_up_8000_times() -> None:
    """It took 10 ms: as much as 500 requests."""
    routes = router(Match(path="/x/*"), Match(path="/x/y/*"))
    table = routes._any.prefixes = Counting(routes._any.prefixes)

    assert routes.find(asking(path="/" * 8000)) is None

    assert table.looks <= len("/x/y/")


def test_a_host_of_16000_labels_is_not_looked_up_16000_times() -> None:
    """It took 90 ms: as much as 4,000 requests."""
    routes = router(Match(host="*.shop.example"), Match(host="*.example"))
    table = routes._suffixes = Counting(routes._suffixes)

    assert routes.find(asking("a." * 16_000 + "b")) is None

    assert table.looks <= len(".shop.example")


# What is left to choose


def test_only_a_route_that_is_neither_split_nor_sticky_has_its_pool_at_once() -> None:
    sticky = StickyPolicy("where", keys=(b"k",))
    settings = [
        RouteSettings("plain", split=(("app", 1.0),)),
        RouteSettings("sticky", split=(("app", 1.0),), sticky=sticky),
        RouteSettings("split", split=(("app", 0.5), ("next", 0.5))),
        RouteSettings("own", answer=StaticAnswer()),
    ]
    routes = Router(settings)

    assert ["app", "", "", ""] == [route.pool for route in routes.routes]
    assert ["sticky", "split"] == [route.name for route in routes.choosing]


@pytest.mark.parametrize(
    ("authority", "host"),
    [
        (b"A.example", b"a.example"),
        (b"a:80", b"a"),
        (b"a.", b"a"),
        (b"a.:80", b"a"),
        (b"[::1]:80", b"[::1]"),
        (b"", b""),
    ],
)
def test_a_hostname_is_lower_case_without_port_and_closing_dot(authority: bytes, host: bytes) -> None:
    assert host == hostname(authority)


def test_routes_say_what_they_are() -> None:
    both = router(Match(), Match())

    assert "<Router 2 routes>" == repr(both)
    assert "<Route 1 r1>" == repr(both.routes[1])


def test_a_request_that_may_go_no_further_has_the_same_route_and_an_answer_of_ours() -> None:
    route = router(Match()).routes[0]
    last = last_hop(route)

    assert (route.number, route.name, StaticAnswer()) == (last.number, last.name, last.settings.answer)


# Why a Route does not match


@pytest.mark.parametrize(
    ("match", "why"),
    [
        (Match(), ""),
        (Match(host="other.example"), "the host is not other.example"),
        (Match(host="*.other.example"), "the host is not below other.example"),
        (Match(path="/y"), "the path is not /y"),
        (Match(path="/x"), "the path is not /x"),
        (Match(path="/y/*"), "the path is not below /y/"),
        (Match(path="/x/*"), ""),
        (Match(path="/*"), ""),
        (Match(methods=("POST", "PUT")), "the method is not POST or PUT"),
        (Match(headers=(("X-A", "1"), ("X-B", "2"))), "X-B is missing"),
        (Match(headers=(("X-A", "s3cret"),)), "X-A has another value"),
        (Match(methods=("GET",), headers=(("X-B", "2"),)), "X-B is missing"),
    ],
)
def test_a_route_says_why_it_does_not_match(match: Match, why: str) -> None:
    """But never what a field must hold: it may be a credential."""
    assert why == mismatch(router(match).routes[0], asking("a.example", "/x/z", "GET", "X-A: 1"))


MATCHES = st.builds(
    Match,
    host=st.sampled_from(HOSTS),
    path=st.sampled_from(PATHS),
    methods=st.sampled_from([(), ("GET",), ("POST", "PUT")]),
    headers=st.sampled_from([(), (("X-A", "1"),)]),
)


@given(
    st.lists(MATCHES, max_size=6),
    st.sampled_from(["a.example", "b.a.example:80", "example", "c.example."]),
    st.sampled_from(["/", "/x", "/x/", "/x/y", "/x/y/z", "/xy"]),
    st.sampled_from(["GET", "POST"]),
    st.sampled_from([(), ("X-A: 1",), ("X-A: 2",)]),
)
def test_the_first_route_without_a_reason_against_it_is_the_one_that_is_found(
    matches: list[Match], host: str, path: str, method: str, fields: tuple[str, ...]
) -> None:
    routes, request = router(*matches), asking(host, path, method, *fields)

    first = next((route for route in routes.routes if not mismatch(route, request)), None)

    assert first is routes.find(request)
