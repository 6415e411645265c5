from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.telling.cost import Cost
from proxy.core.telling.journal import LEFT_OUT, LINE_MAX, TEXT_MAX, Entry, Kind, Query, Ring, keep, read_line

OUT = Entry(Kind.BACKEND, "b0 of pool app is out.", "app", "b0", "up", "out", "connection refused", "health.fall")


def test_an_entry_says_all_of_a_change() -> None:
    entry = replace(OUT, evidence={"probes": [1]}, cost=Cost(1.23456, 0.25, failed=2))

    assert {
        "id": 7,
        "time": "2023-11-14T22:13:20.500Z",
        "kind": "backend",
        "pool": "app",
        "backend": "b0",
        "from": "up",
        "to": "out",
        "cause": "connection refused",
        "rule": "health.fall",
        "who": "rule",
        "evidence": {"probes": [1]},
        "sentence": "b0 of pool app is out.",
        "cost": {"detect_s": 1.235, "switch_s": 0.25, "failed": 2, "retried": 0, "saved": 0, "held": 0, "unknown": 0},
    } == keep(entry, 7, 1_700_000_000.5).document()


def test_what_does_not_apply_is_null_and_only_a_switch_has_a_cost() -> None:
    document = keep(Entry(Kind.PROCESS, "The proxy has started."), 1, 0.0).document()

    assert [None] * 5 == [document[name] for name in ("pool", "backend", "from", "to", "rule")]
    assert "cost" not in document


def test_a_line_is_bounded_whatever_a_backend_has_said() -> None:
    entry = replace(OUT, cause="é" * 9999, sentence="x" * 9999, evidence={"probes": ["y" * 9999]})

    kept = keep(entry, 1, 0.0)

    assert len(kept.text) <= LINE_MAX
    assert (LEFT_OUT, TEXT_MAX) == (kept.document()["evidence"], len(kept.document()["cause"]))
    assert kept == read_line(kept.text.encode())


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"{}",
        b'{"id":1}',
        b"[" * 100_000,
        b'{"id":0,"time":"2023-11-14T22:13:20Z","kind":"pool","pool":null,"backend":null}',
        b'{"id":true,"time":"2023-11-14T22:13:20Z","kind":"pool","pool":null,"backend":null}',
        b'{"id":1,"time":"yesterday","kind":"pool","pool":null,"backend":null}',
        b'{"id":1,"time":"2023-11-14T22:13:20Z","kind":7,"pool":null,"backend":null}',
        keep(OUT, 5, 1_700_000_000.0).text[:-1].encode(),
        keep(OUT, 5, 1_700_000_000.0).text.replace("refused", "é").encode(),
    ],
)
def test_a_line_that_is_none_of_ours_is_told_from_one_that_is(line: bytes) -> None:
    assert read_line(line) is None


def filled(most: int = 100, count: int = 6) -> Ring:
    ring = Ring(most)
    for number in range(count):
        kind = Kind.BACKEND if number % 2 else Kind.POOL
        ring.add(replace(OUT, kind=kind, pool=f"p{number % 3}", backend=f"b{number}"), 100.0 + number)
    return ring


@pytest.mark.parametrize(
    ("query", "found"),
    [
        (Query(), [1, 2, 3, 4, 5, 6]),
        (Query(pool="p0"), [1, 4]),
        (Query(backend="b2"), [3]),
        (Query(kind="backend"), [2, 4, 6]),
        (Query(since=104.0), [5, 6]),
        (Query(after=4), [5, 6]),
        (Query(after=6), []),
        (Query(limit=2), [5, 6]),
        (Query(after=1, limit=2), [2, 3]),
        (Query(pool="p0", kind="backend"), [4]),
        (Query(pool="nobody"), []),
    ],
)
def test_entries_are_found_by_what_they_are_about_the_newest_last(query: Query, found: list[int]) -> None:
    """The newest where there are too many; but whoever goes on after an entry misses none."""
    assert found == [one.id for one in filled().find(query)]


@given(st.lists(st.integers(0, 3), max_size=60), st.integers(1, 20))
def test_no_entry_is_lost_but_the_oldest_and_numbers_only_rise(steps: list[int], most: int) -> None:
    """0: a restart, with everything on the disk; else so many new entries."""
    ring, disk = Ring(most), []
    for step in steps:
        if not step:
            ring = Ring(most)
            ring.recall(disk)
        disk += [ring.add(OUT, 0.0) for _ in range(step)]

    numbers = [one.id for one in ring.find(Query(limit=1000))]
    assert [one.id for one in disk] == list(range(1, len(disk) + 1))
    assert numbers == [one.id for one in disk][-most:]
    assert len(ring) <= most
    assert ring.last_id == len(disk)


@given(st.permutations(range(1, 9)), st.integers(1, 8))
def test_what_comes_from_two_places_is_taken_once_and_in_order(numbers: list[int], known: int) -> None:
    ring = Ring(100)
    ring.recall(keep(OUT, number, 0.0) for number in range(1, known + 1))

    taken = ring.recall(keep(OUT, number, 0.0) for number in [*numbers, *numbers])

    assert list(range(known + 1, 9)) == [one.id for one in taken]
    assert list(range(1, 9)) == [one.id for one in ring.find(Query())]


def test_a_ring_can_be_given_another_bound() -> None:
    ring = filled()
    ring.obey(100)
    ring.obey(2)

    assert ([5, 6], 2, "<Ring 2 of 2, last 6>") == ([one.id for one in ring.newest(9)], ring.most, repr(ring))
    assert [] == ring.newest(0)


def test_what_json_has_no_word_for_is_written_as_text() -> None:
    assert {"set": "set()"} == json.loads(keep(replace(OUT, evidence={"set": set()}), 1, 0.0).text)["evidence"]
