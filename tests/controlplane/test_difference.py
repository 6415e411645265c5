from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from proxy.controlplane.difference import Difference, Part, difference
from proxy.core.settings import (
    Address,
    AdminSettings,
    BackendSettings,
    HoldPolicy,
    ListenerSettings,
    Match,
    PoolSettings,
    RouteSettings,
    Settings,
    StaticAnswer,
    Timeouts,
)

NOTHING = Part()
HERE, THERE = Address("127.0.0.1", 80), Address("127.0.0.1", 81)


def pool(name: str, *backends: str, **changes: object) -> PoolSettings:
    return PoolSettings(name, tuple(BackendSettings(one, HERE) for one in backends), **changes)


def settings(**changes: object) -> Settings:
    one = Settings(
        (ListenerSettings("web", HERE),),
        (pool("app", "a", "b"),),
        (RouteSettings("all", split=(("app", 1.0),)),),
    )
    return replace(one, **changes)


def test_the_same_settings_do_not_differ() -> None:
    found = difference(settings(), settings())

    assert Difference(NOTHING, NOTHING, NOTHING, NOTHING, ()) == found
    assert not found
    assert {} == found.summary()


def test_what_is_new_and_what_is_gone_is_named() -> None:
    after = settings(
        listeners=(ListenerSettings("api", THERE),),
        pools=(pool("app", "b", "c"), pool("shop", "a")),
        routes=(RouteSettings("new"),),
    )

    assert Difference(
        listeners=Part(("api",), ("web",)),
        pools=Part(("shop",)),
        backends=Part(("app/c", "shop/a"), ("app/a",)),
        routes=Part(("new",), ("all",)),
        settings=(),
    ) == difference(settings(), after)


def test_what_has_changed_is_named_by_its_key() -> None:
    backends = (BackendSettings("a", THERE, weight=2), BackendSettings("b", HERE))
    changed = PoolSettings("app", backends, timeouts=Timeouts(connect=9.0), hold=HoldPolicy(duration=2.0))
    route = RouteSettings("all", Match(host="shop.example"), answer=StaticAnswer())
    after = settings(
        listeners=(ListenerSettings("web", THERE),), pools=(changed,), routes=(route,), workers=9, drain_delay=1.0
    )

    assert Difference(
        listeners=Part(changed={"web": ("address",)}),
        pools=Part(changed={"app": ("timeouts.connect", "hold.for")}),
        backends=Part(changed={"app/a": ("address", "weight")}),
        routes=Part(changed={"all": ("match.host", "pool", "answer")}),
        settings=("workers", "drain_delay"),
    ) == difference(settings(), after)


def test_another_order_of_routes_is_a_change() -> None:
    """The first match wins."""
    one, two, new = (RouteSettings(name) for name in ("one", "two", "new"))

    assert ("routes.order",) == difference(settings(routes=(one, two)), settings(routes=(two, one))).settings
    assert () == difference(settings(routes=(one, two)), settings(routes=(new, one, two))).settings


def test_a_secret_is_named_and_never_shown() -> None:
    after = settings(admin=AdminSettings(token="open sesame"))

    found = difference(settings(), after)

    assert ("admin.token",) == found.settings
    assert "sesame" not in f"{found}{found.document()}{found.summary()}"


def test_the_log_says_how_many_and_the_answer_says_who() -> None:
    found = difference(settings(), settings(pools=(pool("app", "b", "c", "d"),), workers=2))

    assert {"backends": "2 added, 1 removed", "settings": "workers"} == found.summary()
    assert {"added": ["app/c", "app/d"], "removed": ["app/a"], "changed": {}} == found.document()["backends"]


names = st.lists(st.sampled_from("abcd"), unique=True).map(tuple)


@given(names, names)
def test_what_was_is_what_is_less_the_added_and_with_the_removed(
    before: tuple[str, ...], after: tuple[str, ...]
) -> None:
    found = difference(settings(pools=(pool("app", *before),)), settings(pools=(pool("app", *after),))).backends

    was, now = ({f"app/{name}" for name in one} for one in (before, after))
    assert was == (now - set(found.added)) | set(found.removed)
    assert {} == found.changed
