from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.telling.availability import (
    MINUTE,
    SPANS,
    Availability,
    Budget,
    Counts,
    History,
    counted,
    is_bad_minute,
    read_history,
)

HOUR, DAY = 60 * MINUTE, 1440 * MINUTE
BEGIN = 1_700_000_040.0
"""The beginning of a minute."""


def history(at: float = BEGIN) -> History:
    return History(int(at // MINUTE))


def test_what_was_counted_is_in_every_window() -> None:
    one = history()
    one.add(Counts(good=9, bad=1, unknown=2, saved=3), BEGIN + 1)

    found = one.windows(BEGIN + 2)

    assert ["1h", "24h", "30d"] == list(found)
    assert {Availability(Counts(9, 1, 2, 3), 1)} == set(found.values())
    assert "<History Counts(good=9, bad=1, unknown=2, saved=3)>" == repr(one)


@pytest.mark.parametrize(
    ("later", "names"),
    [
        (HOUR - MINUTE, {"1h", "24h", "30d"}),
        (HOUR, {"24h", "30d"}),
        (DAY - 15 * MINUTE, {"24h", "30d"}),
        (DAY, {"30d"}),
        (30 * DAY - 6 * HOUR, {"30d"}),
        (30 * DAY, set()),
        (9999 * DAY, set()),
    ],
)
def test_each_window_forgets_in_its_time(later: float, names: set[str]) -> None:
    begin = 1000 * DAY  # where slots of all windows begin
    one = history(begin)
    one.add(Counts(good=1), begin)

    assert names == {name for name, found in one.windows(begin + later).items() if found.counts.good}
    assert (not names) is one.is_empty


@given(
    st.lists(
        st.tuples(st.floats(0, 3 * DAY), st.integers(0, 99), st.integers(0, 9), st.integers(0, 9), st.integers(0, 9)),
        max_size=40,
    )
)
def test_windows_add_up(steps: list[tuple[float, int, int, int, int]]) -> None:
    """A window holds what was counted in its slots: no more, no less, whatever was quiet in between."""
    now, one, added = BEGIN, history(), []
    for pause, *numbers in steps:
        now += pause
        added.append((int(now // MINUTE), Counts(*numbers)))
        one.add(Counts(*numbers), now)

    found = one.windows(now)
    for span in SPANS:
        first = int(now // MINUTE) // span.minutes - span.slots + 1
        inside = [counts for minute, counts in added if minute // span.minutes >= first]
        wanted = Counts(*map(sum, zip(*inside, strict=True))) if inside else Counts()
        assert wanted == found[span.name].counts


@given(st.lists(st.tuples(st.floats(-2 * DAY, 2 * DAY), st.integers(0, 9)), max_size=30))
def test_a_clock_that_is_set_back_loses_nothing_and_one_that_leaps_breaks_nothing(
    steps: list[tuple[float, int]],
) -> None:
    now, one, total = 1000 * DAY, history(1000 * DAY), 0
    for move, good in steps:
        now += min(move, 0.0)
        one.add(Counts(good=good), now)
        total += good
        assert total == one.windows(now)["30d"].counts.good
    one.windows(now + 60 * DAY)
    assert 0 == one.windows(now)["30d"].counts.good


@given(
    st.lists(st.tuples(st.floats(0, DAY), st.integers(0, 99), st.integers(0, 9)), min_size=1, max_size=20),
    st.floats(0, DAY),
)
def test_what_is_kept_and_read_again_is_the_same(steps: list[tuple[float, int, int]], pause: float) -> None:
    now, one = BEGIN, history()
    for wait, good, bad in steps:
        now += wait
        one.add(Counts(good, bad), now)

    again = read_history(json.loads(json.dumps(one.document())))

    assert again.windows(now + pause) == one.windows(now + pause)


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"minute": "x", "counts": [0, 0, 0, 0], "windows": {}},
        {"minute": -1, "counts": [0, 0, 0, 0], "windows": {}},
        {"minute": 1, "counts": [0, 0, 0, 0, 0], "windows": {}},
        {"minute": 1, "counts": [0, 0, 0, 0], "windows": []},
        {"minute": 1, "counts": [0, 0, 0, 0], "windows": {"1h": [[1, 2]]}},
        {"minute": 1, "counts": [0, 0, 0, 0], "windows": {"1h": [[1, 2, 3, 4, 5, 2**63]]}},
        {"minute": 1, "counts": [0, 0, 0, 0], "windows": {"1h": 5}},
    ],
)
def test_what_is_no_history_is_refused(document: dict[str, Any]) -> None:
    with pytest.raises((ValueError, KeyError, TypeError, AttributeError)):
        read_history(document)


def test_a_slot_that_no_window_has_any_more_is_left_out() -> None:
    document = {"minute": 100, "counts": [0, 0, 0, 0], "windows": {"1h": [[1, 5, 0, 0, 0, 0], [99, 3, 0, 0, 0, 0]]}}

    assert 3 == read_history(document).windows(100 * MINUTE)["1h"].counts.good


@pytest.mark.parametrize(
    ("counts", "is_bad"),
    [
        (Counts(), False),
        (Counts(good=100, bad=4), False),
        (Counts(good=95, bad=5), True),
        (Counts(good=95, unknown=5), True),
        (Counts(bad=1), True),
    ],
)
def test_a_minute_is_bad_in_which_one_request_in_twenty_fails(counts: Counts, *, is_bad: bool) -> None:
    assert is_bad is is_bad_minute(counts)


def test_bad_minutes_are_counted_once_each_and_the_present_one_too() -> None:
    one = history()
    for second in range(150):
        one.add(Counts(good=1, bad=1), BEGIN + second)
    one.add(Counts(good=100), BEGIN + 180)

    assert [3, 3, 3] == [found.bad_minutes for found in one.windows(BEGIN + 190).values()]


@pytest.mark.parametrize(
    ("counts", "ratio", "nines"),
    [
        (Counts(), None, None),
        (Counts(good=10), 1.0, None),
        (Counts(good=999, bad=1, saved=5), 0.999, 3.0),
        (Counts(good=99, unknown=1), 0.99, 2.0),
        (Counts(bad=1), 0.0, 0.0),
    ],
)
def test_the_share_that_went_well_and_its_nines(counts: Counts, ratio: float | None, nines: float | None) -> None:
    """What nobody knows did not surely go well; where nothing failed there is nothing to count nines by."""
    document = Availability(counts, 0).document(None)

    assert (ratio, nines, None) == (document["availability"], document["nines"], document["budget"])


@pytest.mark.parametrize(
    ("counts", "budget"),
    [
        (Counts(good=9990, bad=8, unknown=2), {"allowed": 10.0, "spent": 10, "left_share": 0.0}),
        (Counts(good=9995, bad=5), {"allowed": 10.0, "spent": 5, "left_share": 0.5}),
        (Counts(good=9980, bad=20), {"allowed": 10.0, "spent": 20, "left_share": -1.0}),
        (Counts(), {"allowed": 0.0, "spent": 0, "left_share": 1.0}),
    ],
)
def test_the_error_budget_is_what_may_fail_less_what_has(counts: Counts, budget: dict[str, float]) -> None:
    assert budget == Availability(counts, 0).document(0.999)["budget"]


def test_a_budget_of_nothing_is_gone_with_the_first_failure() -> None:
    assert 0.0 == Budget(0.0, 1).left_share


def test_counts_are_added_and_subtracted() -> None:
    assert Counts(3, 3, 3, 3) == Counts(1, 1, 1, 1).plus(Counts(2, 2, 2, 2))
    assert Counts(1, 1, 1, 1) == Counts(3, 3, 3, 3).since(Counts(2, 2, 2, 2))


def test_a_copy_stays_as_it_is() -> None:
    one = history()
    one.add(Counts(good=1), BEGIN)

    copy = one.copy()
    one.add(Counts(good=1), BEGIN + MINUTE)

    assert [1, 2] == [each.windows(BEGIN + MINUTE)["1h"].counts.good for each in (copy, one)]


def test_what_workers_count_is_good_bad_unknown_or_none_of_them() -> None:
    """5xx is bad, whoever made it; so is what broke off. 4xx is the client's own affair."""
    requests = {
        ("r", "p", "GET", 200): 10,
        ("r", "p", "GET", 101): 1,
        ("r", "p", "GET", 304): 2,
        ("r", "p", "GET", 404): 50,
        ("r", "p", "POST", 502): 3,
        ("r", "p", "POST", 504): 1,
        ("s", "", "GET", 308): 7,
        ("t", "p", "GET", 429): 9,
    }

    assert {
        ("r", "p"): Counts(good=11, bad=4, unknown=2, saved=5),
        ("s", ""): Counts(good=7),
        ("t", "p"): Counts(),
        ("u", "p"): Counts(unknown=1),
    } == counted(requests, {("r", "p"): 2}, {("r", "p"): 5}, {("r", "p"): 2, ("u", "p"): 1})


def test_what_stood_in_for_a_pool_is_no_good_answer_of_its_own_and_is_one_of_the_pool_that_served() -> None:
    requests = {("web", "app", "GET", 200): 10, ("web", "app", "GET", 503): 2, ("web", "spare", "GET", 200): 4}
    # Three kept answers, two fixed ones of 503, and four requests that another pool has served.
    degraded = {("web", "app", "app", 200): 3, ("web", "app", "app", 503): 2, ("web", "app", "spare", 200): 4}

    found = counted(requests, {}, {}, {}, degraded)

    assert {
        ("web", "app"): Counts(good=7, bad=9),
        ("web", "spare"): Counts(),
        ("", "spare"): Counts(good=4),
    } == found


def test_where_another_pool_fails_as_well_both_are_worse_and_the_route_once() -> None:
    """Whether by a status or by an answer that broke off; what it has refused with 4xx is no mistake of it."""
    requests = {("r", "spare", "GET", 200): 1, ("r", "spare", "GET", 503): 2, ("r", "spare", "GET", 404): 1}
    degraded = {("r", "app", "spare", 502): 1, ("r", "app", "spare", 503): 2, ("r", "app", "spare", 404): 1}

    found = counted(requests, {("r", "spare"): 1}, {}, {}, degraded)

    assert {("r", "app"): Counts(bad=4), ("r", "spare"): Counts(), ("", "spare"): Counts(bad=3)} == found
