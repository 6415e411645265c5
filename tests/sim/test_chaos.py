"""Backends fail and recover at random, several at a time, in every way there is."""

from __future__ import annotations

import random
from functools import cache

import pytest

from tests.sim.backends import Mode
from tests.sim.simulation import Simulation

WAYS = [mode for mode in Mode if mode is not Mode.WELL]
ENDS = 50.0
"""From then on all are well."""
OVER = 150.0

pools = pytest.mark.parametrize(
    ("backends", "failing", "balance"),
    [
        pytest.param(1, 1, "least_requests", id="one, which fails"),
        pytest.param(2, 1, "least_requests", id="one of two"),
        pytest.param(3, 2, "round_robin", id="two of three"),
        pytest.param(5, 3, "peak_ewma", id="three of five"),
        pytest.param(5, 5, "hash", id="any of five"),
        pytest.param(10, 4, "least_requests", id="four of ten"),
    ],
)


@cache
def chaos(seed: int, backends: int, failing: int, balance: str) -> Simulation:
    sim = Simulation(seed, backends=backends, balance=balance)
    rng = random.Random(seed)
    until = dict.fromkeys(sim.backends, 0.0)
    now = 2.0
    while (now := now + rng.expovariate(0.7)) < ENDS - 12.0:
        well = [name for name, ends in until.items() if ends <= now]
        if backends - len(well) < failing:
            name = rng.choice(well)
            until[name] = now + rng.choice([0.1, 0.5, 2.0, 6.0, 12.0])
            sim.turns(name, rng.choice(WAYS), now, until[name])
    sim.run(OVER, rate=60.0, leaving=0.02, streams=0.02)
    return sim


@pools
def test_no_read_fails_that_another_backend_could_have_answered(
    backends: int, failing: int, balance: str, seed: int
) -> None:
    assert [] == chaos(seed, backends, failing, balance).preventable


@pools
def test_no_write_is_executed_twice(backends: int, failing: int, balance: str, seed: int) -> None:
    assert [] == chaos(seed, backends, failing, balance).executed_twice


@pools
def test_nobody_is_told_a_lie_about_a_write(backends: int, failing: int, balance: str, seed: int) -> None:
    sim = chaos(seed, backends, failing, balance)

    assert [] == sim.told_lies
    assert {1} == {sim.executions(one) for one in sim.writes if one.status == 200}


@pools
def test_no_more_backends_are_ejected_than_the_cap_allows(backends: int, failing: int, balance: str, seed: int) -> None:
    most = max(worker.most_ejected for worker in chaos(seed, backends, failing, balance).workers)

    assert most <= (max(1, backends // 2) if backends > 1 else 0)


@pools
def test_retries_stay_within_the_budget(backends: int, failing: int, balance: str, seed: int) -> None:
    assert [] == chaos(seed, backends, failing, balance).over_budget


@pools
def test_everything_comes_to_its_end(backends: int, failing: int, balance: str, seed: int) -> None:
    sim = chaos(seed, backends, failing, balance)

    assert [] == sim.unended
    assert (0, 0) == (sim.in_flight, sim.holding)


@pools
def test_when_all_are_well_again_all_serve_again(backends: int, failing: int, balance: str, seed: int) -> None:
    """The longest opening is a minute, and its jitter."""
    sim = chaos(seed, backends, failing, balance)

    assert [[]] * backends * 2 == [
        worker.pool.reasons(backend, OVER) for worker in sim.workers for backend in worker.pool.backends
    ]
    assert all(sim.served(name, ENDS + 70.0, OVER) for name in sim.backends)


def test_the_same_seed_gives_the_same_simulation(seed: int) -> None:
    first, again = (chaos.__wrapped__(seed, 3, 2, "least_requests") for _ in range(2))

    assert [one.tried for one in first.requests] == [one.tried for one in again.requests]
    assert [one.ended for one in first.requests] == [one.ended for one in again.requests]
