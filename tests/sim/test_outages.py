"""All Backends of a pool fail, for a moment or for long."""

from __future__ import annotations

from functools import cache

import pytest

from proxy.core.messages import AdminState
from tests.sim.backends import Mode
from tests.sim.simulation import Simulation
from tests.sim.worker import NOTICED, UNNOTICED, Request


@cache
def all_gone(seed: int, seconds: float, backends: int = 3, mode: Mode = Mode.REFUSING) -> Simulation:
    sim = Simulation(seed, backends=backends)
    for name in sim.backends:
        sim.turns(name, mode, 10.0, 10.0 + seconds)
    sim.run(40.0, rate=100.0)
    return sim


def begun(sim: Simulation, since: float, until: float) -> list[Request]:
    return [one for one in sim.requests if since <= one.begun < until]


numbers = pytest.mark.parametrize("backends", [1, 3, 6, 12])


@numbers
def test_a_restart_of_all_backends_at_once_fails_no_request_that_comes_meanwhile(backends: int, seed: int) -> None:
    """They wait: reads, and writes of which nothing was sent. Also in pools larger than `attempts`."""
    sim = all_gone(seed, 0.7, backends)

    assert [] == [one for one in begun(sim, 10.0 + NOTICED, 10.7) if one.failed]


@numbers
def test_after_a_long_outage_everything_succeeds_at_once(backends: int, seed: int) -> None:
    """A request that looks every 50 ms is enough to notice."""
    sim = all_gone(seed, 12.0, backends)

    assert [] == [one for one in begun(sim, 22.0 + UNNOTICED, 40.0) if one.failed]


@numbers
def test_in_a_long_outage_nobody_waits_longer_than_hold_says(backends: int, seed: int) -> None:
    """A second, and the time that one more look may take."""
    sim = all_gone(seed, 12.0, backends)

    longest = max(one.ended - one.begun for one in sim.requests if one.ended is not None)
    assert longest <= 1.1


@numbers
def test_who_is_refused_in_an_outage_learns_that_nothing_was_executed(backends: int, seed: int) -> None:
    sim = all_gone(seed, 12.0, backends)
    writes = [one for one in begun(sim, 10.1, 21.0) if not one.head.idempotent]

    assert {"no"} == {one.executed for one in writes}
    assert 0 == sum(sim.executions(one) for one in writes)


@numbers
def test_an_outage_ejects_no_more_than_the_cap_allows(backends: int, seed: int) -> None:
    sim = all_gone(seed, 12.0, backends)

    assert max(worker.most_ejected for worker in sim.workers) <= max(backends // 2, int(backends > 1))


@pytest.mark.parametrize(
    "mode", [Mode.UNAVAILABLE, Mode.CLOSING, Mode.HANGING, Mode.UNREACHABLE], ids=lambda m: m.name.lower()
)
def test_in_every_kind_of_outage_retries_stay_within_the_budget(mode: Mode, seed: int) -> None:
    assert [] == all_gone(seed, 12.0, 3, mode).over_budget


@pytest.mark.parametrize(
    "mode", [Mode.UNAVAILABLE, Mode.CLOSING, Mode.HANGING, Mode.UNREACHABLE], ids=lambda m: m.name.lower()
)
def test_after_every_kind_of_outage_all_backends_serve_again_within_half_a_minute(mode: Mode, seed: int) -> None:
    """Ejected ones at the latest when their doubled time is over and trials have passed."""
    sim = Simulation(seed)
    for name in sim.backends:
        sim.turns(name, mode, 10.0, 22.0)
    sim.run(60.0, rate=100.0)

    asked = len(begun(sim, 50.0, 60.0))
    assert all(0.28 * asked <= sim.served(name, 50.0, 60.0) <= 0.39 * asked for name in sim.backends)


def test_where_all_say_503_clients_get_that_answer_and_not_one_of_ours(seed: int) -> None:
    sim = all_gone(seed, 12.0, 3, Mode.UNAVAILABLE)

    assert {503} == {one.status for one in begun(sim, 10.1, 21.9)}
    assert all(one.tried for one in begun(sim, 10.1, 21.9))


def test_a_pool_that_a_person_has_emptied_refuses_and_recovers_as_told(seed: int) -> None:
    sim = Simulation(seed)
    for name in sim.backends:
        sim.set_admin(name, AdminState.MAINT, 10.0)
        sim.set_admin(name, AdminState.READY, 15.0)
    sim.run(20.0)

    assert {503} == {one.status for one in begun(sim, 11.1, 13.9)}
    assert {200} == {one.status for one in begun(sim, 15.1, 20.0)}
