"""Whose requests count together for a Route's rate limit, and whether one more may come. Called by `exchange`.

The algorithm is `core.gcra`. A client is an address (for IPv6 its /64), or the value of a header or cookie. Behind one
of `trusted_proxies` it is the last address that such a proxy has seen and that is none of them.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING

from proxy.core.settings import RouteSettings
from proxy.core.wire.http1 import RequestHead
from proxy.dataplane.clients.places import network_of
from proxy.dataplane.writes.mailbox import Mailbox

if TYPE_CHECKING:
    from proxy.dataplane.clients.downstream import Downstream

_FOR = re.compile(rb'for="?(\[[0-9a-f:.]+\]|[^;,"]+)', re.IGNORECASE)
_WITH_PORT = re.compile(r"\[(.+)\](?::\d+)?|([0-9.]+):\d+")


def seconds_too_early(client: Downstream, request: RequestHead, route: RouteSettings) -> float:
    """0 if the request may pass; else the seconds until the next one may."""
    policy = route.rate_limit
    # What we deliver ourselves was let through when it came.
    if policy is None or isinstance(client.transport, Mailbox):
        return 0.0
    source, name = policy.key.source, policy.key.name
    value: bytes | None = None
    if source == "header":
        value = request.field(name.encode())
    elif source == "cookie":
        value = request.cookie(name.encode())
    elif source == "path":
        value = request.path
    kind = source.encode() if value is not None else b"client"
    if value is None:
        value = network_of(address_of(client, request))
    key = b"\0".join((route.name.encode(), kind, value))
    return client.worker.places.rates.take(key, policy, monotonic())


def address_of(client: Downstream, request: RequestHead) -> str:
    """The client's own address, as far as it can be believed."""
    if not client.forwarding.is_trusted or not request.forwarded:
        return client.client
    return last_untrusted(claimed(request), client.client, client.worker.reception.is_trusted)


def claimed(request: RequestHead) -> list[str]:
    """The addresses that proxies before us have seen, the first one first; `X-Forwarded-For` before `Forwarded`."""
    values = [value for name, value in request.forwarded if name == b"x-forwarded-for"]
    if values:
        return [one.strip().decode("latin-1") for one in b",".join(values).split(b",")]
    values = [value for name, value in request.forwarded if name == b"forwarded"]
    return [found.decode("latin-1") for found in _FOR.findall(b",".join(values))]


def last_untrusted(addresses: list[str], nearest: str, is_trusted: Callable[[str], bool]) -> str:
    """Going back from the nearest: the first that is no trusted proxy; what can't be read ends the search."""
    for text in reversed(addresses):
        match = _WITH_PORT.fullmatch(text)
        bare = (match[1] or match[2]) if match else text
        try:
            ipaddress.ip_address(bare)
        except ValueError:
            return nearest
        if not is_trusted(bare):
            return bare
        nearest = bare
    return nearest
