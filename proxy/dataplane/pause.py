"""The one thing that a connection's coroutine awaits: to be woken (see `downstream`)."""

from __future__ import annotations

from collections.abc import Generator


class _Pause:
    """Sleeps until `Downstream.wake` steps the coroutine."""

    __slots__ = ()

    def __await__(self) -> Generator[None, None, None]:
        yield


PAUSE = _Pause()
