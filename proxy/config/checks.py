"""Do the keys of a file fit together: references, names given twice, shares, and settings that would do nothing.

Each check takes a Reading and yields Findings; all are in CHECKS. The form of single values is not looked at here, and
nothing is said of a value whose form is wrong. Called by `loader`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Collection, Iterable, Iterator

from proxy.config.build import address_of, policy
from proxy.config.crowding import crowding, priority
from proxy.config.mistakes import Finding, Path, nearest, one_of
from proxy.config.models import Pool, Route
from proxy.config.placing import aborting, sticky_pool, sticky_route
from proxy.config.quantities import write_duration, write_share
from proxy.config.reading import Reading
from proxy.config.serving import who_serves
from proxy.config.shape import is_below
from proxy.config.tracing import tracing
from proxy.core.pools.breaker import BreakerPolicy
from proxy.core.pools.health import HealthPolicy
from proxy.core.requests.retry import RetryPolicy
from proxy.core.settings import Address

TARGETS = ("pool", "split", "answer", "redirect")
SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
WITHOUT_BODY = frozenset({204, 205, 304})


def check(reading: Reading) -> list[Finding]:
    """Find all that does not fit together, each thing once."""
    found = dict.fromkeys(finding for one in CHECKS for finding in one(reading))
    return [finding for finding in found if not _is_moot(finding, reading)]


def _is_moot(finding: Finding, reading: Reading) -> bool:
    """Whether a Finding is about something that could not be read. Of its key, there is still something to say."""
    path = reading.document.locate(finding.path)[0]
    return is_below(path[:-1] if finding.at_key else path, reading.aside)


# Listeners and admin


def _listeners(reading: Reading) -> Iterator[Finding]:
    listeners = reading.config.listeners
    if isinstance(listeners, dict):
        for key, listener in listeners.items():
            if listener.name is not None:
                yield Finding(("listeners", key, "name"), f"this listener is named '{key}' by its key", at_key=True)
        places: list[tuple[Path, Address]] = [(("listeners", key), one.address) for key, one in listeners.items()]
    else:
        names = [(("listeners", n, "name"), one.name) for n, one in enumerate(listeners) if one.name]
        yield from _given_twice(reading, names, "listeners are named")
        places = [(("listeners", number), one.address) for number, one in enumerate(listeners)]
    places.append((("admin", "address"), reading.config.admin.address))
    yield from _proxy_protocol(reading)
    bound = [(path, str(address)) for path, address in places if address.port or address.path]
    yield from _given_twice(reading, bound, "endpoints listen on")


def _proxy_protocol(reading: Reading) -> Iterator[Finding]:
    config = reading.config
    if config.trusted_proxies or not reading.is_sure("trusted_proxies"):
        return
    pairs = config.listeners.items() if isinstance(config.listeners, dict) else enumerate(config.listeners)
    for key, listener in pairs:
        if listener.proxy_protocol and not listener.address.path:
            message = "needs 'trusted_proxies', or every connection would be refused"
            yield Finding(("listeners", key, "proxy_protocol"), message, at_key=True)


def _given_twice(reading: Reading, given: Iterable[tuple[Path, str]], what: str) -> Iterator[Finding]:
    first: dict[str, Path] = {}
    for path, value in given:
        if value in first:
            yield Finding(path, f"two {what} '{value}'; the other one is in line {reading.line(first[value])}")
        first.setdefault(value, path)


def _admin(reading: Reading) -> Iterator[Finding]:
    admin = reading.config.admin
    if admin.token is None and not _is_local(admin.address) and reading.is_sure("admin"):
        yield Finding(("admin", "address"), "an admin endpoint that other machines can reach needs a 'token'")


def _is_local(address: Address) -> bool:
    if address.path or address.host == "localhost":
        return True
    try:
        return ipaddress.ip_address(address.host).is_loopback
    except ValueError:
        return False


# Pools


def _pools(reading: Reading) -> Iterator[Finding]:
    for name, pool in reading.config.pools.items():
        yield from _backends(reading, name, pool)
        yield from _balance(reading, name, pool)
        yield from _breaker(reading, name, pool)
        yield from _backoff(reading, name, pool)
        yield from _probe(reading, name, pool)
        yield from _idempotency(reading, name, pool)
        yield from who_serves(reading, name, pool)
        yield from crowding(reading, name, pool)
        yield from sticky_pool(reading, name, pool)


def _backends(reading: Reading, name: str, pool: Pool) -> Iterator[Finding]:
    place: Path = ("pools", name, "backends")
    for number, backend in enumerate(pool.backends):
        # Whoever mistyped one of them need not hear that both are missing.
        if not (backend.address or backend.url) and reading.is_sure(*reading.document.locate((*place, number))[0]):
            yield Finding((*place, number), "needs 'address' or 'url'")
        if backend.address is not None and backend.url is not None:
            yield Finding((*place, number, "url"), "a backend has one address, and 'address' is given", at_key=True)
    names = [
        ((*place, number, "name"), backend.name or str(address_of(backend)))
        for number, backend in enumerate(pool.backends)
        if backend.name or backend.address or backend.url
    ]
    yield from _given_twice(reading, names, "backends of this pool are named")
    if not any(backend.weight for backend in pool.backends):
        yield Finding(place, "every weight is 0, so nobody would serve")


def _balance(reading: Reading, name: str, pool: Pool) -> Iterator[Finding]:
    if pool.balance == "hash" and pool.hash_on is None and reading.is_sure("pools", name, "hash_on"):
        yield Finding(
            ("pools", name, "balance"), "'hash' needs 'hash_on': client, path, {header: NAME} or {cookie: NAME}"
        )
    if pool.balance != "hash" and pool.hash_on is not None and reading.is_sure("pools", name, "balance"):
        yield Finding(("pools", name, "hash_on"), "does nothing without 'balance: hash'", at_key=True)


def _breaker(reading: Reading, name: str, pool: Pool) -> Iterator[Finding]:
    effective = policy(BreakerPolicy, reading.config.defaults.breaker, pool.breaker)
    if effective.open_for > effective.open_for_max:
        longest = write_duration(effective.open_for_max)
        yield from _fits_not(reading, name, "breaker", ("open_for", "open_for_max"), longest)


def _backoff(reading: Reading, name: str, pool: Pool) -> Iterator[Finding]:
    effective = policy(RetryPolicy, reading.config.defaults.retries, pool.retries)
    if effective.backoff > effective.backoff_max:
        longest = write_duration(effective.backoff_max)
        yield from _fits_not(reading, name, "retries", ("backoff", "backoff_max"), longest)


def _fits_not(reading: Reading, pool: str, block: str, keys: tuple[str, str], longest: object) -> Iterator[Finding]:
    """Report the first of two keys, which must not be longer than the second, where the file has either of them."""
    places = [(*place, key) for key in keys for place in (("pools", pool, block), ("defaults", block))]
    if all(reading.is_sure(*place) for place in places):
        place = next(place for place in places if reading.has(*place))
        yield Finding(place, f"'{keys[0]}' is longer than '{keys[1]}', which is {longest}")


def _probe(reading: Reading, name: str, pool: Pool) -> Iterator[Finding]:
    effective = policy(HealthPolicy, reading.config.defaults.health, pool.health)
    places = (("pools", name, "health"), ("defaults", "health"))
    if effective.path is not None or not all(reading.is_sure(*place, "path") for place in places):
        return
    for key, is_set in (("status", effective.status != HealthPolicy().status), ("body", effective.body is not None)):
        place = next(((*place, key) for place in places if reading.has(*place, key)), None)
        if is_set and place is not None:
            yield Finding(place, "does nothing without 'path': such a probe just connects", at_key=True)


def _idempotency(reading: Reading, name: str, pool: Pool) -> Iterator[Finding]:
    policy, place = pool.idempotency, ("pools", name, "idempotency")
    if policy is None:
        return
    if not reading.config.state_dir and reading.is_sure_of("state_dir"):
        yield Finding(place, "needs 'state_dir', where the ledger of keys is kept", at_key=True)
    if policy.shares_keys and not policy.honoured:
        yield Finding((*place, "shares_keys"), "does nothing with 'honoured: false'", at_key=True)
    for number, method in enumerate(policy.require_for):
        if method in SAFE:
            yield Finding((*place, "require_for", number), f"{method} changes nothing, so it needs no key")


# Routes


def _routes(reading: Reading) -> Iterator[Finding]:
    config = reading.config
    pools = reading.document.keys("pools")
    if not config.routes and reading.is_sure("routes") and reading.is_sure_of("pools") and len(pools) != 1:
        what = "with more than one pool, 'routes' must say" if pools else "without a pool, 'routes' must say"
        yield Finding(("pools",), f"{what} what happens to requests", at_key=True)
    names = [(("routes", n, "name"), route.name or f"route-{n + 1}") for n, route in enumerate(config.routes)]
    yield from _given_twice(reading, names, "routes are named")
    for number, route in enumerate(config.routes):
        given = reading.document.keys_of_item("routes", number)
        yield from _target(given, number)
        yield from _references(reading, number, route)
        yield from _split(reading, number, route)
        yield from _match(number, route)
        yield from _rewriting(reading, number, route, given)
        yield from _queue(reading, number, route, given)
        yield from priority(reading, number, route)
        yield from sticky_route(reading, number, route)
        yield from aborting(reading, number, route)
        if route.answer is not None and route.answer.body and route.answer.status in WITHOUT_BODY:
            yield Finding(("routes", number, "answer", "body"), f"an answer {route.answer.status} has no body")


def _target(given: Collection[str], number: int) -> Iterator[Finding]:
    targets = [key for key in TARGETS if key in given]
    if not targets:
        yield Finding(("routes", number), f"needs {one_of(TARGETS)}")
    for key in targets[1:]:
        message = f"a route has one of {one_of(TARGETS)}, and this one has '{targets[0]}'"
        yield Finding(("routes", number, key), message, at_key=True)


def _references(reading: Reading, number: int, route: Route) -> Iterator[Finding]:
    if not reading.is_sure_of("pools"):
        return
    pools = reading.document.keys("pools")
    place: Path = ("routes", number)
    if route.pool is not None and route.pool not in pools:
        yield Finding((*place, "pool"), f"there is no pool '{route.pool}'{nearest(route.pool, pools)}")
    for name in route.shares:
        if name not in pools:
            yield Finding((*place, "split", name), f"there is no pool '{name}'{nearest(name, pools)}", at_key=True)
        elif len(route.shares) > 1 and reading.has("pools", name, "idempotency"):
            message = "has 'idempotency', and a split could send a repeat to another pool"
            yield Finding((*place, "split", name), message, at_key=True)


def _split(reading: Reading, number: int, route: Route) -> Iterator[Finding]:
    if route.split is not None and reading.is_sure("routes", number, "split"):
        total = sum(route.shares.values())
        if abs(total - 1) > 1e-9:
            yield Finding(("routes", number, "split"), f"the shares add up to {write_share(total)}, not 100%")


def _match(number: int, route: Route) -> Iterator[Finding]:
    place: Path = ("routes", number, "match")
    if route.match.method is not None and route.match.methods:
        yield Finding((*place, "methods"), "does not go with 'method'", at_key=True)
    seen: set[str] = set()
    for name in route.match.headers:
        if name.lower() in seen:
            yield Finding((*place, "headers", name), "this header is given twice", at_key=True)
        seen.add(name.lower())


def _rewriting(reading: Reading, number: int, route: Route, given: Collection[str]) -> Iterator[Finding]:
    place: Path = ("routes", number)
    if "answer" in given or "redirect" in given:
        for key in ("strip_prefix", "preserve_host"):
            if key in given:
                yield Finding((*place, key), "does nothing without 'pool' or 'split'", at_key=True)
    elif route.strip_prefix and reading.is_sure(*place, "match"):
        path = route.match.path
        # Else `/api` would also be taken off `/apix`.
        if path != route.strip_prefix and not path.startswith(f"{route.strip_prefix}/"):
            message = f"needs a 'match.path' that begins with it, such as {route.strip_prefix}/*"
            yield Finding((*place, "strip_prefix"), message)


def _queue(reading: Reading, number: int, route: Route, given: Collection[str]) -> Iterator[Finding]:
    place: Path = ("routes", number)
    if route.on_unavailable != "queue":
        if "queue" in given and reading.is_sure(*place, "on_unavailable"):
            yield Finding((*place, "queue"), "does nothing without 'on_unavailable: queue'", at_key=True)
    elif route.pool is None:
        yield Finding((*place, "on_unavailable"), "needs a 'pool' that gets the writes later", at_key=True)
    elif route.pool in reading.document.keys("pools") and not reading.has("pools", route.pool, "idempotency"):
        message = f"needs 'idempotency' in pool '{route.pool}': only a write with a key can be delivered later"
        yield Finding((*place, "on_unavailable"), message, at_key=True)


CHECKS: tuple[Callable[[Reading], Iterator[Finding]], ...] = (_listeners, _admin, tracing, _pools, _routes)
