from __future__ import annotations

import pickle

import pytest

from proxy.core.pools.breaker import Breaker, BreakerPolicy
from tests.core.breakers import BAD, CLOSED, GOOD, HALF_OPEN, OPEN, POLICY, feed, tripped

RATE_ONLY = BreakerPolicy(consecutive=1000)


# What opens it


def test_a_new_breaker_is_closed_and_lets_everybody_in() -> None:
    breaker = Breaker(POLICY, 0.0)

    assert (CLOSED, True) == (breaker.state, breaker.may_admit(0.0))


def test_five_failures_in_a_row_open_it() -> None:
    assert CLOSED is feed(Breaker(POLICY, 0.0), "----").state
    assert OPEN is feed(Breaker(POLICY, 0.0), "-----").state


def test_a_success_in_between_starts_the_row_anew() -> None:
    assert CLOSED is feed(Breaker(POLICY, 0.0), "----+----").state


def test_a_neutral_end_is_neither_a_failure_nor_a_success() -> None:
    """A client that leaves says nothing of the Backend: it neither lengthens the row nor breaks it."""
    assert CLOSED is feed(Breaker(POLICY, 0.0), "----......").state
    assert OPEN is feed(Breaker(POLICY, 0.0), "----.-").state


def test_half_of_the_requests_failing_opens_it_once_twenty_have_ended() -> None:
    breaker = feed(Breaker(POLICY, 0.0), "+-" * 9 + "+")
    assert CLOSED is breaker.state

    assert OPEN is feed(breaker, "-").state


def test_less_than_the_failure_rate_does_not_open_it() -> None:
    assert CLOSED is feed(Breaker(POLICY, 0.0), "++-" * 100).state


def test_failures_count_only_within_the_window() -> None:
    breaker = feed(Breaker(RATE_ONLY, 0.0), "-" * 19, now=0.0)

    feed(breaker, "-", now=10.0)

    assert CLOSED is breaker.state


def test_failures_count_for_nearly_all_of_the_window() -> None:
    """A tenth of it is forgotten at a time."""
    breaker = feed(Breaker(RATE_ONLY, 0.0), "-" * 19, now=0.0)

    feed(breaker, "-", now=9.0)

    assert OPEN is breaker.state


def test_the_window_is_no_longer_where_requests_are_rare() -> None:
    """One failure every 1.9 s: no window of ten seconds ever holds eight of them."""
    breaker = Breaker(BreakerPolicy(consecutive=1000, min_requests=8), 0.0)

    for number in range(100):
        feed(breaker, "-", now=1.9 * number)

    assert CLOSED is breaker.state


def test_after_a_long_silence_the_window_is_empty() -> None:
    breaker = feed(Breaker(RATE_ONLY, 0.0), "-" * 19)

    feed(breaker, "-" * 19, now=1e6)

    assert CLOSED is breaker.state


@pytest.mark.parametrize(
    ("policy", "reason"),
    [
        (POLICY, "5 failures in a row"),
        (BreakerPolicy(consecutive=1000, min_requests=5), "5 of 5 requests failed in 10s"),
    ],
)
def test_it_says_why_it_opened_and_since_when(policy: BreakerPolicy, reason: str) -> None:
    breaker = feed(Breaker(policy, 0.0), "-----", now=3.0)

    assert (OPEN, reason, 3.0) == (breaker.state, breaker.reason, breaker.since)


def test_where_the_pool_may_eject_no_more_failures_do_not_open_it() -> None:
    breaker = Breaker(POLICY, 0.0)

    for _ in range(10):
        breaker.settle(breaker.admit(0.0), BAD, 0.0, may_open=False)
    assert CLOSED is breaker.state

    feed(breaker, "-")
    assert OPEN is breaker.state


# While it is open


def test_an_open_breaker_lets_nobody_in_before_its_time() -> None:
    assert not tripped().may_admit(4.999)


def test_when_its_time_is_over_it_lets_one_trial_in() -> None:
    breaker = tripped()
    assert breaker.may_admit(5.0)

    ticket = breaker.admit(5.0)

    assert ticket.is_trial
    assert (HALF_OPEN, False) == (breaker.state, breaker.may_admit(5.0))


def test_a_late_failure_does_not_prolong_an_open_breaker() -> None:
    breaker = Breaker(POLICY, 0.0)
    late = breaker.admit(0.0)
    feed(breaker, "-----", now=1.0)

    breaker.settle(late, BAD, 3.0)

    assert (OPEN, 6.0) == (breaker.state, breaker.until)


def test_a_late_success_does_not_close_an_open_breaker() -> None:
    breaker = Breaker(POLICY, 0.0)
    late = breaker.admit(0.0)
    feed(breaker, "-----")

    breaker.settle(late, GOOD, 5.0)

    assert OPEN is breaker.state


def test_failures_from_before_the_opening_do_not_count_after_the_closing() -> None:
    breaker = Breaker(POLICY, 0.0)
    late = [breaker.admit(0.0) for _ in range(5)]
    feed(breaker, "-----")
    feed(breaker, "++", now=5.0)

    for ticket in late:
        breaker.settle(ticket, BAD, 6.0)

    assert (CLOSED, 0) == (breaker.state, breaker.consecutive)


def test_what_panic_sends_to_an_open_breaker_is_no_trial_and_its_failure_says_nothing() -> None:
    breaker = tripped()

    ticket = breaker.admit(1.0)
    breaker.settle(ticket, BAD, 1.0)

    assert not ticket.is_trial
    assert (OPEN, 5.0) == (breaker.state, breaker.until)


def test_a_good_answer_in_panic_brings_the_first_trial_forward() -> None:
    """It closes nothing by itself: trials decide."""
    breaker = tripped()

    breaker.settle(breaker.admit(1.0), GOOD, 1.5)

    assert (OPEN, True) == (breaker.state, breaker.may_admit(1.5))
    assert CLOSED is feed(breaker, "++", now=1.5).state


def test_a_good_answer_in_panic_does_not_put_the_first_trial_off() -> None:
    breaker = tripped()

    breaker.settle(breaker.admit(1.0), GOOD, 7.0)

    assert 5.0 == breaker.until


# Trials


def test_two_good_trials_close_it() -> None:
    breaker = tripped()

    assert HALF_OPEN is feed(breaker, "+", now=5.0).state
    assert CLOSED is feed(breaker, "+", now=5.1).state


def test_one_failed_trial_opens_it_anew_and_twice_as_long() -> None:
    breaker = feed(tripped(), "+-", now=5.0)

    assert (OPEN, 15.0, "a trial failed") == (breaker.state, breaker.until, breaker.reason)


def test_the_opening_time_doubles_with_each_failed_trial_up_to_its_limit() -> None:
    breaker = tripped()
    lengths = [breaker.until]

    for _ in range(6):
        now = breaker.until
        feed(breaker, "-", now)
        lengths.append(breaker.until - now)

    assert [5.0, 10.0, 20.0, 40.0, 60.0, 60.0, 60.0] == lengths


def test_a_backend_that_was_bad_for_days_still_gets_trials() -> None:
    """No number of openings makes the time overflow."""
    breaker = tripped(BreakerPolicy(open_for=1e-3, open_for_max=60.0))

    for _ in range(2000):
        feed(breaker, "-", now=breaker.until)

    assert pytest.approx(60.0) == breaker.until - breaker.since


def test_a_closing_ends_the_doubling() -> None:
    breaker = feed(feed(tripped(), "-", now=5.0), "++", now=15.0)

    feed(breaker, "-----", now=20.0)

    assert 25.0 == breaker.until


def test_a_neutral_trial_frees_its_slot_and_decides_nothing() -> None:
    breaker = feed(tripped(), ".", now=5.0)

    assert (HALF_OPEN, True) == (breaker.state, breaker.may_admit(5.0))


def test_as_many_trials_run_at_a_time_as_the_policy_says() -> None:
    breaker = tripped(BreakerPolicy(trials=3))

    tickets = [breaker.admit(5.0) for _ in range(4)]

    assert [True, True, True, False] == [ticket.is_trial for ticket in tickets]


def test_a_trial_that_ends_after_another_one_failed_is_late_news() -> None:
    breaker = tripped(BreakerPolicy(trials=2, trial_successes=1))
    first, second = breaker.admit(5.0), breaker.admit(5.0)
    breaker.settle(first, BAD, 6.0)

    breaker.settle(second, GOOD, 7.0)

    assert (OPEN, 16.0) == (breaker.state, breaker.until)


def test_what_panic_sends_beside_a_trial_says_nothing() -> None:
    breaker = tripped(BreakerPolicy(trial_successes=1))
    breaker.admit(5.0)
    beside = breaker.admit(5.0)

    breaker.settle(beside, GOOD, 5.0)

    assert (HALF_OPEN, False) == (breaker.state, breaker.may_admit(5.0))


# Probes in place of trials


def test_a_good_probe_does_not_end_an_opening_before_its_time() -> None:
    """A liar with a green health check stays out."""
    breaker = tripped()

    for _ in range(10):
        breaker.probe_passed(4.9)

    assert OPEN is breaker.state


def test_where_no_trial_comes_good_probes_close_it() -> None:
    breaker = tripped()

    breaker.probe_passed(5.0)
    assert HALF_OPEN is breaker.state
    breaker.probe_passed(5.5)

    assert (CLOSED, "probes passed in place of trials") == (breaker.state, breaker.reason)


def test_while_a_trial_runs_probes_do_not_count() -> None:
    breaker = tripped()
    breaker.admit(5.0)

    breaker.probe_passed(5.1)
    breaker.probe_passed(5.2)

    assert HALF_OPEN is breaker.state


def test_a_good_probe_means_nothing_to_a_closed_breaker() -> None:
    breaker = feed(Breaker(POLICY, 0.0), "----")

    breaker.probe_passed(0.0)

    assert OPEN is feed(breaker, "-").state


# Other numbers


def test_other_numbers_count_from_the_next_end_on_and_what_was_counted_stays() -> None:
    breaker = feed(Breaker(BreakerPolicy(consecutive=9), 0.0), "----")

    breaker.obey(BreakerPolicy(consecutive=5), 0.0)
    assert CLOSED is breaker.state

    assert OPEN is feed(breaker, "-").state


def test_an_opening_that_runs_keeps_its_end_when_the_numbers_change() -> None:
    breaker = tripped()
    until = breaker.until

    breaker.obey(BreakerPolicy(open_for=1.0), 0.1)

    assert (OPEN, until) == (breaker.state, breaker.until)


def test_a_shorter_window_forgets_sooner() -> None:
    breaker = feed(Breaker(BreakerPolicy(consecutive=1000, window=100.0), 0.0), "-" * 19, now=0.0)

    breaker.obey(BreakerPolicy(consecutive=1000, window=1.0), 0.0)
    feed(breaker, "-", now=2.0)

    assert CLOSED is breaker.state


def test_a_policy_is_the_same_after_a_journey_between_processes() -> None:
    policy = BreakerPolicy(consecutive=7, failure_rate=0.25)

    assert policy == pickle.loads(pickle.dumps(policy))  # noqa: S301 - our own bytes
