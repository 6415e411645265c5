"""One of three Backends fails in one of the ways there are, under steady load from clients who read and write."""

from __future__ import annotations

from functools import cache

import pytest

from tests.sim.backends import Mode
from tests.sim.simulation import Simulation

BEGINS, ENDS, OVER = 5.0, 9.0, 30.0
BACK = ENDS + 5.0 * 1.1 + 2.0
"""Two seconds after the end of the failure and of `open_for`, jitter included."""

modes = pytest.mark.parametrize(
    "mode", [mode for mode in Mode if mode not in (Mode.WELL, Mode.FAILING)], ids=lambda mode: mode.name.lower()
)
every_mode = pytest.mark.parametrize(
    "mode", [mode for mode in Mode if mode is not Mode.WELL], ids=lambda mode: mode.name.lower()
)


@cache
def failing(mode: Mode, seed: int) -> Simulation:
    sim = Simulation(seed)
    sim.turns("b0", mode, BEGINS, ENDS)
    sim.run(OVER, rate=100.0, leaving=0.01)
    return sim


@modes
def test_no_read_fails(mode: Mode, seed: int) -> None:
    assert [] == failing(mode, seed).failed_reads


@every_mode
def test_no_write_is_executed_twice(mode: Mode, seed: int) -> None:
    assert [] == failing(mode, seed).executed_twice


@every_mode
def test_nobody_is_told_that_a_write_was_not_executed_when_it_was(mode: Mode, seed: int) -> None:
    assert [] == failing(mode, seed).told_lies


@every_mode
def test_a_write_that_was_answered_was_executed_once(mode: Mode, seed: int) -> None:
    sim = failing(mode, seed)

    assert {1} == {sim.executions(one) for one in sim.writes if one.status == 200}


@every_mode
def test_hardly_a_request_more_goes_to_it(mode: Mode, seed: int) -> None:
    """It would have been 130 in these four seconds: five in a row are enough in one worker, and the other one is told."""
    assert failing(mode, seed).served("b0", BEGINS + 0.1, ENDS) <= 20


@every_mode
def test_it_serves_again_soon_after_it_is_well(mode: Mode, seed: int) -> None:
    """A third of the load, as before."""
    sim = failing(mode, seed)

    asked = sum(BACK <= one.begun < OVER for one in sim.requests)
    assert 0.3 * asked <= sim.served("b0", BACK, OVER) <= 0.37 * asked


@every_mode
def test_every_worker_uses_it_again(mode: Mode, seed: int) -> None:
    assert [[]] * 2 == [worker.pool.reasons(worker.pool.by_name["b0"], OVER) for worker in failing(mode, seed).workers]


@every_mode
def test_no_more_backends_are_ejected_than_the_cap_allows(mode: Mode, seed: int) -> None:
    assert max(worker.most_ejected for worker in failing(mode, seed).workers) <= 1


@every_mode
def test_retries_stay_within_the_budget(mode: Mode, seed: int) -> None:
    assert [] == failing(mode, seed).over_budget


@every_mode
def test_everything_comes_to_its_end(mode: Mode, seed: int) -> None:
    sim = failing(mode, seed)

    assert [] == sim.unended
    assert (0, 0) == (sim.in_flight, sim.holding)


@every_mode
def test_what_a_worker_learns_the_other_knows_at_once(mode: Mode, seed: int) -> None:
    """Both have opened, or neither (a Backend that hangs may be found by its probes first)."""
    opened = [worker.pool.by_name["b0"].transitions.get("open", 0) > 0 for worker in failing(mode, seed).workers]

    assert opened in ([True, True], [False, False])
