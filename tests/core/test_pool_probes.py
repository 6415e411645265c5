"""When a good probe stands for a trial of a Backend that traffic took out, and when it says nothing."""

from __future__ import annotations

import random

from proxy.core.pools.breaker import BreakerState
from tests.core.pools import GET, make_pool, trip


def test_a_green_probe_alone_does_not_bring_back_what_traffic_took_out() -> None:
    """While nobody asks, nobody knows: a liar came back in each pause, and the next writes failed."""
    pool = make_pool(2)
    liar = pool.backends[0]
    trip(liar)

    for number in range(10):
        pool.probe_passed(liar, 100.0 + number)

    assert BreakerState.OPEN is liar.breaker.state


def test_where_only_requests_come_that_must_not_be_trials_probes_are_the_trials() -> None:
    pool = make_pool(2)
    mended = pool.backends[0]
    trip(mended)
    pool.pick(GET, 5.0, random.Random(0), may_try=False)

    pool.probe_passed(mended, 5.1)
    assert BreakerState.HALF_OPEN is mended.breaker.state

    pool.probe_passed(mended, 5.2)
    assert mended.breaker.is_closed


def test_where_a_request_comes_that_may_be_a_trial_probes_are_none() -> None:
    pool = make_pool(2)
    liar = pool.backends[0]
    trip(liar)
    pool.pick(GET, 5.0, random.Random(0), may_try=False)
    pool.pick(GET, 5.0, random.Random(0), may_try=True)

    pool.probe_passed(liar, 5.1)

    assert BreakerState.OPEN is liar.breaker.state


def test_what_came_before_it_opened_anew_does_not_count() -> None:
    pool = make_pool(2)
    liar = pool.backends[0]
    trip(liar)
    pool.pick(GET, 5.0, random.Random(0), may_try=False)
    liar.breaker.follow(BreakerState.OPEN, 8.0, "news", 6.0)

    pool.probe_passed(liar, 9.0)

    assert BreakerState.OPEN is liar.breaker.state
