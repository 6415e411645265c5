"""From the keys of a valid file to the value objects of `core`. Nothing is refused here; called by `loader`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from proxy.config.keys import Keys
from proxy.config.logs import AccessLog
from proxy.config.models import Backend, Config, Listener, Pool, Route
from proxy.config.policies import Block
from proxy.config.sticky import Sticky
from proxy.core.limits.concurrency import ConcurrencyPolicy
from proxy.core.limits.waiting import Priority, WaitingPolicy
from proxy.core.pools.active import FailoverPolicy
from proxy.core.pools.breaker import BreakerPolicy
from proxy.core.pools.damping import DampingPolicy
from proxy.core.pools.health import HealthPolicy
from proxy.core.pools.locality import LocalityPolicy
from proxy.core.pools.outlier import EjectionPolicy, OutlierPolicy
from proxy.core.pools.warmup import WarmupPolicy
from proxy.core.requests.canary import AbortPolicy
from proxy.core.requests.fallback import Fallback
from proxy.core.requests.hedging import HedgePolicy
from proxy.core.requests.retry import RetryPolicy
from proxy.core.settings import (
    STANDARD_STREAMS,
    AccessLogSettings,
    Address,
    AdminSettings,
    BackendSettings,
    HashOn,
    HoldPolicy,
    IdempotencyPolicy,
    JournalSettings,
    Limits,
    ListenerSettings,
    Match,
    PoolSettings,
    QueuePolicy,
    RatePolicy,
    Redirect,
    RouteSettings,
    Settings,
    StaticAnswer,
    StatusOfWrites,
    StickyPolicy,
    Timeouts,
)
from proxy.core.tls import BackendTls, ListenerTls
from proxy.core.wire.tracing import TracingPolicy
from proxy.core.writes.queueing import STATUS_PATH
from proxy.extensions import named_by

P = TypeVar("P")

STATUS_OF_WRITES = RouteSettings("(status of writes)", Match(path=f"{STATUS_PATH}*"), answer=StatusOfWrites())
"""Comes before all Routes where one of them queues; no name in a file looks like this."""


@dataclass(slots=True)
class TlsSettings:
    """What was read from the files of `tls` blocks: by Listener, as the file counts or calls them, and by Pool."""

    listeners: dict[str | int, ListenerTls] = field(default_factory=dict)
    pools: dict[str, BackendTls] = field(default_factory=dict)


def build(
    config: Config,
    token: str,
    tls: TlsSettings,
    folder: Path,
    fallbacks: Mapping[int, Fallback] | None = None,
    *,
    keys: Keys | None = None,
) -> Settings:
    """Make the Settings; relative paths start at `folder`."""
    defaults = config.defaults
    pools = tuple(_pool(name, pool, config, tls, keys or {}) for name, pool in config.pools.items())
    has_own_code = any(True for pool in pools for _ in named_by(pool))
    return Settings(
        listeners=_listeners(config, tls),
        pools=pools,
        own_code=str(folder.absolute()) if has_own_code else "",
        routes=_routes(config, fallbacks or {}, keys or {}),
        workers=config.workers or usable_cpus(),
        admin=AdminSettings(config.admin.address, token),
        state_dir=str(folder / config.state_dir) if config.state_dir else "",
        drain_delay=config.drain_delay,
        drain_timeout=config.drain_timeout,
        replaced_timeout=config.replaced_timeout,
        worker_timeout=config.worker_timeout,
        timeouts=policy(Timeouts, defaults.timeouts),
        limits=policy(Limits, defaults.limits),
        trusted_proxies=config.trusted_proxies,
        access_log=_access_log(config.access_log, folder),
        tracing=None if config.tracing is None else policy(TracingPolicy, config.tracing),
        journal=policy(JournalSettings, config.journal),
    )


def _access_log(log: AccessLog | None, folder: Path) -> AccessLogSettings | None:
    if log is None:
        return None
    settings = policy(AccessLogSettings, log)
    return settings if log.path in STANDARD_STREAMS else replace(settings, path=str(folder / log.path))


def usable_cpus() -> int:
    """CPUs that this process may use, which in a container may be fewer than there are."""
    return len(os.sched_getaffinity(0))


def policy(kind: type[P], *blocks: Block) -> P:
    """A policy: what the last block says, else what the one before says, else the policy's own default."""
    return kind(**{key: getattr(block, key) for block in blocks for key in block.model_fields_set})


def address_of(backend: Backend) -> Address:
    """Where a Backend is, however the file says it."""
    return backend.address or backend.url or Address()


def _listeners(config: Config, tls: TlsSettings) -> tuple[ListenerSettings, ...]:
    if isinstance(config.listeners, dict):
        return tuple(_listener(name, one, config, tls.listeners.get(name)) for name, one in config.listeners.items())
    return tuple(
        _listener(one.name or str(one.address), one, config, tls.listeners.get(number))
        for number, one in enumerate(config.listeners)
    )


def _listener(name: str, listener: Listener, config: Config, tls: ListenerTls | None) -> ListenerSettings:
    limits = policy(Limits, config.defaults.limits, listener.limits)
    return ListenerSettings(
        name=name,
        address=listener.address,
        proxy_protocol=listener.proxy_protocol,
        connections=limits.connections,
        connections_per_client=limits.connections_per_client,
        tls=tls,
    )


def _pool(name: str, pool: Pool, config: Config, tls: TlsSettings, keys: Keys) -> PoolSettings:
    defaults = config.defaults
    limits = policy(Limits, defaults.limits, pool.limits)
    return PoolSettings(
        name=name,
        backends=tuple(_backend(one, limits) for one in pool.backends),
        balance=pool.balance,
        hash_on=pool.hash_on or HashOn(),
        overprovisioning=pool.overprovisioning,
        region=pool.region,
        locality=None if pool.locality is None else LocalityPolicy(pool.locality.spill_below),
        obey_backend=pool.obey_backend,
        failover=_failover(pool),
        warmup=WarmupPolicy(pool.slow_start),
        damping=None if pool.damping is None else policy(DampingPolicy, pool.damping),
        timeouts=policy(Timeouts, defaults.timeouts, pool.timeouts),
        health=policy(HealthPolicy, defaults.health, pool.health),
        breaker=policy(BreakerPolicy, defaults.breaker, pool.breaker),
        retries=policy(RetryPolicy, defaults.retries, pool.retries),
        outlier=policy(OutlierPolicy, defaults.outlier, pool.outlier),
        ejection=policy(EjectionPolicy, defaults.ejection, pool.ejection),
        limits=limits,
        hold=policy(HoldPolicy, defaults.hold, pool.hold),
        waiting=policy(WaitingPolicy, defaults.queue, pool.queue),
        concurrency=None if pool.adaptive_concurrency is None else policy(ConcurrencyPolicy, pool.adaptive_concurrency),
        has_priorities=any(
            route.priority is not Priority.NORMAL and (name == route.pool or name in route.shares)
            for route in config.routes
        ),
        hedge=policy(HedgePolicy, defaults.hedge, pool.hedge),
        send_proxy_protocol=pool.send_proxy_protocol,
        idempotency=None if pool.idempotency is None else policy(IdempotencyPolicy, pool.idempotency),
        tls=tls.pools.get(name, BackendTls()),
        sticky=_sticky_pool(name, config, keys),
        slo=pool.slo,
    )


def _sticky_pool(name: str, config: Config, keys: Keys) -> StickyPolicy | None:
    return _sticky(config.pools[name].sticky, keys.get(("pools", name, "sticky"), ()))


def _sticky(block: Sticky | None, keys: tuple[bytes, ...]) -> StickyPolicy | None:
    if block is None:
        return None
    return StickyPolicy(**{key: getattr(block, key) for key in block.model_fields_set - {"sign_with"}}, keys=keys)


def _sticky_route(number: int, route: Route, config: Config, keys: Keys) -> StickyPolicy | None:
    """Its own, else that of its only Pool."""
    own, split = _sticky(route.sticky, keys.get(("routes", number, "sticky"), ())), _split(route)
    return own if own is not None or len(split) != 1 else _sticky_pool(split[0][0], config, keys)


def _failover(pool: Pool) -> FailoverPolicy | None:
    block = pool.failover
    if pool.mode != "active-passive":
        return None
    return FailoverPolicy(block.mode == "auto", block.after, block.failback is not None, block.failback or 0.0)


def _backend(backend: Backend, limits: Limits) -> BackendSettings:
    own = "max_in_flight" in backend.model_fields_set
    return BackendSettings(
        name=backend.name or str(address_of(backend)),
        address=address_of(backend),
        weight=backend.weight,
        tier=backend.tier,
        region=backend.region,
        max_in_flight=backend.max_in_flight if own else limits.max_in_flight,
    )


def _routes(config: Config, fallbacks: Mapping[int, Fallback], keys: Keys) -> tuple[RouteSettings, ...]:
    if config.routes:
        routes = tuple(
            _route(number + 1, one, fallbacks.get(number), _sticky_route(number, one, config, keys))
            for number, one in enumerate(config.routes)
        )
        return (STATUS_OF_WRITES, *routes) if any(route.queue is not None for route in routes) else routes
    return tuple(
        RouteSettings(name, split=((name, 1.0),), sticky=_sticky_pool(name, config, keys)) for name in config.pools
    )


def _route(number: int, route: Route, fallback: Fallback | None, sticky: StickyPolicy | None) -> RouteSettings:
    return RouteSettings(
        name=route.name or f"route-{number}",
        match=_match(route),
        split=_split(route),
        sticky=sticky,
        abort_on=None if route.abort_on is None else policy(AbortPolicy, route.abort_on),
        answer=_answer(route),
        strip_prefix=route.strip_prefix,
        preserve_host=route.preserve_host,
        priority=route.priority,
        rate_limit=None if route.rate_limit is None else policy(RatePolicy, route.rate_limit),
        queue=policy(QueuePolicy, route.queue) if route.on_unavailable == "queue" else None,
        slo=route.slo,
        fallback=fallback,
    )


def _match(route: Route) -> Match:
    match = route.match
    return Match(
        host=match.host,
        path=match.path,
        methods=match.methods if match.method is None else (match.method,),
        headers=tuple((name.lower(), value) for name, value in match.headers.items()),
    )


def _split(route: Route) -> tuple[tuple[str, float], ...]:
    if route.pool is not None:
        return ((route.pool, 1.0),)
    # Who has no share is left out, so that nothing can fall to him by rounding.
    return tuple((pool, share) for pool, share in route.shares.items() if share)


def _answer(route: Route) -> StaticAnswer | Redirect | None:
    if route.answer is not None:
        return policy(StaticAnswer, route.answer)
    return None if route.redirect is None else policy(Redirect, route.redirect)
