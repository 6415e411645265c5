from __future__ import annotations

from dataclasses import replace

import pytest

from proxy.core.messages import DURATION_BUCKETS, AdminState, BackendState
from proxy.core.pools.breaker import BreakerPolicy, BreakerState
from proxy.core.pools.health import HealthState
from proxy.core.pools.model import Backend, Unavailable
from proxy.core.pools.warmup import WarmupPolicy
from proxy.core.settings import BackendSettings
from tests.core.pools import NOWHERE, trip

SETTINGS = BackendSettings("b0", NOWHERE, weight=2)


def make(*, workers: int = 1, **changes: object) -> Backend:
    return Backend("app", replace(SETTINGS, **changes), BreakerPolicy(), 0.0, workers)


# The reasons why a Backend gets no new request


def test_a_backend_serves_when_nothing_vetoes_it() -> None:
    assert make().unavailable(0.0) is None


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (BackendState(admin=AdminState.DRAIN), Unavailable.DRAIN),
        (BackendState(admin=AdminState.MAINT), Unavailable.MAINT),
        (BackendState(health=HealthState.DOWN), Unavailable.FAILED_PROBES),
        (BackendState(health=HealthState.UNCHECKED), Unavailable.UNCHECKED),
        (BackendState(weight=0), Unavailable.DRAIN),
    ],
)
def test_what_a_snapshot_says_is_a_veto_until_the_next_one(state: BackendState, reason: Unavailable) -> None:
    backend = make()

    backend.heed(state)
    assert reason is backend.unavailable(0.0)

    backend.heed(BackendState())
    assert backend.unavailable(0.0) is None


def test_its_own_failed_traffic_is_a_veto() -> None:
    backend = make()

    trip(backend)

    assert Unavailable.BREAKER_OPEN is backend.unavailable(0.0)


def test_a_half_open_breaker_is_still_a_veto() -> None:
    """Trials are the Pool's to grant."""
    backend = make()
    trip(backend)

    backend.breaker.admit(5.0)

    assert BreakerState.HALF_OPEN is backend.breaker.state
    assert Unavailable.BREAKER_OPEN is backend.unavailable(5.0)


def test_a_backend_is_full_while_it_has_as_many_requests_as_it_may() -> None:
    backend = make(max_in_flight=2)

    backend.in_flight = 2
    assert Unavailable.FULL is backend.unavailable(0.0)

    backend.in_flight = 1
    assert backend.unavailable(0.0) is None


def test_the_administrators_word_stands_above_all_others() -> None:
    backend = make()
    trip(backend)

    backend.heed(BackendState(AdminState.MAINT, HealthState.DOWN))

    assert Unavailable.MAINT is backend.unavailable(0.0)


def test_each_worker_has_its_share_of_the_limit_and_at_least_one() -> None:
    assert 2 == make(max_in_flight=5, workers=2).max_in_flight
    assert 1 == make(max_in_flight=1, workers=2).max_in_flight
    assert make().max_in_flight is None


# Trials and panic


def test_a_trial_may_be_sent_once_the_breaker_has_been_open_long_enough() -> None:
    backend = make()
    trip(backend)

    assert not backend.may_be_tried(4.9)
    assert backend.may_be_tried(5.0)


def test_no_trial_is_sent_while_another_runs() -> None:
    backend = make()
    trip(backend)
    backend.breaker.admit(5.0)

    assert not backend.may_be_tried(5.0)


@pytest.mark.parametrize(
    "state",
    [
        BackendState(admin=AdminState.DRAIN),
        BackendState(admin=AdminState.MAINT),
        BackendState(health=HealthState.DOWN),
        BackendState(weight=0),
    ],
)
def test_no_trial_is_sent_where_anything_else_vetoes(state: BackendState) -> None:
    backend = make()
    trip(backend)

    backend.heed(state)

    assert not backend.may_be_tried(5.0)


def test_no_trial_is_sent_to_a_full_backend() -> None:
    backend = make(max_in_flight=1)
    trip(backend)

    backend.in_flight = 1

    assert not backend.may_be_tried(5.0)


def test_panic_ignores_probes_and_the_breaker() -> None:
    backend = make()
    trip(backend)

    backend.heed(BackendState(health=HealthState.DOWN))

    assert backend.may_be_tried_in_panic()


@pytest.mark.parametrize(
    "state", [BackendState(admin=AdminState.DRAIN), BackendState(admin=AdminState.MAINT), BackendState(weight=0)]
)
def test_panic_never_ignores_the_administrator(state: BackendState) -> None:
    backend = make()

    backend.heed(state)

    assert not backend.may_be_tried_in_panic()


def test_panic_does_not_overfill_a_backend() -> None:
    backend = make(max_in_flight=1)

    backend.in_flight = 1

    assert not backend.may_be_tried_in_panic()


# Weight and counters


def test_the_administrators_weight_replaces_the_configured_one_until_it_is_taken_away() -> None:
    backend = make()

    backend.heed(BackendState(weight=7))
    assert 7 == backend.weight

    backend.heed(BackendState())
    assert 2 == backend.weight


def test_an_attempt_is_counted_in_the_bucket_of_its_duration() -> None:
    backend = make()

    backend.record(0.001)
    backend.record(0.0011)
    backend.record(31.0)

    counts = backend.counts(idle_connections=4)
    assert (1, 1, *[0] * 12, 1) == counts.duration_buckets
    assert len(DURATION_BUCKETS) + 1 == len(counts.duration_buckets)
    assert pytest.approx(31.0021) == counts.duration_sum
    assert 4 == counts.idle_connections


def test_a_report_says_what_the_breaker_does_and_why() -> None:
    backend = make()
    trip(backend, 3.0)

    counts = backend.counts(0)

    assert BreakerState.OPEN is counts.breaker
    assert "5 failures in a row" == counts.breaker_reason
    assert (3.0, 8.0) == (counts.breaker_since, counts.breaker_until)


def test_a_backend_says_what_it_is() -> None:
    assert "<Backend app/b0 in_flight=0 ready up>" == repr(make())


def test_an_ejection_is_shown_as_what_it_is() -> None:
    backend = make()

    backend.breaker.follow(BreakerState.OPEN, 30.0, "it does worse", 0.0, outlier=True)

    assert Unavailable.OUTLIER is backend.unavailable(0.0)
    assert [False, True] == [backend.may_be_tried(at) for at in (29.0, 30.0)]
    assert backend.counts(0).breaker_outlier


def test_who_does_worse_has_less_weight() -> None:
    backend = make()

    backend.heed(BackendState(weight=8, share=0.25))
    backend.weigh(WarmupPolicy(), 0.0)

    assert 2.0 == backend.weight


def test_who_stands_by_gets_nothing_not_even_in_panic_and_may_take_over_if_it_is_well() -> None:
    backend = make()
    backend.heed(BackendState(standby=True))

    assert Unavailable.STANDBY is backend.unavailable(0.0)
    assert (False, True) == (backend.may_be_tried_in_panic(), backend.may_take_over(0.0))
    backend.heed(BackendState(standby=True, health=HealthState.DOWN))
    assert (Unavailable.STANDBY, False) == (backend.unavailable(0.0), backend.may_take_over(0.0))
    backend.heed(BackendState(standby=True, admin=AdminState.DRAIN))
    assert (Unavailable.DRAIN, False) == (backend.unavailable(0.0), backend.may_take_over(0.0))
    backend.heed(BackendState())
    assert not backend.may_take_over(0.0)


def test_who_was_ejected_may_be_asked_again_as_a_trial() -> None:
    backend = make()
    backend.breaker.follow(BreakerState.OPEN, 30.0, "it does worse", 0.0, outlier=True)

    assert [False, True] == [backend.may_be_asked_again(at) for at in (29.0, 30.0)]
