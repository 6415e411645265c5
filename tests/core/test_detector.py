from __future__ import annotations

import random
from collections.abc import Collection

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.pools.detector import FORGIVEN_AFTER, NEW_NORMAL, PATIENCE, OutlierDetector, Sentence
from proxy.core.pools.outlier import OutlierPolicy
from tests.core.test_peers import counted

POLICY = OutlierPolicy()
NAMES = ("a", "b", "c")


class Played:
    """Backends that do so many requests a second, and a detector that looks once a second."""

    def __init__(self, policy: OutlierPolicy = POLICY, names: Collection[str] = NAMES, rate: int = 50) -> None:
        self.detector = OutlierDetector(policy, dict.fromkeys(names, "here"))
        self.rate = dict.fromkeys(names, rate)
        self.errors = dict.fromkeys(names, 0.0)
        self.latency = dict.fromkeys(names, 0.008)
        self.totals = dict.fromkeys(names, counted([]))
        self.out: set[str] = set()
        self.room = 1
        self.now = 100.0

    def second(self) -> list[Sentence]:
        """One more second, and a look."""
        self.now += 1.0
        for name in self.totals.keys() - self.out:
            rate = self.rate[name]
            more = counted([self.latency[name]] * rate, round(rate * self.errors[name]))
            before = self.totals[name]
            buckets = tuple(map(sum, zip(before.buckets, more.buckets, strict=True)))
            ended, failed = before.ended + more.ended, before.failed + more.failed
            self.totals[name] = before._replace(ended=ended, failed=failed, buckets=buckets)
        return self.detector.look(self.totals, self.out, self.room, self.now)

    def seconds(self, number: int) -> list[tuple[int, str, float, float]]:
        """What was decided in so many seconds: when, of whom, the part it keeps, and for how long it is ejected."""
        return [(n, one.name, one.part, one.eject_for) for n in range(1, number + 1) for one in self.second()]


def test_while_all_do_alike_nothing_happens() -> None:
    played = Played()

    assert [] == played.seconds(30)
    assert "" == played.detector.degraded


@pytest.mark.parametrize("trouble", ["errors", "latency"])
def test_a_brown_out_costs_weight_step_by_step_and_then_the_place_within_ten_seconds(trouble: str) -> None:
    """A fifth of its requests fail, or all take ten times as long; its health check may be as green as it likes."""
    played = Played()
    played.seconds(30)
    getattr(played, trouble)["a"] = {"errors": 0.2, "latency": 0.08}[trouble]

    decided = played.seconds(10)
    at = [when for when, *_ in decided]

    assert [("a", 0.5, 0.0), ("a", 0.25, 0.0), ("a", 0.25, 30.0)] == [tuple(one[1:]) for one in decided[:3]]
    assert at[2] <= 7


def test_with_little_traffic_it_is_found_within_ten_seconds_and_ejected_later() -> None:
    """Each step is decided on requests that came after the one before."""
    played = Played(rate=5)
    played.seconds(30)
    played.errors["a"] = 0.2

    decided = played.seconds(20)

    assert ["a", "a", "a"] == [name for _, name, *_ in decided[:3]]
    assert decided[0][0] <= 10
    assert 30.0 == decided[2][3]


def test_bad_luck_once_does_not_count_three_times() -> None:
    played = Played(rate=5)
    played.seconds(30)
    played.errors["a"] = 1.0
    played.seconds(2)
    played.errors["a"] = 0.0

    assert 0.0 == sum(length for _, _, _, length in played.seconds(60))


def test_with_too_little_traffic_nothing_is_said() -> None:
    played = Played(rate=1)
    played.errors["a"] = 1.0

    assert [] == played.seconds(30)


def test_who_does_well_again_has_its_weight_back_step_by_step() -> None:
    played = Played()
    played.errors["a"] = 0.2
    steps = played.seconds(3)
    played.errors["a"] = 0.0

    assert [0.5, 0.25] == [part for _, _, part, _ in steps]
    assert [0.5, 1.0] == [part for _, _, part, _ in played.seconds(10)]


def test_the_cap_keeps_it_in_with_the_least_weight_and_the_pool_says_so() -> None:
    played = Played()
    played.room = 0
    played.errors["a"] = 0.5

    assert [0.5, 0.25] == [part for _, _, part, _ in played.seconds(10)]
    assert "no more may be ejected, though worse than its peers: a" == played.detector.degraded


def test_no_more_are_ejected_in_one_look_than_there_is_room_for() -> None:
    played = Played(names="abcdefg")
    played.errors |= {"a": 0.9, "b": 0.9, "c": 0.9}
    played.seconds(3)

    assert 1 == sum(one.eject_for > 0 for one in played.second())


def test_where_all_degrade_together_nobody_is_ejected_and_the_pool_says_so() -> None:
    played = Played()
    played.seconds(30)
    played.errors = dict.fromkeys(NAMES, 0.3)

    assert [] == played.seconds(10)
    assert "30% of the requests fail on most backends" == played.detector.degraded


def test_a_pool_that_is_slower_than_usual_says_so_until_that_is_usual() -> None:
    played = Played()
    played.seconds(30)
    played.latency = dict.fromkeys(NAMES, 0.08)
    decided = played.seconds(10)
    said = played.detector.degraded
    played.seconds(NEW_NORMAL)

    assert [] == decided
    assert said.startswith("half of the requests take ")
    assert "" == played.detector.degraded


def test_a_pool_is_well_again_when_it_is() -> None:
    played = Played()
    played.errors = dict.fromkeys(NAMES, 0.3)
    played.seconds(10)
    played.errors = dict.fromkeys(NAMES, 0.0)
    played.seconds(10)

    assert "" == played.detector.degraded


def test_without_traffic_nothing_is_wrong_with_a_pool() -> None:
    played = Played()
    played.errors = dict.fromkeys(NAMES, 0.3)
    played.seconds(5)
    played.rate = dict.fromkeys(NAMES, 0)
    played.seconds(12)

    assert "" == played.detector.degraded


# After an ejection


def ejected(times: int = 1, policy: OutlierPolicy = POLICY) -> tuple[Played, list[float]]:
    """`a` is bad again and again; for how long it was ejected each time."""
    played, lengths = Played(policy), []
    played.errors["a"] = 0.5
    for _ in range(times):
        while not (found := [one for one in played.second() if one.eject_for]):
            pass
        lengths.append(found[0].eject_for)
        played.out = {"a"}
        played.seconds(3)
        played.out = set()
    return played, lengths


def test_who_is_bad_again_is_out_for_twice_as_long_up_to_a_limit() -> None:
    assert [30.0, 60.0, 120.0, 240.0, 300.0, 300.0] == ejected(6)[1]


def test_it_comes_back_with_the_least_weight_and_proves_itself_by_new_requests_alone() -> None:
    played, _ = ejected()
    played.errors["a"] = 0.0

    assert 0.25 == played.detector.part("a")
    assert [0.5, 1.0] == [part for _, _, part, _ in played.seconds(5)]


def test_without_requests_it_has_its_weight_back_all_the_same() -> None:
    """No backend starves: with less weight it gets less to be judged by."""
    played, _ = ejected()
    played.rate["a"] = 0

    assert [(PATIENCE, "a", 0.5, 0.0), (2 * PATIENCE, "a", 1.0, 0.0)] == played.seconds(3 * PATIENCE)


def test_an_ejection_is_forgotten_in_time() -> None:
    played, _ = ejected(2)
    played.errors["a"] = 0.0
    played.seconds(FORGIVEN_AFTER + 15)
    played.errors["a"] = 0.5

    assert [30.0] == [length for _, _, _, length in played.seconds(5) if length][:1]


# Settings


def test_a_reload_keeps_what_is_known_of_those_that_stay() -> None:
    played = Played()
    played.errors |= {"a": 0.5}
    played.seconds(3)

    played.detector.obey(POLICY, dict.fromkeys("abd", "here"), {"d"})

    assert [0.25, 1.0, 1.0] == [played.detector.part(name) for name in "abd"]
    played.detector.obey(POLICY, dict.fromkeys("abd", "here"), {"a"})
    assert 1.0 == played.detector.part("a"), "another bears its name"
    assert "'a': 1.0" in repr(played.detector)


def test_counts_that_nobody_has_reported_yet_are_nothing() -> None:
    detector = OutlierDetector(POLICY, dict.fromkeys("ab", "here"))

    assert [] == detector.look({}, (), 1, 1.0)


# Whatever happens

fates = st.lists(
    st.tuples(st.sampled_from("abcde"), st.sampled_from([0.0, 0.05, 0.2, 0.6, 1.0]), st.sampled_from([0.008, 0.08])),
    max_size=30,
)


@given(fates, st.integers(0, 2), st.randoms(use_true_random=False))
@settings(max_examples=40)
def test_nobody_loses_all_its_weight_and_no_more_are_ejected_than_there_is_room_for(
    fates: list[tuple[str, float, float]], room: int, rng: random.Random
) -> None:
    played = Played(names="abcde")
    for name, errors, latency in fates:
        played.errors[name], played.latency[name] = errors, latency
        for _ in range(rng.randint(1, 5)):
            played.room = max(0, room - len(played.out))
            for one in played.second():
                assert 0.25 <= one.part <= 1.0
                if one.eject_for:
                    played.out.add(one.name)
            assert len(played.out) <= room
            if played.out and rng.random() < 0.2:
                played.out.pop()


def hang(played: Played, name: str, seconds: int) -> list[tuple[int, str, float, float]]:
    """From now on this one accepts requests and answers none; what was decided, as `Played.seconds`."""
    rate, decided = played.rate[name], []
    played.rate[name] = 0
    for second in range(1, seconds + 1):
        # Each second so many more wait, and those before for a second longer.
        waits = (rate,) * (second - 1)
        played.totals[name] = played.totals[name]._replace(unanswered=waits)
        decided += [(second, one.name, one.part, one.eject_for) for one in played.second()]
        if decided and decided[-1][3]:
            break
    return decided


def test_one_that_hangs_is_out_before_any_of_its_requests_times_out() -> None:
    played = Played()
    played.seconds(30)

    decided = hang(played, "a", 10)

    assert [("a", 0.5, 0.0), ("a", 0.25, 0.0), ("a", 0.25, POLICY.eject_for)] == [one[1:] for one in decided]
    assert decided[-1][0] <= 8


def test_each_step_is_decided_on_requests_that_began_after_the_one_before() -> None:
    """A pause of two seconds, all of whose requests wait on for long, costs one step and not three."""
    played = Played()
    played.seconds(30)
    decided = []
    for second in range(1, 11):
        waits = [0] * 12
        for began in (1, 2):
            if second > began:
                waits[second - began - 1] = 50
        played.rate["a"] = 0 if second <= 2 else 50
        played.totals["a"] = played.totals["a"]._replace(unanswered=tuple(waits))
        decided += [(one.name, one.part, one.eject_for) for one in played.second()]

    assert ("a", 0.5, 0.0) == decided[0]
    assert not any(eject_for for _, _, eject_for in decided)


def test_where_all_wait_alike_nobody_is_to_blame() -> None:
    played = Played()
    played.seconds(30)
    for second in range(1, 11):
        for name in NAMES:
            played.totals[name] = played.totals[name]._replace(unanswered=(50,) * second)
        assert [] == played.second()
