"""Can a user's own code, which a file names, be loaded, and does it fit. Called by `loader`; it runs what it loads."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path as File

from proxy.config.mistakes import Finding, Path, nearest
from proxy.config.models import Pool
from proxy.config.reading import Reading
from proxy.core.pools.balancer import OWN
from proxy.extensions import BALANCER, CONDITION, KEY, PROBE, ExtensionError, Named, is_own, load, offers

Place = tuple[Path, Named]


def read_own_code(reading: Reading, folder: File) -> list[Finding]:
    """Load all of it, each thing once; modules are looked for in `folder` last."""
    findings = []
    said: dict[Named, str] = {}
    for path, named in dict.fromkeys(_all_of(reading)):
        if named not in said:
            said[named] = _why_not(named, str(folder.absolute()))
        if said[named]:
            findings.append(Finding(path, said[named]))
    return findings


def _all_of(reading: Reading) -> Iterator[Place]:
    config = reading.config
    yield from _of_blocks(("defaults",), config.defaults.retries.on, config.defaults.health.check)
    for name, pool in config.pools.items():
        yield from _of_pool(("pools", name), pool)


def _of_pool(place: Path, pool: Pool) -> Iterator[Place]:
    if is_own(pool.balance):
        yield (*place, "balance"), Named(BALANCER, pool.balance)
    if pool.hash_on is not None and pool.hash_on.source == OWN:
        yield (*place, "hash_on"), Named(KEY, pool.hash_on.name)
    yield from _of_blocks(place, pool.retries.on, pool.health.check)


def _of_blocks(place: Path, conditions: tuple[str, ...], check: str | None) -> Iterator[Place]:
    for number, word in enumerate(conditions):
        if is_own(word):
            yield (*place, "retries", "on", number), Named(CONDITION, word)
    if check is not None:
        yield (*place, "health", "check"), Named(PROBE, check)


def _why_not(named: Named, folder: str) -> str:
    """Why it can't be used; empty if it can."""
    try:
        load(named, folder)
    except ExtensionError as error:
        name = named.path.partition(":")[2]
        return f"{error}{nearest(name, offers(named.path))}"
    return ""
