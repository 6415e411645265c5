"""The workers: as many as shall be, led together, and drained at the end.

What one of them is, and who takes its place when it dies, is in `place`. The supervisor owns the Fleet.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from itertools import count as count_from
from itertools import islice

from proxy.controlplane.listeners.sockets import BoundListener
from proxy.controlplane.workers.channel import RouteBook
from proxy.controlplane.workers.place import COMMAND, Owner, Worker
from proxy.controlplane.workers.sharing import SharedMemory
from proxy.core.messages import Drain, ToAll
from proxy.logs import say

log = logging.getLogger(__name__)

GRACE = 2.0
"""Seconds over `drain_timeout` before workers that drain are killed."""


class Fleet:
    """All workers."""

    def __init__(
        self, listeners: Sequence[BoundListener], count: int, owner: Owner, command: Sequence[str] = COMMAND
    ) -> None:
        self._memory, self.book = SharedMemory(), RouteBook()
        self._listeners = listeners
        self._command = command
        self._owner = owner
        self.workers = [self._place(number) for number in range(count)]
        self._leaving: list[Worker] = []
        self._restarts_before = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._has_begun = False

    def _place(self, number: int) -> Worker:
        return Worker(number, self._listeners, self._command, self._owner, memory=self._memory, book=self.book)

    def __repr__(self) -> str:
        return f"<Fleet {self.workers}>"

    @property
    def has_served(self) -> bool:
        """Whether every worker has begun to serve once."""
        return all(worker.has_served for worker in self.workers)

    @property
    def is_serving(self) -> bool:
        """Whether any worker serves."""
        return any(worker.is_serving for worker in self.workers)

    def late(self, settings_version: int) -> list[int]:
        """The workers that serve and have not put these settings in force."""
        return [one.number for one in self.workers if one.is_serving and one.settings_version < settings_version]

    @property
    def restarts(self) -> int:
        """How often a worker was replaced."""
        return self._restarts_before + sum(worker.restarts for worker in self._all)

    @property
    def _all(self) -> list[Worker]:
        return [*self.workers, *self._leaving]

    def pids(self) -> tuple[int, ...]:
        """Process ids of all that run, those that finish what they do included."""
        return tuple(worker.pid for worker in self._all if worker.pid is not None)

    def start(self) -> None:
        """Start all workers, and keep them running."""
        self._has_begun = True
        for worker in self.workers:
            self._run(worker)

    def _run(self, worker: Worker) -> None:
        task = asyncio.create_task(worker.run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: self._retire(worker))

    def _retire(self, worker: Worker) -> None:
        if worker in self._leaving:
            self._leaving.remove(worker)
            self._restarts_before += worker.restarts
            self._owner.retired(worker.number)

    # Another number of workers

    def numbers(self, count: int) -> list[int]:
        """The numbers of the workers, if there were so many: of those there are, the first, and new ones.

        A number is not given anew as long as anybody who bears it finishes what he does.
        """
        kept = [worker.number for worker in self.workers][:count]
        taken = {worker.number for worker in self._all}
        free = (number for number in count_from(0) if number not in taken)
        return kept + list(islice(free, count - len(kept)))

    def follow(self, numbers: Sequence[int], settings_version: int, seconds: float) -> None:
        """Have these workers, each with the sockets that are its own now; those who go have so many seconds.

        Before `start` (others still serve, and are taken over) none is started and nobody has to go.
        """
        for worker in [one for one in self.workers if one.number not in numbers]:
            self.workers.remove(worker)
            if self._has_begun:
                self._leaving.append(worker)
                worker.drain(Drain(seconds, closes_idle=False))
        for number in numbers:
            if all(worker.number != number for worker in self.workers):
                self.workers.append(self._place(number))
                if self._has_begun:
                    self._run(self.workers[-1])
        for worker in self.workers:
            worker.hand(settings_version)

    # Orders to all

    def tell(self, message: ToAll, *, but: int | None = None) -> None:
        """Tell all workers, or all but one."""
        for worker in self._all:
            if worker.number != but:
                worker.send(message)

    def told(self) -> list[int]:
        """The workers that act on what they are told."""
        return [worker.number for worker in self._all if worker.is_told]

    def renew(self, number: int) -> None:
        """End this worker's process now; another takes its place, unless it was to leave."""
        for worker in self._all:
            if worker.number == number:
                worker.renew()

    async def drain(self, seconds: float, patience: float = 0.0) -> None:
        """Have all workers finish what they do; kill those that are not done in time.

        `patience`: seconds in which an idle connection may still ask once more.
        """
        if patience:
            self._drain(Drain(seconds, closes_idle=False))
            await self._wait(min(patience, seconds))
        self._drain(Drain(max(0.0, seconds - patience)))
        late = await self._wait(max(0.0, seconds - patience) + GRACE)
        if late:
            say(log, logging.WARNING, "workers did not end in time: killed", workers=late)
        await self.end()

    def _drain(self, order: Drain) -> None:
        for worker in self._all:
            worker.drain(order)

    def kill(self) -> None:
        """End all workers now."""
        for worker in self._all:
            worker.kill()

    async def end(self) -> None:
        """End all workers now, and wait until they are gone."""
        self.kill()
        await self._wait(None)
        self._memory.close()

    async def _wait(self, seconds: float | None) -> int:
        """Wait for the workers to end; how many still run."""
        if not self._tasks:
            return 0
        _, late = await asyncio.wait(self._tasks, timeout=seconds)
        return len(late)
