"""Promises of `proxy.ledger.owners`."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from proxy.ledger.owners import Owners


def test_a_process_is_alive_for_itself_and_for_others_until_it_ends(tmp_path: Path) -> None:
    one, two = (Owners(tmp_path / "locks", random.Random(seed)) for seed in (1, 2))

    assert [True] * 4 == [asked.is_alive(whom.own) for asked in (one, two) for whom in (one, two)]
    two.close()
    assert (True, False) == (one.is_alive(one.own), one.is_alive(two.own))
    one.close()


def test_a_number_that_nobody_has_is_dead(tmp_path: Path) -> None:
    owners = Owners(tmp_path / "locks", random.Random(1))

    assert not owners.is_alive(owners.own + 1)
    owners.close()


def test_two_processes_can_not_have_one_number(tmp_path: Path) -> None:
    owners = Owners(tmp_path / "locks", random.Random(1))

    with pytest.raises(BlockingIOError):
        Owners(tmp_path / "locks", random.Random(1))
    owners.close()
