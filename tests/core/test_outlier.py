from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.pools.outlier import EjectionPolicy

totals = st.integers(2, 200)
parts = st.floats(0, 1)


def ejected_at_most(policy: EjectionPolicy, total: int) -> int:
    """How many go out if one after the other is ejected while it is allowed."""
    ejected = 0
    while ejected < total and policy.may_eject(ejected, total):
        ejected += 1
    return ejected


@pytest.mark.parametrize(("total", "most"), [(1, 0), (2, 1), (3, 1), (4, 2), (5, 2), (10, 5)])
def test_half_of_the_backends_may_be_ejected(total: int, most: int) -> None:
    assert most == ejected_at_most(EjectionPolicy(), total)


def test_the_only_backend_is_never_ejected() -> None:
    assert not EjectionPolicy(max_ejected=1.0).may_eject(0, 1)


def test_one_of_two_may_always_be_ejected() -> None:
    """Even where the cap by itself would allow none."""
    assert 1 == ejected_at_most(EjectionPolicy(max_ejected=0.1), 2)


@given(parts, totals)
def test_no_more_are_ejected_than_the_cap_allows_or_one(cap: float, total: int) -> None:
    assert ejected_at_most(EjectionPolicy(max_ejected=cap), total) <= max(1.0, cap * total)


def test_all_may_go_where_the_cap_is_the_whole_pool() -> None:
    assert 4 == ejected_at_most(EjectionPolicy(max_ejected=1.0), 4)


@pytest.mark.parametrize("available", [1, 2, 3])
def test_without_a_threshold_there_is_no_panic_while_one_is_left(available: int) -> None:
    assert not EjectionPolicy().panics(available, 3)


def test_with_none_left_there_is_panic() -> None:
    assert EjectionPolicy().panics(0, 3)


@pytest.mark.parametrize(("available", "panics"), [(1, True), (2, False)])
def test_panic_begins_under_the_threshold(available: int, panics: bool) -> None:  # noqa: FBT001 - a table's column
    """A third of six are two."""
    assert panics is EjectionPolicy(panic_below=1 / 3).panics(available, 6)


def test_a_pool_that_the_administrator_has_emptied_does_not_panic() -> None:
    assert not EjectionPolicy(panic_below=0.5).panics(0, 0)


@pytest.mark.parametrize(("ejected", "room"), [(0, 2), (1, 1), (2, 0), (3, 0)])
def test_there_is_room_up_to_the_cap(ejected: int, room: int) -> None:
    assert room == EjectionPolicy().room(ejected, 4)


def test_there_is_no_room_in_a_pool_that_is_all_ejected() -> None:
    assert 0 == EjectionPolicy(max_ejected=1.0).room(2, 2)
