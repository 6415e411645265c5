"""A soak of half a minute: mixed traffic, aborts and kills leave nothing behind. `make soak` is the same for longer."""

from __future__ import annotations

from tests.e2e.rig import Rig
from tests.soak.soak import soak
from tests.soak.verdict import complaints


async def test_mixed_traffic_aborts_and_kills_leave_nothing_behind(rig: Rig) -> None:
    report = await soak(rig, 20.0, 7, print)
    print(*report.lines(), sep="\n")

    assert [] == complaints(report)
