from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.messages import DURATION_BUCKETS
from proxy.core.pools.peers import Seen, Totals, quantile, worse_than_peers

MARGIN, FACTOR = 0.1, 3.0


def counted(durations: Sequence[float], failed: int = 0) -> Totals:
    buckets = [0] * (len(DURATION_BUCKETS) + 1)
    for duration in durations:
        buckets[bisect_left(DURATION_BUCKETS, duration)] += 1
    return Totals(len(durations), failed, tuple(buckets))


def seen(errors: float = 0.0, half: float = 0.008, slow: float = 0.0, ended: int = 200) -> Seen:
    """Requests that take about so long, but for a share of them that takes a second."""
    late = round(slow * ended)
    return Seen(ended, errors, counted([half] * (ended - late) + [0.9] * late).buckets)


def worse(backends: Mapping[str, Seen], **alike: object) -> list[str]:
    """Names of those that do worse; all are of one place but for those named."""
    places = {name: alike.get(name, "here") for name in backends}
    return [name for name, _ in worse_than_peers(backends, places, MARGIN, FACTOR)]


def others(number: int, **changes: object) -> dict[str, Seen]:
    return {f"b{n}": seen(**changes) for n in range(1, number + 1)}


# Errors


@pytest.mark.parametrize(
    ("own", "peers", "ended", "expected"),
    [
        # By hand: the bound is the peers' median, and above it the largest of the margin (10 %), four scaled median
        # deviations, and four standard errors of the base rate: at 2 % and 20 requests 12.5 %, at 50 % and 100 20 %.
        (0.20, [0.0, 0.0], 200, True),
        (0.11, [0.0, 0.0], 200, True),
        (0.10, [0.0, 0.0], 200, False),
        (0.15, [0.0, 0.0], 20, True),
        (0.20, [0.2, 0.2], 200, False),
        (0.29, [0.2, 0.2], 200, False),
        (0.31, [0.2, 0.2], 200, False),
        (0.32, [0.2, 0.2], 200, True),
        (0.69, [0.5, 0.5], 100, False),
        (0.71, [0.5, 0.5], 100, True),
        (0.20, [0.0], 200, True),
        (1.00, [1.0, 1.0], 200, False),
        (0.20, [0.0, 0.2, 0.0], 200, True),
        (0.30, [0.0, 0.1, 0.2], 200, False),
        (0.70, [0.0, 0.1, 0.2], 200, True),
    ],
)
def test_a_share_of_errors_that_is_far_above_its_peers_is_worse(
    own: float,
    peers: list[float],
    ended: int,
    expected: bool,  # noqa: FBT001 - a table's column
) -> None:
    backends = {"b0": seen(own, ended=ended), **{f"b{n}": seen(one) for n, one in enumerate(peers, 1)}}

    assert expected is ("b0" in worse(backends))


def test_two_that_are_bad_do_not_hide_each_other() -> None:
    bad = {"b8": seen(0.3), "b9": seen(0.3)}

    assert ["b8", "b9"] == worse({**others(3), **bad})


def test_where_most_are_bad_nobody_is_worse() -> None:
    assert [] == worse({**others(2), **{f"c{n}": seen(0.3) for n in range(3)}})


def test_who_is_alone_is_not_worse_than_anybody() -> None:
    assert [] == worse({"b0": seen(1.0, half=10.0)})


# Latency


@pytest.mark.parametrize(
    ("half", "expected"), [(0.08, True), (0.03, True), (0.024, False), (0.008, False), (0.001, False)]
)
def test_who_takes_a_multiple_of_its_peers_median_is_worse(half: float, expected: bool) -> None:  # noqa: FBT001
    """Theirs is 7.5 ms, as far as buckets tell; slow is above 22.5, so above the bucket that ends with 25."""
    assert expected is ("b0" in worse({"b0": seen(half=half), **others(2)}))


@pytest.mark.parametrize(
    ("slow", "peers", "expected"), [(0.2, 0.0, True), (0.09, 0.0, False), (0.2, 0.15, False), (0.5, 0.2, True)]
)
def test_a_share_of_slow_requests_that_is_far_above_its_peers_is_worse(
    slow: float,
    peers: float,
    expected: bool,  # noqa: FBT001 - a table's column
) -> None:
    assert expected is ("b0" in worse({"b0": seen(slow=slow), **others(2, slow=peers)}))


def test_a_tenth_of_long_streams_on_every_backend_is_nothing() -> None:
    """Nine tenths end within 10 ms on one and within a second on another, by chance alone."""
    assert [] == worse({"b0": seen(slow=0.105), "b1": seen(slow=0.095), "b2": seen(slow=0.09)})


def test_what_is_within_the_grain_of_the_buckets_is_not_worse() -> None:
    """0.9 ms and 1.1 ms lie in different buckets, whose middles are 0.5 and 1.75 ms."""
    assert [] == worse({"b0": seen(half=0.0011), **others(2, half=0.0009)})


def test_latencies_are_compared_only_with_those_of_the_same_place() -> None:
    """The way to another region takes its time."""
    backends = {"near": seen(), "nearer": seen(), "far": seen(half=0.08)}

    assert [] == worse(backends, far="there")
    assert ["far"] == worse(backends)


def test_errors_are_compared_over_all_places() -> None:
    assert ["far"] == worse({"near": seen(), "nearer": seen(), "far": seen(0.5)}, far="there")


def test_the_evidence_is_said_in_numbers() -> None:
    places = dict.fromkeys(["b0", "b1", "b2"], "here")

    def why(own: Seen) -> list[str]:
        return [text for _, text in worse_than_peers({"b0": own, **others(2)}, places, MARGIN, FACTOR)]

    assert ["21% of its requests fail, 0% of its peers'"] == why(seen(0.21))
    assert ["100% of its requests take over 25 ms, 0% of its peers'"] == why(seen(half=0.08))


# What is seen


def test_counts_become_shares_and_quantiles() -> None:
    what = Seen.of(counted([0.004] * 90 + [0.2] * 10, failed=5))

    assert (100, 0.05) == (what.ended, what.errors)
    assert 0.0025 < what.half < 0.005
    assert [1.0, 0.1, 0.0] == [what.slower_than(bound) for bound in (1, 2, 8)]


def test_what_is_above_all_bounds_is_slower_than_all_of_them() -> None:
    assert 1.0 == Seen.of(counted([1000.0])).slower_than(len(DURATION_BUCKETS) - 1)


def test_what_came_in_between_is_the_difference() -> None:
    before, after = counted([0.01] * 3, failed=1), counted([0.01] * 5 + [1.0], failed=2)

    assert counted([0.01] * 2 + [1.0], failed=1) == after.since(before)


def test_a_quantile_of_nothing_is_nothing_and_one_above_all_bounds_is_the_last_bound() -> None:
    assert 0.0 == quantile(counted([]).buckets, 0.5)
    assert DURATION_BUCKETS[-1] == quantile(counted([1000.0]).buckets, 0.5)


@given(st.dictionaries(st.sampled_from("abcdefgh"), st.floats(0, 1), min_size=1), st.floats(0, 1))
def test_where_all_do_alike_nobody_is_worse(names: dict[str, float], errors: float) -> None:
    assert [] == worse({name: seen(errors) for name in names})


# Who waits for an answer


@pytest.mark.parametrize(
    ("within", "expected"),
    [
        # Two have waited for 1 to 2 s, none for 2 to 3 s, five for 3 to 4 s.
        (1.9, {}),
        (2.0, {2.5: 2}),
        (3.9, {2.5: 2}),
        (4.0, {2.5: 2, 5.0: 5}),
    ],
)
def test_who_waits_for_an_answer_counts_as_slow_if_it_began_recently(
    within: float, expected: Mapping[float, int]
) -> None:
    totals = counted([0.008] * 10)._replace(unanswered=(2, 0, 5)).since(counted([0.008] * 4))

    waiting = totals.with_unanswered(within)

    assert (6 + sum(expected.values()), 0) == (waiting.ended, waiting.failed)
    assert expected == {
        bound: number for bound, number in zip(DURATION_BUCKETS, waiting.buckets, strict=False) if number and bound > 1
    }


def test_who_waits_for_very_long_is_slower_than_every_bound() -> None:
    waiting = counted([])._replace(unanswered=(0,) * 29 + (3,)).with_unanswered(float("inf"))

    assert (3, 3) == (waiting.ended, waiting.buckets[-1])
