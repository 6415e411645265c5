"""Takes in clients: opens the Doors, knows whom to trust, counts who is inside, and turns away who is too many.

It serves nobody: `downstream` does. The worker configures it, and has it look once a sweep whether there is room again.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import socket
from time import monotonic
from typing import TYPE_CHECKING

from proxy.core.settings import Address, ListenerSettings, Settings
from proxy.core.wire.proxy_protocol import Origin
from proxy.dataplane.clients.door import Door
from proxy.dataplane.clients.downstream import Downstream
from proxy.dataplane.clients.places import Descriptors, Places
from proxy.dataplane.transport.handshakes import TlsListener

if TYPE_CHECKING:
    from proxy.dataplane.worker import Worker

MOST_REFUSED = 1000
"""Refused connections that may linger so that they get their answer; with more, none is accepted for a while."""
NOWHERE = Address()
HANDSHAKE = 0.1
"""Seconds for connections that have been begun to come into the queue, before it is emptied for the last time."""

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Reception:
    """All Doors of one worker, and what they have in common."""

    __slots__ = ("_closing", "_descriptors", "_listeners", "_places", "_tls", "_trusted", "_worker", "doors")

    def __init__(self, worker: Worker, places: Places) -> None:
        self._worker = worker
        self._places = places
        self._descriptors = Descriptors()
        self.doors: list[Door] = []
        self._closing: list[Door] = []
        self._listeners: dict[str, ListenerSettings] = {}
        self._tls: dict[str, TlsListener] = {}
        self._trusted: tuple[Network, ...] = ()

    def __repr__(self) -> str:
        return f"<Reception {self.doors} {self._places.inside} inside>"

    # Doors

    def configure(self, settings: Settings) -> None:
        """Do as the new settings say, for connections that come from now on."""
        self._tls = self._secured(settings)
        self._trusted = tuple(ipaddress.ip_network(one, strict=False) for one in settings.trusted_proxies)
        self._listeners = {one.name: one for one in settings.listeners}
        for door in self.doors:
            door.obey(self._listeners.get(door.settings.name, door.settings))

    def _secured(self, settings: Settings) -> dict[str, TlsListener]:
        """Listeners with TLS; those in which nothing has changed go on as they are, so that sessions can be resumed."""
        secured = {}
        for one in settings.listeners:
            if one.tls is not None:
                now = self._tls.get(one.name)
                secured[one.name] = (
                    TlsListener(self._worker, one.tls) if now is None or now.settings != one.tls else now
                )
        return secured

    def open(self, name: str, sock: socket.socket) -> None:
        """Accept clients of a Listener on a socket."""
        door = Door(sock, self._listeners.get(name, ListenerSettings(name, NOWHERE)), self)
        self.doors.append(door)
        door.open()

    def hold(self, sockets: list[tuple[str, socket.socket]]) -> None:
        """Accept on these from now on, each for the Listener of that name, and on no others. Who is inside stays."""
        doors = {os.fstat(door.fileno()).st_ino: door for door in self.doors}
        self.doors = []
        for name, sock in sockets:
            door = doors.pop(os.fstat(sock.fileno()).st_ino, None)
            if door is None:
                self.open(name, sock)
                continue
            sock.close()
            door.obey(self._listeners.get(name, door.settings))
            self.doors.append(door)
        loop = asyncio.get_running_loop()
        for door in doors.values():
            self._closing.append(door)
            loop.call_later(HANDSHAKE, self._close, door)

    def _close(self, door: Door) -> None:
        if door in self._closing:
            self._closing.remove(door)
            door.close()

    async def shut(self) -> None:
        """Accept nobody any more, and return when all who were accepted are inside."""
        doors = [*self.doors, *self._closing]
        if any(door.is_open for door in doors):
            await asyncio.sleep(HANDSHAKE)
        for door in doors:
            door.close()
        for door in doors:
            await door.shut()

    def look(self) -> None:
        """Accept again where there is room again."""
        for door in self.doors:
            door.look()

    # What Doors ask

    def client_at(self, door: Door, origin: Origin | None) -> asyncio.Protocol:
        """A protocol for a new client."""
        client = Downstream(self._worker, Arrival(door.settings, origin))
        tls = self._tls.get(door.settings.name)
        return client if tls is None else tls.admit(client)

    def has_room(self) -> bool:
        """Whether another client may be accepted."""
        clients = len(self._worker.connections)
        if clients - self._places.inside > MOST_REFUSED:
            return False
        coming = sum(len(door.opening) for door in self.doors)
        return not self._descriptors.are_short(clients + coming, monotonic())

    def head_timeout(self) -> float:
        """Seconds that a client has for its first words."""
        return self._worker.timeouts.request_head

    def turn_away(self, listener: str, reason: str) -> None:
        """Count a connection that was closed without being served."""
        self._worker.stats.turn_away(listener, reason)

    # What clients ask

    def is_trusted(self, client: str) -> bool:
        """Whether this address is one of `trusted_proxies`."""
        return bool(self._trusted) and bool(client) and any(ipaddress.ip_address(client) in n for n in self._trusted)

    def enter(self, client: Downstream) -> bool:
        """Count a new client; False if it is too many. A trusted proxy stands for many: it has no limit of its own."""
        listener = client.arrival.listener
        address = "" if client.forwarding.is_trusted else client.client
        entered = self._places.enter(listener, address)
        if isinstance(entered, str):
            self.turn_away(listener.name, entered)
            self._worker.stats.refuse(503)
            return False
        client.arrival.place = entered
        return True

    def leave(self, client: Downstream) -> None:
        """A client is gone; one that did not get in leaves nothing."""
        place, client.arrival.place = client.arrival.place, ()
        if place:
            self._places.leave(place)


class Arrival:
    """How a connection came in."""

    __slots__ = ("listener", "origin", "place")

    def __init__(self, listener: ListenerSettings, origin: Origin | None = None) -> None:
        self.listener = listener
        """As it was set then."""
        self.origin = origin
        """What its PROXY header says, if it had one that names a client."""
        self.place: tuple[bytes, ...] = ()
        """What it counts for; empty for one that was turned away."""
