from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from proxy.core.limits.waiting import End, Line, Priority, Waiter, WaitingPolicy


def line(**policy: object) -> Line:
    return Line(WaitingPolicy(**policy))  # type: ignore[arg-type]


def join(line: Line, now: float, priority: Priority = Priority.NORMAL) -> Waiter:
    waiter = line.join(priority, now)
    assert waiter is not None
    return waiter


def order(line: Line, now: float) -> list[Waiter]:
    """In which order they would be called, all of them now."""
    called = []
    while (waiter := line.next(now)) is not None:
        line.call(waiter)
        called.append(waiter)
    return called


def test_who_came_first_is_called_first() -> None:
    waiting = line()
    first, second, third = (join(waiting, at) for at in (0.0, 0.01, 0.02))

    assert [first, second, third] == order(waiting, 0.1)


def test_once_the_oldest_has_waited_too_long_the_newest_is_called_first() -> None:
    waiting = line(lifo_after=0.1)
    first, second, third = (join(waiting, at) for at in (0.0, 0.08, 0.12))

    assert third is waiting.next(0.15)
    waiting.call(third)
    assert second is waiting.next(0.15)
    waiting.end(first, End.LEFT)
    # The oldest that is left has not waited for long.
    fourth = join(waiting, 0.15)
    assert [second, fourth] == order(waiting, 0.16)


def test_a_higher_priority_is_called_first_however_late_it_came() -> None:
    waiting = line()
    low = join(waiting, 0.0, Priority.LOW)
    normal = join(waiting, 0.01)
    critical = join(waiting, 0.02, Priority.CRITICAL)

    assert [critical, normal, low] == order(waiting, 0.05)


def test_long_waits_of_low_ones_do_not_turn_the_order_of_high_ones() -> None:
    waiting = line(lifo_after=0.1)
    join(waiting, 0.0, Priority.LOW)
    first, second = join(waiting, 0.5, Priority.HIGH), join(waiting, 0.55, Priority.HIGH)

    assert [first, second] == order(waiting, 0.56)[:2]


def test_a_full_line_takes_nobody_of_the_same_priority() -> None:
    waiting = line(max_requests=1)
    join(waiting, 0.0)

    assert waiting.join(Priority.NORMAL, 0.0) is None
    assert {"full": 1} == waiting.counts


def test_a_full_line_sends_away_who_would_come_last_for_one_of_higher_priority() -> None:
    waiting = line(max_requests=3)
    woken = []
    first, newest, _ = (join(waiting, 0.0, p) for p in (Priority.LOW, Priority.LOW, Priority.NORMAL))
    newest.wake = lambda: woken.append("newest")

    join(waiting, 0.05, Priority.CRITICAL)

    assert [End.DISPLACED, None, ["newest"]] == [newest.end, first.end, woken]


def test_where_the_newest_comes_first_the_oldest_is_sent_away() -> None:
    waiting = line(max_requests=2, lifo_after=0.1)
    oldest, newest = join(waiting, 0.0, Priority.LOW), join(waiting, 0.15, Priority.LOW)

    join(waiting, 0.2, Priority.NORMAL)

    assert (End.DISPLACED, None) == (oldest.end, newest.end)


def test_who_has_waited_for_the_longest_time_allowed_is_sent_away_and_woken() -> None:
    waiting = line(max_wait=1.0)
    old, young = join(waiting, 0.0), join(waiting, 0.5)
    woken = []
    old.wake = lambda: woken.append("old")

    waiting.expire(1.0)

    assert (End.TIMEOUT, None, ["old"]) == (old.end, young.end, woken)
    assert (True, False) == (old.is_over, young.is_over)


def test_who_was_called_in_vain_is_the_first_again() -> None:
    waiting = line()
    first, second = join(waiting, 0.0), join(waiting, 0.0)
    waiting.call(first)
    waiting.put_back(first)

    assert [first, second] == order(waiting, 0.0)


def test_a_newcomer_stands_behind_its_own_priority_and_above_only() -> None:
    waiting = line()
    join(waiting, 0.0)

    assert [True, True, False, False] == [waiting.is_before(one) for one in sorted(Priority)]


def test_the_shapes_are_told() -> None:
    waiting = line()
    waiter = join(waiting, 0.0)
    assert "<Line 1 of 100> <Waiter NORMAL since 0 waiting>" == f"{waiting} {waiter}"
    waiting.call(waiter)
    assert "<Waiter NORMAL since 0 called>" == repr(waiter)
    waiting.end(waiter, End.SERVED)
    waiting.end(waiter, End.LEFT)
    assert ("<Waiter NORMAL since 0 served>", {"served": 1}) == (repr(waiter), waiting.counts)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["join", "join", "call", "serve", "put back", "leave", "expire"]),
        st.sampled_from(Priority),
        st.floats(0.0, 0.4),
        st.integers(0, 5),
    ),
    max_size=60,
)


@given(STEPS)
def test_the_line_is_bounded_each_wait_ends_once_and_none_is_for_ever(
    steps: list[tuple[str, Priority, float, int]],
) -> None:
    waiting = line(max_requests=4, max_wait=1.0, lifo_after=0.2)
    now, joined, refused = 0.0, [], 0
    called: list[Waiter] = []
    for step, priority, passed, which in steps:
        now += passed
        if step == "join":
            waiter = waiting.join(priority, now)
            refused += waiter is None
            joined += [waiter] if waiter is not None else []
        elif step == "call" and (following := waiting.next(now)) is not None:
            waiting.call(following)
            called.append(following)
        elif step == "serve" and called:
            waiting.end(called.pop(), End.SERVED)
        elif step == "put back" and called:
            waiting.put_back(called.pop())
        elif step == "leave" and joined:
            waiting.end(joined[which % len(joined)], End.LEFT)
            called = [one for one in called if one.end is None]
        elif step == "expire":
            waiting.expire(now)
            assert all(now - one.joined < 1.001 for one in joined if one.end is None and one not in called)
        assert len(waiting) <= 4 + len(joined)
    waiting.expire(now + 1.001)
    for one in called:
        waiting.end(one, End.SERVED)

    assert all(one.end is not None for one in joined)
    ends = Counter(str(one.end) for one in joined) + Counter({"full": refused})
    assert dict(ends) == {end: count for end, count in waiting.counts.items() if count}
    assert 0 == len(waiting)
