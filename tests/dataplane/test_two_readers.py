"""A few inputs of the fuzz before each commit; `tests/fuzz` plays it for long."""

from __future__ import annotations

from math import inf

import pytest

from tests.fuzz.run import SIDES, run


@pytest.mark.parametrize("side", SIDES)
def test_whatever_comes_two_readers_see_the_same_in_what_is_sent(side: str) -> None:
    assert 1000 == run(SIDES[side], inf, 1, 1000)["inputs"]
