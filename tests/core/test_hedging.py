from __future__ import annotations

import pytest

from proxy.core.requests.hedging import GROWTH, LEAST, HedgeAfter, HedgePolicy, HedgeResult, Hedging, hedging_for

P95 = HedgePolicy(HedgeAfter(share=0.95), min_requests=20)


def make(policy: HedgePolicy = P95) -> Hedging:
    return Hedging(policy, {}, 0.0)


def test_a_fixed_time_needs_no_requests() -> None:
    assert 0.05 == make(HedgePolicy(HedgeAfter(seconds=0.05))).after(0.0)
    assert make(HedgePolicy()).after(0.0) is None


def test_below_the_least_number_of_requests_no_percentile_is_believed() -> None:
    hedging = make()
    for _ in range(19):
        hedging.observe(0.01, 1.0)
    assert hedging.after(1.0) is None

    hedging.observe(0.01, 1.0)

    assert hedging.after(1.3) is not None


@pytest.mark.parametrize(("share", "lies"), [(0.5, 0.010), (0.9, 0.010), (0.95, 0.2), (0.99, 0.2)])
def test_a_percentile_is_right_to_a_tenth(share: float, lies: float) -> None:
    """Of 100 answers 92 took 10 ms, and 8 took 200 ms."""
    hedging = make(HedgePolicy(HedgeAfter(share=share)))
    for latency in [0.010] * 92 + [0.2] * 8:
        hedging.observe(latency, 1.0)

    found = hedging.after(1.0)

    assert found is not None
    assert lies <= found <= lies * GROWTH


def test_the_quickest_and_the_slowest_have_a_bucket_too() -> None:
    hedging = make()
    for _ in range(20):
        hedging.observe(0.0, 1.0)
    assert LEAST == hedging.after(1.0)
    for _ in range(1000):
        hedging.observe(1e9, 1.0)

    found = hedging.after(2.0)

    assert found is not None
    assert found > 80


def test_what_is_old_is_forgotten() -> None:
    hedging = make()
    for _ in range(50):
        hedging.observe(1.0, 1.0)
    for _ in range(50):
        hedging.observe(0.01, 12.0)
    both = hedging.after(13.0)
    for _ in range(50):
        hedging.observe(0.01, 23.0)

    late = hedging.after(24.0)

    assert both is not None
    assert late is not None
    assert (True, True) == (both >= 1.0, late < 0.02)
    assert hedging.after(60.0) is None


def test_a_percentile_is_worked_out_now_and_then_only() -> None:
    hedging = make()
    for _ in range(50):
        hedging.observe(0.01, 1.0)
    before = hedging.after(1.0)
    for _ in range(500):
        hedging.observe(1.0, 1.1)

    assert before == hedging.after(1.2)
    assert before != hedging.after(1.3)


def test_other_settings_keep_what_was_learnt() -> None:
    counts: dict[str, int] = {}
    hedging = hedging_for(None, P95, counts, 0.0)
    assert hedging is not None
    hedging.note(HedgeResult.WON)
    hedging.note(HedgeResult.WON)

    assert hedging is hedging_for(hedging, HedgePolicy(HedgeAfter(seconds=1.0)), counts, 0.0)
    assert (1.0, {"won": 2}) == (hedging.after(0.0), counts)
    assert hedging_for(hedging, HedgePolicy(), counts, 0.0) is None
    assert "<Hedging after None>" == repr(hedging)
