"""Promises of `proxy.core.portable`."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.messages import BackendCounts, PoolCounts, Report
from proxy.core.pools.breaker import BreakerState
from proxy.core.portable import dump, load

NAMES = st.text(max_size=5)
COUNTS = st.integers(0, 10**12)
SECONDS = st.floats(0, 1e9)
BACKENDS = st.builds(
    BackendCounts,
    in_flight=COUNTS,
    duration_buckets=st.tuples() | st.tuples(*[COUNTS] * 15),
    duration_sum=SECONDS,
    breaker=st.sampled_from(BreakerState),
    breaker_reason=NAMES,
    breaker_transitions=st.dictionaries(NAMES, COUNTS, max_size=3),
)
POOLS = st.builds(
    PoolCounts,
    retries=st.dictionaries(st.tuples(NAMES, NAMES), COUNTS, max_size=3),
    budget_exhausted=COUNTS,
    saved=COUNTS,
    held=COUNTS,
    panic=st.booleans(),
)
REPORTS = st.builds(
    Report,
    worker=COUNTS,
    pid=COUNTS,
    at=SECONDS,
    snapshot_version=COUNTS,
    connections=COUNTS,
    loop_lag=SECONDS,
    requests=st.dictionaries(st.tuples(NAMES, NAMES, NAMES, COUNTS), COUNTS, max_size=3),
    durations=st.dictionaries(st.tuples(NAMES, NAMES), st.tuples(st.tuples(COUNTS, COUNTS), SECONDS), max_size=3),
    backends=st.dictionaries(st.tuples(NAMES, NAMES), BACKENDS, max_size=3),
    pools=st.dictionaries(NAMES, POOLS, max_size=3),
    refused=st.dictionaries(NAMES, COUNTS, max_size=3),
    client_aborts=COUNTS,
    unknown_outcomes=st.dictionaries(st.tuples(NAMES, NAMES), COUNTS, max_size=3),
    final=st.booleans(),
)


@dataclass(frozen=True)
class Inner:
    number: int


@dataclass(frozen=True)
class Thing:
    """One field of each kind, none with a default unless it says so."""

    inner: Inner | None
    name: str
    pairs: dict[tuple[str, int], float]
    many: tuple[int, ...]
    flag: bool
    weight: int | None = None
    made: dict[str, int] = field(default_factory=lambda: {"a": 1})


THING = Thing(Inner(1), "x", {("a", 2): 3.5}, (1, 2), flag=True)


def through_json(value: Any) -> Any:
    return json.loads(json.dumps(dump(value)))


@given(REPORTS)
def test_a_report_comes_back_as_it_was(report: Report) -> None:
    assert report == load(Report, through_json(report))


def test_a_value_with_every_kind_of_field_comes_back() -> None:
    assert THING == load(Thing, through_json(THING))


def test_a_list_is_dumped_as_one() -> None:
    assert [{"number": 1}, 2] == dump([Inner(1), 2])


def test_a_field_that_a_newer_version_wrote_is_left_out() -> None:
    assert Inner(1) == load(Inner, {"number": 1, "colour": "red"})


def test_a_field_that_an_older_version_did_not_know_gets_its_default() -> None:
    loaded = load(Thing, {"inner": None})

    assert Thing(None, "", {}, (), flag=False, weight=None, made={"a": 1}) == loaded


def test_a_missing_field_that_has_no_default_is_an_error() -> None:
    """No number can stand for a value of one's own."""
    with pytest.raises(ValueError, match="not a Thing"):
        load(Thing, {"name": "x"})


def test_a_whole_number_may_stand_for_a_float() -> None:
    loaded = load(Thing, {"inner": None, "pairs": [[["a", 2], 3]]})

    assert {("a", 2): 3.0} == loaded.pairs


@pytest.mark.parametrize(
    "document",
    [
        [],
        {"number": "1"},
        {"number": True},
        {"number": 1.5},
        {"number": None},
        {"number": [1]},
    ],
)
def test_what_is_of_another_type_is_refused(document: Any) -> None:
    with pytest.raises(ValueError, match="not a Inner"):
        load(Inner, document)


@pytest.mark.parametrize("pairs", [1, [1], [["a", 1]], [[["a"], 1.0]], [[["a", 2], True]], None])
def test_a_mapping_that_is_none_is_refused(pairs: Any) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - zip says it in its own words
        load(Thing, {"inner": None, "pairs": pairs})


def test_a_member_that_no_enum_has_is_refused() -> None:
    with pytest.raises(ValueError, match="ajar"):
        load(BackendCounts, {"breaker": "ajar"})
