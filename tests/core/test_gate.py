from __future__ import annotations

import random

from proxy.core.limits.concurrency import ConcurrencyPolicy
from proxy.core.limits.waiting import End, Priority, Waiter, WaitingPolicy
from proxy.core.messages import AdminState, BackendState
from proxy.core.pools.counts import SEED_SIZE, WHOLE, SharedCounts, used_rows
from proxy.core.pools.pool import Pool
from proxy.core.requests.dispatch import Dispatch
from proxy.core.settings import BackendSettings, HoldPolicy, PoolSettings
from tests.core.pools import (
    DOWN,
    GET,
    NOWHERE,
    OK,
    attempt,
    begin,
    make_dispatch,
    make_pool,
    members,
    refusal,
    tell,
)


def rooms(pool: Pool, now: float = 0.0) -> list[bool]:
    """For whom there is room, low priority first."""
    pool.look_around(now)
    assert pool.gate is not None
    return [pool.gate.has_room(priority) for priority in sorted(Priority)]


def waiter(dispatch: Dispatch, now: float = 0.0) -> Waiter:
    decision = dispatch.start(now)
    found: Waiter = decision.waiter  # type: ignore[union-attr, assignment]
    assert found is not None
    return found


def end(dispatch: Dispatch, now: float = 0.1) -> None:
    dispatch.report(OK, now)
    dispatch.finish(OK, now)


def test_a_pool_without_limits_has_no_gate() -> None:
    assert make_pool(2).gate is None


def test_whoever_finds_all_full_waits_and_is_called_when_one_is_free() -> None:
    pool = make_pool(members(1, max_in_flight=1))
    first, _ = begin(pool)
    second = make_dispatch(pool)
    waiting = waiter(second)
    assert (False, False) == (waiting.is_over, second.is_settled)

    end(first)

    assert waiting.is_called
    assert "b0" == attempt(second.resume(0.1)).backend.name
    assert {"served": 1} == pool.counts().strain.waits
    end(second)
    assert (True, 0, 0) == (second.is_settled, pool.backends[0].in_flight, pool.strain.waiting)


def test_a_newcomer_does_not_take_the_place_of_who_was_called() -> None:
    pool = make_pool(members(1, max_in_flight=1))
    first, _ = begin(pool)
    waiter(make_dispatch(pool))
    end(first)

    assert not waiter(make_dispatch(pool)).is_over


def test_who_leaves_after_being_called_gives_the_place_to_the_next() -> None:
    pool = make_pool(members(1, max_in_flight=1))
    first, _ = begin(pool)
    second, third = make_dispatch(pool), make_dispatch(pool)
    waiter(second)
    waiting = waiter(third)
    end(first)
    assert not waiting.is_called

    second.abandon(0.1)

    assert waiting.is_called
    assert second.is_settled
    assert {"left": 1} == pool.counts().strain.waits


def test_who_leaves_while_waiting_is_forgotten() -> None:
    pool = make_pool(members(1, max_in_flight=1))
    first, _ = begin(pool)
    second = make_dispatch(pool)
    waiter(second)

    second.abandon(0.1)
    end(first)

    assert (0, True) == (pool.strain.waiting, pool.gate is not None and pool.gate.admits(Priority.LOW))


def test_whoever_was_not_called_in_time_is_told_to_come_again() -> None:
    pool = make_pool(members(1, max_in_flight=1), waiting=WaitingPolicy(max_wait=0.5))
    begin(pool)
    dispatch = make_dispatch(pool)
    waiter(dispatch)
    assert waiter_of(dispatch.resume(0.4)) is not None

    told = refusal(dispatch.resume(0.5))

    assert (503, "overloaded", 1) == (told.status, told.name, told.retry_after)
    assert (True, {"timeout": 1}) == (dispatch.is_settled, pool.counts().strain.waits)


def waiter_of(decision: object) -> object:
    return getattr(decision, "waiter", None)


def test_one_of_higher_priority_sends_one_of_lower_priority_away() -> None:
    pool = make_pool(members(1, max_in_flight=1), waiting=WaitingPolicy(max_requests=1), has_priorities=True)
    begin(pool)
    low, high = make_dispatch(pool), make_dispatch(pool)
    low.priority, high.priority = Priority.LOW, Priority.HIGH
    waiter(low)

    waiter(high)

    assert "overloaded" == refusal(low.resume(0.0)).name
    assert {"displaced": 1} == pool.counts().strain.waits


def test_low_priorities_fill_a_part_of_the_room_and_critical_ones_all_of_it() -> None:
    """Of 20 places: 14, 18, 19, 20."""
    pool = make_pool(members(2, max_in_flight=10), has_priorities=True)
    found = {}
    for number in range(21):
        found[number] = rooms(pool)
        if number < 20:
            pool.enter(pool.backends[number % 2])

    assert [True] * 4 == found[13]
    assert [False, True, True, True] == found[14]
    assert [False, True, True, True] == found[17]
    assert [False, False, True, True] == found[18]
    assert [False, False, False, True] == found[19]
    assert [False] * 4 == found[20]


def test_where_no_route_has_a_priority_all_of_the_room_is_everybodys() -> None:
    pool = make_pool(members(1, max_in_flight=10))
    for _ in range(9):
        pool.enter(pool.backends[0])

    assert [True] * 4 == rooms(pool)


def test_however_small_the_limit_each_priority_has_a_place() -> None:
    assert [True] * 4 == rooms(make_pool(members(1, max_in_flight=1), has_priorities=True))


def test_one_backend_without_a_limit_has_room_for_all() -> None:
    pool = make_pool([BackendSettings("a", NOWHERE, max_in_flight=1), BackendSettings("b", NOWHERE)])
    for _ in range(50):
        begin(pool)

    assert [True] * 4 == rooms(pool)


def test_where_nobody_serves_nobody_waits_for_a_place() -> None:
    """That is an outage, and `hold` says what becomes of requests."""
    pool = make_pool(members(1, max_in_flight=1), hold=HoldPolicy(duration=0.0))
    tell(pool, b0=BackendState(admin=AdminState.MAINT))

    assert 503 == refusal(make_dispatch(pool).start(0.0)).status
    assert {} == pool.counts().strain.waits


def test_in_panic_who_is_tried_all_the_same_has_its_limit() -> None:
    pool = make_pool(members(1, max_in_flight=1))
    tell(pool, b0=DOWN)
    assert "b0" == begin(pool)[1].backend.name

    assert [False] * 4 == rooms(pool)


def test_room_at_a_backend_that_is_back_is_found_by_looking() -> None:
    pool = make_pool(members(2, max_in_flight=1))
    tell(pool, b1=DOWN)
    begin(pool)
    dispatch = make_dispatch(pool)
    waiter(dispatch)
    tell(pool, b1=BackendState())

    assert "b1" == attempt(dispatch.resume(0.1)).backend.name


def test_all_who_wait_are_called_when_a_reload_takes_the_limit_away() -> None:
    pool = make_pool(members(1, max_in_flight=1))
    begin(pool)
    waiting = [waiter(make_dispatch(pool)) for _ in range(3)]

    pool.obey(PoolSettings("app", members(1)), 0.1, 1)
    gate = pool.gate
    assert gate is not None
    pool.look_around(0.1)
    gate.tend(0.1)

    assert [True] * 3 == [one.is_called for one in waiting]


def test_a_reload_keeps_those_who_wait_and_what_was_learnt() -> None:
    policy = ConcurrencyPolicy()
    pool = make_pool(members(1, max_in_flight=1), concurrency=policy)
    gate = pool.gate
    assert gate is not None
    learnt = gate.concurrency

    pool.obey(PoolSettings("app", members(1, max_in_flight=2), concurrency=policy), 0.1, 1)
    assert (gate, learnt) == (pool.gate, gate.concurrency)
    pool.obey(PoolSettings("app", members(1, max_in_flight=2)), 0.1, 1)
    assert (gate, None) == (pool.gate, gate.concurrency)
    pool.obey(PoolSettings("app", members(1)), 0.1, 1)
    assert pool.gate is None


def test_after_an_outage_those_that_were_held_come_in_as_there_is_room() -> None:
    pool = make_pool(1, concurrency=ConcurrencyPolicy(min_limit=1, max_limit=1))
    tell(pool, b0=DOWN)
    pool.note_outage(0.0, 0.0)
    held = [make_dispatch(pool) for _ in range(3)]
    assert [None] * 3 == [waiter_of(one.start(0.01)) for one in held]
    pool.end_outage(0.1)
    tell(pool, 0.1, b0=BackendState())

    decisions = [one.resume(0.1) for one in held]

    assert "b0" == attempt(decisions[0]).backend.name
    assert all(waiter_of(one) is not None for one in decisions[1:])
    assert (1, 2, 0) == (pool.backends[0].in_flight, pool.strain.waiting, pool.holding)


def test_what_a_reload_has_removed_takes_no_room() -> None:
    pool = make_pool(members(2, max_in_flight=1))
    dispatches = [begin(pool)[0] for _ in range(2)]
    pool.obey(PoolSettings("app", members(1, max_in_flight=1)), 0.1, 1)
    for one in dispatches:
        end(one, 0.2)
    begin(pool, now=0.3)

    assert [False] * 4 == rooms(pool, 0.4)


# Adaptive concurrency


def test_the_limit_of_the_pool_holds_whatever_its_backends_could_take() -> None:
    pool = make_pool(2, concurrency=ConcurrencyPolicy(max_limit=5))
    for _ in range(5):
        begin(pool)

    assert not waiter(make_dispatch(pool)).is_over
    assert 5 == pool.counts().strain.concurrency_limit


def test_answers_teach_it_and_slow_failures_too() -> None:
    pool = make_pool(1, concurrency=ConcurrencyPolicy(max_limit=20))
    for number in range(40):
        dispatch, _ = begin(pool, now=0.1 * number)
        end(dispatch, 0.1 * number + 0.01)
    assert pool.gate is not None
    assert pool.gate.concurrency is not None
    floor = pool.gate.concurrency.floor
    for number in range(10):
        pool.enter(pool.backends[0])
        pool.leave(pool.backends[0], 3.0, failed=True, now=5.0 + number)

    assert 0.01 == round(floor, 6)
    assert pool.gate.concurrency.limit < 20


# Several workers


def two_workers(limit: int, backends: int = 1) -> tuple[Pool, Pool]:
    memory = memoryview(bytearray(WHOLE))
    memory[:SEED_SIZE] = b"0123456789abcdef"
    used_rows(memory)[0] = 2
    settings = PoolSettings("app", members(backends, max_in_flight=limit))
    first, second = (Pool(settings, 0.0, workers=2, counts=SharedCounts(memory, row)) for row in range(2))
    return first, second


def test_workers_that_see_each_other_share_a_limit_however_requests_fall() -> None:
    one, other = two_workers(3)
    for _ in range(3):
        begin(one)

    waiting = waiter(make_dispatch(other))
    assert ([True, False], [0, 3]) == (
        [pool.backends[0].in_flight == 3 for pool in (one, other)],
        [pool.backends[0].elsewhere for pool in (one, other)],
    )
    one.leave(one.backends[0], 0.1, failed=False, now=0.1)
    other.look_around(0.1)
    assert other.gate is not None
    other.gate.tend(0.1)

    assert waiting.is_called


def test_a_limit_of_one_is_one_over_two_workers() -> None:
    one, other = two_workers(1)
    begin(one)

    assert not waiter(make_dispatch(other)).is_over


def test_who_was_called_and_finds_another_worker_quicker_waits_on() -> None:
    one, other = two_workers(1)
    first, _ = begin(one)
    dispatch = make_dispatch(other)
    waiting = waiter(dispatch)
    end(first)
    other.look_around(0.1)
    assert other.gate is not None
    other.gate.tend(0.1)
    second, _ = begin(one, now=0.1)

    assert waiting is waiter_of(dispatch.resume(0.1))
    assert (False, 1) == (waiting.is_called, other.strain.waiting)
    end(second)
    assert "b0" == attempt(dispatch.resume(0.2)).backend.name


def test_what_was_told_is_not_told_twice() -> None:
    one, other = two_workers(3)
    begin(one)
    one.backends[0].tell()
    other.look_around(0.1)

    assert 1 == other.backends[0].elsewhere


def test_a_limit_that_is_taken_away_leaves_nothing_in_the_others_sight() -> None:
    one, other = two_workers(2)
    begin(one)
    one.obey(PoolSettings("app", members(1)), 0.1, 2)
    other.look_around(0.2)

    assert 0 == other.backends[0].elsewhere


def test_a_backend_that_a_reload_removes_leaves_nothing_in_the_others_sight() -> None:
    """Its name may come back, with requests of before still in flight."""
    one, other = two_workers(2, backends=2)
    dispatches = [begin(one)[0] for _ in range(4)]
    settings = PoolSettings("app", members(2, max_in_flight=2))
    for pool in (one, other):
        pool.obey(PoolSettings("app", members(1, max_in_flight=2)), 0.1, 2)
        pool.obey(settings, 0.2, 2)
    other.look_around(0.3)
    assert [2, 0] == [backend.elsewhere for backend in other.backends]

    for dispatch in dispatches:
        end(dispatch, 0.4)
    other.look_around(0.5)

    assert [0, 0] == [backend.elsewhere for backend in other.backends]


def test_where_there_are_many_backends_not_all_are_looked_at_each_time() -> None:
    one, other = two_workers(1, backends=20)
    other.look_around(0.0)
    begin(one)
    other.look_around(0.0001)
    before = sum(backend.elsewhere for backend in other.backends)
    other.look_around(0.0010)

    assert (0, 1) == (before, sum(backend.elsewhere for backend in other.backends))


def test_the_gate_says_what_it_holds() -> None:
    pool = make_pool(members(1, max_in_flight=3))
    begin(pool)
    pool.look_around(0.0)

    assert "<Gate 1+0+0 of 3 <Line 0 of 100>>" == repr(pool.gate)
    assert "<Strain <Gate 1+0+0 of 3 <Line 0 of 100>> None>" == repr(pool.strain)


def test_a_wait_that_is_over_twice_is_counted_once() -> None:
    pool = make_pool(members(1, max_in_flight=1))
    begin(pool)
    dispatch = Dispatch(pool, GET, random.Random(0))
    waiting = waiter(dispatch)
    assert pool.gate is not None
    pool.gate.settle(waiting, End.TIMEOUT, 0.1)

    dispatch.abandon(0.1)

    assert {"timeout": 1} == pool.counts().strain.waits
