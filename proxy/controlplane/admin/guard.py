"""Who may use the admin API: the bearer token, and the checks that keep a browser from being used against it.

A page that a person visits can send requests to their own machine, and a name that resolves to 127.0.0.1 makes it
look like one origin (DNS rebinding): then it can read the answers too. A page can choose neither `Host` nor `Origin`,
so mutations check both, and everything checks `Host` where no token does.
"""

from __future__ import annotations

import hmac
import ipaddress
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Middleware

from proxy.controlplane.admin.problems import Handler, Problem
from proxy.controlplane.dashboard.pages import is_for_all
from proxy.controlplane.listeners.sockets import StartError
from proxy.core.settings import Address, AdminSettings

OPEN_PATHS = frozenset({"/livez", "/readyz"})
"""For load balancers and orchestrators, which have no token."""
SAFE_METHODS = frozenset({"GET", "HEAD"})


class Guard:
    """Lets a request pass, or raises a Problem."""

    def __init__(self, settings: AdminSettings) -> None:
        if not settings.token and not is_local(settings.address):
            raise StartError(f"admin: {settings.address} is not a loopback address, so admin.token is required")
        self._token = settings.token.encode()
        self._address = settings.address

    def obey(self, settings: AdminSettings) -> bool:
        """Another token counts from the next request on; whether it is another."""
        before, self._token = self._token, settings.token.encode()
        return before != self._token

    def check(self, request: web.Request) -> None:
        """Raise a Problem unless this request may be answered."""
        is_safe = request.method in SAFE_METHODS
        if is_safe and request.path in OPEN_PATHS:
            return
        if self._token and not is_for_all(request):
            self._check_token(request)
        if not (is_safe and self._token):
            self._check_host(request)
        if not is_safe:
            _check_origin(request)

    def middleware(self) -> Middleware:
        """The same as aiohttp wants it."""

        @web.middleware
        async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
            self.check(request)
            return await handler(request)

        return guarded

    def _check_token(self, request: web.Request) -> None:
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), self._token):
            challenge = {"WWW-Authenticate": 'Bearer realm="failover-proxy"'}
            raise Problem(401, "a bearer token is required: Authorization: Bearer …", challenge)

    def _check_host(self, request: web.Request) -> None:
        """The names that are ours. An address that stands for all has none, but there the token was checked."""
        if self._address.path or _is_wildcard(self._address.host):
            return
        host = _hostname(request.headers.get("Host", ""))
        if not _is_loopback(host) and host != self._address.host.lower():
            without = "" if self._token else "; under other names it needs a token"
            raise Problem(403, f"Host {host or '(none)'} is not this admin endpoint{without}")


def is_local(address: Address) -> bool:
    """Whether only this machine can reach the address."""
    return bool(address.path) or _is_loopback(address.host.lower())


def _check_origin(request: web.Request) -> None:
    origin = request.headers.get("Origin")
    if origin is not None and origin.lower() != f"http://{request.headers.get('Host', '')}".lower():
        raise Problem(403, f"Origin {origin} is not this admin endpoint")


def _hostname(authority: str) -> str:
    try:
        return urlsplit(f"//{authority}").hostname or ""
    except ValueError:
        return ""


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_wildcard(host: str) -> bool:
    try:
        return not host or ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False
