"""What one program leaves to the next that replaces it in the same process: sockets, workers, and what is known.

Pure but for the descriptors that it names. `handover` writes and reads it; how sockets and workers are taken over is in
`inheritance` and `takeover`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from proxy.controlplane.listeners.sockets import BoundListener
from proxy.controlplane.pools.own import OwnCounts
from proxy.controlplane.pools.registry import Registry
from proxy.controlplane.pools.splits import Cut
from proxy.controlplane.pools.tally import Key, Totals
from proxy.core.messages import BackendState, BreakerNews, Report
from proxy.core.settings import Settings


@dataclass(frozen=True, slots=True)
class HandedSocket:
    """A listening socket that stays open."""

    fd: int
    owner: str
    """`listener web`, `admin`."""
    configured: str
    """The owner's address as the config said."""
    is_foreign: bool = False


@dataclass(frozen=True, slots=True)
class KnownBackend:
    """What is known of one Backend."""

    address: str
    state: BackendState
    probes_passed: int = 0
    probes_failed: int = 0
    outages: int = 0


@dataclass(frozen=True, slots=True)
class Legacy:
    """All of it. Fields may be added; none may change its meaning, for the next program may be a newer one."""

    sockets: tuple[HandedSocket, ...] = ()
    pids: tuple[int, ...] = ()
    """Of the workers that serve on until others do."""
    backends: dict[Key, KnownBackend] = field(default_factory=dict)
    openings: tuple[BreakerNews, ...] = ()
    reports: dict[int, Report] = field(default_factory=dict)
    """The last ones of workers that live, by process id."""
    ended: Totals = field(default_factory=Totals)
    """What workers had counted that live no more."""
    restarts: int = 0
    own: OwnCounts = field(default_factory=OwnCounts)
    reloads: dict[str, int] = field(default_factory=dict)
    past_probes: dict[Key, tuple[int, int]] = field(default_factory=dict)
    """Of Backends that a reload has removed."""
    journal: tuple[str, ...] = ()
    """Its newest entries, as lines."""
    availability: str = ""
    """The accounting, as it is kept on disk."""
    cuts: dict[str, Cut] = field(default_factory=dict)
    """Pools that are cut off from a split."""
    is_rehearsal: bool = False
    """Whether the reader is only to find out whether it could take over."""


def handed(owner: str, configured: str, bound: BoundListener) -> Iterable[HandedSocket]:
    """The sockets of one owner, each once."""
    for sock in dict.fromkeys(bound.sockets):
        yield HandedSocket(sock.fileno(), owner, configured, bound.is_foreign)


def sockets_of(
    settings: Settings, listeners: Iterable[BoundListener], admin: BoundListener
) -> tuple[HandedSocket, ...]:
    """All listening sockets of a running program."""
    found: list[HandedSocket] = []
    for bound in listeners:
        configured = next((str(one.address) for one in settings.listeners if one.name == bound.name), "")
        found += handed(f"listener {bound.name}", configured or str(bound.address), bound)
    return (*found, *handed("admin", str(settings.admin.address), admin))


def bequeath(registry: Registry) -> Legacy:
    """What this registry knows; sockets and process ids are added by the caller."""
    tally = registry.tally
    return Legacy(
        backends={
            one.key: KnownBackend(
                str(one.settings.address), one.state, one.probes_passed, one.probes_failed, one.outages
            )
            for one in registry.records()
        },
        openings=tuple(registry.openings()),
        reports={report.pid: report for report in tally.live.values()},
        ended=tally.ended,
        reloads=dict(registry.reloads),
        own=registry.own,
        past_probes=dict(registry.past_probes),
        cuts=dict(registry.cuts()),
    )


def inherit(registry: Registry, legacy: Legacy, now: float) -> None:
    """Begin where the other program has ended. What was found out at another address says nothing of a Backend now."""
    for record in registry.records():
        known = legacy.backends.get(record.key)
        if known is None:
            continue
        record.admin, record.weight_override = known.state.admin, known.state.weight
        record.probes_passed, record.probes_failed = known.probes_passed, known.probes_failed
        record.outages = known.outages
        if known.address == str(record.settings.address):
            record.health.state = known.state.health
            record.readmitted_at = known.state.readmitted_at
    for pool in registry.pools.values():
        pool.remember({key[1]: known.state for key, known in legacy.backends.items() if key[0] == pool.settings.name})
    for news in legacy.openings:
        # In the name of a worker that will soon say for itself how it is.
        registry.take_breaker_news(replace(news, worker=0))
    registry.tally.inherit(legacy.ended)
    for report in legacy.reports.values():
        registry.tally.take(of_predecessor(report))
    registry.reloads |= legacy.reloads
    registry.past_probes |= legacy.past_probes
    registry.splits.remember(legacy.cuts)
    registry.own = replace(legacy.own, reloaded_at=registry.own.reloaded_at, is_last_reload_good=True)
    registry.forget_gone()
    registry.refresh(now)


def of_predecessor(report: Report) -> Report:
    """A Report of a worker from before, so that it is not taken for one of ours."""
    return replace(report, worker=-report.pid)
