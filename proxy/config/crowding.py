"""Do the settings fit together that say what happens under too much load: queue, limits, priorities, hedges.

Called by `checks`.
"""

from __future__ import annotations

from collections.abc import Iterator

from proxy.config.build import policy
from proxy.config.mistakes import Finding, Path
from proxy.config.models import Pool, Route
from proxy.config.reading import Reading
from proxy.core.limits.concurrency import ConcurrencyPolicy
from proxy.core.limits.waiting import Priority
from proxy.core.requests.hedging import HedgePolicy
from proxy.core.requests.retry import RetryPolicy
from proxy.core.settings import Limits


def crowding(reading: Reading, name: str, pool: Pool) -> Iterator[Finding]:
    """Find what does not fit together in a Pool."""
    place: Path = ("pools", name)
    if reading.has(*place, "queue") and _is_sure_of_limits(reading, name) and not _is_limited(reading, pool):
        message = "does nothing without 'limits.max_in_flight' or 'adaptive_concurrency'"
        yield Finding((*place, "queue"), message, at_key=True)
    yield from _concurrency(reading, name, pool)
    if reading.has(*place, "hedge", "after"):
        yield from _hedge(reading, name, pool)


def _is_sure_of_limits(reading: Reading, name: str) -> bool:
    return reading.is_sure("pools", name) and reading.is_sure("defaults", "limits")


def _is_limited(reading: Reading, pool: Pool) -> bool:
    """Whether something limits how many requests are in flight."""
    shared = policy(Limits, reading.config.defaults.limits, pool.limits).max_in_flight
    of_each = [one.max_in_flight if "max_in_flight" in one.model_fields_set else shared for one in pool.backends]
    return pool.adaptive_concurrency is not None or any(limit is not None for limit in of_each)


def _concurrency(reading: Reading, name: str, pool: Pool) -> Iterator[Finding]:
    place: Path = ("pools", name, "adaptive_concurrency")
    if pool.adaptive_concurrency is None or not reading.is_sure(*place):
        return
    effective = policy(ConcurrencyPolicy, pool.adaptive_concurrency)
    if effective.min_limit > effective.max_limit:
        place = (*place, "min_limit" if reading.has(*place, "min_limit") else "max_limit")
        yield Finding(place, f"'min_limit' is more than 'max_limit', which is {effective.max_limit}")


def _hedge(reading: Reading, name: str, pool: Pool) -> Iterator[Finding]:
    place: Path = ("pools", name, "hedge")
    defaults = reading.config.defaults
    if policy(HedgePolicy, defaults.hedge, pool.hedge).after is None:
        return
    if pool.mode == "active-passive" and reading.is_sure("pools", name, "mode"):
        yield Finding(place, "does nothing in an active-passive pool: one backend serves", at_key=True)
    elif len(pool.backends) == 1 and reading.is_sure("pools", name, "backends"):
        yield Finding(place, "does nothing where there is only one backend", at_key=True)
    attempts = policy(RetryPolicy, defaults.retries, pool.retries).attempts
    if attempts < 2 and reading.is_sure("pools", name, "retries") and reading.is_sure("defaults", "retries"):
        yield Finding(place, "does nothing with 'retries.attempts: 1': a hedge is a second attempt", at_key=True)


def priority(reading: Reading, number: int, route: Route) -> Iterator[Finding]:
    """Find a Route whose priority nobody asks for."""
    place: Path = ("routes", number, "priority")
    if not reading.has(*place) or route.priority is Priority.NORMAL:
        return
    names = [route.pool] if route.pool is not None else list(route.shares)
    if not names and (reading.has("routes", number, "answer") or reading.has("routes", number, "redirect")):
        yield Finding(place, "does nothing without 'pool' or 'split'", at_key=True)
    pools = [reading.config.pools.get(name) for name in names]
    if not pools or not all(_is_sure_of_limits(reading, name) for name in names):
        return
    if not any(pool is None or _is_limited(reading, pool) for pool in pools):
        message = f"does nothing: nothing limits pool '{names[0]}' ('limits.max_in_flight', 'adaptive_concurrency')"
        yield Finding(place, message, at_key=True)
