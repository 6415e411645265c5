"""What a worker has counted, as a Report for the supervisor. Called by `worker`, once a second and at its end."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from proxy.core.messages import Report
from proxy.core.settings import Settings
from proxy.core.telling.naming import names_of

if TYPE_CHECKING:
    from proxy.dataplane.worker import Worker


def report_of(worker: Worker, now: float, loop_lag: float, *, final: bool) -> Report:
    """All counters of this worker."""
    worker.departed.settle(now, worker.pools)
    backends = {b.key: b.counts(len(worker.idle[b])) for pool in worker.pools.values() for b in pool.backends}
    pools = {pool.name: pool.counts(now) for pool in worker.pools.values()}
    worker.departed.add_to(backends, pools)
    stats, access_log = worker.stats, worker.access_log
    return Report(
        worker=worker.number,
        pid=os.getpid(),
        at=now,
        snapshot_version=worker.snapshot_version,
        connections=len(worker.connections),
        loop_lag=loop_lag,
        tasks=len(asyncio.all_tasks(worker.loop)),
        requests=stats.requests(),
        durations=stats.durations(),
        backends=backends,
        pools=pools,
        refused=dict(stats.refused),
        client_aborts=stats.client_aborts,
        turned_away=dict(stats.turned_away),
        log_dropped=access_log.dropped if access_log is not None else 0,
        unknown_outcomes=dict(stats.unknown_outcomes),
        keyed=dict(stats.keyed),
        handshakes=dict(stats.handshakes),
        degraded=dict(stats.degraded),
        degraded_ends=dict(stats.degraded_ends),
        rate_limited=dict(stats.rate_limited),
        spans=worker.spans.counts() if worker.spans is not None else {},
        broken=dict(stats.broken),
        saved=dict(stats.saved),
        final=final,
    )


def forget_gone(worker: Worker, settings: Settings, now: float) -> None:
    """Under other settings: what was counted under names that are no more is the supervisor's to keep."""
    names = names_of(settings, (route.name for route in worker.router.routes))
    if worker.stats.has_gone(names):
        if worker.control is not None:
            worker.control.send(worker.report(now))
        worker.stats.forget_gone(names)
