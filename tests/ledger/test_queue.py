"""Promises of `proxy.ledger.queue`, and of `upkeep` about what is queued."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.core.settings import QueuePolicy
from proxy.core.writes.idempotency import Kept, KeyState
from proxy.core.writes.queueing import Parcel, Queued, QueuedState
from proxy.ledger.queue import Due, Queue
from proxy.ledger.schema import FILE
from proxy.ledger.store import StoreFullError
from proxy.ledger.upkeep import KeyCounts, Upkeep
from tests.ledger.ledgers import Ledger, claim, done, open_store

POLICY = QueuePolicy(max_requests=3, max_bytes=100, max_age=50.0)
PARCEL = Parcel(b"POST / HTTP/1.1\r\n\r\n", "192.0.2.1", "http", "pay")
ANSWER = Kept(b"HTTP/1.1 201 Created\r\n\r\n", b"body")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Ledger]:
    store = open_store(tmp_path)
    yield store
    store.close()


@pytest.fixture
def queue(store: Ledger) -> Queue:
    return Queue(store)


@pytest.fixture
def upkeep(tmp_path: Path) -> Iterator[Upkeep]:
    upkeep = Upkeep(tmp_path, random.Random(9))
    yield upkeep
    upkeep.close()


def put(queue: Queue, key: bytes = b"key", now: float = 0.0, policy: QueuePolicy = POLICY) -> str:
    wake = queue._store.batch.flush
    token = done(queue.put(PARCEL, claim(key, ""), None, policy, now=now, wake=wake))
    assert token is not None
    return token


def due(queue: Queue, now: float = 1.0) -> Due:
    found = queue.next_due("app", now)
    assert found is not None
    return found


def keys_due(queue: Queue, now: float = 1.0) -> list[bytes]:
    """In the order in which they are handed out, each one parked for ever."""
    found = []
    while (one := queue.next_due("app", now)) is not None:
        found.append(one.key)
        queue.park(one, now + 1e6)
    return found


def test_what_is_put_in_comes_out_in_order_as_it_was(queue: Queue) -> None:
    for number in (b"1", b"2", b"3"):
        put(queue, number)

    assert PARCEL == due(queue).parcel
    assert [b"1", b"2", b"3"] == keys_due(queue)


def test_its_key_is_known_as_queued(queue: Queue, store: Ledger) -> None:
    token = put(queue)

    entry = store.look(b"key", 1.0)
    assert entry is not None
    assert (KeyState.QUEUED, token) == (entry.state, done(queue.token_of(b"key")))
    assert Queued(QueuedState.PENDING, 0.0, 0, may_be_executed=False) == done(queue.look(token))


def test_a_key_that_was_taken_meanwhile_is_not_queued(queue: Queue, store: Ledger) -> None:
    assert store.take(claim(), None, 0.0) is not None

    assert None is done(queue.put(PARCEL, claim(), None, POLICY, now=0.0, wake=store.wake))


def test_what_was_claimed_and_not_sent_may_be_queued_by_its_carrier_only(queue: Queue, store: Ledger) -> None:
    ours = store.take(claim(), None, 0.0)
    assert ours is not None
    taken_over = store.take(claim(), ours, 0.0)

    assert None is done(queue.put(PARCEL, claim(), ours, POLICY, now=0.0, wake=store.wake))
    assert done(queue.put(PARCEL, claim(), taken_over, POLICY, now=0.0, wake=store.wake))


@pytest.mark.parametrize("policy", [QueuePolicy(max_requests=2), QueuePolicy(max_bytes=2 * len(PARCEL.request))])
def test_beyond_its_bounds_nothing_is_accepted(queue: Queue, store: Ledger, policy: QueuePolicy) -> None:
    for number in (b"1", b"2"):
        put(queue, number, policy=policy)

    with pytest.raises(StoreFullError):
        put(queue, b"3", policy=policy)
    assert None is store.look(b"3", 1.0)


def deliver(queue: Queue, store: Ledger, now: float = 1.0) -> Due:
    """As the delivering worker does when the Backend answers."""
    one = due(queue, now)
    entry = store.take(claim(one.key), store.look(one.key, now), now)
    assert entry is not None
    store.finish(entry, ANSWER)
    queue.note_delivered(one, now)
    return one


def test_what_was_delivered_is_told_with_its_answer_and_makes_room(queue: Queue, store: Ledger) -> None:
    tokens = [put(queue, number) for number in (b"1", b"2", b"3")]

    deliver(queue, store)

    assert Queued(QueuedState.DELIVERED, 0.0, 0, may_be_executed=False, answer=ANSWER) == done(queue.look(tokens[0]))
    assert put(queue, b"4")
    assert [b"2", b"3", b"4"] == keys_due(queue)


def test_one_that_waits_for_its_backend_lets_the_others_go_on(queue: Queue) -> None:
    for number in (b"1", b"2"):
        put(queue, number)
    queue.park(due(queue), until=5.0)

    assert (b"2", b"1") == (due(queue, 4.0).key, due(queue, 5.0).key)
    assert 1 == due(queue, 5.0).tries


def test_one_whose_outcome_is_unknown_says_so(queue: Queue, store: Ledger) -> None:
    token = put(queue)
    entry = store.take(claim(), store.look(b"key", 1.0), 1.0)
    assert entry is not None

    store.let_go(entry, KeyState.UNKNOWN)

    found = done(queue.look(token))
    assert found is not None
    assert (QueuedState.PENDING, True) == (found.state, found.may_be_executed)


def test_one_process_delivers_and_another_one_when_that_is_gone(tmp_path: Path, queue: Queue) -> None:
    other_store = open_store(tmp_path, 1)
    other = Queue(other_store)

    asked = [(one.may_lead(), one.may_lead()) for one in (queue, other)]
    queue.resign()
    after = (other.may_lead(), other.may_lead(), queue.may_lead())
    other_store.close()
    back = (queue.may_lead(), queue.may_lead())

    assert [(False, True), (False, False)] == asked
    assert ((False, True, False), (False, True)) == (after, back)


def test_only_the_leader_can_resign(tmp_path: Path, queue: Queue) -> None:
    other_store = open_store(tmp_path, 1)
    queue.may_lead()

    Queue(other_store).resign()

    assert queue.may_lead()
    other_store.close()


# Upkeep


def test_what_is_too_old_has_failed_and_its_key_is_free_again(queue: Queue, store: Ledger, upkeep: Upkeep) -> None:
    token = put(queue)

    upkeep.run(49.0)
    before = done(queue.look(token))
    upkeep.run(50.0)

    assert before is not None
    assert QueuedState.PENDING is before.state
    assert Queued(QueuedState.FAILED, 0.0, 0, may_be_executed=False) == done(queue.look(token))
    assert (None, None) == (store.look(b"key", 50.0), queue.next_due("app", 50.0))


def test_one_that_may_have_been_executed_fails_as_unknown_and_its_key_is_kept(
    queue: Queue, store: Ledger, upkeep: Upkeep
) -> None:
    token = put(queue)
    entry = store.take(claim(), store.look(b"key", 1.0), 1.0)
    assert entry is not None
    upkeep.run(60.0)
    running = done(queue.look(token))
    store.let_go(entry, KeyState.UNKNOWN)

    upkeep.run(60.0)

    assert running is not None
    assert QueuedState.PENDING is running.state
    assert Queued(QueuedState.FAILED, 0.0, 0, may_be_executed=True) == done(queue.look(token))
    found = store.look(b"key", 60.0)
    assert found is not None
    assert KeyState.UNKNOWN is found.state


def test_a_write_is_forgotten_after_its_time_and_its_request_before(
    tmp_path: Path, queue: Queue, store: Ledger, upkeep: Upkeep
) -> None:
    token = put(queue)
    deliver(queue, store, now=10.0)

    upkeep.run(109.0)
    kept = done(queue.look(token))
    upkeep.run(110.0)

    assert kept is not None
    assert None is done(queue.look(token))
    store.close()
    upkeep.close()
    assert PARCEL.request not in (tmp_path / FILE).read_bytes()


def test_what_waits_is_counted(queue: Queue, store: Ledger, upkeep: Upkeep) -> None:
    for number, now in ((b"1", 0.0), (b"2", 5.0), (b"3", 7.0)):
        put(queue, number, now)
    deliver(queue, store, now=8.0)

    size = 2 * len(PARCEL.request)
    expected = KeyCounts(kept=3, queued=2, queue_bytes=size, queue_oldest=3.0, delivered=1)
    assert {"app": expected} == upkeep.run(8.0)


def test_keys_are_counted_by_what_is_known_of_them(store: Ledger, upkeep: Upkeep) -> None:
    store.take(claim(b"1"), None, 0.0)
    unknown = store.take(claim(b"2"), None, 0.0)
    answered = store.take(claim(b"3", pool="other"), None, 0.0)
    assert unknown is not None
    assert answered is not None
    store.let_go(unknown, KeyState.UNKNOWN)
    store.finish(answered, ANSWER)

    assert {"app": KeyCounts(kept=2, running=1, unknown=1), "other": KeyCounts(kept=1)} == upkeep.run(0.0)


def test_what_a_dead_process_carried_is_noted_as_unknown(tmp_path: Path, store: Ledger, upkeep: Upkeep) -> None:
    dead = open_store(tmp_path, 3)
    dead.take(claim(), None, 0.0)
    store.take(claim(b"alive"), None, 0.0)
    dead.close()

    assert {"app": KeyCounts(kept=2, running=1, unknown=1)} == upkeep.run(0.0)


def test_many_that_are_over_are_forgotten_in_one_round(store: Ledger, upkeep: Upkeep) -> None:
    for number in range(250):
        entry = store.take(claim(b"%d" % number, keep_for=10.0), None, 0.0)
        assert entry is not None
        store.finish(entry, ANSWER)

    assert {"app": KeyCounts(kept=0)} == upkeep.run(10.0)


def test_what_is_too_old_and_was_answered_is_delivered(queue: Queue, store: Ledger, upkeep: Upkeep) -> None:
    """The worker that had it answered died before it could note that."""
    token = put(queue)
    entry = store.take(claim(), store.look(b"key", 1.0), 1.0)
    assert entry is not None
    store.finish(entry, ANSWER)

    upkeep.run(60.0)

    assert Queued(QueuedState.DELIVERED, 0.0, 0, may_be_executed=True, answer=ANSWER) == done(queue.look(token))


def test_one_whose_key_is_forgotten_is_never_said_not_to_be_executed(
    queue: Queue, store: Ledger, upkeep: Upkeep
) -> None:
    token = put(queue)
    entry = store.take(claim(keep_for=1.0), store.look(b"key", 1.0), 1.0)
    assert entry is not None
    store.let_go(entry, KeyState.UNKNOWN)
    upkeep.run(30.0)
    assert None is store.look(b"key", 30.0)

    upkeep.run(60.0)

    assert Queued(QueuedState.FAILED, 0.0, 0, may_be_executed=True) == done(queue.look(token))


def test_one_that_is_lost_is_not_handed_out_again(queue: Queue) -> None:
    token = put(queue)

    queue.note_lost(due(queue), 1.0)

    assert None is queue.next_due("app", 1.0)
    assert Queued(QueuedState.FAILED, 0.0, 0, may_be_executed=True) == done(queue.look(token))
