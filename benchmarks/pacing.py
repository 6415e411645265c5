"""A clock that strikes at a fixed rate, whatever happens, to the microsecond: libuv's timers count in milliseconds."""

from __future__ import annotations

import asyncio
import ctypes
import os
import time
from collections.abc import Callable

_CLOCK_MONOTONIC = 1
_NONBLOCK_CLOEXEC = os.O_NONBLOCK | os.O_CLOEXEC
_ABSOLUTE = 1
_FIRST_STRIKE = 0.01


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Timerspec(ctypes.Structure):
    _fields_ = (("interval", _Timespec), ("value", _Timespec))


def _timespec(seconds: float) -> _Timespec:
    return _Timespec(int(seconds), int(seconds % 1 * 1e9))


class Pacer:
    """Calls `on_due` with the moment at which a request is due, late ones too: none is ever left out.

    That is what keeps a stall of the proxy in the figures: requests that were due during it count from then, not from
    when the client got round to them (the error of leaving them out is known as coordinated omission).
    """

    def __init__(self, rate: float, on_due: Callable[[float], None]) -> None:
        self._interval = 1 / rate
        self._on_due = on_due
        self._struck = 0
        self._start = time.perf_counter() + _FIRST_STRIKE
        libc = ctypes.CDLL(None, use_errno=True)
        self._fd = libc.timerfd_create(_CLOCK_MONOTONIC, _NONBLOCK_CLOEXEC)
        spec = _Timerspec(_timespec(self._interval), _timespec(self._start))
        if self._fd < 0 or libc.timerfd_settime(self._fd, _ABSOLUTE, ctypes.byref(spec), None) != 0:
            raise OSError(ctypes.get_errno(), "timerfd")
        asyncio.get_running_loop().add_reader(self._fd, self._strike)

    def _strike(self) -> None:
        for _ in range(int.from_bytes(os.read(self._fd, 8), "little")):
            self._on_due(self._start + self._struck * self._interval)
            self._struck += 1

    def stop(self) -> None:
        if self._fd >= 0:
            asyncio.get_running_loop().remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1
