"""A worker process: listens, serves, obeys Snapshots and reports.

Started by the supervisor as `python -m proxy.dataplane.worker --id N --control FD --listener NAME=FD …`, its sockets
inherited. It imports only `core` and `dataplane`, so that it starts fast and stays small. Without a supervisor it goes
on serving with the last Snapshot.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import random
import re
import resource
import signal
import socket
import sys
from binascii import hexlify
from time import monotonic

import uvloop

from proxy.contexts import overlook_bad_names
from proxy.core.messages import (
    Applied,
    BreakerNews,
    Drain,
    Heard,
    LastCall,
    Message,
    PoolNews,
    ProbePassed,
    ReopenLogs,
    Report,
    RoutePart,
    Snapshot,
    Started,
)
from proxy.core.pools.breaker import BreakerState, Transition
from proxy.core.pools.model import Backend
from proxy.core.pools.pool import Pool
from proxy.core.requests.routing import Route, Router, last_hop
from proxy.core.settings import Limits, Settings, Timeouts
from proxy.core.wire.headers import Rewrite, forgeable, is_loop, remove_forged
from proxy.core.wire.http1 import RequestHead
from proxy.dataplane.accesslog import AccessLog, follow_log
from proxy.dataplane.backends.introduced import Introductions
from proxy.dataplane.clients.downstream import Downstream
from proxy.dataplane.clients.places import Places, shared_counts
from proxy.dataplane.clients.reception import Reception
from proxy.dataplane.clients.sounding import Sounding
from proxy.dataplane.control import Control
from proxy.dataplane.departed import Departed, Homes
from proxy.dataplane.ending import Ending
from proxy.dataplane.exchanges.rescue import hand_on
from proxy.dataplane.handed import Handed, Pairs
from proxy.dataplane.orphan import Heir, Orphan
from proxy.dataplane.own_code import follow_own_code
from proxy.dataplane.recording import Recorder, recorder_of
from proxy.dataplane.reload import Routes, cut_off, follow, make_ready
from proxy.dataplane.reporting import forget_gone, report_of
from proxy.dataplane.spans import SpanExport, follow_spans
from proxy.dataplane.stats import Stats
from proxy.dataplane.transport.outbox import Outbox
from proxy.dataplane.unanswered import Unanswered
from proxy.dataplane.writes.delivery import Delivery, follow_ledger
from proxy.errors import ErrorKind, RequestError
from proxy.ledger.queue import Queue
from proxy.ledger.sqlite import SqliteStore
from proxy.logs import configure

SWEEP = 0.05
"""Seconds between two looks at all deadlines: a timer for each request would cost more than the request."""
ORPHAN_DRAIN = 30.0
"""Seconds that requests have to finish when a worker without a supervisor is told to end."""
REPORT = 1.0
"""Seconds between two Reports."""


class Worker:
    """What all connections of this process share."""

    def __init__(
        self, number: int, loop: asyncio.AbstractEventLoop, rng: random.Random, places: Places | None = None
    ) -> None:
        self.number = number
        self.loop = loop
        self.rng = rng
        self.stats = Stats()
        self.snapshot_version = 0
        self.settings_version = 0
        self.limits = Limits()
        self.timeouts = Timeouts()
        self.router = Router(())
        self.rewrites: list[Rewrite | None] = []
        self.pools: dict[str, Pool] = {}
        self.idle: Homes = {}
        self.introduced: list[Introductions] = []
        self.departed = Departed(self.idle)
        self._routes = Routes()
        self.connections: set[Downstream] = set()
        self.places = places or Places()
        self.reception = Reception(self, self.places)
        self.suspects: dict[Downstream, Sounding] = {}
        self.outbox = Outbox(loop)
        self.access_log: AccessLog | None = None
        self.spans: SpanExport | None = None
        self.recorder: Recorder | None = None
        self.is_draining = self.closes_idle = self.says_close = False
        self._handed: tuple[int, Pairs] = (0, [])
        self.done = asyncio.Event()
        self.ending = Ending(self)
        self.orphan = Orphan(self)
        self._is_following = self._is_serving = False
        self._early_order: Drain | None = None
        self.control: Control | Heir | None = None
        self.ledger: SqliteStore | None = None
        self.queue: Queue | None = None
        self.delivery: Delivery | None = None
        self._forged: re.Pattern[bytes] | None = None
        self._panics: set[str] = set()
        self._unanswered = Unanswered()
        self._loop_lag = 0.0
        self._swept_at = monotonic()
        self._reported_at = monotonic()

    # Connections

    def welcome(self, client: Downstream) -> bool:
        """Take in a new connection; False if there are too many."""
        self.connections.add(client)
        return self.reception.enter(client)

    def farewell(self, client: Downstream) -> None:
        """A connection is gone."""
        self.connections.discard(client)
        self.reception.leave(client)
        self.suspects.pop(client, None)
        for introduced in self.introduced:
            introduced.leave(client)
        if self.is_draining and not self.connections:
            self.ending.look()

    def route(self, request: RequestHead) -> Route:
        """The Route that takes this request. Raises RequestError if there is none, or if it goes round in a circle."""
        if self._forged is not None:
            remove_forged(request, self._forged)
        route = self.router.find(request)
        if route is None:
            raise RequestError(404, "no route matches", ErrorKind.DESTINATION_NOT_FOUND)
        if not request.is_plain:
            if is_loop(request):
                raise RequestError(508, "the request has passed this proxy before", ErrorKind.PROXY_LOOP_DETECTED)
            if request.max_forwards == 0:
                return last_hop(route)
        return route

    def is_forged(self, trailer: bytes) -> bool:
        """Whether a field of this trailer is one that nobody but we may set."""
        return self._forged is not None and self._forged.search(b"\n" + trailer) is not None

    def make_id(self) -> bytes:
        """A new `X-Request-Id`."""
        return hexlify(self.rng.randbytes(16))

    # Snapshots and news

    def heed(self, message: Message) -> None:
        """Do as the supervisor says."""
        if isinstance(message, Snapshot):
            self._take(message)
        elif isinstance(message, BreakerNews):
            self._follow(message)
        elif isinstance(message, ProbePassed):
            backend = self.backend(message.pool, message.backend)
            if backend is not None:
                self.pools[message.pool].probe_passed(backend, monotonic())
        elif isinstance(message, RoutePart):
            self._routes.take(message)
        elif isinstance(message, ReopenLogs) and self.access_log is not None:
            self.access_log.file.reopen()
        elif isinstance(message, LastCall):
            self.says_close = True
        elif isinstance(message, Drain):
            self._drain(message)

    def _drain(self, order: Drain) -> None:
        if self._is_serving:
            self.ending.begin(order.timeout, closes_idle=order.closes_idle)
        else:
            # Clients may wait in the queues of a worker that died: they come in first.
            self._early_order = order

    def _take(self, snapshot: Snapshot) -> None:
        if snapshot.version <= self.snapshot_version:
            return
        if snapshot.settings is not None and snapshot.settings_version > self.settings_version:
            self._configure(snapshot.settings, snapshot)
        self.snapshot_version = snapshot.version
        cut_off(self.router, snapshot.cuts)
        now = monotonic()
        for pool in self.pools.values():
            pool.heed(snapshot.backends, now)
        if self.control is not None:
            self.control.send(Heard(self.number, snapshot.version))
        self._note_panics()

    def _configure(self, settings: Settings, snapshot: Snapshot) -> None:
        now = monotonic()
        self.limits, self.timeouts = settings.limits, settings.timeouts
        self.access_log = follow_log(self.access_log, settings.access_log, self.rng)
        self.spans = follow_spans(self.spans, settings.tracing)
        self.recorder = recorder_of(self.access_log, settings.tracing, self.spans, self.rng)
        self.reception.configure(settings)
        follow_own_code(self, settings)
        listener, counts = self._breaker_changed, self.places.shared
        self.pools = follow(settings, self.pools, self.idle, self.departed, now=now, listener=listener, counts=counts)
        self.introduced = [one.introductions for one in self.idle.values() if one.introductions is not None]
        self._forged = forgeable(settings.listeners)
        self._panics &= self.pools.keys()
        before, self.router = self.router, self._routes.router(settings.routes, snapshot.routes_version)
        hand_on(before.routes, self.router.routes)
        forget_gone(self, settings, now)
        self.rewrites = make_ready(self.router, self.pools)
        follow_ledger(self, settings)
        self.settings_version = snapshot.settings_version
        self._open_doors()
        if self.control is not None:
            self.control.send(Applied(self.number, snapshot.settings_version, monotonic() - now))

    def _take_doors(self, settings_version: int, sockets: Pairs) -> None:
        """These are all that there are, under settings that may be yet to come."""
        for _, sock in self._handed[1]:
            sock.close()
        self._handed = (settings_version, sockets)
        self._open_doors()

    def _open_doors(self) -> None:
        version, sockets = self._handed
        if sockets and self.settings_version >= version and not self.is_draining:
            self._handed = (version, [])
            self.reception.hold(sockets)

    def backend(self, pool: str, backend: str) -> Backend | None:
        """The one of this name, if it is still in the settings."""
        known = self.pools.get(pool)
        return known.by_name.get(backend) if known is not None else None

    def _breaker_changed(self, backend: Backend, transition: Transition) -> None:
        """Tell the others at once, unless it was they who told us."""
        after, at, reason, began = transition.after, transition.at, transition.reason, transition.began
        if after is BreakerState.OPEN:
            backend.breaker.jitter(self.rng)
        if self.control is not None and not self._is_following:
            until = backend.breaker.until if after is BreakerState.OPEN else 0.0
            self.control.send(BreakerNews(self.number, *backend.key, after, until, reason, at, began=began))

    def _follow(self, news: BreakerNews) -> None:
        backend = self.backend(news.pool, news.backend)
        if backend is None or news.state is BreakerState.HALF_OPEN:
            return
        pool = self.pools[news.pool]
        now = monotonic()
        if news.state is BreakerState.OPEN and not pool.may_eject(backend, now):
            return
        self._is_following = True
        backend.breaker.follow(news.state, news.until, news.reason, now, outlier=news.outlier)
        self._is_following = False

    def _note_panics(self) -> None:
        """Say when a pool's panic begins and ends."""
        for pool in self.pools.values():
            if pool.panic is not (pool.name in self._panics):
                self._panics ^= {pool.name}
                if self.control is not None:
                    self.control.send(PoolNews(self.number, pool.name, pool.panic, monotonic()))

    # Rounds

    def sweep(self) -> None:
        """Look at all deadlines; runs every `SWEEP` seconds."""
        self.loop.call_later(SWEEP, self.sweep)
        now = monotonic()
        self._loop_lag = max(self._loop_lag, now - self._swept_at - SWEEP)
        self._swept_at = now
        for client in [one for one in self.connections if one.deadline <= now]:
            client.expire()
        for sounding in list(self.suspects.values()):
            sounding.sound()
        if self.access_log is not None:
            self.access_log.file.flush()
        self.reception.look()
        if self.departed:
            self.departed.sweep()
        if self.ledger is not None:
            self.ledger.tend()
        if now - self._reported_at >= REPORT:
            self._reported_at = now
            self._round(now)

    def _round(self, now: float) -> None:
        self._unanswered.look(self.connections, self.idle.items())
        for pool in self.pools.values():
            longest = pool.settings.timeouts.backend_idle
            for backend in pool.backends:
                self.idle[backend].sweep(now, longest)
            pool.available(now)
        self._note_panics()
        if self.control is not None:
            self.control.send(self.report(now))

    def report(self, now: float, *, final: bool = False) -> Report:
        """All counters of this worker."""
        lag, self._loop_lag = self._loop_lag, 0.0
        return report_of(self, now, lag, final=final)

    # The end

    def obey_as_orphan(self) -> None:
        """TERM or INT: the supervisor gives the orders while it lives; without it drain, and at a second signal end."""
        if self.control is None or not self.control.is_alone:
            return
        if self.is_draining:
            self.done.set()
        else:
            self.ending.begin(ORPHAN_DRAIN, closes_idle=True)

    async def serve(
        self, control: socket.socket, doors: socket.socket | None, listeners: list[tuple[str, socket.socket]]
    ) -> None:
        """Serve until drained."""
        self.control = led = await Control.over(control, self.heed, self.orphan.begin)
        await led.first_snapshot(lambda: self.snapshot_version > 0)
        for name, sock in listeners:
            self.reception.open(name, sock)
        if doors is not None:
            Handed(doors, self._take_doors)
        led.send(Started(self.number, os.getpid(), self.snapshot_version))
        led.send(self.report(monotonic()))
        self.sweep()
        self._is_serving = True
        if self._early_order is not None:
            self._drain(self._early_order)
        gc.collect()
        gc.freeze()
        await self.done.wait()


def _raise_file_limit() -> None:
    """Each request needs two descriptors; the soft limit of 1024 would be reached at 500 clients."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def _main(arguments: argparse.Namespace) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    control = socket.socket(fileno=arguments.control)
    named = [one.rpartition("=") for one in arguments.listener]
    listeners = [(name, socket.socket(fileno=int(fd))) for name, _, fd in named]
    places = Places(shared_counts(arguments.counts, arguments.id)) if arguments.counts >= 0 else None
    worker = Worker(arguments.id, loop, random.Random(), places)
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, worker.obey_as_orphan)
    doors = socket.socket(fileno=arguments.doors) if arguments.doors >= 0 else None
    await worker.serve(control, doors, listeners)


def main() -> None:
    """Run one worker; the supervisor's signals reach it as messages."""
    parser = argparse.ArgumentParser(prog="proxy.dataplane.worker")
    parser.add_argument("--id", type=int, required=True)
    parser.add_argument("--control", type=int, required=True)
    parser.add_argument("--listener", action="append", default=[])
    parser.add_argument("--counts", type=int, default=-1)
    parser.add_argument("--doors", type=int, default=-1)
    configure(sys.stderr)
    sys.unraisablehook = overlook_bad_names
    _raise_file_limit()
    gc.set_threshold(50_000, 20, 100)
    uvloop.run(_main(parser.parse_args()))


if __name__ == "__main__":
    main()
