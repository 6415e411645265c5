"""Promises of `proxy.config.sticky`, `placing` and `keys`."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from proxy.config import ConfigError, loads
from proxy.config.keys import KEPT, keep_key
from proxy.core.requests.canary import AbortPolicy
from proxy.core.settings import HashOn, Settings, StickyPolicy
from tests.config.conftest import Mistakes

START = "listeners: [a:1]\nstate_dir: ./state\n"
POOLS = "pools: {app: [b:1], next: [c:1], pay: {mode: active-passive, backends: [d:1]}}\n"
KEY, FORMER = "k" * 32, "f" * 32


def routed(route: str, **environ: str) -> StickyPolicy | None:
    return loads(f"{START}{POOLS}routes: [{{{route}}}]\n", "x", environ).routes[0].sticky


def pooled(block: str, routes: str = "") -> Settings:
    return loads(f"{START}pools: {{app: {{sticky: {block}, backends: [b:1]}}, next: [c:1]}}\n{routes}", "x", {})


def test_without_the_block_no_client_is_kept_anywhere() -> None:
    assert None is routed("pool: app")


def test_a_name_is_enough() -> None:
    assert StickyPolicy("fo_node") == routed("pool: app, sticky: {cookie: fo_node}")


def test_every_key_of_the_block_is_read() -> None:
    block = """{cookie: fo_node, ttl: 10m, path: /cart, domain: Shop.Example, secure: true, http_only: false,
  same_site: strict, sign_with: {env: KEYS}}"""
    keys = (KEY.encode(), FORMER.encode())

    assert StickyPolicy("fo_node", None, 600.0, "/cart", "shop.example", True, False, "strict", keys) == routed(
        f"pool: app, sticky: {block}", KEYS=f"{KEY} {FORMER}"
    )
    policy = routed("pool: app, sticky: {cookie: a, secure: auto}")
    assert policy is not None
    assert None is policy.secure


def test_the_pool_of_a_split_may_follow_from_a_hash() -> None:
    assert StickyPolicy(hash_on=HashOn("header", "x-user")) == routed(
        "split: {app: 50%, next: 50%}, sticky: {hash_on: {header: X-User}}"
    )


def test_a_pool_says_it_for_the_routes_to_it_that_do_not() -> None:
    routes = """routes:
  - {match: {path: /own}, pool: app, sticky: {cookie: own}}
  - {match: {path: /other}, pool: next}
  - {pool: app}
"""
    settings = pooled("{cookie: of_pool}", routes)

    assert ["own", None, "of_pool"] == [route.sticky and route.sticky.cookie for route in settings.routes]
    assert "of_pool" == (settings.pools[0].sticky or StickyPolicy()).cookie


def test_the_only_pool_of_a_file_without_routes_may_say_it() -> None:
    settings = loads(f"{START}pools: {{app: {{sticky: {{cookie: a}}, backends: [b:1]}}}}\n", "x", {})

    assert StickyPolicy("a") == settings.routes[0].sticky


@pytest.mark.parametrize(
    ("route", "expected"),
    [
        ("pool: app, sticky: {}", "sticky: needs 'cookie', or in a split 'hash_on'"),
        ("pool: app, sticky: {cookie: a b}", "sticky.cookie: expected a cookie's name such as session, not 'a b'"),
        ("pool: app, sticky: {cookie: a, ttl: 100ms}", "sticky.ttl: must be at least 1s, not '100ms'"),
        ("pool: app, sticky: {cookie: a, path: cart}", "sticky.path: expected a path that begins with '/', without"),
        ("pool: app, sticky: {cookie: a, path: '/a;b'}", "sticky.path: expected a path that begins with '/', without"),
        ("pool: app, sticky: {cookie: a, domain: 'a;b'}", "sticky.domain: expected a name such as app.internal"),
        (
            "pool: app, sticky: {cookie: a, secure: maybe}",
            "sticky.secure: expected 'auto' or true or false, not 'maybe'",
        ),
        ("pool: app, sticky: {cookie: a, same_site: all}", "sticky.same_site: expected lax, strict or none for"),
        ("pool: app, sticky: {cookie: a, key: x}", "sticky.key: unknown key"),
        (
            "pool: app, sticky: {cookie: a, secure: false, same_site: none}",
            "sticky.same_site: browsers take such a cookie over TLS alone, and 'secure' is false",
        ),
        ("pool: app, sticky: {cookie: __Secure-a}", "sticky.cookie: browsers take a cookie __Secure-… with"),
        (
            "pool: app, sticky: {cookie: __Host-a, secure: true, path: /a}",
            "sticky.cookie: browsers take a cookie __Host-… with the path / and without a domain alone",
        ),
        ("pool: app, sticky: {hash_on: client}", "sticky.hash_on: does nothing without 'split': see 'balance: hash'"),
        (
            "split: {app: 50%, next: 50%}, sticky: {hash_on: client, cookie: a}",
            "sticky.hash_on: does not go with 'cookie'",
        ),
        (
            "split: {app: 50%, next: 50%}, sticky: {hash_on: client, ttl: 1h}",
            "sticky.ttl: does nothing with 'hash_on': there is no cookie",
        ),
        (
            "split: {app: 50%, next: 50%}, sticky: {hash_on: shop.keys:Customer}",
            "sticky.hash_on: code of your own is for 'balance: hash' within a pool",
        ),
        ("answer: {}, sticky: {cookie: a}", "sticky: does nothing without 'pool' or 'split'"),
        ("pool: pay, sticky: {cookie: a}", "sticky: does nothing in an active-passive pool: one backend serves"),
    ],
)
def test_what_is_wrong_in_a_route_is_said_at_its_place(mistakes: Mistakes, route: str, expected: str) -> None:
    (found,) = mistakes(f"{START}{POOLS}routes: [{{{route}}}]\n")
    place, _, message = found.partition(" ")

    assert message.startswith(f"routes[0].{expected}")
    assert place.startswith("4:")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            f"{START}pools: {{app: {{sticky: {{hash_on: client}}, backends: [b:1]}}}}\n",
            "3:24: pools.app.sticky.hash_on: belongs to a split; within a pool that is 'balance: hash'",
        ),
        (
            f"{START}pools: {{app: {{mode: active-passive, sticky: {{cookie: a}}, backends: [b:1]}}}}\n",
            "3:37: pools.app.sticky: does nothing in an active-passive pool: one backend serves",
        ),
        (
            "listeners: [a:1]\npools: {app: {sticky: {cookie: a}, backends: [b:1]}}\n",
            "2:15: pools.app.sticky: needs 'state_dir', where the key is kept that signs the cookie, or 'sign_with'",
        ),
        (
            (
                f"{START}pools: {{app: {{sticky: {{cookie: a}}, backends: [b:1]}}, next: [c:1]}}\n"
                "routes: [{split: {app: 50%, next: 50%}}]\n"
            ),
            (
                "4:19: routes[0].split.app: has 'sticky', and a split could send its clients to another pool: say it in the"
                " route"
            ),
        ),
    ],
)
def test_what_does_not_fit_is_said_at_its_place(mistakes: Mistakes, text: str, expected: str) -> None:
    assert [expected] == mistakes(text)


# Cutting off


def test_a_pool_is_cut_off_by_a_rule_in_its_split() -> None:
    def rule(block: str) -> tuple[AbortPolicy | None, tuple[tuple[str, float], ...]]:
        text = f"{START}{POOLS}routes: [{{split: {{app: 95%, next: 5%, abort_on: {block}}}}}]\n"
        route = loads(text, "x", {}).routes[0]
        return route.abort_on, route.split

    split = (("app", 0.95), ("next", 0.05))
    assert (AbortPolicy("next"), split) == rule("{pool: next}")
    assert (AbortPolicy("next", 0.02, 10, 60.0), split) == rule(
        "{pool: next, worse_by: 2%, min_requests: 10, window: 1m}"
    )
    assert None is loads(f"{START}{POOLS}routes: [{{split: {{app: 100%}}}}]\n", "x", {}).routes[0].abort_on


@pytest.mark.parametrize(
    ("split", "expected"),
    [
        ("app: 95%, next: 5%, abort_on: {}", ["abort_on: 'pool' is missing"]),
        ("app: 95%, next: 5%, abort_on: {pool: nxt}", ["abort_on.pool: this split has no pool 'nxt'; did you mean"]),
        ("app: 100%, next: 0, abort_on: {pool: next}", ["abort_on.pool: this split has no pool 'next'"]),
        ("app: 100%, abort_on: {pool: app}", ["abort_on: does nothing in a split of one pool: nobody would be left"]),
        ("app: 95%, next: 5%, abort_on: 5%", ["abort_on: is no pool: it says when a pool of this split is cut off"]),
        ("app: 100%, next: {pool: app}", ["next: expected a share such as 20%, not a map"]),
        ("app: 95%, next: 5%, abort_on: {pool: next, worse_by: 0}", ["abort_on.worse_by: must be above 0%"]),
        ("app: 95%, next: 5%, abort_on: {pool: next, min_requests: 0}", ["abort_on.min_requests: must be from 1"]),
        ("app: 95%, next: 5%, abort_on: {pool: next, window: 1s}", ["abort_on.window: must be at least 2s"]),
        ("app: 95%, next: 5%, abort_on: {pool: next, after: 1s}", ["abort_on.after: unknown key"]),
    ],
)
def test_what_is_wrong_in_the_rule_is_said_at_its_place(mistakes: Mistakes, split: str, expected: list[str]) -> None:
    found = mistakes(f"{START}{POOLS}routes: [{{split: {{{split}}}}}]\n")

    assert expected == [
        one.partition(" ")[2].removeprefix("routes[0].split.")[: len(text)]
        for one, text in zip(found, expected, strict=True)
    ]


# Keys


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("short", "a key has at least 16 characters"),
        (f"{KEY} short", "a key has at least 16 characters"),
        (f"{KEY} {FORMER} {KEY}", "holds more than two keys: the one that signs, and the one before it"),
        ("é" * 20, "a key is made of ASCII letters, digits and signs"),
        ("", "the file is empty"),
    ],
)
def test_a_key_that_is_no_good_is_refused_and_not_repeated(tmp_path: Path, content: str, expected: str) -> None:
    (tmp_path / "key").write_text(content)
    text = f"{START}{POOLS}routes: [{{pool: app, sticky: {{cookie: a, sign_with: {{file: key}}}}}}]\n"

    with pytest.raises(ConfigError) as caught:
        loads(text, str(tmp_path / "x.yaml"), {})

    (mistake,) = caught.value.mistakes
    assert (expected, "routes[0].sticky.sign_with.file") == (mistake.message, mistake.path)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("{}", "sign_with: needs 'file' or 'env'"),
        ("{env: KEYS}", "sign_with.env: the environment variable KEYS is not set"),
        ("{env: KEYS, file: a}", "sign_with.env: a secret has one source, and 'file' is given"),
        ("{file: /none}", "sign_with.file: can't be read: No such file or directory"),
        ("secret", "sign_with: expected {file: PATH} or {env: NAME}: a secret does not stand in the file itself"),
    ],
)
def test_a_key_that_is_not_there_is_an_error_with_a_place(mistakes: Mistakes, source: str, expected: str) -> None:
    (found,) = mistakes(f"{START}{POOLS}routes: [{{pool: app, sticky: {{cookie: a, sign_with: {source}}}}}]\n")

    assert found.endswith(expected)


def test_a_key_shows_in_no_settings() -> None:
    text = f"{START}{POOLS}routes: [{{pool: app, sticky: {{cookie: a, sign_with: {{env: K}}}}}}]\n"

    assert KEY not in repr(loads(text, "x", {"K": KEY}))


def settings(folder: Path, sign_with: str = "") -> Settings:
    """One pool that is sticky, and one that is not."""
    sticky = "{cookie: a" + (", sign_with: {env: K}}" if sign_with else "}")
    text = f"{START}pools: {{app: {{sticky: {sticky}, backends: [b:1]}}, next: [c:1]}}\nroutes: [{{match: {{path: /n}}, pool: next}}, {{pool: app}}]\n"
    return loads(text, str(folder / "x.yaml"), {"K": sign_with})


def keys_of(settings: Settings) -> set[tuple[bytes, ...]]:
    return {one.sticky.keys for one in (*settings.routes, *settings.pools) if one.sticky is not None}


def test_the_key_in_state_dir_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    read = settings(tmp_path)
    first, second = keep_key(read), keep_key(settings(tmp_path))
    path = tmp_path / "state" / KEPT

    assert {()} == keys_of(read)
    assert first == second
    assert {(path.read_text().strip().encode(),)} == keys_of(first)
    assert 0o600 == stat.S_IMODE(path.stat().st_mode)
    assert [KEPT] == [one.name for one in path.parent.iterdir()]


def test_two_proxies_have_two_keys(tmp_path: Path) -> None:
    assert keys_of(keep_key(settings(tmp_path / "a"))).isdisjoint(keys_of(keep_key(settings(tmp_path / "b"))))


def test_a_key_of_its_own_needs_none_in_state_dir(tmp_path: Path) -> None:
    read = settings(tmp_path, KEY)

    assert read is keep_key(read)
    assert not (tmp_path / "state").exists()


def test_a_key_that_another_proxy_makes_in_the_same_moment_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, link = tmp_path / "state" / KEPT, Path.hardlink_to

    def late(own: Path, target: Path) -> None:
        own.write_text(FORMER)
        link(own, target)

    monkeypatch.setattr(Path, "hardlink_to", late)

    assert {(FORMER.encode(),)} == keys_of(keep_key(settings(tmp_path)))
    assert [path] == list(path.parent.iterdir())


@pytest.mark.parametrize("content", ["", "short", f"{KEY} {FORMER} {KEY}"])
def test_a_spoilt_key_in_state_dir_is_an_error_and_is_not_replaced(tmp_path: Path, content: str) -> None:
    path = tmp_path / "state" / KEPT
    path.parent.mkdir()
    path.write_text(content)

    with pytest.raises(ConfigError, match="key"):
        keep_key(settings(tmp_path))

    assert content == path.read_text()


def test_a_state_dir_that_can_not_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")

    with pytest.raises(ConfigError, match="the key of cookies can't be read or made"):
        keep_key(settings(tmp_path))
