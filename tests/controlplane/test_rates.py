from __future__ import annotations

from proxy.controlplane.pools.rates import MINUTE, STEP, WINDOW, Flow, Rates
from proxy.core.messages import BackendCounts, Report
from tests.controlplane.conftest import Make

KEY = ("app", "b0")


def report(make: Make, at: float, requests: int, failures: int = 0, *, worker: int = 0, pid: int = 1) -> Report:
    return make.report(
        worker,
        pid,
        at=at,
        backends={KEY: BackendCounts(requests=requests, failures=failures)},
        requests={("all", "app", "GET", 200): requests - failures, ("all", "app", "GET", 502): failures},
    )


def test_a_rate_is_the_difference_of_two_reports_over_the_time_between_them(make: Make) -> None:
    rates = Rates()
    rates.take(report(make, 10.0, 1000, 100))
    rates.take(report(make, 12.0, 1100, 110))

    assert (Flow(50, 5), Flow(50, 5)) == (rates.backend(KEY), rates.pool("app"))


def test_one_report_says_nothing_of_a_rate(make: Make) -> None:
    """A worker that was taken over begins with totals of days."""
    rates = Rates()
    rates.take(report(make, 10.0, 1000, 100))

    assert (Flow(), Flow(), Flow()) == (rates.backend(KEY), rates.pool("app"), rates.last_minute("app"))


def test_what_is_long_ago_counts_no_more(make: Make) -> None:
    rates = Rates()
    rates.take(report(make, 0.0, 0))
    for second in range(1, WINDOW + 1):
        rates.take(report(make, float(second), 1000))

    assert Flow() == rates.backend(KEY)
    assert Flow(1000) == rates.last_minute("app")


def test_after_a_minute_a_failure_is_forgotten(make: Make) -> None:
    rates = Rates()
    rates.take(report(make, 0.0, 0))
    for number in range(1, MINUTE + 1):
        rates.take(report(make, number * STEP, 10, 10))

    assert Flow() == rates.last_minute("app")


def test_the_rates_of_workers_are_added_up_until_they_end(make: Make) -> None:
    rates = Rates()
    for worker in (0, 1):
        rates.take(report(make, 0.0, 0, worker=worker))
        rates.take(report(make, 1.0, 10, worker=worker))
    both = rates.backend(KEY)
    rates.lose(1)

    assert (Flow(20), Flow(10)) == (both, rates.backend(KEY))


def test_a_successor_begins_anew(make: Make) -> None:
    rates = Rates()
    rates.take(report(make, 0.0, 500))
    rates.take(report(make, 1.0, 0, pid=2))
    rates.take(report(make, 2.0, 7, pid=2))

    assert Flow(7) == rates.backend(KEY)


def test_who_is_new_or_gone_has_a_rate_all_the_same(make: Make) -> None:
    rates = Rates()
    rates.take(make.report(at=0.0))
    rates.take(report(make, 1.0, 5))

    assert (Flow(5), Flow(), Flow()) == (rates.backend(KEY), rates.backend(("app", "gone")), rates.pool("gone"))


def test_a_total_that_goes_back_is_no_traffic(make: Make) -> None:
    """A Backend that a reload removed and brought back may begin at zero."""
    rates = Rates()
    rates.take(report(make, 0.0, 50))
    rates.take(report(make, 1.0, 5))

    assert Flow() == rates.backend(KEY)
