"""The end of a worker: nothing new is taken, what runs is finished, the last counts are told.

The worker calls it for a Drain, and for a signal once nobody leads it any more.
"""

from __future__ import annotations

import asyncio
import fcntl
import struct
import termios
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from proxy.dataplane.worker import Worker


class Ending:
    """One worker's end. A second order can only hasten it."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._task: asyncio.Task[None] | None = None
        self._cut: asyncio.TimerHandle | None = None
        self._is_cut = False
        self._news = asyncio.Event()

    def begin(self, timeout: float, *, closes_idle: bool) -> None:
        """Take nothing new, finish what runs within `timeout` seconds, then end.

        `closes_idle`: idle connections are closed now. Else each of them gets one more request answered, and told with
        the answer that it closes: a client can't lose a request that crosses the end of its connection.
        """
        worker = self._worker
        at = worker.loop.time() + timeout
        if self._cut is None or at < self._cut.when():
            if self._cut is not None:
                self._cut.cancel()
            self._cut = worker.loop.call_at(at, self._cut_off)
        worker.closes_idle = worker.closes_idle or closes_idle
        if self._task is None:
            worker.is_draining = worker.says_close = True
            self._task = worker.loop.create_task(self._run())
        for client in list(worker.connections):
            client.stop()

    def _cut_off(self) -> None:
        self._is_cut = True
        self._news.set()

    def look(self) -> None:
        """The last connection has gone. Others may still come out of a queue."""
        self._news.set()

    async def _run(self) -> None:
        worker = self._worker
        await worker.reception.shut()
        while worker.connections and not self._is_cut:
            self._news.clear()
            await self._news.wait()
        for client in list(worker.connections):
            client.abort()
        for idle in worker.idle.values():
            idle.close()
        if worker.control is not None:
            await worker.control.say_last(worker.report(monotonic(), final=True))
        if worker.access_log is not None:
            worker.access_log.file.close()
        if worker.spans is not None:
            worker.spans.close()
        worker.done.set()


def has_unread(transport: asyncio.Transport) -> bool:
    """Whether bytes have come that nobody has read: a client has asked in the moment in which it would be closed."""
    sock = transport.get_extra_info("socket")
    if sock is None:
        return False
    try:
        unread = fcntl.ioctl(sock.fileno(), termios.FIONREAD, struct.pack("i", 0))
    except OSError:
        return False
    return bool(struct.unpack("i", unread)[0])
