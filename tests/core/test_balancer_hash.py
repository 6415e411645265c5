from __future__ import annotations

import math
import random
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.messages import BackendState
from proxy.core.pools.balancer import ALGORITHMS, BOUND, hashed
from proxy.core.pools.model import Backend
from proxy.core.pools.pool import Pool
from proxy.core.settings import HashOn
from proxy.core.wire.http1 import RequestHead
from tests.core.pools import make_pool, members, request

weights = st.lists(st.integers(1, 10), min_size=1, max_size=8)
seeds = st.integers()


def keyed(number: int) -> RequestHead:
    return request(target=f"/{number}")


def _pick(pool: Pool, head: RequestHead, rng: random.Random) -> Backend:
    backend = pool.pick(head, 0.0, rng)
    assert backend is not None
    return backend


def hash_pool(number: int, weights: Sequence[int] = ()) -> Pool:
    return make_pool(members(number, weights), balance="hash", hash_on=HashOn("path"))


def owners(pool: Pool, without: Sequence[str] = (), keys: int = 600) -> list[str]:
    balancer = pool.groups[0].balancer
    candidates = tuple(b for b in pool.backends if b.name not in without)
    rng = random.Random(0)
    return [balancer.pick(candidates, head, 0.0, rng).name for head in map(keyed, range(keys))]


def test_the_same_key_gets_the_same_backend() -> None:
    assert owners(hash_pool(5)) == owners(hash_pool(5))


def test_the_hash_is_the_same_in_every_worker_and_after_every_restart() -> None:
    assert 6065300245485205254 == hashed(b"shop")


@given(st.integers(2, 12), st.data())
@settings(max_examples=20)
def test_losing_a_backend_moves_only_its_keys(number: int, data: st.DataObject) -> None:
    lost = f"b{data.draw(st.integers(0, number - 1))}"
    pool = hash_pool(number)
    before = owners(pool)

    after = owners(pool, without=[lost])

    assert [was for was in before if was != lost] == [
        now for was, now in zip(before, after, strict=True) if was != lost
    ]


@pytest.mark.parametrize("number", [2, 3, 5, 10])
def test_losing_one_of_n_backends_moves_one_nth_of_the_keys_and_no_more_than_a_little(number: int) -> None:
    pool = hash_pool(number)
    before = owners(pool, keys=3000)

    for backend in pool.backends:
        after = owners(pool, without=[backend.name], keys=3000)
        moved = sum(was != now for was, now in zip(before, after, strict=True))
        assert moved <= 3000 * (1 / number + 0.1)


@pytest.mark.parametrize("number", [2, 3, 5, 10])
def test_a_new_backend_takes_one_nth_of_the_keys_and_moves_no_other(number: int) -> None:
    before, after = owners(hash_pool(number - 1), keys=3000), owners(hash_pool(number), keys=3000)

    moved = [now for was, now in zip(before, after, strict=True) if was != now]

    assert {f"b{number - 1}"} == set(moved)
    assert len(moved) <= 3000 * (1 / number + 0.1)


@given(weights, st.lists(st.integers(0, 300), min_size=1, max_size=120), seeds)
@settings(max_examples=60)
def test_no_backend_gets_more_than_its_bounded_share_of_what_is_in_flight(
    weights: list[int], keys: list[int], seed: int
) -> None:
    """However unequal the keys are: at worst all are the same."""
    pool = hash_pool(len(weights), weights)
    rng = random.Random(seed)
    heads = {key: keyed(key) for key in keys}

    for running, key in enumerate(keys):
        backend = _pick(pool, heads[key], rng)
        pool.enter(backend)
        fair = (running + 1) * backend.weight / sum(weights)
        assert backend.in_flight <= math.ceil(BOUND * fair)


def test_what_is_over_the_bound_goes_to_the_same_next_backend() -> None:
    pool = hash_pool(5)
    first = _pick(pool, keyed(1), random.Random(0))
    first.in_flight = 10

    spilled = {_pick(pool, keyed(1), random.Random(seed)).name for seed in range(20)}

    assert 1 == len(spilled)
    assert {first.name} != spilled


def test_a_backend_that_only_the_administrator_gave_a_weight_is_picked_where_nobody_else_can_serve() -> None:
    """Its configured weight of 0 has no point on the ring."""
    pool = hash_pool(2, [0, 1])
    pool.heed({pool.backends[0].key: BackendState(weight=1), pool.backends[1].key: BackendState(weight=0)}, 0.0)

    assert "b0" == _pick(pool, keyed(1), random.Random(0)).name


@pytest.mark.parametrize(
    ("hash_on", "same", "other"),
    [
        (HashOn("path"), request(target="/a?x=1"), request(target="/b")),
        (HashOn("header", "X-Tenant"), request("GET", "/other", "x-tenant: a"), request("GET", "/a", "X-Tenant: b")),
        (HashOn("cookie", "id"), request("GET", "/", "Cookie: z=1; id=a"), request("GET", "/", "Cookie: id=b")),
        (HashOn("client"), request(target="/other"), request(client="192.0.2.10")),
    ],
)
def test_the_key_is_what_the_user_says(hash_on: HashOn, same: RequestHead, other: RequestHead) -> None:
    pool = make_pool(members(50), balance="hash", hash_on=hash_on)
    head = request("GET", "/a", "X-Tenant: a", "Cookie: id=a")
    rng = random.Random(0)

    assert _pick(pool, head, rng) is _pick(pool, same, rng)
    assert _pick(pool, head, rng) is not _pick(pool, other, rng)


def test_every_algorithm_can_be_named_in_a_config() -> None:
    assert {"round_robin", "least_requests", "peak_ewma", "random", "hash"} == set(ALGORITHMS)
