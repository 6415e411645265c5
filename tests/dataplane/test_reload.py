"""Promises of `proxy.dataplane.reload`: what is kept, what is new, what leaves."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

from proxy.core.messages import RoutePart
from proxy.core.pools.pool import Pool
from proxy.core.requests.routing import Router
from proxy.core.settings import Address, BackendSettings, Limits, Match, PoolSettings, RouteSettings, Settings
from proxy.dataplane.backends.idle import IdleConnections
from proxy.dataplane.backends.upstream import Upstream
from proxy.dataplane.clients.downstream import Downstream
from proxy.dataplane.departed import Departed, Homes
from proxy.dataplane.reload import Routes, follow
from tests.core.pools import begin, request

HERE, THERE = Address("192.0.2.1", 80), Address("192.0.2.2", 80)


class Bench:
    """Pools and connections of a worker."""

    def __init__(self, **pools: dict[str, Address]) -> None:
        self.homes: Homes = {}
        self.departed = Departed(self.homes)
        self.pools: dict[str, Pool] = {}
        self.settings = Settings((), (), ())
        self.reload(**pools)

    def reload(self, now: float = 0.0, limits: Limits | None = None, **pools: dict[str, Address]) -> None:
        settings = tuple(
            PoolSettings(name, tuple(BackendSettings(one, address) for one, address in backends.items()))
            for name, backends in pools.items()
        )
        self.settings = replace(self.settings, pools=settings, limits=limits or Limits())
        self.pools = follow(self.settings, self.pools, self.homes, self.departed, now=now, listener=lambda *_: None)

    def home(self, pool: str, backend: str) -> IdleConnections:
        return self.homes[self.pools[pool].by_name[backend]]


def test_a_backend_that_keeps_name_and_address_keeps_its_connections_and_gets_the_new_limits() -> None:
    bench = Bench(app={"a": HERE, "b": HERE})
    kept = bench.home("app", "a")
    connection = Upstream(kept)
    kept.keep(connection, 0.0)

    bench.reload(app={"a": HERE}, limits=Limits(headers=7))

    assert bench.home("app", "a") is kept
    assert kept.take(1.0, 30.0, cast("Downstream", None)) is connection
    assert 7 == kept.limits.headers


def test_whose_connections_begin_otherwise_from_now_on_keeps_none_of_the_former() -> None:
    """One that had named its client must never be everybody's, nor the other way round."""
    bench = Bench(app={"a": HERE})
    before = bench.home("app", "a")
    pool = replace(bench.settings.pools[0], send_proxy_protocol="v1")
    settings = replace(bench.settings, pools=(pool,))

    pools = follow(settings, bench.pools, bench.homes, bench.departed, now=1.0, listener=lambda *_: None)
    after = bench.homes[pools["app"].by_name["a"]]
    connection = Upstream(before)
    connection.is_lost = True
    before.keep(connection, 2.0)

    assert ("", "v1") == (before.version, after.version)
    assert (0, 0) == (len(before), len(after))


def test_another_address_gets_connections_of_its_own() -> None:
    bench = Bench(app={"a": HERE})
    before = bench.home("app", "a")

    bench.reload(app={"a": THERE})

    assert bench.home("app", "a") is not before
    assert THERE == bench.home("app", "a").address


def test_a_pool_keeps_its_identity_so_that_requests_in_it_find_whoever_serves_now() -> None:
    bench = Bench(app={"a": HERE})
    pool = bench.pools["app"]

    bench.reload(app={"b": THERE}, other={"c": HERE})

    assert bench.pools["app"] is pool
    assert ["b"] == [backend.name for backend in pool.backends]
    assert ["app", "other"] == list(bench.pools)


def test_a_request_in_a_pool_that_was_removed_still_finds_its_connections() -> None:
    bench = Bench(app={"a": HERE}, gone={"b": HERE})
    dispatch, attempt = begin(bench.pools["gone"])

    bench.reload(app={"a": HERE})
    bench.departed.settle(10.0, bench.pools)
    bench.departed.settle(20.0, bench.pools)

    assert attempt.backend in bench.homes
    dispatch.abandon(20.0)


# Routes


def route(name: str, path: str = "") -> RouteSettings:
    return RouteSettings(name, Match(path=path or f"/{name}"), (("app", 1.0),))


def found(router: Router, path: str) -> str | None:
    match = router.find(request("GET", path))
    return match.name if match is not None else None


def test_few_routes_come_with_the_settings() -> None:
    router = Routes().router([route("a"), route("b")], 0)

    assert ["a", "b", None] == [found(router, path) for path in ("/a", "/b", "/c")]


def test_very_many_routes_come_in_parts_and_are_in_force_only_when_a_snapshot_says_so() -> None:
    routes = Routes()
    before = routes.router([route("old")], 0)
    routes.take(RoutePart(1, is_first=True, routes=(route("a", "/x/*"), route("b"))))
    routes.take(RoutePart(1, is_first=False, routes=(route("c", "/x/y"),)))
    assert "old" == found(before, "/old")

    router = routes.router((), 1)

    assert ["a", "b", None] == [found(router, path) for path in ("/x/y", "/b", "/old")]
    assert ["a", "b", "c"] == [one.name for one in router.routes]
    assert [0, 1, 2] == [one.number for one in router.routes]


def test_a_snapshot_of_the_same_routes_keeps_the_router() -> None:
    routes = Routes()
    routes.take(RoutePart(1, is_first=True, routes=(route("a"),)))
    router = routes.router((), 1)

    assert routes.router((), 1) is router


def test_parts_that_nobody_put_in_force_are_dropped_for_newer_ones() -> None:
    routes = Routes()
    routes.take(RoutePart(1, is_first=True, routes=(route("a"),)))
    routes.take(RoutePart(2, is_first=True, routes=(route("b"),)))

    assert ["b"] == [one.name for one in routes.router((), 2).routes]
