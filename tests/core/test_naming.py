from __future__ import annotations

from proxy.core.settings import Address, BackendSettings, ListenerSettings, PoolSettings, Settings
from proxy.core.telling.naming import names_of

SETTINGS = Settings(
    listeners=(ListenerSettings("web", Address("127.0.0.1", 80)),),
    pools=(PoolSettings("app", (BackendSettings("one", Address("127.0.0.1", 81)),)),),
    routes=(),
)


def test_the_names_are_those_of_the_settings() -> None:
    names = names_of(SETTINGS, ["all", "static"])

    assert ({"all", "static"}, {"app"}, {("app", "one")}, {"web"}) == (
        names.routes,
        names.pools,
        names.backends,
        names.listeners,
    )
    assert "<Names 2 routes, 1 backends>" == repr(names)


def test_traffic_is_known_by_its_route_and_its_pool() -> None:
    """A Route that answers by itself has no Pool."""
    names = names_of(SETTINGS, ["all"])

    asked = [("all", "app"), ("all", ""), ("all", "gone"), ("gone", "app")]
    assert [True, True, False, False] == [names.has_traffic(*one) for one in asked]
