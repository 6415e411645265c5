from __future__ import annotations

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.pools.warmup import LEAST, STEPS, WarmupPolicy

SLOW = WarmupPolicy(20.0)
ages = st.floats(0, 1e6)


@pytest.mark.parametrize(("age", "part"), [(0, 0.1), (5, 0.325), (10, 0.55), (15, 0.775), (20, 1), (1000, 1), (inf, 1)])
def test_the_weight_grows_in_a_straight_line_from_a_tenth(age: float, part: float) -> None:
    assert pytest.approx(part) == SLOW.part(age)


def test_without_slow_start_the_whole_weight_is_there_at_once() -> None:
    assert 1.0 == WarmupPolicy().part(0.0)


def test_who_is_not_back_yet_begins_at_the_beginning() -> None:
    """Its readmission may stand in the future: damping says when it ends."""
    assert LEAST == SLOW.part(-5.0)


@given(ages, ages)
def test_it_never_shrinks(one: float, other: float) -> None:
    assert SLOW.part(min(one, other)) <= SLOW.part(max(one, other))


@given(ages)
def test_nobody_starves_while_it_warms_up(age: float) -> None:
    assert LEAST <= SLOW.part(age) <= 1.0


def test_it_grows_step_by_step_and_ends() -> None:
    now, steps = 100.0, []
    while now < inf:
        now = SLOW.next_step(100.0, now)
        steps.append(now)

    assert [*(pytest.approx(100.0 + n) for n in range(1, STEPS + 1)), inf] == steps


def test_a_short_slow_start_does_not_keep_the_workers_busy() -> None:
    assert [100.1, pytest.approx(100.2), inf] == [
        WarmupPolicy(0.2).next_step(100.0, at) for at in (100.0, 100.1, 100.2)
    ]


def test_what_never_was_out_has_no_next_step() -> None:
    assert inf == SLOW.next_step(-inf, 0.0)


def test_without_slow_start_there_is_nothing_to_wait_for() -> None:
    assert (1.0, inf) == (WarmupPolicy().part(-5.0), WarmupPolicy().next_step(105.0, 100.0))
