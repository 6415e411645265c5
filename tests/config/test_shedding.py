"""What sheds load and what hedges, in a config file."""

from __future__ import annotations

import pytest

from proxy.config import loads
from proxy.core.limits.concurrency import ConcurrencyPolicy
from proxy.core.limits.waiting import Priority, WaitingPolicy
from proxy.core.requests.hedging import HedgeAfter, HedgePolicy
from proxy.core.settings import HashOn, PoolSettings, RatePolicy, RouteSettings
from tests.config.conftest import Mistakes

TWO = "backends: [a:1, b:1]"


def text(*pool: str, defaults: str = "{}", route: str = "pool: app") -> str:
    lines = ["listeners: [c:1]", f"defaults: {defaults}", "pools:", "  app:", *(f"    {line}" for line in pool)]
    return "\n".join([*lines, "routes:", f"  - {{{route}}}", ""])


def pool(*lines: str, **more: str) -> PoolSettings:
    return loads(text(TWO, *lines, **more), "x", {}).pools[0]


def route(said: str) -> RouteSettings:
    return loads(text(TWO, "limits: {max_in_flight: 1}", route=f"pool: app, {said}"), "x", {}).routes[0]


def test_what_is_left_out_is_off_or_has_its_default() -> None:
    only = pool()

    assert (WaitingPolicy(100, 1.0, 0.1), None, HedgePolicy(None, 100)) == (only.waiting, only.concurrency, only.hedge)
    assert (Priority.NORMAL, None) == (route("name: x").priority, route("name: x").rate_limit)


def test_a_pools_block_changes_what_it_names() -> None:
    only = pool(
        "limits: {max_in_flight: 5}",
        "queue: {max_wait: 2s}",
        "hedge: {min_requests: 7}",
        defaults="{queue: {max_requests: 3, lifo_after: 0, max_wait: 9s}, hedge: {after: p99.5}}",
    )

    assert WaitingPolicy(3, 2.0, 0.0) == only.waiting
    assert HedgePolicy(HedgeAfter(share=0.995), 7) == only.hedge


def test_a_pool_may_take_the_hedge_of_the_defaults_away() -> None:
    assert pool("hedge: {after: none}", defaults="{hedge: {after: 50ms}}").hedge.after is None
    assert HedgeAfter(seconds=0.05) == pool(defaults="{hedge: {after: 50ms}}").hedge.after


def test_adaptive_concurrency_is_on_where_it_is_named() -> None:
    assert ConcurrencyPolicy() == pool("adaptive_concurrency: {}").concurrency
    told = pool("adaptive_concurrency: {tolerance: 2, window: 1s, min_limit: 3, max_limit: 4}").concurrency
    assert ConcurrencyPolicy(2.0, 1.0, 3, 4) == told


@pytest.mark.parametrize(("word", "priority"), [(one.name.lower(), one) for one in Priority])
def test_a_route_has_one_of_four_priorities_and_its_pool_knows(word: str, priority: Priority) -> None:
    settings = loads(text(TWO, "limits: {max_in_flight: 1}", route=f"split: {{app: 100%}}, priority: {word}"), "x", {})

    assert priority is settings.routes[0].priority
    assert (priority is not Priority.NORMAL) is settings.pools[0].has_priorities


@pytest.mark.parametrize(
    ("said", "policy"),
    [
        ("{rate: 100/s, burst: 50}", RatePolicy(100.0, 50)),
        ("{rate: 30/m}", RatePolicy(0.5, 10)),
        ("{rate: 1.5/h, key: path}", RatePolicy(1.5 / 3600, 10, HashOn("path"))),
        ("{rate: 1/s, key: {header: X-Key}}", RatePolicy(1.0, 10, HashOn("header", "x-key"))),
        ("{rate: 1/s, key: {cookie: s}}", RatePolicy(1.0, 10, HashOn("cookie", "s"))),
    ],
)
def test_a_rate_limit_says_how_many_in_what_time_and_whose(said: str, policy: RatePolicy) -> None:
    assert policy == route(f"rate_limit: {said}").rate_limit


LIMITED = "limits: {max_in_flight: 1}"
NOTHING = "does nothing without 'limits.max_in_flight' or 'adaptive_concurrency'"


@pytest.mark.parametrize(
    ("lines", "more", "expected"),
    [
        (("queue: {}",), {}, [f"6:5: pools.app.queue: {NOTHING}"]),
        (("queue: {max_wait: 0}", LIMITED), {}, ["6:23: pools.app.queue.max_wait: must be longer than 0"]),
        (("queue: {max_request: 1}", LIMITED), {}, ["6:13: pools.app.queue.max_request: unknown key; did you mean 'max_requests'?"]),
        (("adaptive_concurrency: {min_limit: 9, max_limit: 8}",), {}, ["6:39: pools.app.adaptive_concurrency.min_limit: 'min_limit' is more than 'max_limit', which is 8"]),
        (("adaptive_concurrency: {max_limit: 2}",), {}, ["6:39: pools.app.adaptive_concurrency.max_limit: 'min_limit' is more than 'max_limit', which is 2"]),
        (("adaptive_concurrency: {tolerance: 0.5}",), {}, ["6:39: pools.app.adaptive_concurrency.tolerance: must be from 1 to 100, not 0.5"]),
        (("hedge: {after: p5}",), {}, ["6:20: pools.app.hedge.after: expected 'none', a percentile such as p95 or a duration such as 250ms, 1s or 5m, not 'p5'"]),
        (("hedge: {after: p30}",), {}, ["6:20: pools.app.hedge.after: a percentile must be from p50 to p99.999, not 'p30': most would be doubled"]),
        (("hedge: {after: 0}",), {}, ["6:20: pools.app.hedge.after: must be longer than 0"]),
        (("hedge: {after: p95}", "mode: active-passive"), {}, ["6:5: pools.app.hedge: does nothing in an active-passive pool: one backend serves"]),
        (("hedge: {after: p95}", "retries: {attempts: 1}"), {}, ["6:5: pools.app.hedge: does nothing with 'retries.attempts: 1': a hedge is a second attempt"]),
        ((), {"route": "pool: app, priority: urgent"}, ["7:27: routes[0].priority: expected low, normal, high or critical for 'priority', not 'urgent'"]),
        ((), {"route": "pool: app, priority: low"}, ["7:17: routes[0].priority: does nothing: nothing limits pool 'app' ('limits.max_in_flight', 'adaptive_concurrency')"]),
        ((), {"route": "redirect: {to: /}, priority: low"}, ["7:25: routes[0].priority: does nothing without 'pool' or 'split'"]),
        ((), {"route": "pool: app, rate_limit: {rate: 100}"}, ["7:36: routes[0].rate_limit.rate: expected a rate such as 100/s, 30/m or 1000/h, not 100; did you mean 100/s?"]),
        ((), {"route": "pool: app, rate_limit: {rate: 0/s}"}, ["7:36: routes[0].rate_limit.rate: must be from 1/h to 1000000/s, not '0/s'"]),
        ((), {"route": "pool: app, rate_limit: {burst: 3}"}, ["7:17: routes[0].rate_limit: 'rate' is missing"]),
    ],
)  # fmt: skip
def test_what_can_do_nothing_is_said_with_its_place(
    mistakes: Mistakes, lines: tuple[str, ...], more: dict[str, str], expected: list[str]
) -> None:
    assert expected == mistakes(text(TWO, *lines, **more))


def test_a_hedge_needs_somebody_else_to_ask(mistakes: Mistakes) -> None:
    assert ["6:5: pools.app.hedge: does nothing where there is only one backend"] == mistakes(
        text("backends: [a:1]", "hedge: {after: 1s}")
    )


def test_a_limit_of_one_backend_is_enough_for_a_queue() -> None:
    settings = loads(text("backends: [{address: a:1, max_in_flight: 2}, b:1]", "queue: {}"), "x", {})

    assert WaitingPolicy() == settings.pools[0].waiting
