"""Troubles that last: lies, flapping, slow starts, a few resets, standbys, and people who take Backends out."""

from __future__ import annotations

from functools import cache

import pytest

from proxy.core.messages import AdminState
from tests.sim.backends import Mode
from tests.sim.simulation import Simulation

BALANCERS = ["round_robin", "least_requests", "peak_ewma", "random", "hash"]


def assert_nothing_went_wrong(sim: Simulation) -> None:
    """What must be so in every simulation."""
    assert [] == sim.failed_reads
    assert [] == sim.executed_twice
    assert [] == sim.told_lies
    assert [] == sim.over_budget
    assert [] == sim.unended
    assert (0, 0) == (sim.in_flight, sim.holding)


# A liar with a green health check

LIES_FROM, LIES_UNTIL = 5.0, 65.0


@cache
def lying(mode: Mode, seed: int, balance: str = "least_requests") -> Simulation:
    sim = Simulation(seed, balance=balance)
    sim.backends["b0"].lies = True
    sim.turns("b0", mode, LIES_FROM, LIES_UNTIL)
    sim.run(100.0)
    return sim


lies = pytest.mark.parametrize(
    "mode", [Mode.UNAVAILABLE, Mode.CLOSING, Mode.HALF, Mode.HANGING], ids=lambda m: m.name.lower()
)


@lies
def test_a_liar_with_a_green_health_check_stays_out(mode: Mode, seed: int) -> None:
    """In a minute it gets what opens two Breakers, and their trials after 5, 10, 20 and 40 s: of 2,000 requests."""
    assert lying(mode, seed).served("b0", LIES_FROM, LIES_UNTIL) <= 30


@lies
def test_a_liar_costs_no_reader_anything(mode: Mode, seed: int) -> None:
    assert_nothing_went_wrong(lying(mode, seed))


@lies
def test_a_liar_that_mends_its_ways_serves_again(mode: Mode, seed: int) -> None:
    assert lying(mode, seed).served("b0", 95.0, 100.0) > 100


@pytest.mark.parametrize("balance", BALANCERS)
def test_no_balancer_finds_fast_errors_attractive(balance: str, seed: int) -> None:
    sim = lying(Mode.UNAVAILABLE, seed, balance)

    assert sim.served("b0", LIES_FROM, LIES_UNTIL) <= 30
    assert [] == sim.failed_reads


def test_where_only_writes_come_a_backend_that_is_well_again_comes_back_by_its_probes(seed: int) -> None:
    """No write is risked as a trial."""
    sim = Simulation(seed)
    sim.turns("b0", Mode.CLOSING, 5.0, 9.0)
    sim.run(30.0, writes=1.0)

    assert sim.served("b0", 20.0, 30.0) > 200
    assert [] == sim.executed_twice


def test_a_liar_that_only_writers_meet_is_believed_once_in_an_opening_and_no_oftener(seed: int) -> None:
    """Its probes stand for trials, but only when its time is over: of 2,000 writes in that minute it gets a few."""
    sim = Simulation(seed)
    sim.backends["b0"].lies = True
    sim.turns("b0", Mode.CLOSING, LIES_FROM, LIES_UNTIL)
    sim.run(70.0, writes=1.0)

    assert sim.served("b0", LIES_FROM, LIES_UNTIL) <= 100
    assert [] == sim.executed_twice


# More than the cap allows


def test_of_two_that_hang_one_is_out_by_its_traffic_and_the_other_by_its_probes(seed: int) -> None:
    """Of three, real traffic may take out one; probes have no cap. Each read that met the other waited for a second."""
    sim = Simulation(seed)
    for name in ("b0", "b1"):
        sim.turns(name, Mode.HANGING, 10.0, 40.0)
    sim.run(60.0)

    assert_nothing_went_wrong(sim)
    assert max(sim.served(name, 14.0, 40.0) for name in ("b0", "b1")) <= 10
    assert 1 == max(worker.most_ejected for worker in sim.workers)


# Flapping and restarts


def test_a_backend_that_flaps_costs_no_reader_anything(seed: int) -> None:
    sim = Simulation(seed)
    at = 5.0
    while at < 60.0:
        ends = at + sim.rng.uniform(0.1, 3.0)
        sim.turns("b0", Mode.REFUSING, at, ends)
        at = ends + sim.rng.uniform(0.1, 3.0)
    sim.run(70.0)

    assert_nothing_went_wrong(sim)


def test_one_restart_after_the_other_costs_nobody_anything_but_writes_in_flight(seed: int) -> None:
    """A rolling update: half a second each."""
    sim = Simulation(seed)
    for round_number in range(10):
        for number, name in enumerate(sim.backends):
            begins = 5.0 + 6.0 * round_number + 2.0 * number
            sim.turns(name, Mode.REFUSING, begins, begins + 0.5)
    sim.run(70.0)

    assert_nothing_went_wrong(sim)
    assert sum(one.failed for one in sim.writes) <= 30


def test_a_backend_that_starts_slowly_costs_no_reader_anything(seed: int) -> None:
    """Its first answers would take longer than anybody waits."""
    sim = Simulation(seed)
    sim.turns("b0", Mode.REFUSING, 5.0, 10.0)
    sim.backends["b0"].slowness = lambda now: max(0.0, 2.0 - 0.2 * (now - 10.0)) if now >= 10.0 else 0.0
    sim.run(60.0)

    assert_nothing_went_wrong(sim)
    assert sim.served("b0", 50.0, 60.0) > 200


# A few resets


@cache
def resetting(seed: int) -> Simulation:
    sim = Simulation(seed)
    for backend in sim.backends.values():
        backend.resets = 0.01
    sim.run(60.0, rate=200.0)
    return sim


def test_one_reset_in_a_hundred_fails_no_read(seed: int) -> None:
    assert_nothing_went_wrong(resetting(seed))


def test_one_reset_in_a_hundred_ejects_nobody(seed: int) -> None:
    assert [0, 0] == [worker.most_ejected for worker in resetting(seed).workers]


def test_every_write_that_was_reset_is_told_of_as_unknown(seed: int) -> None:
    sim = resetting(seed)

    told = {one.executed for one in sim.writes if one.failed}
    assert {"unknown"} == told
    assert all(sim.executions(one) == 1 for one in sim.writes)


# Standbys


def test_a_standby_serves_while_the_first_is_gone_and_only_then(seed: int) -> None:
    sim = Simulation(seed, backends=2, tiers=[1, 2])
    sim.turns("b0", Mode.REFUSING, 10.0, 20.0)
    sim.run(60.0)

    assert_nothing_went_wrong(sim)
    assert 0 == sim.served("b1", 0.0, 10.0)
    assert sim.served("b1", 10.0, 20.0) > 900
    assert 0 == sim.served("b1", 45.0, 60.0)


# People


@pytest.mark.parametrize("state", [AdminState.DRAIN, AdminState.MAINT])
def test_a_backend_that_a_person_takes_out_gets_nothing_and_nobody_notices(state: AdminState, seed: int) -> None:
    sim = Simulation(seed)
    sim.set_admin("b0", state, 10.0)
    sim.set_admin("b0", AdminState.READY, 20.0)
    sim.run(30.0)

    assert_nothing_went_wrong(sim)
    assert 0 == sim.served("b0", 10.01, 20.0)
    assert sim.served("b0", 20.01, 30.0) > 250


def test_a_backend_in_maint_gets_nothing_even_if_all_others_fail(seed: int) -> None:
    sim = Simulation(seed)
    sim.set_admin("b0", AdminState.MAINT, 5.0)
    for name in ("b1", "b2"):
        sim.turns(name, Mode.REFUSING, 10.0, 20.0)
    sim.run(30.0)

    assert 0 == sim.served("b0", 5.01, 30.0)


# Streams and clients who leave


def test_streams_and_clients_who_leave_neither_eject_anybody_nor_stay_behind(seed: int) -> None:
    sim = Simulation(seed)
    sim.run(60.0, leaving=0.3, streams=0.1)

    assert_nothing_went_wrong(sim)
    assert [0, 0] == [worker.most_ejected for worker in sim.workers]


def test_a_backend_comes_back_though_every_answer_is_a_stream(seed: int) -> None:
    """Its trials last for seconds: their heads decide."""
    sim = Simulation(seed)
    sim.turns("b0", Mode.UNAVAILABLE, 5.0, 9.0)
    sim.run(20.0, streams=1.0)

    assert sim.served("b0", 12.0, 20.0) > 200
