"""The one thing that a connection's coroutine awaits: to be woken (see `downstream`)."""

from __future__ import annotations

from collections.abc import Callable, Generator
from math import inf
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from proxy.dataplane.clients.downstream import Downstream


class _Pause:
    """Sleeps until `Downstream.wake` steps the coroutine."""

    __slots__ = ()

    def __await__(self) -> Generator[None, None, None]:
        yield


PAUSE = _Pause()


async def rest(client: Downstream) -> None:
    """Let others have their turn before the next request that has come along is served.

    By then what was sent has left, so that a client who reads nothing has shown it.
    """
    client.worker.loop.call_soon(client.wake)
    await PAUSE


async def wait(client: Downstream, seconds: float, check: Callable[[], None]) -> None:
    """Wait so long, unless `check` raises because the client has left."""
    until = monotonic() + seconds
    client.arm(inf)
    client.wake_after(seconds)
    while monotonic() < until:
        check()
        await PAUSE
