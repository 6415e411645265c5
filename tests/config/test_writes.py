"""Promises of `proxy.config.writes` and what `checks` says of it."""

from __future__ import annotations

import pytest

from proxy.config import loads
from proxy.core.settings import IdempotencyPolicy, QueuePolicy, RouteSettings
from tests.config.conftest import Mistakes

START = "listeners: [127.0.0.1:0]\nstate_dir: ./state\n"


def policy_of(block: str) -> IdempotencyPolicy | None:
    text = f"{START}pools: {{app: {{backends: [a:1], idempotency: {block}}}}}\n"
    return loads(text, "x", {}).pools[0].idempotency


def test_without_the_block_no_key_is_heeded() -> None:
    assert None is loads(f"{START}pools: {{app: [a:1]}}\n", "x", {}).pools[0].idempotency


def test_an_empty_block_heeds_keys_with_the_defaults() -> None:
    assert IdempotencyPolicy() == policy_of("{}")


def test_every_key_of_the_block_is_read() -> None:
    block = """{ header: X-Key, require_for: [POST, PUT], scope: X-Client, on_conflict: wait, honoured: true,
  shares_keys: true, keep_for: 1h, max_entries: 5, max_body: 1KiB }"""

    assert IdempotencyPolicy("X-Key", ("POST", "PUT"), "X-Client", "wait", True, True, 3600.0, 5, 1024) == policy_of(
        block
    )


def test_keys_may_be_the_same_for_all_clients() -> None:
    policy = policy_of("{scope: none}")

    assert policy is not None
    assert None is policy.scope


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        ("{header: 'a b'}", "header: expected a header's name such as X-Canary, not 'a b'"),
        ("{require_for: [post]}", "require_for[0]: methods are written in capitals; did you mean 'POST'?"),
        ("{require_for: [GET]}", "require_for[0]: GET changes nothing, so it needs no key"),
        ("{on_conflict: block}", "on_conflict: expected refuse or wait for 'on_conflict', not 'block'"),
        ("{keep_for: 0}", "keep_for: must be longer than 0"),
        ("{max_entries: 0}", "max_entries: must be"),
        ("{max_body: 1GiB}", "max_body: must be from 0 to 1MiB, not 1GiB"),
        ("{honoured: false, shares_keys: true}", "shares_keys: does nothing with 'honoured: false'"),
        ("{keep: 1h}", "keep: unknown key"),
    ],
)
def test_what_is_wrong_in_the_block_is_said_at_its_place(mistakes: Mistakes, block: str, expected: str) -> None:
    (found,) = mistakes(f"{START}pools: {{app: {{backends: [a:1], idempotency: {block}}}}}\n")

    place, _, message = found.partition(" ")
    assert place.startswith("3:")
    assert message.startswith(f"pools.app.idempotency.{expected}")


def test_keys_need_a_place_to_be_kept(mistakes: Mistakes) -> None:
    text = "listeners: [a:1]\npools: {app: {backends: [a:1], idempotency: {}}}\n"

    assert ["2:32: pools.app.idempotency: needs 'state_dir', where the ledger of keys is kept"] == mistakes(text)


def test_a_split_could_send_a_repeat_elsewhere(mistakes: Mistakes) -> None:
    text = f"""{START}pools:
  one: {{ backends: [a:1], idempotency: {{}} }}
  two: [b:1]
routes:
  - split: {{ one: 50%, two: 50% }}
"""
    message = "has 'idempotency', and a split could send a repeat to another pool"

    assert [f"7:14: routes[0].split.one: {message}"] == mistakes(text)


def test_a_split_of_one_pool_sends_all_repeats_there() -> None:
    text = f"{START}pools: {{one: {{backends: [a:1], idempotency: {{}}}}}}\nroutes: [{{split: {{one: 100%}}}}]\n"

    assert "one" == loads(text, "x", {}).routes[0].split[0][0]


# Store and forward


def routes_of(route: str) -> tuple[RouteSettings, ...]:
    text = f"{START}pools: {{app: {{backends: [a:1], idempotency: {{}}}}}}\nroutes:\n  - {{ pool: app, {route} }}\n"
    return loads(text, "x", {}).routes


def test_a_route_queues_only_where_it_says_so() -> None:
    assert [None, None] == [routes_of(route)[0].queue for route in ("name: a", "on_unavailable: refuse")]


def test_a_route_that_queues_comes_after_the_one_that_tells_of_what_is_queued() -> None:
    status, route = routes_of("on_unavailable: queue, queue: { max_requests: 5, max_bytes: 1KiB, max_age: 1h }")

    assert ("/.failover/writes/*", "route-1") == (status.match.path, route.name)
    assert QueuePolicy(5, 1024, 3600.0) == route.queue


@pytest.mark.parametrize(
    ("route", "expected"),
    [
        ("pool: app, on_unavailable: wait", "on_unavailable: expected refuse or queue"),
        ("pool: app, queue: { max_age: 1h }", "queue: does nothing without 'on_unavailable: queue'"),
        ("answer: { status: 200 }, on_unavailable: queue", "on_unavailable: needs a 'pool'"),
        ("pool: plain, on_unavailable: queue", "on_unavailable: needs 'idempotency' in pool 'plain'"),
        ("pool: app, on_unavailable: queue, queue: { max_age: 0 }", "queue.max_age: must be longer than 0"),
    ],
)
def test_what_is_wrong_about_a_queue_is_said_at_its_place(mistakes: Mistakes, route: str, expected: str) -> None:
    pools = "pools: {app: {backends: [a:1], idempotency: {}}, plain: [b:1]}"
    (found,) = mistakes(f"{START}{pools}\nroutes:\n  - {{ {route} }}\n")

    place, _, message = found.partition(" ")
    assert place.startswith("5:")
    assert message.startswith(f"routes[0].{expected}")
