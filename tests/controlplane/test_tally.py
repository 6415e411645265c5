from __future__ import annotations

import pytest

from proxy.controlplane.pools.tally import SAMPLE_EVERY, SAMPLES, Tally, quantile
from proxy.core.messages import DURATION_BUCKETS, BackendCounts
from tests.controlplane.conftest import Make

KEY = ("app", "b0")
GET = ("all", "app", "GET", 200)


def buckets(**counts: int) -> tuple[int, ...]:
    """Counts by the index of their bucket: `buckets(_0=3)`."""
    return tuple(counts.get(f"_{number}", 0) for number in range(len(DURATION_BUCKETS) + 1))


def counted(requests: int, in_flight: int = 0, **durations: int) -> dict[tuple[str, str], BackendCounts]:
    counts = BackendCounts(
        requests=requests, in_flight=in_flight, duration_buckets=buckets(**durations), breaker_transitions={"open": 1}
    )
    return {KEY: counts}


def test_workers_are_added_up(make: Make) -> None:
    tally = Tally()

    tally.take(make.report(0, requests={GET: 5}, backends=counted(3, in_flight=1, _0=2), client_aborts=1))
    tally.take(make.report(1, requests={GET: 7}, backends=counted(4, in_flight=2, _0=1), refused={"400": 2}))

    totals, backend = tally.totals(), tally.backend(KEY)
    assert {GET: 12} == totals.requests
    assert (1, {"400": 2}) == (totals.client_aborts, totals.refused)
    assert (7, 3, buckets(_0=3)) == (backend.requests, backend.in_flight, backend.durations.buckets)
    assert {"open": 2} == backend.breaker_transitions


def test_a_report_replaces_the_one_before(make: Make) -> None:
    """Reports carry totals, so one that is lost loses nothing."""
    tally = Tally()
    tally.take(make.report(requests={GET: 5}))

    tally.take(make.report(requests={GET: 9}))

    assert {GET: 9} == tally.totals().requests


def test_the_totals_of_a_dead_worker_are_kept_and_its_gauges_are_not(make: Make) -> None:
    tally = Tally()
    tally.take(make.report(requests={GET: 5}, backends=counted(5, in_flight=4)))

    tally.lose(0)
    tally.take(make.report(pid=2, requests={GET: 1}, backends=counted(1, in_flight=1)))

    assert {GET: 6} == tally.totals().requests
    assert (6, 1) == (tally.backend(KEY).requests, tally.backend(KEY).in_flight)


def test_a_new_process_begins_at_zero_even_where_the_old_ones_end_was_not_told(make: Make) -> None:
    tally = Tally()
    tally.take(make.report(pid=1, requests={GET: 5}))

    tally.take(make.report(pid=2, requests={GET: 1}))

    assert {GET: 6} == tally.totals().requests


def test_the_end_of_a_worker_that_never_reported_changes_nothing() -> None:
    tally = Tally()

    tally.lose(0)

    assert {} == tally.totals().requests


def test_pools_are_added_up(make: Make) -> None:
    tally = Tally()
    counts = make.pool_counts(retries={("connect", "success"): 2}, budget_exhausted=1, saved=2, held=3)

    for worker in range(2):
        tally.take(make.report(worker, pools={"app": counts}))

    app = tally.totals().pools["app"]
    assert {("connect", "success"): 4} == app.retries
    assert (2, 4, 6) == (app.budget_exhausted, app.saved, app.held)


def test_unknown_outcomes_and_keyed_requests_are_added_up(make: Make) -> None:
    tally = Tally()
    for worker in range(2):
        tally.take(make.report(worker, unknown_outcomes={("pay", "app"): 2}, keyed={("app", "replayed"): 3}))
    tally.lose(0)

    totals = tally.totals()

    assert ({("pay", "app"): 4}, {("app", "replayed"): 6}) == (totals.unknown_outcomes, totals.keyed)


def test_request_durations_are_added_up(make: Make) -> None:
    tally = Tally()
    for worker in range(2):
        tally.take(make.report(worker, durations={("all", "app"): (buckets(_1=1), 0.5)}))

    histogram = tally.totals().durations["all", "app"]

    assert (buckets(_1=2), 1.0) == (histogram.buckets, histogram.seconds)


def test_recent_durations_forget_what_is_over_a_minute_old(make: Make) -> None:
    tally = Tally()
    tally.take(make.report(at=0.0, backends=counted(0, _0=100)))
    for number in range(1, SAMPLES + 1):
        tally.take(make.report(at=number * SAMPLE_EVERY, backends=counted(0, _0=100, _5=number)))

    assert buckets(_5=SAMPLES - 1) == tally.recent_durations(KEY)


def test_recent_durations_begin_with_the_first_report(make: Make) -> None:
    tally = Tally()
    assert buckets() == tally.recent_durations(KEY)

    tally.take(make.report(at=0.0, backends=counted(0, _3=1)))
    tally.take(make.report(at=1.0, backends=counted(0, _3=2)))

    assert buckets(_3=2) == tally.recent_durations(KEY)


def test_a_quantile_lies_within_its_bucket() -> None:
    """Half of four requests between 5 and 10 ms took up to 7.5 ms."""
    assert 0.0075 == quantile(buckets(_3=4), 0.5)
    assert pytest.approx(0.00995) == quantile(buckets(_3=4), 0.99)


def test_a_quantile_skips_what_is_below_it() -> None:
    assert 0.00025 == quantile(buckets(_0=2, _5=2), 0.125)
    assert pytest.approx(0.0375) == quantile(buckets(_0=2, _5=2), 0.75)


def test_what_is_above_the_last_bound_is_given_as_that_bound() -> None:
    assert DURATION_BUCKETS[-1] == quantile(buckets(_14=1), 0.5)


def test_there_is_no_quantile_of_nothing() -> None:
    assert quantile(buckets(), 0.5) is None


def test_what_a_reload_has_removed_from_a_worker_keeps_its_totals(make: Make) -> None:
    tally = Tally()
    pools = {"app": make.pool_counts(saved=2)}
    tally.take(make.report(0, backends=counted(5, in_flight=1, _0=5), pools=pools))
    tally.take(make.report(1, backends=counted(2, in_flight=1)))

    tally.take(make.report(0))

    assert (7, 1, {"open": 2}) == (
        tally.backend(KEY).requests,
        tally.backend(KEY).in_flight,
        tally.backend(KEY).breaker_transitions,
    )
    assert 2 == tally.totals().pools["app"].saved


def test_a_backend_that_is_removed_and_comes_back_goes_on_from_its_totals(make: Make) -> None:
    tally = Tally()
    seen = []
    for backends in (counted(5), {}, {}, counted(1), counted(2), {}):
        tally.take(make.report(backends=backends))
        seen.append(tally.backend(KEY).requests)

    assert [5, 5, 5, 6, 7, 7] == seen
