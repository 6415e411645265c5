from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from proxy.core.pools.breaker import Breaker, BreakerPolicy, Ticket, Transition
from tests.core.breakers import BAD, CLOSED, GOOD, HALF_OPEN, OPEN, POLICY, feed, tripped

# What other workers say


def test_it_opens_as_another_workers_did_and_for_as_long() -> None:
    breaker = Breaker(POLICY, 0.0)

    breaker.follow(OPEN, 7.0, "5 failures in a row", 2.0)

    assert (OPEN, 7.0, 2.0, "5 failures in a row") == (breaker.state, breaker.until, breaker.since, breaker.reason)


def test_an_opening_that_it_follows_counts_for_the_doubling() -> None:
    breaker = Breaker(POLICY, 0.0)
    breaker.follow(OPEN, 5.0, "", 0.0)

    feed(breaker, "-", now=5.0)

    assert 15.0 == breaker.until


def test_news_of_a_later_end_prolongs_an_opening() -> None:
    breaker = tripped()

    breaker.follow(OPEN, 12.0, "a trial failed", 4.0)

    assert 12.0 == breaker.until


def test_news_of_an_earlier_end_changes_nothing() -> None:
    breaker = tripped()

    breaker.follow(OPEN, 4.0, "", 1.0)

    assert (5.0, 0.0) == (breaker.until, breaker.since)


def test_it_closes_as_another_workers_did() -> None:
    breaker = tripped()

    breaker.follow(CLOSED, 0.0, "2 trials passed", 3.0)

    assert (CLOSED, True) == (breaker.state, breaker.may_admit(3.0))


def test_news_of_a_closing_means_nothing_to_a_closed_one() -> None:
    """What it has counted stands."""
    breaker = feed(Breaker(POLICY, 0.0), "----")

    breaker.follow(CLOSED, 0.0, "", 1.0)

    assert OPEN is feed(breaker, "-", now=1.0).state


# Jitter and listeners


@given(st.integers())
def test_jitter_lengthens_an_opening_by_at_most_a_tenth(seed: int) -> None:
    breaker = tripped()

    breaker.jitter(random.Random(seed))

    assert 5.0 <= breaker.until <= 5.5


def test_jitter_means_nothing_to_a_closed_breaker() -> None:
    breaker = Breaker(POLICY, 0.0)

    breaker.jitter(random.Random(1))

    assert 0.0 == breaker.until


def test_an_opening_says_when_its_failures_began() -> None:
    """Those in a row with the first of them, a rate with its window."""
    heard: list[Transition] = []
    feed(Breaker(BreakerPolicy(consecutive=3), 0.0, heard.append), "-+-", now=1.0)
    one = Breaker(BreakerPolicy(consecutive=3), 0.0, heard.append)
    feed(one, "-+-", now=2.0)
    feed(one, "-", now=3.0)
    feed(one, "-", now=4.0)
    rate = Breaker(BreakerPolicy(min_requests=4), 0.0, heard.append)
    feed(rate, "+-+-", now=20.0)

    assert [(4.0, 2.0), (20.0, 10.0)] == [(change.at, change.began) for change in heard]


def test_each_change_is_told_once_with_its_time_and_reason() -> None:
    heard: list[Transition] = []
    breaker = Breaker(BreakerPolicy(trial_successes=1), 0.0, heard.append)

    feed(breaker, "-----", now=1.0)
    feed(breaker, "+", now=6.0)

    assert [
        Transition(CLOSED, OPEN, 1.0, 6.0, "5 failures in a row", began=1.0),
        Transition(OPEN, HALF_OPEN, 6.0, 0.0, "open_for is over"),
        Transition(HALF_OPEN, CLOSED, 6.0, 0.0, "1 trials passed"),
    ] == heard


def test_the_state_machine_underneath_agrees_and_keeps_no_wall_clock() -> None:
    breaker = tripped()

    assert "open" == breaker._machine.current_state
    assert breaker._machine._state_storage.opened_at is None


def test_while_closed_every_attempt_gets_the_same_ticket() -> None:
    """Nearly all requests: no object is made for them."""
    breaker = Breaker(POLICY, 0.0)

    assert breaker.admit(0.0) is breaker.admit(1.0)
    assert Ticket(0, is_trial=False) == breaker.ticket


def test_a_ticket_is_known_by_what_it_says() -> None:
    """Not by which object it is."""
    breaker = feed(Breaker(POLICY, 0.0), "----")

    breaker.settle(Ticket(*breaker.admit(0.0)), GOOD, 0.0)

    assert 0 == breaker.consecutive


def test_a_breaker_says_what_it_is() -> None:
    assert "<Breaker closed generation=0 consecutive=2>" == repr(feed(Breaker(POLICY, 0.0), "--"))


# Ejections


def test_an_ejection_opens_it_and_is_told_apart_until_it_is_closed() -> None:
    breaker = Breaker(BreakerPolicy(), 0.0)
    breaker.follow(OPEN, 30.0, "it does worse", 0.0, outlier=True)
    seen = [(breaker.state, breaker.until, breaker.is_outlier)]

    breaker.settle(breaker.admit(30.0), BAD, 31.0)
    seen.append((breaker.state, breaker.until, breaker.is_outlier))
    while not breaker.is_closed:
        breaker.settle(breaker.admit(100.0), GOOD, 100.0)

    assert [(OPEN, 30.0, True), (OPEN, 41.0, True)] == seen
    assert not breaker.is_outlier


def test_what_its_own_traffic_has_opened_is_no_ejection_whatever_others_say() -> None:
    breaker = Breaker(BreakerPolicy(consecutive=1), 0.0)
    breaker.settle(breaker.admit(0.0), BAD, 0.0)

    breaker.follow(OPEN, 30.0, "it does worse", 0.0, outlier=True)

    assert (30.0, False) == (breaker.until, breaker.is_outlier)
