from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from proxy.core.messages import (
    AdminState,
    Applied,
    BackendCounts,
    BackendState,
    BreakerNews,
    Decoder,
    Drain,
    Message,
    PoolCounts,
    PoolNews,
    ProbePassed,
    RoutePart,
    Snapshot,
    Started,
    encode,
)
from proxy.core.pools.breaker import BreakerState
from proxy.core.pools.health import HealthState
from proxy.core.settings import RouteSettings

names = st.text(max_size=20)
times = st.floats(allow_nan=False)
numbers = st.integers(0, 1 << 40)
states = st.builds(BackendState, st.sampled_from(AdminState), st.sampled_from(HealthState), st.none() | numbers)
messages: st.SearchStrategy[list[Message]] = st.lists(
    st.one_of(
        st.builds(Drain, times),
        st.builds(ProbePassed, names, names),
        st.builds(PoolNews, numbers, names, st.booleans(), times),
        st.builds(Started, numbers, numbers, numbers),
        st.builds(Applied, numbers, numbers, times),
        st.builds(RoutePart, numbers, st.booleans(), st.tuples(st.builds(RouteSettings, names))),
        st.builds(BreakerNews, numbers, names, names, st.sampled_from(BreakerState), times, names, times),
        st.builds(Snapshot, numbers, numbers, st.none(), st.dictionaries(st.tuples(names, names), states, max_size=5)),
    ),
    max_size=8,
)


def decoded(*pieces: bytes) -> list[Message]:
    decoder = Decoder()
    return [message for piece in pieces for message in decoder.feed(piece)]


@given(messages)
def test_what_was_encoded_comes_out_again_in_order(sent: list[Message]) -> None:
    assert sent == decoded(b"".join(map(encode, sent)))


@given(messages)
def test_bytes_that_come_one_by_one_give_the_same_messages(sent: list[Message]) -> None:
    data = b"".join(map(encode, sent))

    assert sent == decoded(*(data[n : n + 1] for n in range(len(data))))


@given(messages, st.data())
def test_bytes_that_are_cut_anywhere_give_the_same_messages(sent: list[Message], data: st.DataObject) -> None:
    stream = b"".join(map(encode, sent))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    edges = [0, *cuts, len(stream)]

    assert sent == decoded(*(stream[a:b] for a, b in itertools.pairwise(edges)))


def test_a_message_is_not_given_before_its_last_byte() -> None:
    assert [] == decoded(encode(Drain(1.0))[:-1])


def test_counts_of_two_of_one_name_are_added_up_but_the_breaker_is_the_first_ones() -> None:
    one = BackendCounts(1, 2, 3, 4, (1, 2), 0.5, BreakerState.OPEN, 9.0, "why", 1.0, breaker_transitions={"open": 1})
    other = BackendCounts(10, 20, 30, 40, (3, 4), 0.25, breaker_transitions={"open": 1, "closed": 2})

    added = BackendCounts(
        11, 22, 33, 44, (4, 6), 0.75, BreakerState.OPEN, 9.0, "why", 1.0, breaker_transitions={"open": 2, "closed": 2}
    )
    assert added == one.plus(other)


def test_counts_of_two_pools_of_one_name_are_added_up_but_panic_is_the_first_ones() -> None:
    one = PoolCounts({("reset", "success"): 1}, 1, 2, 3, panic=True)
    other = PoolCounts({("reset", "success"): 1, ("503", "failure"): 5}, 10, 20, 30, panic=False)

    added = PoolCounts({("reset", "success"): 2, ("503", "failure"): 5}, 11, 22, 33, panic=True)
    assert added == one.plus(other)
