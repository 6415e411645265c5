"""Do the policies fit together that say which Backends of a Pool serve. Called by `checks`, Pool by Pool."""

from __future__ import annotations

from collections.abc import Iterator

from proxy.config.build import policy
from proxy.config.mistakes import Finding, Path, nearest
from proxy.config.models import Pool
from proxy.config.quantities import write_duration
from proxy.config.reading import Reading
from proxy.core.pools.damping import DampingPolicy
from proxy.core.pools.health import HealthPolicy
from proxy.core.pools.outlier import OutlierPolicy

FOR_MANY = ("balance", "hash_on", "overprovisioning", "locality", "slow_start", "outlier")
"""Keys that say how several Backends share the load."""


def who_serves(reading: Reading, name: str, pool: Pool) -> Iterator[Finding]:
    """Find what does not fit together."""
    yield from _failover(reading, name, pool)
    yield from _locality(reading, name, pool)
    yield from _damping(reading, name, pool)
    yield from _outlier(reading, name, pool)
    yield from _obedience(reading, name, pool)


def _failover(reading: Reading, name: str, pool: Pool) -> Iterator[Finding]:
    place: Path = ("pools", name)
    if not reading.is_sure(*place, "mode"):
        return
    if pool.mode != "active-passive":
        if reading.has(*place, "failover"):
            yield Finding((*place, "failover"), "does nothing without 'mode: active-passive'", at_key=True)
        return
    for key in FOR_MANY:
        if reading.has(*place, key):
            yield Finding((*place, key), "does nothing in an active-passive pool: one backend serves", at_key=True)
    if pool.failover.mode == "manual" and reading.has(*place, "failover", "after"):
        yield Finding((*place, "failover", "after"), "does nothing with 'mode: manual': a person decides", at_key=True)


def _locality(reading: Reading, name: str, pool: Pool) -> Iterator[Finding]:
    if pool.locality is None or not reading.is_sure("pools", name, "region"):
        return
    regions = [backend.region for backend in pool.backends if backend.region]
    if not pool.region:
        yield Finding(("pools", name, "locality"), "needs the pool's 'region': where this proxy stands", at_key=True)
    elif pool.region not in regions and reading.is_sure("pools", name, "backends"):
        message = f"no backend of this pool is in region '{pool.region}'{nearest(pool.region, regions)}"
        yield Finding(("pools", name, "region"), message)


def _damping(reading: Reading, name: str, pool: Pool) -> Iterator[Finding]:
    place: Path = ("pools", name, "damping")
    if pool.damping is None or not reading.is_sure(*place):
        return
    effective = policy(DampingPolicy, pool.damping)
    if effective.reuse >= effective.suppress:
        place = (*place, "reuse" if reading.has(*place, "reuse") else "suppress")
        yield Finding(place, f"'reuse' must be less than 'suppress', which is {effective.suppress:g}")
    elif effective.ceiling < effective.suppress:
        message = f"'longest' lets no penalty grow above {effective.ceiling:.0f}, so 'suppress' would never be reached"
        yield Finding(place, message, at_key=True)


def _outlier(reading: Reading, name: str, pool: Pool) -> Iterator[Finding]:
    effective = policy(OutlierPolicy, reading.config.defaults.outlier, pool.outlier)
    if effective.eject_for <= effective.eject_for_max:
        return
    places: list[Path] = [("pools", name, "outlier"), ("defaults", "outlier")]
    keys = [(*place, key) for key in ("eject_for", "eject_for_max") for place in places]
    if all(reading.is_sure(*key) for key in keys):
        longest = write_duration(effective.eject_for_max)
        place = next(key for key in keys if reading.has(*key))
        yield Finding(place, f"'eject_for' is longer than 'eject_for_max', which is {longest}")


def _obedience(reading: Reading, name: str, pool: Pool) -> Iterator[Finding]:
    places: list[Path] = [("pools", name, "health", "path"), ("defaults", "health", "path")]
    effective = policy(HealthPolicy, reading.config.defaults.health, pool.health)
    if pool.obey_backend and effective.path is None and all(reading.is_sure(*place) for place in places):
        message = "does nothing without 'health.path': only the answer to a GET can say something"
        yield Finding(("pools", name, "obey_backend"), message, at_key=True)
