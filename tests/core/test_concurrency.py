from __future__ import annotations

from math import sqrt

import pytest

from proxy.core.limits.concurrency import CALIBRATE_EVERY, LEAST_SAMPLES, START, Concurrency, ConcurrencyPolicy


def window(found: Concurrency, latency: float, ends: float, in_flight: int = 1000) -> None:
    """A window in which all answers took so long."""
    for _ in range(LEAST_SAMPLES - 1):
        found.observe(latency, in_flight, ends - 0.01)
    found.observe(latency, in_flight, ends)


def make(**policy: float) -> Concurrency:
    return Concurrency(ConcurrencyPolicy(**policy), 0.0)  # type: ignore[arg-type]


def test_while_latency_stays_the_limit_grows_by_its_root() -> None:
    found = make()
    window(found, 0.01, 0.5)

    assert int(START + sqrt(START)) == found.limit == 24


def test_in_proportion_to_how_much_slower_it_got_the_limit_sinks() -> None:
    """Twice the latency at a tolerance of 1.5: three quarters, and the root: 24.47 * 0.75 + 4.95 = 23.3."""
    found = make()
    window(found, 0.01, 0.5)
    window(found, 0.02, 1.0)

    assert 23 == found.limit


def test_no_window_takes_more_than_half() -> None:
    found = make()
    window(found, 0.01, 0.5)
    window(found, 10.0, 1.0)

    assert int(24.472 / 2 + sqrt(24.472)) == found.limit


def test_what_is_not_used_does_not_grow() -> None:
    found = make()
    window(found, 0.01, 0.5, in_flight=9)

    assert START == found.limit


def test_the_limit_stays_within_its_bounds() -> None:
    found = make(min_limit=18, max_limit=22)
    window(found, 0.01, 0.5)
    assert 22 == found.limit
    for number in range(10):
        window(found, 1.0, 1.0 + number)
    assert 18 == found.limit

    found.obey(ConcurrencyPolicy(min_limit=30))

    assert 30 == found.limit


def test_a_window_with_few_answers_goes_on() -> None:
    found = make()
    for number in range(LEAST_SAMPLES - 1):
        found.observe(0.01, 1000, 0.6 + number)
    assert START == found.limit

    found.observe(0.01, 1000, 20.0)

    assert START < found.limit


def test_latency_without_load_is_measured_anew_with_half_the_limit() -> None:
    found = make()
    window(found, 0.010, 1.0)
    window(found, 0.010, CALIBRATE_EVERY + 1)
    whole = found._limit
    assert int(whole / 2) == found.limit
    # The first window works off what was there, the second one counts.
    window(found, 0.050, CALIBRATE_EVERY + 2)
    window(found, 0.020, CALIBRATE_EVERY + 3)

    assert (int(whole), 0.020) == (found.limit, found.floor)


def test_only_a_slow_failure_says_something() -> None:
    found = make()
    window(found, 0.01, 0.5)
    for _ in range(2 * LEAST_SAMPLES):
        found.observe_failure(0.001, 1000, 1.0)
    assert 24 == found.limit
    for _ in range(LEAST_SAMPLES):
        found.observe_failure(2.0, 1000, 1.0)

    assert found.limit < 24
    assert "<Concurrency 17 floor=10.0ms>" == repr(found)


def test_one_window_keeps_a_bounded_number_of_answers() -> None:
    found = make()
    for _ in range(5000):
        found.observe(0.01, 1, 0.1)

    assert 1000 == len(found._samples)


@pytest.mark.parametrize("capacity", [8, 40, 200])
def test_it_finds_what_a_backend_can_carry(capacity: int) -> None:
    """A Backend that serves so many at a time in 10 ms each, and the others after them."""
    found = make()
    for number in range(1, 400):
        in_flight = found.limit
        window(found, 0.01 * max(1.0, in_flight / capacity), number * 0.5, in_flight)

    assert capacity / 2 <= found.limit <= 3 * capacity
