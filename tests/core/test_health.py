from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.pools.health import PROBES_KEPT, Health, HealthPolicy, HealthState, Probe

POLICY = HealthPolicy(interval=2.0, fast_interval=0.5, down_interval=10.0, fall=3, rise=2, jitter=0.0)
RNG = random.Random(0)


def probe(*, ok: bool, at: float = 0.0) -> Probe:
    return Probe(at, ok=ok, duration=0.001, detail="connected" if ok else "connection refused")


def after(*results: bool, policy: HealthPolicy = POLICY) -> Health:
    """A Backend of which these probes are known, one a second."""
    health = Health(policy, 0.0)
    for number, ok in enumerate(results, start=1):
        health.observe(probe(ok=ok, at=float(number)))
    return health


# Up and down


def test_a_backend_begins_up_before_its_first_probe() -> None:
    assert HealthState.UP is after().state


def test_fewer_bad_probes_than_fall_change_nothing() -> None:
    assert HealthState.UP is after(False, False).state


def test_fall_bad_probes_in_a_row_take_a_backend_out() -> None:
    assert HealthState.DOWN is after(False, False, False).state


def test_one_good_probe_starts_the_count_of_bad_ones_anew() -> None:
    assert HealthState.UP is after(False, False, True, False, False).state


def test_rise_good_probes_in_a_row_bring_a_backend_back() -> None:
    assert HealthState.DOWN is after(False, False, False, True).state
    assert HealthState.UP is after(False, False, False, True, True).state


def test_one_bad_probe_starts_the_count_of_good_ones_anew() -> None:
    assert HealthState.DOWN is after(False, False, False, True, False, True).state


def test_the_change_is_told_with_the_probe_that_made_it() -> None:
    health = after(False, False)

    assert health.observe(probe(ok=False, at=7.0))
    assert 7.0 == health.since
    assert not health.observe(probe(ok=False, at=8.0))
    assert 7.0 == health.since


# Before the first verdict


def test_where_backends_begin_down_one_is_unchecked_until_rise_good_probes_came() -> None:
    policy = HealthPolicy(initial="down", rise=2)

    assert HealthState.UNCHECKED is after(True, policy=policy).state
    assert HealthState.UP is after(True, True, policy=policy).state


def test_an_unchecked_backend_needs_its_good_probes_in_a_row() -> None:
    policy = HealthPolicy(initial="down", rise=2)

    assert HealthState.UNCHECKED is after(True, False, True, policy=policy).state


def test_fall_bad_probes_end_unchecked_too() -> None:
    policy = HealthPolicy(initial="down", fall=2)

    assert HealthState.UNCHECKED is after(False, policy=policy).state
    assert HealthState.DOWN is after(False, False, policy=policy).state


@pytest.mark.parametrize("before", [HealthState.DOWN, HealthState.UP])
def test_where_the_last_state_counts_a_backend_begins_as_it_was(before: HealthState) -> None:
    assert before is Health(HealthPolicy(initial="last"), 0.0, before).state


def test_where_the_last_state_counts_and_is_not_known_a_backend_begins_up() -> None:
    assert HealthState.UP is Health(HealthPolicy(initial="last"), 0.0).state


def test_where_backends_begin_up_the_last_state_does_not_count() -> None:
    assert HealthState.UP is Health(HealthPolicy(), 0.0, HealthState.DOWN).state


@given(st.lists(st.booleans(), max_size=60), st.integers(1, 5), st.integers(1, 5))
def test_the_state_is_that_of_the_last_long_enough_run(results: list[bool], fall: int, rise: int) -> None:
    """Against the words of the rule: whoever is up falls after `fall` bad ones in a row, and the other way round."""
    expected, run, last = True, 0, True
    for ok in results:
        run = run + 1 if ok is last else 1
        last = ok
        if ok is not expected and run >= (rise if ok else fall):
            expected = ok

    state = after(*results, policy=HealthPolicy(fall=fall, rise=rise)).state

    assert (HealthState.UP if expected else HealthState.DOWN) is state


# Three paces


def test_a_stable_backend_is_probed_at_the_interval() -> None:
    assert 2.0 == after(True).next_delay(RNG)


def test_while_the_state_is_changing_probes_are_fast() -> None:
    assert 0.5 == after(False).next_delay(RNG)
    assert 0.5 == after(False, False, False, True).next_delay(RNG)


def test_an_unchecked_backend_is_probed_fast() -> None:
    assert 0.5 == after(policy=HealthPolicy(initial="down", jitter=0.0)).next_delay(RNG)


def test_a_backend_that_stays_down_is_probed_at_its_own_interval() -> None:
    assert 10.0 == after(False, False, False).next_delay(RNG)


def test_without_one_of_its_own_it_is_probed_at_the_interval() -> None:
    assert 2.0 == after(False, False, False, policy=HealthPolicy(jitter=0.0)).next_delay(RNG)


@given(st.integers())
def test_jitter_moves_a_probe_by_no_more_than_its_share_of_the_interval(seed: int) -> None:
    delay = after(policy=HealthPolicy(interval=2.0, jitter=0.2)).next_delay(random.Random(seed))

    assert 1.8 <= delay <= 2.2


@given(st.integers())
def test_the_first_probe_comes_at_once_but_not_all_in_one_moment(seed: int) -> None:
    assert 0 <= HealthPolicy().first_delay(random.Random(seed)) < 0.1


def test_first_probes_of_many_backends_are_spread() -> None:
    rng = random.Random(1)

    assert 10 == len({HealthPolicy().first_delay(rng) for _ in range(10)})


# What is remembered


def test_the_last_64_probes_are_kept_with_what_they_saw() -> None:
    health = after(*[False] * (PROBES_KEPT + 1))

    assert 64 == len(health.last)
    assert "connection refused" == health.last[-1].detail
    assert 2.0 == health.last[0].at


@pytest.mark.parametrize(("status", "good"), [(199, False), (200, True), (302, True), (399, True), (400, False)])
def test_a_probe_expects_2xx_or_3xx(status: int, good: bool) -> None:  # noqa: FBT001 - a table's column
    assert good is HealthPolicy().expects(status)


def test_a_probe_may_expect_other_statuses() -> None:
    policy = HealthPolicy(status=((200, 200), (401, 403)))

    assert [200, 401, 402, 403] == [status for status in range(100, 600) if policy.expects(status)]


def test_a_health_says_what_it_is() -> None:
    assert "<Health up count=2>" == repr(after(False, False))
