"""Delivers accepted writes in order when a Backend can take them again: one worker does, for each Pool one by one.

A write is served like any other: its bytes are given to a Downstream of its own, whose transport is a Mailbox. So it is
routed, claimed, pinned, tried again and answered by the same code as the request of a client that waits. The worker
starts it where a Route queues.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from proxy.core.settings import Address, ListenerSettings, Settings
from proxy.core.wire.grammar import END_OF_HEAD
from proxy.core.wire.headers import Forwarding
from proxy.core.wire.http1 import RequestHead
from proxy.core.wire.proxy_protocol import Origin
from proxy.core.writes.idempotency import KeyState, concerns
from proxy.core.writes.queueing import CHECKED, wait_after
from proxy.dataplane.clients.downstream import Downstream
from proxy.dataplane.clients.reception import Arrival
from proxy.dataplane.control import Control
from proxy.dataplane.writes.keyed import key_of
from proxy.dataplane.writes.mailbox import Mailbox
from proxy.errors import RequestError
from proxy.ledger.queue import Due, Queue
from proxy.ledger.sqlite import SqliteStore
from proxy.ledger.store import StoreError

if TYPE_CHECKING:
    from proxy.dataplane.worker import Worker

LOOK_EVERY = 0.25
"""Seconds between two looks at the queue of a Pool."""
LISTENER = ListenerSettings("(queued writes)", Address(path="(none)"))


def follow_ledger(worker: Worker, settings: Settings) -> None:
    """Open the ledger where these Settings need one, and deliver where they queue. Once open, it stays so."""
    if worker.ledger is None and any(pool.idempotency is not None for pool in settings.pools):
        worker.ledger = SqliteStore(Path(settings.state_dir), worker.rng, worker.loop)
    queueing = {route.pool for route in worker.router.routes if route.settings.queue is not None}
    if queueing and worker.delivery is None and worker.ledger is not None:
        worker.queue = Queue(worker.ledger)
        worker.delivery = Delivery(worker, worker.ledger, worker.queue)
    if worker.delivery is not None:
        worker.delivery.follow(queueing)


class Delivery:
    """The deliveries of one worker."""

    def __init__(self, worker: Worker, store: SqliteStore, queue: Queue) -> None:
        self._worker = worker
        self._store = store
        self._queue = queue
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def follow(self, pools: set[str]) -> None:
        """Deliver for these Pools, and for no others."""
        for name in self._tasks.keys() - pools:
            self._tasks.pop(name).cancel()
        for name in pools - self._tasks.keys():
            self._tasks[name] = self._worker.loop.create_task(self._run(name))

    async def _run(self, pool: str) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY)
            if not self._is_led:
                self._queue.resign()
            elif self._queue.may_lead():
                await self._empty(pool)

    @property
    def _is_led(self) -> bool:
        """Whether somebody tells this worker who is well. One that drains or is left alone leaves it to others."""
        control = self._worker.control
        return not self._worker.is_draining and isinstance(control, Control) and not control.is_alone

    async def _empty(self, pool: str) -> None:
        """Deliver until nothing is due, or nobody can take it."""
        while self._is_led and self._can_be_taken(pool):
            due = self._queue.next_due(pool, time.time())
            if due is None or not await self._deliver(pool, due):
                return

    def _can_be_taken(self, pool: str) -> bool:
        known = self._worker.pools.get(pool)
        return known is not None and known.available(monotonic()) > 0

    async def _deliver(self, pool: str, due: Due) -> bool:
        """Send one write; whether the next one may follow now."""
        if not self._is_still_for(pool, due):
            self._queue.park(due, time.time() + wait_after(due.tries))
            return False
        status = await self._send(due)
        try:
            entry = await self._store.find(due.key, time.time())
        except StoreError:
            return False
        if entry is not None and entry.state is KeyState.DONE:
            self._queue.note_delivered(due, time.time())
            return True
        if entry is not None and entry.state is KeyState.UNKNOWN:
            self._queue.park(due, time.time() + wait_after(due.tries))
            return True
        if entry is None:
            self._queue.note_lost(due, time.time())
            return True
        if entry.state is KeyState.QUEUED and 400 <= status < 500:
            # We refuse this one ourselves, as the config stands now: it must not keep the others waiting.
            self._queue.park(due, time.time() + wait_after(due.tries))
            return True
        return False

    def _is_still_for(self, name: str, due: Due) -> bool:
        """Whether the config still sends it to this Pool, as a write with this key: anywhere else it would be new."""
        pool, request = self._worker.pools.get(name), due.parcel.request
        policy = None if pool is None else pool.settings.idempotency
        try:
            head = RequestHead(request[: request.index(END_OF_HEAD) + len(END_OF_HEAD)], CHECKED, due.parcel.client)
            route = self._worker.route(head)
        except RequestError:
            return False
        is_keyed = policy is not None and concerns(policy, head.method) and key_of(head, name, policy) == due.key
        return is_keyed and route.pool == name

    async def _send(self, due: Due) -> int:
        """Serve it as if a client had sent it, and wait until that is over; the status of the answer."""
        parcel = due.parcel
        mailbox = Mailbox(self._worker.loop)
        client = Downstream(self._worker, Arrival(LISTENER, Origin(parcel.client)))
        mailbox.set_protocol(client)
        client.connection_made(mailbox)
        client.forwarding = Forwarding(parcel.client, parcel.scheme.encode(), is_trusted=client.forwarding.is_trusted)
        client.data_received(parcel.request)
        client.eof_received()
        try:
            await mailbox.closed.wait()
        finally:
            mailbox.abort()
        return mailbox.status
