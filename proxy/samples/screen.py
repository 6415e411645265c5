"""What the demo prints while it runs: events with their times, and on a terminal a line that counts along."""

from __future__ import annotations

import asyncio
import time

from proxy.samples.client import OpenLoopClient, Verdict
from proxy.samples.watch import Standing

COLOURS = {"red": "31", "green": "32", "yellow": "33", "bold": "1", "dim": "2"}
REFRESH_EVERY = 0.2
"""Seconds between two counts on a terminal."""
LINE_EVERY = 5.0
"""Seconds between two counts in a log file."""


class Screen:
    """Standard output."""

    def __init__(self, *, is_terminal: bool, is_coloured: bool) -> None:
        self._is_terminal = is_terminal
        self._is_coloured = is_coloured
        self._begun = time.monotonic()

    def paint(self, text: str, colour: str) -> str:
        """Colour a text, where colours are wanted."""
        return f"\x1b[{COLOURS[colour]}m{text}\x1b[0m" if self._is_coloured else text

    def say(self, text: str) -> None:
        """Print an event with the time since the start."""
        self.clear()
        print(f"{time.monotonic() - self._begun:6.2f}s  {text}", flush=True)

    def fault(self, text: str) -> None:
        """Print what is being done to a backend."""
        self.say(self.paint(f"▼ {text}", "bold"))

    def recovery(self, text: str) -> None:
        """Print that a fault is over."""
        self.say(self.paint(f"▲ {text}", "bold"))

    def standing(self, name: str, standing: Standing, cause: str) -> None:
        """Print that the proxy takes a backend out, or back."""
        if standing.available:
            self.say(f"    {name} {self.paint('serves', 'green')}")
        else:
            why = f" ({cause})" if cause else ""
            self.say(f"    {name} {self.paint('is out', 'red')}: {', '.join(standing.reasons)}{why}")

    async def show(self, client: OpenLoopClient) -> None:
        """Count along until cancelled."""
        while True:
            await asyncio.sleep(REFRESH_EVERY if self._is_terminal else LINE_EVERY)
            verdicts = client.tally.verdicts
            failed = verdicts[Verdict.FAILED]
            text = f"    {verdicts.total()} requests, {failed} failed"
            if self._is_terminal:
                print(f"\r\x1b[K{self.paint(text, 'red' if failed else 'dim')}", end="", flush=True)
            else:
                self.say(text)

    def clear(self) -> None:
        """Remove the line that counts along."""
        if self._is_terminal:
            print("\r\x1b[K", end="")
