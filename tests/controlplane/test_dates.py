from __future__ import annotations

from dataclasses import dataclass

from proxy.controlplane.admin.dates import Dates


@dataclass
class Clocks:
    """Two clocks that a test sets."""

    up: float = 100.0
    wall: float = 1_700_000_000.0

    def dates(self) -> Dates:
        return Dates(lambda: self.up, lambda: self.wall)


def test_a_moment_is_given_in_utc_with_milliseconds() -> None:
    assert "2023-11-14T22:13:20.250Z" == Clocks().dates().iso(100.25)


def test_a_date_does_not_flicker_while_the_clocks_drift() -> None:
    clocks = Clocks()
    dates = clocks.dates()
    before = dates.iso(100.0)

    clocks.up += 60.0
    clocks.wall += 60.2

    assert before == dates.iso(100.0)


def test_a_date_follows_a_wall_clock_that_was_set() -> None:
    clocks = Clocks()
    dates = clocks.dates()

    clocks.wall += 3600.0

    assert "2023-11-14T23:13:20.000Z" == dates.iso(100.0)
