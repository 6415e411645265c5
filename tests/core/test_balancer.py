from __future__ import annotations

import itertools
import math
import random
from collections import Counter
from collections.abc import Iterable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.pools.balancer import ALGORITHMS, FAILURE_COST, Balancer, PeakEwma
from proxy.core.pools.model import Backend
from proxy.core.pools.pool import Pool
from proxy.core.settings import HashOn
from proxy.core.wire.http1 import RequestHead
from tests.core.pools import GET, make_pool, members, request

TURNS = ["round_robin", "least_requests"]
weights = st.lists(st.integers(1, 10), min_size=1, max_size=8)
seeds = st.integers()


def make(weights: Sequence[int], balance: str) -> tuple[Pool, Balancer, tuple[Backend, ...]]:
    pool = make_pool(members(len(weights), weights), balance=balance)
    pool.refresh(0.0)
    return pool, pool.groups[0].balancer, pool.backends


def picks(weights: Sequence[int], balance: str, number: int, seed: int = 0) -> list[str]:
    """Whom so many requests get, one after the other, none in flight."""
    _, balancer, backends = make(weights, balance)
    rng = random.Random(seed)
    return [balancer.pick(backends, GET, 0.0, rng).name for _ in range(number)]


def counted(names: Iterable[str], number: int) -> list[int]:
    found = Counter(names)
    return [found[f"b{n}"] for n in range(number)]


def assert_shares(got: Sequence[int], weights: Sequence[int]) -> None:
    """Each count is within six standard deviations of what its weight promises."""
    number = sum(got)
    for have, weight in zip(got, weights, strict=True):
        share = weight / sum(weights)
        assert abs(have - number * share) <= 6 * math.sqrt(number * share * (1 - share)) + 1


def keyed(number: int) -> RequestHead:
    return request(target=f"/{number}")


# Shares follow weights


@given(weights, st.sampled_from(TURNS), seeds)
def test_turns_follow_the_weights_exactly(weights: list[int], balance: str, seed: int) -> None:
    """In each round of as many requests as the weights add up to, everybody gets its weight, give or take one."""
    whole = sum(weights)
    names = picks(weights, balance, 6 * whole, seed)

    for start in range(0, 5 * whole, max(1, whole // 2)):
        got = counted(names[start : start + whole], len(weights))
        assert all(abs(have - weight) <= 1 for have, weight in zip(got, weights, strict=True))


@given(weights, st.sampled_from(TURNS), seeds)
def test_turns_are_smooth(weights: list[int], balance: str, seed: int) -> None:
    """Nobody gets its turns in one go: between two of them lies its share of the others', give or take one each."""
    whole = sum(weights)
    names = picks(weights, balance, 4 * whole, seed)

    for number, weight in enumerate(weights):
        turns = [at for at, name in enumerate(names) if name == f"b{number}"]
        gaps = [later - earlier for earlier, later in itertools.pairwise(turns)]
        assert all(abs(gap - whole / weight) <= len(weights) for gap in gaps)


@given(weights, st.sampled_from(TURNS), seeds)
@settings(max_examples=40)
def test_turns_follow_the_weights_however_often_the_candidates_change(
    weights: list[int], balance: str, seed: int
) -> None:
    """A Backend that is full and free again, or a retry that must avoid one, makes a new list each time."""
    _, balancer, backends = make(weights, balance)
    rng = random.Random(seed)

    names = [balancer.pick(tuple(backends), GET, 0.0, rng).name for _ in range(2000)]

    assert_shares(counted(names, len(weights)), weights)


@given(weights, seeds)
@settings(max_examples=25)
def test_random_picks_follow_the_weights(weights: list[int], seed: int) -> None:
    assert_shares(counted(picks(weights, "random", 4000, seed), len(weights)), weights)


@given(st.lists(st.integers(1, 10), min_size=9, max_size=14), seeds)
@settings(max_examples=25)
def test_above_eight_backends_least_requests_follows_the_weights_too(weights: list[int], seed: int) -> None:
    assert_shares(counted(picks(weights, "least_requests", 4000, seed), len(weights)), weights)


@pytest.mark.parametrize("weights", [[1, 1], [1, 3], [1, 2, 5]])
def test_keys_are_spread_by_weight(weights: list[int]) -> None:
    pool = make_pool(members(len(weights), weights), balance="hash", hash_on=HashOn("path"))
    rng = random.Random(0)

    names = [_pick(pool, keyed(number), rng).name for number in range(4000)]

    got = counted(names, len(weights))
    for have, weight in zip(got, weights, strict=True):
        assert pytest.approx(4000 * weight / sum(weights), rel=0.25) == have


def _pick(pool: Pool, head: RequestHead, rng: random.Random) -> Backend:
    backend = pool.pick(head, 0.0, rng)
    assert backend is not None
    return backend


@given(weights, st.lists(st.booleans(), min_size=8, max_size=8), st.sampled_from(sorted(ALGORITHMS)), seeds)
def test_whoever_is_not_a_candidate_is_never_picked(
    weights: list[int], kept: list[bool], balance: str, seed: int
) -> None:
    _, balancer, backends = make(weights, balance)
    candidates = tuple(b for b, keep in zip(backends, kept, strict=False) if keep) or backends[:1]
    rng = random.Random(seed)

    for head in map(keyed, range(20)):
        assert balancer.pick(candidates, head, 0.0, rng) in candidates


# Turns


@pytest.mark.parametrize("balance", TURNS)
def test_the_first_turn_is_drawn_so_that_workers_do_not_step_in_time(balance: str) -> None:
    assert {"b0", "b1", "b2"} == {picks([1, 1, 1], balance, 1, seed)[0] for seed in range(30)}


@pytest.mark.parametrize("balance", TURNS)
def test_who_comes_back_does_not_make_up_for_the_turns_it_missed(balance: str) -> None:
    _, balancer, backends = make([1, 1, 1], balance)
    rng = random.Random(0)
    others = backends[:2]
    for _ in range(1000):
        balancer.pick(others, GET, 0.0, rng)

    names = [balancer.pick(backends, GET, 0.0, rng).name for _ in range(30)]

    assert [10, 10, 10] == counted(names, 3)


# Least requests


def test_the_least_busy_backend_is_picked() -> None:
    _, balancer, backends = make([1, 1, 1], "least_requests")
    for backend, in_flight in zip(backends, [3, 1, 2], strict=True):
        backend.in_flight = in_flight

    assert "b1" == balancer.pick(backends, GET, 0.0, random.Random(0)).name


def test_a_heavier_backend_may_have_more_in_flight() -> None:
    """Three of weight 4 are less than one of weight 1."""
    _, balancer, backends = make([1, 4], "least_requests")
    backends[0].in_flight, backends[1].in_flight = 1, 3

    assert "b1" == balancer.pick(backends, GET, 0.0, random.Random(0)).name


@pytest.mark.parametrize("weights", [[1, 1, 1], [2, 1, 1]])
def test_a_backend_that_was_slow_for_long_does_not_get_everything_once_it_is_quick(weights: list[int]) -> None:
    _, balancer, backends = make(weights, "least_requests")
    rng = random.Random(0)
    backends[0].in_flight = 5
    for _ in range(1000):
        balancer.pick(backends, GET, 0.0, rng)
    backends[0].in_flight = 0

    got = counted((balancer.pick(backends, GET, 0.0, rng).name for _ in range(40)), 3)

    assert got[0] <= 40 * weights[0] / sum(weights) + 2


def test_above_eight_backends_the_busier_of_two_is_avoided() -> None:
    _, balancer, backends = make([1] * 9, "least_requests")
    backends[0].in_flight = 1
    rng = random.Random(0)

    got = counted((balancer.pick(backends, GET, 0.0, rng).name for _ in range(2000)), 9)

    assert got[0] < 60 < min(got[1:])


# Peak EWMA


def learned(*latencies: float) -> tuple[PeakEwma, tuple[Backend, ...]]:
    _, balancer, backends = make([1] * len(latencies), "peak_ewma")
    assert isinstance(balancer, PeakEwma)
    for backend, latency in zip(backends, latencies, strict=True):
        balancer.observe(backend, latency, failed=False, now=0.0)
    return balancer, backends


def most_picked(balancer: Balancer, backends: Sequence[Backend], now: float = 0.0) -> str:
    rng = random.Random(0)
    return Counter(balancer.pick(backends, GET, now, rng).name for _ in range(200)).most_common(1)[0][0]


def test_the_quicker_backend_gets_more() -> None:
    balancer, backends = learned(0.1, 0.01)

    assert "b1" == most_picked(balancer, backends)


def test_a_busy_quick_backend_is_worth_a_slow_idle_one() -> None:
    balancer, backends = learned(0.1, 0.01)

    backends[1].in_flight = 20

    assert "b0" == most_picked(balancer, backends)


def test_one_slow_answer_counts_at_once_and_quick_ones_little_by_little() -> None:
    balancer, backends = learned(0.01, 0.05)
    balancer.observe(backends[0], 0.2, failed=False, now=1.0)
    assert "b1" == most_picked(balancer, backends, 1.0)

    balancer.observe(backends[0], 0.01, failed=False, now=1.1)
    assert "b1" == most_picked(balancer, backends, 1.1)

    for second in range(2, 60):
        balancer.observe(backends[0], 0.01, failed=False, now=float(second))
        balancer.observe(backends[1], 0.05, failed=False, now=float(second))
    assert "b0" == most_picked(balancer, backends, 60.0)


def test_a_fast_error_is_not_attractive() -> None:
    balancer, backends = learned(0.05, 0.05)

    balancer.observe(backends[0], 0.0001, failed=True, now=0.0)

    assert 0.0001 < FAILURE_COST
    assert "b1" == most_picked(balancer, backends)


def test_a_backend_that_was_slow_once_is_tried_again_some_time() -> None:
    """Its memory fades even if nobody asks it anything."""
    balancer, backends = learned(3.0, 0.01)

    for second in range(1, 80):
        balancer.observe(backends[1], 0.01, failed=False, now=float(second))

    assert "b0" == most_picked(balancer, backends, 80.0)


def test_an_unknown_backend_is_tried_but_not_piled_upon() -> None:
    _, balancer, backends = make([1, 1], "peak_ewma")
    assert isinstance(balancer, PeakEwma)
    balancer.observe(backends[1], 0.01, failed=False, now=0.0)
    assert "b0" == most_picked(balancer, backends)

    backends[0].in_flight = 1

    assert "b1" == most_picked(balancer, backends)


@pytest.mark.parametrize("weights", [[1, 3], [2, 1, 1], [1] * 10])
def test_equally_quick_backends_under_load_get_shares_by_their_weights(weights: list[int]) -> None:
    pool, balancer, backends = make(weights, "peak_ewma")
    rng = random.Random(7)
    now, running = 0.0, []
    names = []
    for _ in range(12_000):
        now += rng.expovariate(1000.0)
        for ended in [one for one in running if one[0] <= now]:
            running.remove(ended)
            pool.leave(ended[1], ended[2], failed=False, now=now)
        backend = balancer.pick(backends, GET, now, rng)
        pool.enter(backend)
        names.append(backend.name)
        duration = rng.uniform(0.008, 0.012)
        running.append((now + duration, backend, duration))

    got = counted(names, len(weights))
    for have, weight in zip(got, weights, strict=True):
        assert pytest.approx(12_000 * weight / sum(weights), rel=0.25) == have
