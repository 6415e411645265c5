"""A Pool that follows other settings while requests are in it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from proxy.core.pools.breaker import BreakerPolicy, BreakerState, Transition
from proxy.core.pools.model import Backend
from proxy.core.pools.pool import Pool
from proxy.core.requests.retry import RetryPolicy
from proxy.core.settings import Address, BackendSettings, PoolSettings
from tests.core.pools import DRAIN, NOWHERE, OK, RESET, begin, make_pool, members, picked, tell, trip

ELSEWHERE = Address("192.0.2.2", 80)


def obey(pool: Pool, *backends: BackendSettings, now: float = 1.0, workers: int = 1, **changes: object) -> list[str]:
    """Give the Pool other settings; the names of who has left."""
    settings = replace(pool.settings, backends=backends or pool.settings.backends, **changes)
    return [backend.name for backend in pool.obey(settings, now, workers)]


def test_a_backend_that_keeps_name_and_address_keeps_all_its_state() -> None:
    pool = make_pool(2)
    kept = pool.by_name["b0"]
    trip(kept)
    _, attempt = begin(pool)
    tell(pool, b0=DRAIN)

    left = obey(pool, *members(1, weights=[5], max_in_flight=9), now=1.0)

    assert ["b1"] == left
    assert pool.by_name == {"b0": kept}
    assert (BreakerState.OPEN, 5, 9) == (kept.breaker.state, kept.weight, kept.max_in_flight)
    assert "drain" == kept.unavailable(1.0)
    assert 1 == attempt.backend.in_flight


def test_another_address_of_the_same_name_is_another_backend() -> None:
    pool = make_pool(1)
    trip(pool.by_name["b0"])

    left = obey(pool, BackendSettings("b0", ELSEWHERE))

    assert ["b0"] == left
    assert {"b0": 5} == picked(pool, 1.0, number=5)


def test_the_same_settings_change_nothing_at_all() -> None:
    pool = make_pool(2)
    before = pool.groups

    assert [] == obey(pool)
    assert pool.groups is before


def test_another_number_of_workers_changes_each_ones_share_of_a_limit() -> None:
    pool = make_pool(members(1, max_in_flight=8), workers=2)
    assert 4 == pool.backends[0].max_in_flight

    obey(pool, workers=4)

    assert 2 == pool.backends[0].max_in_flight


def test_an_attempt_on_a_backend_that_has_left_is_settled_on_it() -> None:
    pool = make_pool(1)
    dispatch, attempt = begin(pool)
    obey(pool, BackendSettings("b0", ELSEWHERE))

    dispatch.report(OK, 1.0)
    dispatch.finish(OK, 1.0)

    assert (0, 1, 0) == (attempt.backend.in_flight, attempt.backend.requests, attempt.backend.failures)
    assert 0 == pool.backends[0].in_flight
    assert dispatch.is_settled


@pytest.mark.parametrize("balance", ["round_robin", "least_requests", "peak_ewma", "random", "hash"])
def test_a_request_whose_backend_has_left_is_tried_again_on_one_that_serves(balance: str) -> None:
    pool = make_pool(1, balance=balance)
    dispatch, attempt = begin(pool)
    obey(pool, BackendSettings("new", ELSEWHERE))

    following = dispatch.report(RESET, 1.0)

    assert pool.by_name["new"] is following.backend
    assert (0, 1) == (attempt.backend.in_flight, pool.by_name["new"].in_flight)


def test_what_happens_to_a_backend_that_has_left_is_no_news() -> None:
    """Another may bear its name by now."""
    heard: list[tuple[Backend, Transition]] = []
    settings = PoolSettings("app", members(1))
    pool = Pool(settings, 0.0, listener=lambda *news: heard.append(news))
    old = pool.backends[0]
    obey(pool, BackendSettings("b0", ELSEWHERE))

    trip(old)
    trip(pool.backends[0])

    assert [pool.backends[0]] == [backend for backend, _ in heard]


def test_a_pool_that_is_dissolved_tells_no_news_and_serves_those_who_are_in_it() -> None:
    heard: list[tuple[Backend, Transition]] = []
    pool = Pool(PoolSettings("app", members(2)), 0.0, listener=lambda *news: heard.append(news))
    dispatch, attempt = begin(pool)

    left = pool.dissolve()
    following = dispatch.report(RESET, 1.0)
    trip(attempt.backend)

    assert set(pool.backends) == set(left)
    assert following.backend is not attempt.backend
    assert [] == heard


def test_turns_begin_anew_so_that_a_newcomer_does_not_catch_up() -> None:
    pool = make_pool(2, balance="round_robin")
    assert {"b0": 150, "b1": 150} == picked(pool)

    obey(pool, *members(3))

    assert {"b0": 100, "b1": 100, "b2": 100} == picked(pool, 1.0)


def test_what_peak_ewma_has_learnt_of_a_backend_stays_with_it() -> None:
    pool = make_pool(2, balance="peak_ewma")
    kept = pool.by_name["b0"]
    dispatch, _ = begin(pool)
    dispatch.report(OK, 0.5)
    dispatch.finish(OK, 0.5)
    kept.cost = (0.5, 0.5)

    obey(pool, *members(1), BackendSettings("b1", ELSEWHERE))

    assert [(0.5, 0.5), None] == [backend.cost for backend in pool.backends]


def test_who_is_new_ends_an_outage_of_those_who_were_there() -> None:
    """They were out of reach; of the newcomer nobody knows anything bad."""
    pool = make_pool(1)
    pool.note_outage(0.0, 0.0)
    obey(pool, breaker=BreakerPolicy(consecutive=9))
    assert pool.failing_at is not None

    obey(pool, *members(2))

    assert pool.failing_at is None


def test_policies_count_from_the_next_request_on() -> None:
    pool = make_pool(2)
    dispatch, attempt = begin(pool)

    obey(pool, breaker=BreakerPolicy(consecutive=1), retries=RetryPolicy(attempts=1, budget=0.0, budget_min=0.1))
    dispatch.report(RESET, 1.0)

    assert BreakerState.OPEN is attempt.backend.breaker.state
    assert (0.0, 1.0) == (pool.budget.share, pool.budget.reserve)


def test_the_totals_of_one_that_has_left_go_over_to_another_of_its_name() -> None:
    pool, other = make_pool(1), make_pool(1)
    for one, retries in ((pool, {("reset", "success"): 2}), (other, {("reset", "success"): 3, ("503", "failure"): 1})):
        one.retries, one.saved, one.held = dict(retries), 1, 2
        one.budget.exhausted_total = 4
        one.backends[0].transitions["open"] = 1
        one.enter(one.backends[0])
        one.leave(one.backends[0], 0.02, failed=True, now=0.0)

    pool.absorb(other)
    pool.backends[0].absorb(other.backends[0])

    assert {("reset", "success"): 5, ("503", "failure"): 1} == pool.retries
    assert (2, 4, 8) == (pool.saved, pool.held, pool.budget.exhausted_total)
    counts = pool.backends[0].counts(0)
    assert (2, 2, 2, 0.04) == (counts.requests, counts.failures, sum(counts.duration_buckets), counts.duration_sum)
    assert {"open": 2} == counts.breaker_transitions


def test_nobody_of_another_name_is_found_in_a_pool_that_has_changed() -> None:
    pool = make_pool(3)

    obey(pool, BackendSettings("b2", NOWHERE), BackendSettings("b9", NOWHERE))

    assert {"b2", "b9"} == set(picked(pool, 1.0))
    assert set(pool.backends) == {pool.by_name["b2"], pool.by_name["b9"]}
