"""Tells a service manager how we are (sd_notify(3)): ready, reloading, stopping, alive, and a line about the state.

Without one it does nothing. The supervisor owns the Notifier and says when.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable, Mapping
from time import monotonic_ns

log = logging.getLogger(__name__)

EVERY = 2.0
"""Seconds at the most between two looks at the state."""
VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
"""Of the service manager; they are not for our children."""


class Notifier:
    """One datagram for each piece of news. A service manager that can't be reached is none of our troubles."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._has_watchdog = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        microseconds = environment.get("WATCHDOG_USEC", "")
        self._has_watchdog &= microseconds.isdigit() and int(microseconds) > 0
        half = int(microseconds) / 2_000_000 if self._has_watchdog else EVERY
        self._every = min(EVERY, half)
        self._status = ""
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, status: Callable[[], str]) -> None:
        """From now on say that we are alive, and how, as often as it is expected."""
        if self._address:
            self._tick(asyncio.get_running_loop(), status)

    def _tick(self, loop: asyncio.AbstractEventLoop, status: Callable[[], str]) -> None:
        self._timer = loop.call_later(self._every, self._tick, loop, status)
        lines = ["WATCHDOG=1"] if self._has_watchdog else []
        text = status()
        if text != self._status:
            self._status = text
            lines.append(f"STATUS={text}")
        self._send(lines)

    def ready(self) -> None:
        """We serve, or serve on as before."""
        self._send(["READY=1", f"MAINPID={os.getpid()}"])

    def reloading(self) -> None:
        """We change; `ready` must follow, whatever comes of it."""
        self._send(["RELOADING=1", f"MONOTONIC_USEC={monotonic_ns() // 1000}"])

    def stopping(self) -> None:
        """We drain."""
        self._send(["STOPPING=1", "STATUS=draining"])

    def close(self) -> None:
        """Say no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _send(self, lines: list[str]) -> None:
        if not self._address or not lines:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                sock.setblocking(False)
                sock.sendto("\n".join(lines).encode(), self._address)
        except OSError as error:
            log.debug("the service manager can't be told", extra={"fields": {"error": error.strerror}})
