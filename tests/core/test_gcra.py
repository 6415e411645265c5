from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.limits.gcra import SLOTS, TABLE_SIZE, RateTable
from proxy.core.settings import RatePolicy


def taken(times: list[float], policy: RatePolicy, key: bytes = b"a") -> list[float]:
    table = RateTable()
    return [round(table.take(key, policy, at), 6) for at in times]


def test_a_burst_passes_at_once_and_then_one_at_a_time_at_the_rate() -> None:
    """10 a second with a burst of 3: after three at once, one every 100 ms."""
    waits = taken([5.0, 5.0, 5.0, 5.0, 5.05, 5.1, 5.1, 5.2, 5.3], RatePolicy(10.0, 3))

    assert [0.0, 0.0, 0.0, 0.1, 0.05, 0.0, 0.1, 0.0, 0.0] == waits


def test_after_a_quiet_time_there_is_a_whole_burst_again_and_no_more() -> None:
    waits = taken([1.0, 1.0, 1.0, 9.0, 9.0, 9.0], RatePolicy(1.0, 2))

    assert [0.0, 0.0, 1.0, 0.0, 0.0, 1.0] == waits


def test_clients_do_not_count_together() -> None:
    table, policy = RateTable(), RatePolicy(1.0, 1)

    assert [0.0, 0.0, 1.0] == [table.take(key, policy, 3.0) for key in (b"a", b"b", b"a")]


def test_workers_with_one_memory_count_together() -> None:
    memory = bytearray(TABLE_SIZE)
    tables = [RateTable(memoryview(memory), b"seed") for _ in range(2)]
    policy = RatePolicy(1.0, 2)

    assert [0.0, 0.0, 1.0] == [tables[n % 2].take(b"a", policy, 3.0) for n in range(3)]


def test_a_clock_that_begins_anew_locks_nobody_out() -> None:
    """What is noted lies a day ahead: the client waits for one step at most."""
    assert [0.0, 1.0] == taken([86400.0, 5.0], RatePolicy(1.0, 1))


def test_a_table_that_is_full_forgets_and_refuses_nobody_for_others() -> None:
    """All keys have the same places here: more clients than places still get what is theirs."""

    class OneBucket(RateTable):
        __slots__ = ()

        def _place(self, bucket: int, who: int) -> int:
            return super()._place(0, who)

    table, policy = OneBucket(), RatePolicy(0.001, 1)
    keys = [b"%d" % number for number in range(3 * SLOTS)]

    assert [0.0] * len(keys) == [table.take(key, policy, 10.0 + n) for n, key in enumerate(keys)]
    # The newest are still known.
    assert [True] * (SLOTS - 1) == [table.take(key, policy, 40.0) > 0 for key in keys[1 - SLOTS :]]
    assert "<RateTable of 65536>" == repr(table)


@given(
    st.lists(st.floats(0.0, 0.5), max_size=200),
    st.sampled_from([0.5, 3.0, 10.0, 333.0]),
    st.integers(1, 20),
)
def test_in_no_time_more_than_the_burst_and_the_rate_passes(pauses: list[float], rate: float, burst: int) -> None:
    table, policy, now = RateTable(), RatePolicy(rate, burst), 1.0
    passed = []
    for pause in pauses:
        now += pause
        if not table.take(b"a", policy, now):
            passed.append(now)

    for number, since in enumerate(passed):
        for count, until in enumerate(passed[number:], 1):
            assert count <= burst + rate * (until - since) + 1e-6


@given(st.integers(1, 20), st.floats(0.5, 500.0))
def test_who_comes_when_told_to_passes(burst: int, rate: float) -> None:
    table, policy = RateTable(), RatePolicy(rate, burst)
    for _ in range(burst):
        table.take(b"a", policy, 1.0)
    wait = table.take(b"a", policy, 1.0)

    assert wait == pytest.approx(1 / rate, rel=0.01)
    assert 0.0 == table.take(b"a", policy, 1.0 + wait + 1e-6)
