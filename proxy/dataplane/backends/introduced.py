"""Connections to a Backend that begin with a PROXY header: each of them speaks for one client, and serves it alone.

The header names the client's address and port, so such a connection is never given to another client connection: one
is kept for each client connection, and closed with it. `idle` asks here where the pool says `send_proxy_protocol`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.core.wire.proxy_protocol import header_for
from proxy.dataplane.clients.introduction import origin_of

if TYPE_CHECKING:
    from proxy.dataplane.backends.upstream import Upstream
    from proxy.dataplane.clients.downstream import Downstream


class Introductions:
    """Whose each connection of one Backend is, and which of them are idle."""

    __slots__ = ("_clients", "_idle", "version")

    def __init__(self, version: str) -> None:
        self.version = version
        self._clients: dict[Upstream, Downstream] = {}
        self._idle: dict[Downstream, Upstream] = {}

    def __repr__(self) -> str:
        return f"<Introductions {self.version} {len(self._clients)} connections>"

    def __len__(self) -> int:
        return len(self._idle)

    def header(self, client: Downstream) -> bytes:
        """What a connection for this client begins with."""
        return header_for(origin_of(client), self.version)

    def begin(self, upstream: Upstream, client: Downstream) -> None:
        """A connection has been opened for this client."""
        self._clients[upstream] = client

    def take(self, client: Downstream, now: float, longest_idle: float) -> Upstream | None:
        """This client's connection, if it has one that has not been idle for longer than `longest_idle` seconds."""
        upstream = self._idle.get(client)
        if upstream is None or now - upstream.idle_since > longest_idle:
            return None
        del self._idle[client]
        return upstream

    def keep(self, upstream: Upstream) -> None:
        """Keep a connection for its client's next request, if there can be one."""
        client = self._clients.get(upstream)
        if client is None or client.is_gone:
            upstream.close()
            return
        former = self._idle.get(client)
        self._idle[client] = upstream
        if former is not None:
            former.close()

    def forget(self, upstream: Upstream) -> None:
        """A connection is gone."""
        client = self._clients.pop(upstream, None)
        if client is not None and self._idle.get(client) is upstream:
            del self._idle[client]

    def leave(self, client: Downstream) -> None:
        """A client is gone, and nobody else may use its connection."""
        upstream = self._idle.pop(client, None)
        if upstream is not None:
            upstream.close()

    def sweep(self, now: float, longest_idle: float) -> None:
        """Close what has been idle for longer than `longest_idle` seconds."""
        for upstream in [one for one in self._idle.values() if now - one.idle_since > longest_idle]:
            upstream.close()

    def clear(self) -> None:
        """Close all that are idle."""
        for upstream in list(self._idle.values()):
            upstream.close()


def introductions(version: str) -> Introductions | None:
    """For one Backend; None where connections are everybody's."""
    return Introductions(version) if version else None
