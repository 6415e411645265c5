from __future__ import annotations

import pickle
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.pools.breaker import Verdict
from proxy.core.requests.retry import CONDITIONS, Outcome, Progress, RetryBudget, RetryPolicy, answered
from proxy.errors import ERRORS, ErrorKind, Fault
from tests.core.pools import BROKEN_HEAD, BROKEN_OFF, PARTLY_RESET, REFUSED, RESET, STALE, TIMED_OUT, UNREACHED

POLICY = RetryPolicy()
BEFORE_IT_WAS_SENT = [
    ErrorKind.DNS_ERROR,
    ErrorKind.CONNECTION_REFUSED,
    ErrorKind.CONNECTION_TIMEOUT,
    ErrorKind.TLS_PROTOCOL_ERROR,
    ErrorKind.TLS_CERTIFICATE_ERROR,
    ErrorKind.TLS_ALERT_RECEIVED,
    ErrorKind.CONNECTION_LIMIT_REACHED,
    ErrorKind.DESTINATION_UNAVAILABLE,
]
SENT = [Progress.PARTLY_SENT, Progress.SENT, Progress.ANSWERED]
outcomes = st.builds(
    Outcome,
    st.none() | st.sampled_from(ErrorKind),
    status=st.integers(100, 599),
    progress=st.sampled_from(Progress),
    reused=st.booleans(),
)


def not_sent(kind: ErrorKind) -> Outcome:
    return Outcome(kind, progress=Progress.NOT_SENT)


# (a) nothing was sent


@pytest.mark.parametrize("idempotent", [True, False])
@pytest.mark.parametrize("kind", BEFORE_IT_WAS_SENT)
def test_what_was_never_sent_may_be_tried_again_whatever_the_method(kind: ErrorKind, idempotent: bool) -> None:  # noqa: FBT001
    assert POLICY.permits(not_sent(kind), idempotent=idempotent)


def test_a_connection_that_broke_before_anything_was_sent_may_be_replaced_whatever_the_method() -> None:
    """Even where the user listed no `connect`."""
    assert RetryPolicy(on=()).permits(not_sent(ErrorKind.CONNECTION_TERMINATED), idempotent=False)


def test_what_was_never_sent_is_not_tried_again_where_the_user_wants_no_retries_on_connect() -> None:
    assert not RetryPolicy(on=("503",)).permits(REFUSED, idempotent=True)


# (b) a stale connection


def test_a_stale_connection_may_be_replaced_for_an_idempotent_request() -> None:
    """Even where the user listed no `reset`: no answer was ever under way."""
    assert RetryPolicy(on=()).permits(STALE, idempotent=True)


def test_a_stale_connection_is_not_replaced_for_an_unsafe_request() -> None:
    assert not POLICY.permits(STALE, idempotent=False)


def test_a_fresh_connection_that_breaks_is_not_stale() -> None:
    assert not RESET.is_stale_connection


def test_a_connection_that_breaks_in_the_answer_is_not_stale() -> None:
    begun = Outcome(ErrorKind.CONNECTION_TERMINATED, progress=Progress.ANSWERED, reused=True)

    assert not begun.is_stale_connection


def test_a_timeout_on_a_reused_connection_is_not_stale() -> None:
    assert not Outcome(ErrorKind.HTTP_RESPONSE_TIMEOUT, progress=Progress.SENT, reused=True).is_stale_connection


# (c) an idempotent method


@pytest.mark.parametrize(
    "outcome", [RESET, PARTLY_RESET, TIMED_OUT, BROKEN_HEAD, BROKEN_OFF, *map(answered, (502, 503, 504), [False] * 3)]
)
def test_an_idempotent_request_that_failed_as_the_policy_names_may_be_tried_again(outcome: Outcome) -> None:
    assert POLICY.permits(outcome, idempotent=True)


@pytest.mark.parametrize("status", [200, 204, 301, 404, 408, 429, 500, 501, 505])
def test_an_answer_that_the_policy_does_not_name_is_final(status: int) -> None:
    """500 is not retried unless the user says so."""
    assert not POLICY.permits(answered(status, False), idempotent=True)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_a_status_that_the_user_names_may_be_tried_again(status: int) -> None:
    assert RetryPolicy(on=(str(status),)).permits(answered(status, False), idempotent=True)


# What is never tried again


@given(outcomes.filter(lambda outcome: outcome.kind is None or outcome.progress is not Progress.NOT_SENT))
def test_an_unsafe_request_that_may_have_reached_a_backend_is_never_tried_again(outcome: Outcome) -> None:
    everything = RetryPolicy(on=tuple(CONDITIONS))

    assert not everything.permits(outcome, idempotent=False)


@given(outcomes)
def test_a_good_answer_is_never_tried_again(outcome: Outcome) -> None:
    if outcome.kind is None and outcome.status < 400:
        assert not RetryPolicy(on=tuple(CONDITIONS)).permits(outcome, idempotent=True)


# Conditions


@pytest.mark.parametrize(
    ("condition", "kinds"),
    [
        ("connect", set(BEFORE_IT_WAS_SENT)),
        ("reset", {ErrorKind.CONNECTION_TERMINATED, ErrorKind.HTTP_RESPONSE_INCOMPLETE}),
        (
            "timeout",
            {
                ErrorKind.HTTP_RESPONSE_TIMEOUT,
                ErrorKind.CONNECTION_READ_TIMEOUT,
                ErrorKind.CONNECTION_WRITE_TIMEOUT,
            },
        ),
    ],
)
def test_a_condition_holds_for_the_failures_that_its_name_says(condition: str, kinds: set[ErrorKind]) -> None:
    assert kinds == {kind for kind in ErrorKind if CONDITIONS[condition](Outcome(kind, progress=Progress.SENT))}


def test_a_status_condition_holds_for_failures_that_we_would_answer_with_it() -> None:
    """A broken head would be our 502."""
    assert CONDITIONS["502"](BROKEN_HEAD)
    assert CONDITIONS["504"](TIMED_OUT)


def test_a_status_condition_leaves_to_connect_and_reset_what_is_theirs() -> None:
    """Who lists just 502 and 504 has not asked for retries of refused, late or broken connections."""
    assert not CONDITIONS["502"](REFUSED)
    assert not CONDITIONS["502"](RESET)
    assert not CONDITIONS["504"](UNREACHED)


# What an Outcome says about its Backend


@pytest.mark.parametrize("status", [500, 502, 503, 504, 599])
def test_a_5xx_counts_against_the_backend(status: int) -> None:
    assert Verdict.BAD is answered(status, False).verdict()


@pytest.mark.parametrize("status", [200, 302, 400, 404, 408, 429, 499, 501, 505])
def test_the_clients_own_mistakes_and_501_and_505_do_not(status: int) -> None:
    assert Verdict.GOOD is answered(status, False).verdict()


@pytest.mark.parametrize("kind", ErrorKind)
def test_a_failure_counts_against_the_backend_only_if_it_is_the_backends_fault(kind: ErrorKind) -> None:
    expected = Verdict.BAD if ERRORS[kind].fault is Fault.BACKEND else Verdict.NEUTRAL

    assert expected is Outcome(kind, progress=Progress.SENT).verdict()


def test_a_stale_connection_does_not_count_against_the_backend() -> None:
    assert Verdict.NEUTRAL is STALE.verdict()


def test_outcomes_of_answers_are_kept() -> None:
    assert answered(200, True) is answered(200, True)
    assert Outcome(None, 200, Progress.ANSWERED, reused=True) == answered(200, True)


# Backoff


@given(st.integers(), st.integers(1, 500))
def test_the_backoff_is_fully_jittered_doubles_and_has_a_limit(seed: int, round_number: int) -> None:
    wait = POLICY.backoff_for(round_number, random.Random(seed))

    assert 0 <= wait <= min(0.025 * 2 ** (round_number - 1), 0.25)


def test_the_backoff_uses_all_of_its_range() -> None:
    rng = random.Random(1)
    waits = [POLICY.backoff_for(1, rng) for _ in range(1000)]

    assert pytest.approx(0.0125, rel=0.1) == sum(waits) / len(waits)


# The budget


def budget(share: float = 0.2, least: float = 0.0, workers: int = 1) -> RetryBudget:
    return RetryBudget(RetryPolicy(budget=share, budget_min=least), 0.0, workers)


def granted(one: RetryBudget, now: float, asked: int = 1000) -> int:
    return sum(one.withdraw(now) for _ in range(asked))


def test_a_fifth_of_the_requests_may_be_retried() -> None:
    one = budget()
    for _ in range(100):
        one.count_request(0.0)

    assert 20 == granted(one, 0.5)


def test_without_requests_there_is_the_reserve_of_ten_seconds() -> None:
    assert 100 == granted(budget(least=10.0), 0.0)


def test_each_worker_has_its_part_of_the_reserve() -> None:
    assert 25 == granted(budget(least=10.0, workers=4), 0.0)


def test_requests_earn_retries_for_no_longer_than_ten_seconds() -> None:
    in_time, too_late = budget(), budget()
    for _ in range(100):
        in_time.count_request(0.0)
        too_late.count_request(0.0)

    assert 20 == granted(in_time, 9.9)
    assert 0 == granted(too_late, 10.0)


def test_a_retry_is_forgotten_after_eleven_seconds_at_most() -> None:
    one = budget(least=1.0)
    assert 10 == granted(one, 0.0)

    assert 0 == granted(one, 10.5)
    assert 10 == granted(one, 11.0)


def test_a_long_silence_makes_it_as_new() -> None:
    one = budget(least=1.0)
    granted(one, 0.0)

    assert 10 == granted(one, 1e7)


def test_it_tells_how_much_of_it_is_spent_also_when_nobody_has_asked_for_long() -> None:
    one = budget(least=10.0)
    granted(one, 0.0, asked=30)

    assert (30.0, 100.0) == one.standing(0.5)
    assert (0.0, 100.0) == one.standing(20.0)


def test_what_it_refuses_is_counted() -> None:
    one = budget()

    granted(one, 0.0, asked=3)

    assert 3 == one.exhausted_total


def test_it_says_how_much_is_used() -> None:
    one = budget(least=1.0)
    granted(one, 0.0, asked=4)

    assert "<RetryBudget 4 of 10>" == repr(one)


steps = st.lists(st.tuples(st.floats(0, 4), st.integers(0, 30), st.integers(0, 12)), max_size=60)


@given(steps, st.sampled_from([0.0, 0.2, 1.0]), st.sampled_from([0.0, 0.5, 10.0]))
def test_the_budget_is_never_exceeded(steps: list[tuple[float, int, int]], share: float, least: float) -> None:
    """With each retry that it grants: the retries of the last ten seconds, against the requests of the same time."""
    one = budget(share, least)
    now = 0.0
    requests: list[float] = []
    retries: list[float] = []
    for passed, asked, failed in steps:
        now += passed
        for _ in range(asked):
            one.count_request(now)
            requests.append(now)
        for _ in range(failed):
            if one.withdraw(now):
                retries.append(now)
                recent = [[at for at in times if at > now - 10] for times in (requests, retries)]
                assert len(recent[1]) <= share * len(recent[0]) + 10 * least


@given(steps)
def test_the_budget_is_not_stingy(steps: list[tuple[float, int, int]]) -> None:
    """It refuses only where the retries of the last eleven seconds have used up what those of nine have earned."""
    one = budget(0.2, 0.5)
    now = 0.0
    requests: list[float] = []
    retries: list[float] = []
    for passed, asked, failed in steps:
        now += passed
        for _ in range(asked):
            one.count_request(now)
            requests.append(now)
        for _ in range(failed):
            if one.withdraw(now):
                retries.append(now)
                continue
            earned = 0.2 * sum(at > now - 9 for at in requests) + 5
            assert sum(at > now - 11 for at in retries) + 1 > earned


def test_a_policy_is_the_same_after_a_journey_between_processes() -> None:
    policy = RetryPolicy(attempts=7, on=("reset",))

    assert policy == pickle.loads(pickle.dumps(policy))  # noqa: S301 - our own bytes
