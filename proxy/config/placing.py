"""Do splits and `sticky` fit together, with each other and with their pools. Called by `checks`."""

from __future__ import annotations

from collections.abc import Iterator

from proxy.config.mistakes import Finding, Path, nearest
from proxy.config.models import Pool, Route
from proxy.config.reading import Reading
from proxy.config.splits import ABORT_ON
from proxy.config.sticky import Sticky
from proxy.core.pools.balancer import OWN

ONE_SERVES = "does nothing in an active-passive pool: one backend serves"
PREFIXES = ("__Host-", "__Secure-")
"""Of names, for which browsers demand more (RFC 6265bis, section 4.1.3)."""


def sticky_pool(reading: Reading, name: str, pool: Pool) -> Iterator[Finding]:
    """Find what does not fit in the `sticky` of a pool."""
    place: Path = ("pools", name, "sticky")
    if pool.sticky is None:
        return
    if pool.mode == "active-passive" and reading.is_sure("pools", name, "mode"):
        yield Finding(place, ONE_SERVES, at_key=True)
    elif pool.sticky.hash_on is not None:
        yield Finding((*place, "hash_on"), "belongs to a split; within a pool that is 'balance: hash'", at_key=True)
    else:
        yield from _cookie(reading, place, pool.sticky)


def sticky_route(reading: Reading, number: int, route: Route) -> Iterator[Finding]:
    """Find what does not fit in a route that is sticky, or whose pools are."""
    place: Path = ("routes", number, "sticky")
    if route.sticky is None:
        yield from _left_to_pools(reading, number, route)
    elif reading.has("routes", number, "answer") or reading.has("routes", number, "redirect"):
        yield Finding(place, "does nothing without 'pool' or 'split'", at_key=True)
    elif route.sticky.hash_on is None:
        yield from _cookie(reading, place, route.sticky)
        yield from _mode(reading, place, route)
    else:
        yield from _hash(reading, place, route, route.sticky)


def aborting(reading: Reading, number: int, route: Route) -> Iterator[Finding]:
    """Find what does not fit in `split.abort_on`, and whatever else in a split is no share."""
    place: Path = ("routes", number, "split")
    for name, part in (route.split or {}).items():
        if name == ABORT_ON and isinstance(part, float):
            yield Finding((*place, name), "is no pool: it says when a pool of this split is cut off, in a map")
        elif name != ABORT_ON and not isinstance(part, float):
            yield Finding((*place, name), "expected a share such as 20%, not a map")
    policy = route.abort_on
    if policy is None or not reading.is_sure(*place):
        return
    pools = [name for name, share in route.shares.items() if share]
    if policy.pool not in pools:
        message = f"this split has no pool '{policy.pool}'{nearest(policy.pool, pools)}"
        yield Finding((*place, ABORT_ON, "pool"), message)
    elif len(pools) == 1:
        yield Finding((*place, ABORT_ON), "does nothing in a split of one pool: nobody would be left", at_key=True)


def _left_to_pools(reading: Reading, number: int, route: Route) -> Iterator[Finding]:
    split = route.shares
    for name in split:
        if len(split) > 1 and reading.has("pools", name, "sticky"):
            message = "has 'sticky', and a split could send its clients to another pool: say it in the route"
            yield Finding(("routes", number, "split", name), message, at_key=True)


def _mode(reading: Reading, place: Path, route: Route) -> Iterator[Finding]:
    names = [route.pool] if route.pool is not None else list(route.shares)
    pool = reading.config.pools.get(names[0]) if len(names) == 1 else None
    if pool is not None and pool.mode == "active-passive" and reading.is_sure("pools", names[0], "mode"):
        yield Finding(place, ONE_SERVES, at_key=True)


def _hash(reading: Reading, place: Path, route: Route, sticky: Sticky) -> Iterator[Finding]:
    if sticky.cookie is not None:
        yield Finding((*place, "hash_on"), "does not go with 'cookie'", at_key=True)
        return
    if sticky.hash_on is not None and sticky.hash_on.source == OWN:
        yield Finding((*place, "hash_on"), "code of your own is for 'balance: hash' within a pool")
    if route.split is None:
        yield Finding((*place, "hash_on"), "does nothing without 'split': see 'balance: hash'", at_key=True)
    for key in type(sticky).model_fields:
        if key != "hash_on" and reading.has(*place, key):
            yield Finding((*place, key), "does nothing with 'hash_on': there is no cookie", at_key=True)


def _cookie(reading: Reading, place: Path, sticky: Sticky) -> Iterator[Finding]:
    if not reading.is_sure(*place):
        return
    if sticky.cookie is None:
        yield Finding(place, "needs 'cookie', or in a split 'hash_on'", at_key=True)
        return
    if sticky.sign_with is None and not reading.config.state_dir and reading.is_sure_of("state_dir"):
        message = "needs 'state_dir', where the key is kept that signs the cookie, or 'sign_with'"
        yield Finding(place, message, at_key=True)
    if sticky.same_site == "none" and sticky.secure is False:
        yield Finding((*place, "same_site"), "browsers take such a cookie over TLS alone, and 'secure' is false")
    prefix = next((one for one in PREFIXES if sticky.cookie.startswith(one)), None)
    if prefix is not None and not sticky.secure:
        yield Finding((*place, "cookie"), f"browsers take a cookie {prefix}… with 'secure: true' alone")
    elif prefix == "__Host-" and (sticky.domain or sticky.path != "/"):
        yield Finding((*place, "cookie"), "browsers take a cookie __Host-… with the path / and without a domain alone")
