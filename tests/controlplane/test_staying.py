"""Promises of `proxy.controlplane.pools.staying`, and of what the registry makes of it."""

from __future__ import annotations

from proxy.controlplane.pools.records import BackendRecord
from proxy.controlplane.pools.registry import Registry
from proxy.controlplane.pools.staying import lifetimes
from proxy.core.messages import AdminState
from proxy.core.settings import (
    Address,
    BackendSettings,
    HashOn,
    ListenerSettings,
    PoolSettings,
    RouteSettings,
    Settings,
)
from proxy.core.settings import StickyPolicy as Policy

KEYS = (b"k",)
TTL = 60.0


def make_settings(*routes: RouteSettings) -> Settings:
    pools = tuple(PoolSettings(name, (BackendSettings("b0", Address("127.0.0.1", 9)),)) for name in ("app", "next"))
    return Settings((ListenerSettings("web", Address("127.0.0.1", 0)),), pools, routes)


def route(*pools: str, sticky: Policy | None = None) -> RouteSettings:
    return RouteSettings("-".join(pools), split=tuple((pool, 1 / len(pools)) for pool in pools), sticky=sticky)


def draining(*routes: RouteSettings) -> tuple[Registry, BackendRecord]:
    """A Backend that was told at 1.0 to drain."""
    registry = Registry(make_settings(*routes), 0.0)
    record = registry.pools["app"].backends["b0"]
    registry.set_admin(record, AdminState.DRAIN, 1.0)
    return registry, record


def test_the_longest_cookie_that_leads_to_a_pool_counts() -> None:
    routes = (
        route("app", sticky=Policy("a", ttl=5.0, keys=KEYS)),
        route("app", "next", sticky=Policy("b", ttl=TTL, keys=KEYS)),
        route("next", sticky=Policy("c", ttl=TTL * 2, keys=KEYS)),
        route("app"),
        route("app", "next", sticky=Policy(hash_on=HashOn())),
    )

    assert {"app": TTL, "next": TTL * 2} == lifetimes(make_settings(*routes))


def test_who_drains_is_drained_when_no_cookie_leads_there_any_more() -> None:
    registry, record = draining(route("app", sticky=Policy("a", ttl=TTL, keys=KEYS)))
    seen = []
    for now in (1.0, TTL, TTL + 3.0):
        registry.tick(now)
        seen.append((registry.clients_until(record), registry.is_drained(record)))

    assert [(TTL + 2.0, False), (TTL + 2.0, False), (None, True)] == seen


def test_whom_no_cookie_leads_to_is_drained_at_once() -> None:
    registry, record = draining(route("app"), route("next", sticky=Policy("a", keys=KEYS)))

    assert (None, True) == (registry.clients_until(record), registry.is_drained(record))


def test_maint_keeps_nobody() -> None:
    registry, record = draining(route("app", sticky=Policy("a", keys=KEYS)))
    registry.set_admin(record, AdminState.MAINT, 2.0)

    assert (None, True) == (registry.clients_until(record), registry.is_drained(record))


def test_a_reload_that_makes_routes_sticky_counts_for_who_drains() -> None:
    registry, record = draining(route("app"))
    registry.obey(make_settings(route("app", sticky=Policy("a", ttl=TTL, keys=KEYS))), 2.0)

    assert TTL + 2.0 == registry.clients_until(record)


def test_who_serves_drains_for_nobody() -> None:
    registry = Registry(make_settings(route("app", sticky=Policy("a", keys=KEYS))), 0.0)

    assert None is registry.clients_until(registry.pools["app"].backends["b0"])
