"""Promises of `proxy.controlplane.replacement.handover` about what may come between its steps; the rest is in tests/e2e."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys

import pytest

from proxy.controlplane.replacement.handover import Handover
from proxy.controlplane.replacement.legacy import Legacy


class Program:
    """What is to be replaced by something that can be rehearsed; notes what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.reason = self.reason_after_retreat = ""
        self.trouble: Exception | None = None
        self.back = asyncio.Event()

    def not_replaceable(self) -> str:
        return self.reason

    def bequeath(self) -> Legacy:
        if self.trouble is not None and "retreat" in self.told:
            raise self.trouble
        return Legacy()

    def not_replaced(self, reason: str) -> None:
        self.told.append(f"not replaced: {reason}")

    async def retreat(self) -> None:
        self.told.append("retreat")
        self.reason = self.reason_after_retreat

    async def resume(self) -> None:
        self.told.append("resume")
        self.back.set()


async def outcome(program: Program, caplog: pytest.LogCaptureFixture) -> str:
    """Why it was not replaced."""
    handover = Handover(program, [sys.executable, "-S", "-E", "-c", ""])
    with caplog.at_level(logging.ERROR):
        handover.begin()
        await asyncio.wait_for(program.back.wait(), 20)
        await asyncio.sleep(0)
    await handover.close()
    return str(caplog.records[-1].__dict__["fields"]["reason"])


async def test_a_term_while_it_retreats_is_not_lost_with_the_program(caplog: pytest.LogCaptureFixture) -> None:
    """The next program would not know of it, and serve on."""
    program = Program()
    program.reason_after_retreat = "it drains"
    # Whoever goes on none the less must not turn this very process into another.
    program.trouble = AssertionError("it went on")

    assert "it drains" == await outcome(program, caplog)
    assert ["retreat", "resume", "not replaced: it drains"] == program.told


async def test_whatever_goes_wrong_after_the_retreat_the_program_comes_back(caplog: pytest.LogCaptureFixture) -> None:
    """Else the admin endpoint would stay away for good. Signals are heeded as before, too."""
    program = Program()
    program.trouble = OSError("too many open files")

    assert "too many open files" == await outcome(program, caplog)
    assert ["retreat", "resume", "not replaced: too many open files"] == program.told
    assert signal.SIGTERM not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
