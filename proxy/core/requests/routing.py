"""Routing: the first Route that matches a request, at a cost that does not grow with the number of Routes.

Hosts are looked up exactly and by suffix, paths exactly and by each of their prefixes; only Routes with the same host
and path are compared one by one. Paths are compared as they were sent: nothing is decoded or normalised.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from proxy.core.requests.splitting import Split
from proxy.core.requests.stale import LastGood
from proxy.core.requests.sticky import Stickiness
from proxy.core.settings import RouteSettings, StaticAnswer
from proxy.core.wire.http1 import RequestHead


class Route:
    """A Route made ready for matching."""

    __slots__ = (
        "_headers",
        "_methods",
        "fallback",
        "is_guarded",
        "is_unconditional",
        "last_good",
        "name",
        "number",
        "pool",
        "settings",
        "split",
        "stickiness",
    )

    def __init__(self, number: int, settings: RouteSettings) -> None:
        self.number = number
        self.name = settings.name
        self.settings = settings
        self.fallback = fallback = settings.fallback
        self.last_good = LastGood(fallback.stale) if fallback is not None and fallback.stale is not None else None
        self.pool = settings.split[0][0] if len(settings.split) == 1 and settings.sticky is None else ""
        """The Pool where nothing is left to choose."""
        self.split = Split(settings.split)
        self.stickiness: Stickiness | None = None
        """Where there is a cookie; set by whoever knows the Backends."""
        self.is_unconditional = not settings.match.methods and not settings.match.headers
        """Whether host and path are all that it asks for."""
        self.is_guarded = settings.answer is not None or settings.rate_limit is not None
        """Whether there is something to do before a Pool is asked, or in its place."""
        self._methods = frozenset(method.encode() for method in settings.match.methods)
        self._headers = tuple((name.lower().encode(), value.encode()) for name, value in settings.match.headers)

    def __repr__(self) -> str:
        return f"<Route {self.number} {self.settings.name}>"

    def accepts(self, request: RequestHead) -> bool:
        """Whether method and header fields fit; host and path were looked up before."""
        if self.is_unconditional:
            return True
        if self._methods and request.method not in self._methods:
            return False
        return all(request.field(name) == value for name, value in self._headers)


class _Paths:
    """The Routes of one host, by path."""

    __slots__ = ("_longest", "anywhere", "exact", "prefixes")

    def __init__(self) -> None:
        self._longest = 0
        self.exact: dict[bytes, list[Route]] = {}
        self.prefixes: dict[bytes, list[Route]] = {}
        self.anywhere: list[Route] = []

    def add(self, route: Route) -> None:
        path = route.settings.match.path.encode()
        if path in (b"", b"/*"):
            self.anywhere.append(route)
        elif path.endswith(b"/*"):
            self.prefixes.setdefault(path[:-1], []).append(route)
            self._longest = max(self._longest, len(path) - 1)
        else:
            self.exact.setdefault(path, []).append(route)

    def at(self, path: bytes) -> Iterator[Sequence[Route]]:
        """The lists of Routes whose path fits."""
        if self.anywhere:
            yield self.anywhere
        if path in self.exact:
            yield self.exact[path]
        if self.prefixes:
            # A client's path of 8,000 slashes must not cost 8,000 looks.
            end = path.find(b"/", 1, self._longest)
            while end >= 0:
                found = self.prefixes.get(path[: end + 1])
                if found is not None:
                    yield found
                end = path.find(b"/", end + 1, self._longest)


class Router:
    """All Routes of a config."""

    __slots__ = ("_any", "_hosts", "_longest", "_only", "_suffixes", "choosing", "routes")

    def __init__(self, routes: Sequence[RouteSettings]) -> None:
        self.routes: list[Route] = []
        self.choosing: list[Route] = []
        """Those that are split or sticky."""
        self._hosts: dict[bytes, _Paths] = {}
        self._suffixes: dict[bytes, _Paths] = {}
        self._longest = 0
        self._any = _Paths()
        self._only: Route | None = None
        self.extend(routes)

    def __repr__(self) -> str:
        return f"<Router {len(self.routes)} routes>"

    def extend(self, routes: Sequence[RouteSettings]) -> None:
        """Add more Routes after those that are here."""
        for number, settings in enumerate(routes, len(self.routes)):
            route = Route(number, settings)
            self.routes.append(route)
            if settings.split and not route.pool:
                self.choosing.append(route)
            self._paths_of(settings.match.host.lower().encode()).add(route)
        only = self.routes[0] if len(self.routes) == 1 and self._any.anywhere else None
        self._only = only if only is not None and only.is_unconditional else None

    def _paths_of(self, host: bytes) -> _Paths:
        if not host:
            return self._any
        if host.startswith(b"*."):
            self._longest = max(self._longest, len(host) - 1)
            return self._suffixes.setdefault(host[1:], _Paths())
        return self._hosts.setdefault(host, _Paths())

    def find(self, request: RequestHead) -> Route | None:
        """The first Route in the order of the config that matches; None if none does."""
        if self._only is not None:
            return self._only
        best: Route | None = None
        for paths in self._for_host(hostname(request.authority)):
            for routes in paths.at(request.path):
                for route in routes:
                    if best is not None and route.number > best.number:
                        break
                    if route.accepts(request):
                        best = route
                        break
        return best

    def _for_host(self, host: bytes) -> Iterator[_Paths]:
        yield self._any
        if host in self._hosts:
            yield self._hosts[host]
        if self._suffixes:
            dot = host.find(b".", max(0, len(host) - self._longest))
            while dot >= 0:
                found = self._suffixes.get(host[dot:])
                if found is not None:
                    yield found
                dot = host.find(b".", dot + 1)


def mismatch(route: Route, request: RequestHead) -> str:
    """Why this Route does not take the request, for a person; empty if it would, were no other before it.

    The values of header fields are not told: they may be credentials.
    """
    match, host = route.settings.match, hostname(request.authority)
    wanted = match.host.lower().encode()
    if wanted[:2] == b"*." and not host.endswith(wanted[1:]):
        return f"the host is not below {match.host[2:]}"
    if wanted and wanted[:2] != b"*." and host != wanted:
        return f"the host is not {match.host}"
    path = match.path.encode()
    if path.endswith(b"/*") and not request.path.startswith(path[:-1]) and path != b"/*":
        return f"the path is not below {match.path[:-1]}"
    if path and not path.endswith(b"/*") and request.path != path:
        return f"the path is not {match.path}"
    if route.accepts(request):
        return ""
    if match.methods and request.method.decode("latin-1") not in match.methods:
        return f"the method is not {' or '.join(match.methods)}"
    name = next(name for name, value in match.headers if request.field(name.lower().encode()) != value.encode())
    return f"{name} is missing" if request.field(name.lower().encode()) is None else f"{name} has another value"


def last_hop(route: Route) -> Route:
    """The same Route for a request that may go no further (RFC 9110, section 7.6.2): it is answered here."""
    return Route(route.number, replace(route.settings, answer=StaticAnswer()))


def hostname(authority: bytes) -> bytes:
    """The host of `host:port` in lower case, without a closing dot; IPv6 keeps its brackets."""
    host = authority.lower()
    if host[-1:] != b"]":
        before, colon, _ = host.rpartition(b":")
        host = before if colon else host
    return host.removesuffix(b".")
