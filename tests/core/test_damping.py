from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.pools.damping import Damping, DampingPolicy

POLICY = DampingPolicy(penalty=1000, half_life=60, suppress=5000, reuse=1500, longest=600)


def flapping(*times: float, policy: DampingPolicy = POLICY) -> Damping:
    """Transitions at these times."""
    damping = Damping(policy)
    for at in times:
        damping.note_transition(at)
    return damping


@pytest.mark.parametrize(
    ("now", "penalty"),
    [(0, 3000), (60, 1500), (120, 750), (180, 375), (240, 187.5)],
)
def test_the_penalty_halves_with_each_half_life(now: float, penalty: float) -> None:
    assert pytest.approx(penalty) == flapping(0, 0, 0).penalty(now)


@pytest.mark.parametrize(
    ("transitions", "penalty", "damped"),
    [
        # Computed by hand: 1000 x (2^-((90-0)/60) + 2^-((90-30)/60) + …)
        ((0, 30, 60, 90), 353.55 + 500 + 707.11 + 1000, False),
        ((0, 1, 2, 3, 4), 954.84 + 965.94 + 977.16 + 988.51 + 1000, False),
        ((0, 0, 0, 0, 0), 5000, True),
        ((0, 1, 2, 3, 4, 5), 943.87 + 954.84 + 965.94 + 977.16 + 988.51 + 1000, True),
    ],
)
def test_who_flaps_often_enough_is_damped(transitions: tuple[float, ...], penalty: float, damped: bool) -> None:  # noqa: FBT001 - a table's column
    damping = flapping(*transitions)
    now = transitions[-1]

    assert pytest.approx(penalty, rel=1e-4) == damping.penalty(now)
    assert damped is damping.suppress(now, may_eject=True)
    assert damped is damping.is_damped(now)


def test_it_is_let_back_in_when_the_penalty_has_decayed_to_the_reuse_limit() -> None:
    """6000 to 1500 are two half-lives."""
    damping = flapping(*[10.0] * 6)
    damping.suppress(10.0, may_eject=True)

    assert (10.0, pytest.approx(130.0)) == (damping.since, damping.until)
    assert damping.is_damped(129.9)
    assert not damping.is_damped(130.1)


def test_who_goes_on_flapping_stays_out_longer() -> None:
    damping = flapping(*[0.0] * 6)
    damping.suppress(0.0, may_eject=True)
    damping.note_transition(60.0)

    assert pytest.approx(60 + 60 * 1.4150375) == damping.until, "3000 + 1000 to 1500"


def test_a_transition_after_the_end_of_damping_does_not_begin_it_anew() -> None:
    damping = flapping(*[0.0] * 6)
    damping.suppress(0.0, may_eject=True)
    damping.note_transition(121.0)

    assert not damping.is_damped(121.0)
    assert not damping.suppress(121.0, may_eject=True)


def test_it_is_new_only_once() -> None:
    damping = flapping(*[0.0] * 6)

    assert [True, False] == [damping.suppress(0.0, may_eject=True) for _ in range(2)]


def test_the_cap_on_ejections_stands_above_it() -> None:
    damping = flapping(*[0.0] * 6)

    assert not damping.suppress(0.0, may_eject=False)
    assert damping.suppress(1.0, may_eject=True), "as soon as there is room"


def test_a_clock_that_steps_back_adds_nothing() -> None:
    assert 1000 == flapping(10.0).penalty(5.0)


gaps = st.lists(st.floats(0, 300), max_size=100)
policies = st.builds(
    DampingPolicy,
    penalty=st.floats(1, 1e6),
    half_life=st.floats(0.1, 1e5),
    suppress=st.floats(2, 1e6),
    reuse=st.floats(1, 1e6),
    longest=st.floats(0.1, 1e7),
)


@given(policies, gaps)
def test_damping_ends_within_its_longest_time_whatever_happened(policy: DampingPolicy, gaps: list[float]) -> None:
    """No veto without an exit that can be reached."""
    damping, now = Damping(policy), 0.0
    for gap in gaps:
        now += gap
        damping.note_transition(now)
        damping.suppress(now, may_eject=True)

    assert not damping.is_damped(now + policy.longest * (1 + 1e-9))


def test_it_says_what_it_is() -> None:
    assert "<Damping penalty=1000 at=10.0 until=-inf>" == repr(flapping(10.0))
