"""Listening sockets that somebody else has bound: the program before us, orphaned workers, or a service manager.

A connection that waits in the accept queue of such a socket is lost if the socket is closed. So what is inherited is
claimed by the Listener that it belongs to, with all of its sockets. The supervisor fills it and binds from it.
"""

from __future__ import annotations

import os
import socket
from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any

from proxy.core.settings import Address

FIRST = 3
"""The first descriptor that a service manager passes (sd_listen_fds(3))."""


@dataclass(frozen=True, slots=True)
class Heirloom:
    """One socket, and what is known of it."""

    sock: socket.socket
    owner: str = ""
    """What it belonged to: `listener web`, `admin`; from a service manager just the name."""
    configured: str = ""
    """That owner's address as its config said, which with port 0 is not where it is bound."""
    is_foreign: bool = False
    """Whether a service manager has bound it, who keeps it open whatever we do."""

    def suits(self, owner: str, configured: Address, bound: Any) -> bool:
        """Whether it is this owner's: by its address, as bound or as configured, or by the name alone."""
        if self.sock.getsockname() == bound:
            return True
        if self.configured:
            return (self.owner, self.configured) == (owner, str(configured))
        return bool(self.owner) and self.owner == owner.removeprefix("listener ")


class Inheritance:
    """All sockets that are there already."""

    def __init__(self) -> None:
        self._things: dict[int, Heirloom] = {}

    def __bool__(self) -> bool:
        return bool(self._things)

    def add(self, heirloom: Heirloom) -> None:
        """Take over a socket. One that is here already, under another descriptor, is not taken twice."""
        inode = os.fstat(heirloom.sock.fileno()).st_ino
        if inode in self._things:
            heirloom.sock.close()
        else:
            self._things[inode] = heirloom

    def claim(self, owner: str, configured: Address, bound: Any) -> tuple[Heirloom, ...]:
        """The sockets of this owner, which are now the caller's; `bound`: its address as `getsockname` would say."""
        found = {inode: one for inode, one in self._things.items() if one.suits(owner, configured, bound)}
        for inode in found:
            del self._things[inode]
        return tuple(found.values())

    def close(self) -> None:
        """Give up what nobody has claimed."""
        for one in self._things.values():
            one.sock.close()
        self._things.clear()


def from_service_manager(environment: MutableMapping[str, str]) -> Inheritance:
    """What systemd passes (sd_listen_fds(3)). Its variables are removed, so that no child takes them for its own."""
    pid, count, names = (environment.pop(f"LISTEN_{what}", "") for what in ("PID", "FDS", "FDNAMES"))
    inheritance = Inheritance()
    if pid != str(os.getpid()) or not count.isdigit():
        return inheritance
    known = dict(enumerate(names.split(":") if names else []))
    for number in range(int(count)):
        fd = FIRST + number
        os.set_inheritable(fd, False)
        inheritance.add(Heirloom(socket.socket(fileno=fd), known.get(number, ""), is_foreign=True))
    return inheritance
