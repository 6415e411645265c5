"""Waiting for a place in a Pool whose Backends are all full: who wakes whoever waits, and who looks after all of them.

Called by `exchange`. Who comes next is decided in `core.waiting` and `core.gate`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING

from proxy.core.limits.waiting import End
from proxy.dataplane.transport.pause import PAUSE

if TYPE_CHECKING:
    from proxy.core.limits.gate import Gate
    from proxy.core.limits.waiting import Waiter
    from proxy.core.pools.pool import Pool
    from proxy.dataplane.clients.downstream import Downstream

TEND_EVERY = 0.01
"""Seconds between two looks at those who wait: for how long, and whether other workers have left room."""


async def await_turn(client: Downstream, pool: Pool, waiter: Waiter, check: Callable[[], None], latest: float) -> None:
    """Wait until the turn has come or will not come, unless `check` raises because the client has left.

    At `latest`, when the request's whole time is over, it will not come.
    """
    loop, gate = client.worker.loop, pool.gate

    def wake() -> None:
        # Not at once: it is another connection's coroutine that makes room.
        loop.call_soon(client.wake)

    waiter.wake = wake
    client.arm(latest)
    if gate is not None and not gate.is_tended:
        gate.is_tended = True
        loop.call_later(TEND_EVERY, _tend, loop, pool, gate)
    while not waiter.is_over:
        check()
        if client.is_expired and gate is not None:
            gate.settle(waiter, End.TIMEOUT, monotonic())
            return
        await PAUSE


def _tend(loop: asyncio.AbstractEventLoop, pool: Pool, gate: Gate) -> None:
    now = monotonic()
    pool.look_around(now)
    gate.tend(now)
    gate.is_tended = bool(gate.line)
    if gate.is_tended:
        loop.call_later(TEND_EVERY, _tend, loop, pool, gate)
