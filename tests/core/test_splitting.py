from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.requests.retry import RetryPolicy
from proxy.core.requests.splitting import OUT_OF_REACH, Split, is_passed_over
from tests.core.pools import DOWN, OK, UNREACHED, begin, close, make_pool, serve, tell, trip

SEEDS = range(4000)

named_shares = st.dictionaries(
    st.text("abcdefghij-.", min_size=1, max_size=6), st.integers(1, 1000), min_size=2, max_size=6
).map(lambda parts: [(name, part / sum(parts.values())) for name, part in parts.items()])


def nobody(name: str) -> bool:
    return False


def homes(*shares: tuple[str, float], out: str = "", cut: str = "") -> list[str]:
    split = Split(shares)
    split.cut_off = cut
    return [split.of_client(seed, lambda name: name == out) for seed in SEEDS]


def drawn(split: Split, out: str = "", number: int = 10_000) -> Counter[str]:
    rng = random.Random(0)
    return Counter(split.at_random(rng, lambda name: name == out) for _ in range(number))


# At random


def test_each_pool_gets_its_share_of_the_requests() -> None:
    found = drawn(Split([("stable", 0.95), ("canary", 0.05)]))

    assert pytest.approx(500, rel=0.15) == found["canary"]
    assert 10_000 == found.total()


def test_a_split_that_rounding_leaves_short_of_the_whole_still_chooses() -> None:
    class Highest(random.Random):
        def random(self) -> float:
            return 1.0

    assert "last" == Split((("a", 0.1),) * 9 + (("last", 0.1),)).at_random(Highest(), nobody)


def test_the_share_of_a_pool_that_is_out_goes_to_the_others_in_proportion() -> None:
    found = drawn(Split([("a", 0.5), ("b", 0.3), ("c", 0.2)]), out="a")

    assert (0, pytest.approx(6000, rel=0.05)) == (found["a"], found["b"])


def test_where_all_are_out_one_gets_the_request_all_the_same() -> None:
    assert "only" == Split([("only", 1.0)]).at_random(random.Random(0), lambda name: True)
    assert {"a", "b"} == {Split([("a", 0.5), ("b", 0.5)]).at_random(random.Random(n), lambda _: True) for n in range(9)}


def test_what_is_cut_off_gets_nothing_even_where_the_others_are_out() -> None:
    split = Split([("stable", 0.5), ("canary", 0.5)])
    split.cut_off = "canary"

    assert {"stable": 100} == drawn(split, out="stable", number=100)


# By client


@given(named_shares, st.integers(0, 2**64 - 1))
def test_a_client_has_the_same_pool_each_time_whatever_the_order_of_the_file(
    shares: list[tuple[str, float]], seed: int
) -> None:
    assert Split(shares).of_client(seed, nobody) == Split(shares[::-1]).of_client(seed, nobody)


def test_each_pool_gets_its_share_of_the_clients() -> None:
    found = Counter(homes(("a", 0.7), ("b", 0.25), ("c", 0.05)))

    assert [0.7, 0.25, 0.05] == [pytest.approx(found[name] / len(SEEDS), abs=0.02) for name in "abc"]


def test_shares_that_change_move_no_client_but_to_the_pool_that_gains() -> None:
    before = homes(("stable", 0.95), ("canary", 0.05))
    after = homes(("stable", 0.8), ("canary", 0.2))
    moved = [(one, other) for one, other in zip(before, after, strict=True) if one != other]

    assert {("stable", "canary")} == set(moved)
    assert pytest.approx(0.15, abs=0.02) == len(moved) / len(SEEDS)


@given(named_shares, st.data())
def test_the_loss_of_a_pool_moves_its_own_clients_alone(shares: list[tuple[str, float]], data: st.DataObject) -> None:
    lost = data.draw(st.sampled_from(shares))[0]
    split = Split(shares)

    for seed in range(40):
        before, after = split.of_client(seed, nobody), split.of_client(seed, lambda name: name == lost)
        assert after == before if before != lost else after != lost


def test_the_loss_of_a_pool_is_shared_by_the_others_in_proportion() -> None:
    found = Counter(homes(("a", 0.5), ("b", 0.3), ("c", 0.2), out="a"))

    assert [0.0, 0.6, 0.4] == [pytest.approx(found[name] / len(SEEDS), abs=0.02) for name in "abc"]


def test_a_cut_moves_the_same_clients_as_a_loss() -> None:
    shares = (("a", 0.5), ("b", 0.3), ("c", 0.2))

    assert homes(*shares, out="b") == homes(*shares, cut="b")


def test_where_all_are_out_a_client_stays_in_its_pool() -> None:
    split = Split([("a", 0.5), ("b", 0.5)])

    assert split.of_client(7, nobody) == split.of_client(7, lambda name: True)


# Who is passed over


def test_a_pool_is_passed_over_as_long_as_nobody_serves_in_it() -> None:
    pool = make_pool(2)
    well = is_passed_over(pool, 0.0)
    tell(pool, b0=DOWN, b1=DOWN)

    assert (False, True) == (well, is_passed_over(pool, 0.0))


def test_a_pool_that_is_passed_over_comes_back_by_good_probes_alone() -> None:
    """Or a canary whose Breaker has opened would never get another request."""
    pool = make_pool(1)
    (backend,) = pool.backends
    trip(backend)
    pool.touch()
    seen = [is_passed_over(pool, 0.0)]
    now = backend.breaker.until
    while not backend.breaker.is_closed:
        is_passed_over(pool, now)
        pool.probe_passed(backend, now)
        now += 1.0
    seen.append(is_passed_over(pool, now))

    assert [True, False] == seen


def test_a_pool_that_requests_found_out_of_reach_is_passed_over_for_a_moment() -> None:
    pool = make_pool(2, retries=RetryPolicy(attempts=2))
    serve(pool, 0.0, lambda _: UNREACHED)
    seen = [is_passed_over(pool, now) for now in (0.0, OUT_OF_REACH - 0.01, OUT_OF_REACH)]
    dispatch, _ = begin(pool, now=OUT_OF_REACH)
    dispatch.finish(OK, OUT_OF_REACH)

    assert [True, True, False, False] == [*seen, is_passed_over(pool, OUT_OF_REACH)]


def test_a_closed_breaker_ends_it() -> None:
    pool = make_pool(1)
    trip(pool.backends[0])
    pool.touch()
    before = is_passed_over(pool, 0.0)
    close(pool.backends[0], pool.backends[0].breaker.until)
    pool.touch()

    assert (True, False) == (before, is_passed_over(pool, 10.0))


def test_a_split_says_what_it_is() -> None:
    split = Split([("stable", 0.95), ("canary", 0.05)])
    split.cut_off = "canary"

    assert "<Split stable: 95%, canary: 5% cut off>" == repr(split)
