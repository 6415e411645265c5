from __future__ import annotations

from collections.abc import Mapping

import pytest

from proxy.core.pools.active import (
    FAILBACK,
    FAILOVER,
    ORDER,
    PATIENCE,
    SETTINGS,
    ActivePassive,
    FailoverPolicy,
    Pending,
    Standing,
    Switch,
)

WELL, OUT = Standing(is_well=True), Standing(is_well=False, evidence="it refuses")
AT_ONCE = FailoverPolicy(failback_after=0.0)
BY_HAND = FailoverPolicy(automatic=False, failback=False)
STAYS = FailoverPolicy(failback=False)


def make(policy: FailoverPolicy = AT_ONCE, *line: str, active: str | None = None) -> ActivePassive:
    return ActivePassive("payments", policy, line or ("a", "b", "c"), active)


def standings(**out: Standing) -> Mapping[str, Standing]:
    """All are well but these."""
    return {"a": WELL, "b": WELL, "c": WELL, **out}


def switch(place: ActivePassive, now: float, **out: Standing) -> Switch | None:
    """Look at the standings, and carry out what follows, in a proxy without workers."""
    wanted = place.review(standings(**out), now)
    if wanted is not None:
        place.begin(wanted, now, (), 1)
    return place.complete(now)


def obey(place: ActivePassive, to: str, now: float, **out: Standing) -> Switch | None:
    place.begin(place.order(to, standings(**out), now), now, (), 1)
    return place.complete(now)


# Who is active


def test_the_first_in_line_is_active_at_the_start() -> None:
    assert "a" == make().active


def test_whoever_was_active_before_a_restart_is_active_after_it() -> None:
    assert "b" == make(active="b").active
    assert "a" == make(active="gone").active


def test_when_the_active_one_is_out_the_first_in_line_that_is_well_takes_over() -> None:
    place = make()

    assert Switch("payments", "a", "c", FAILOVER, "it refuses", 5.0, 5.0, 5.0) == switch(place, 5.0, a=OUT, b=OUT)
    assert "c" == place.active


def test_with_nobody_to_take_over_the_active_one_stays() -> None:
    place = make()

    assert switch(place, 5.0, a=OUT, b=OUT, c=OUT) is None
    assert ("a", None) == (place.active, place.pending)


def test_while_all_is_well_nothing_happens() -> None:
    assert switch(make(), 5.0) is None


def test_a_failover_may_wait_until_the_active_one_was_out_for_a_time() -> None:
    place = make(FailoverPolicy(after=3.0))

    assert [None, None] == [switch(place, at, a=OUT) for at in (5.0, 7.9)]
    assert place.pending is None, "it needs nobody"
    done = switch(place, 8.0, a=OUT)

    assert done is not None
    assert (5.0, 8.0) == (done.noticed_at, done.decided_at)


def test_who_is_back_in_that_time_stays_active_and_the_time_begins_anew() -> None:
    place = make(FailoverPolicy(after=3.0))
    switch(place, 5.0, a=OUT)
    switch(place, 7.0)

    assert switch(place, 9.0, a=OUT) is None
    assert switch(place, 12.0, a=OUT) is not None


# Failback


def test_the_first_in_line_gets_its_place_back_when_it_is_well() -> None:
    place = make()
    switch(place, 5.0, a=OUT)

    done = switch(place, 9.0)

    assert Switch("payments", "b", "a", FAILBACK, "a is well", 9.0, 9.0, 9.0) == done


def test_it_gets_it_back_only_after_it_was_well_for_a_time_without_a_break() -> None:
    place = make(FailoverPolicy(failback_after=60.0))
    switch(place, 5.0, a=OUT)
    switch(place, 10.0)
    switch(place, 50.0, a=OUT)

    assert [None, None, None] == [switch(place, at) for at in (55.0, 80.0, 114.9)]
    assert switch(place, 115.0) is not None


def test_without_failback_a_person_is_asked() -> None:
    place = make(STAYS)
    switch(place, 5.0, a=OUT)

    assert switch(place, 9.0) is None
    assert Pending("a", FAILBACK, "a is well", 9.0) == place.pending


def test_what_is_pending_is_not_asked_for_any_more_when_its_reason_is_gone() -> None:
    place = make(STAYS)
    switch(place, 5.0, a=OUT)
    switch(place, 9.0)
    switch(place, 10.0, a=OUT)

    assert place.pending is None


# By hand


def test_in_manual_mode_a_person_is_asked_and_the_pool_waits() -> None:
    place = make(BY_HAND)

    assert [None, None] == [switch(place, at, a=OUT) for at in (5.0, 500.0)]
    assert ("a", Pending("b", FAILOVER, "it refuses", 5.0)) == (place.active, place.pending)


def test_an_approval_carries_out_what_was_pending() -> None:
    place = make(BY_HAND)
    switch(place, 5.0, a=OUT)

    done = obey(place, "b", 7.0, a=OUT)

    assert done is not None
    assert ("a", "b", FAILOVER, "it refuses; approved by a person") == (
        done.before,
        done.after,
        done.cause,
        done.evidence,
    )
    assert ("b", None, False) == (place.active, place.pending, place.is_pinned)


def test_a_switch_can_be_ordered_while_all_is_well_and_stays_until_another_order() -> None:
    place = make()

    done = obey(place, "b", 5.0)

    assert done is not None
    assert (ORDER, "b", True) == (done.cause, place.active, place.is_pinned)
    assert switch(place, 500.0) is None, "failback is not for what a person has decided"
    assert Pending("a", FAILBACK, "a is well", 500.0)[:3] == (place.pending or ())[:3]


def test_an_order_to_go_back_lets_the_policy_decide_again() -> None:
    place = make()
    obey(place, "b", 5.0)
    switch(place, 6.0)
    done = obey(place, "a", 7.0)

    assert done is not None
    assert ("a", FAILBACK, False) == (place.active, done.cause, place.is_pinned)
    assert switch(place, 8.0, a=OUT) is not None


def test_who_was_put_there_by_a_person_is_left_when_it_fails() -> None:
    place = make()
    obey(place, "b", 5.0)

    done = switch(place, 6.0, b=OUT)

    assert done is not None
    assert ("b", "a", FAILOVER) == (done.before, done.after, done.cause)


def test_who_is_out_can_be_put_there_and_is_not_left_before_it_was_well_once() -> None:
    """Its probes may lie, and the other one be dead."""
    place = make()
    obey(place, "b", 5.0, b=OUT)

    assert [None, None] == [switch(place, at, b=OUT) for at in (6.0, 60.0)]
    assert switch(place, 70.0) is None
    assert switch(place, 71.0, b=OUT) is not None


# The handover


def hand_over(*workers: int) -> ActivePassive:
    """From `a` to `b`, in version 7."""
    place = make()
    wanted = place.review(standings(a=OUT), 5.0)
    assert wanted is not None
    place.begin(wanted, 5.0, workers, 7)
    return place


def test_nobody_is_active_until_every_worker_has_said_that_it_knows() -> None:
    place = hand_over(0, 1)
    seen = [(place.active, place.successor)]
    for worker in (0, 1):
        place.heard(worker, 7)
        place.complete(6.0)
        seen.append((place.active, place.successor))

    assert [(None, "b"), (None, "b"), ("b", None)] == seen


def test_what_a_worker_says_of_an_earlier_version_does_not_count() -> None:
    place = hand_over(0)
    place.heard(0, 6)
    assert place.complete(6.0) is None

    place.heard(0, 8)
    assert place.complete(6.0) is not None


def test_a_worker_that_has_ended_is_not_waited_for() -> None:
    place = hand_over(0, 1)
    place.heard(0, 7)
    place.lost(1)

    assert place.complete(6.0) is not None


def test_a_worker_that_hangs_is_named_so_that_it_can_be_ended() -> None:
    place = hand_over(0, 1)
    place.heard(0, 7)

    assert [frozenset()] * PATIENCE + [frozenset({1})] == [place.overdue() for _ in range(PATIENCE + 1)]


def test_nothing_else_is_decided_meanwhile() -> None:
    place = hand_over(0)

    assert place.review(standings(b=OUT), 6.0) is None
    assert (None, "b") == (place.active, place.successor)


def test_a_successor_that_fails_meanwhile_is_left_at_once() -> None:
    place = hand_over(0)
    place.review(standings(b=OUT), 6.0)
    place.lost(0)
    place.complete(6.0)

    assert place.review(standings(b=OUT), 6.0) == Pending("a", FAILOVER, "it refuses", 6.0)


def test_news_of_workers_without_a_handover_is_nothing() -> None:
    place = make()
    place.heard(0, 1)
    place.lost(0)

    assert (None, frozenset(), "a") == (place.complete(1.0), place.overdue(), place.active)
    assert "active=a" in repr(place)


@pytest.mark.parametrize("active", ["a", "b"])
def test_one_alone_is_active_whatever_happens(active: str) -> None:
    place = make(AT_ONCE, "a", active=active)

    assert place.review({"a": OUT}, 5.0) is None
    assert "a" == place.active


# Settings


def test_a_reload_keeps_who_is_active_and_follows_the_new_line() -> None:
    place = make(AT_ONCE, "a", "b", "c", active="b")

    place.obey(STAYS, ["c", "b"])

    assert ("b", STAYS, ("c", "b")) == (place.active, place.policy, place.line)


def test_a_reload_that_takes_the_active_one_away_leaves_the_place_empty_until_it_is_handed_over() -> None:
    place = make()
    obey(place, "b", 1.0)

    place.obey(AT_ONCE, ["a", "c"])
    seen = [(place.active, place.is_pinned)]
    wanted = place.review({"a": OUT, "c": WELL}, 2.0)
    assert wanted is not None
    place.begin(wanted, 2.0, (), 1)
    done = place.complete(2.0)

    assert [(None, False)] == seen
    assert done is not None
    assert ("c", SETTINGS) == (done.after, done.cause)


def test_a_reload_that_takes_the_successor_away_finds_another() -> None:
    place = hand_over(0)

    place.obey(AT_ONCE, ["a", "c"])
    wanted = place.review({"a": OUT, "c": WELL}, 6.0)

    assert wanted is not None
    assert ("c", SETTINGS) == wanted[:2]


def test_with_nobody_well_a_reload_gives_the_place_to_the_first_in_line() -> None:
    place = make()
    place.void()
    wanted = place.review(standings(a=OUT, b=OUT, c=OUT), 1.0)

    assert wanted is not None
    assert "a" == wanted.to


@pytest.mark.parametrize(
    ("active", "out", "heir"), [("c", {}, "a"), ("c", {"a": OUT}, "b"), ("b", {"a": OUT}, None), ("a", {}, None)]
)
def test_the_heir_is_the_first_before_the_active_one_that_is_well(
    active: str, out: dict[str, Standing], heir: str | None
) -> None:
    assert heir == make(active=active).heir(standings(**out))
