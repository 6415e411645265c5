"""Settings put in force in a worker that serves: what is kept, what is new, what leaves.

Called by `worker` for its first Settings and for each reload. Who keeps name and address keeps state and connections;
requests that are under way go on with what they began with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from proxy.core.messages import RoutePart
from proxy.core.pools.breaker import Transition
from proxy.core.pools.counts import SharedCounts
from proxy.core.pools.model import Backend
from proxy.core.pools.pool import Pool
from proxy.core.requests.routing import Router
from proxy.core.requests.sticky import Stickiness
from proxy.core.settings import BackendSettings, Limits, RouteSettings, Settings
from proxy.core.wire.headers import Rewrite
from proxy.dataplane.backends.idle import IdleConnections
from proxy.dataplane.backends.introduced import introductions
from proxy.dataplane.departed import Departed, Homes
from proxy.dataplane.transport.handshakes import Contexts

Pools = dict[str, Pool]


class Routes:
    """Makes Routers; very many Routes come in parts, so that between two of them requests are served."""

    __slots__ = ("_coming", "_coming_version", "_router", "_version")

    def __init__(self) -> None:
        self._router = self._coming = Router(())
        self._version = self._coming_version = 0

    def take(self, part: RoutePart) -> None:
        """The next Routes, which are not in force yet."""
        if part.is_first:
            self._coming, self._coming_version = Router(()), part.version
        self._coming.extend(part.routes)

    def router(self, settings: Sequence[RouteSettings], version: int) -> Router:
        """For these Routes; where there is a version, for those of it: the last ones, or those that came in parts."""
        if not version:
            self._router = Router(settings)
        elif version != self._version and version == self._coming_version:
            self._router = self._coming
        self._version = version
        return self._router


def follow(
    settings: Settings,
    pools: Pools,
    homes: Homes,
    departed: Departed,
    *,
    now: float,
    listener: Callable[[Backend, Transition], None],
    counts: SharedCounts | None = None,
) -> Pools:
    """The Pools of these Settings: those that were here before, changed as told, and new ones. The others depart."""
    following = {}
    contexts = Contexts()
    for one in settings.pools:
        pool = pools.get(one.name)
        if pool is None:
            pool = Pool(one, now, workers=settings.workers, listener=listener, counts=counts)
        else:
            departed.add(pool.obey(one, now, settings.workers))
        following[one.name] = pool
        _house(pool, homes, settings.limits, contexts)
    for name, pool in pools.items():
        if name not in following:
            departed.add(pool.dissolve(), pool)
    return following


def _house(pool: Pool, homes: Homes, limits: Limits, contexts: Contexts) -> None:
    """Each Backend has a place for its connections; one that is reached as before keeps them."""
    version = pool.settings.send_proxy_protocol
    for backend in pool.backends:
        home, address = homes.get(backend), backend.settings.address
        tls = contexts.handshakes(pool.settings.tls, address, None if home is None else home.tls)
        if home is None or home.version != version or home.tls is not tls:
            homes[backend] = IdleConnections(address, limits, introductions(version), tls)
            if home is not None:
                home.close()
        else:
            home.limits = limits


def make_ready(router: Router, pools: Pools) -> list[Rewrite | None]:
    """What Routes need of the Pools: whom their cookies may name, and how they change requests."""
    for route in router.choosing:
        policy = route.settings.sticky
        if policy is not None and policy.cookie:
            owners = (backend.key for name, _ in route.settings.split for backend in pools[name].backends)
            route.stickiness = Stickiness(policy, owners)
    return [rewrite(route.settings, pools) for route in router.routes]


def cut_off(router: Router, cuts: Mapping[str, str]) -> None:
    """Pools that get nothing of a split now, by Route."""
    for route in router.choosing:
        route.split.cut_off = cuts.get(route.name, "")


def rewrite(route: RouteSettings, pools: Pools) -> Rewrite | None:
    """How a Route changes requests; None if it does not."""
    if not route.split or (route.preserve_host and not route.strip_prefix):
        return None
    host = None if route.preserve_host else _backend_host(pools[route.split[0][0]].settings.backends[0])
    return Rewrite(route.strip_prefix.encode(), host)


def _backend_host(backend: BackendSettings) -> bytes:
    return b"localhost" if backend.address.path else str(backend.address).encode()
