"""Listening sockets: bound once by the supervisor and kept open for its life, so that no accept queue is ever lost.

One SO_REUSEPORT socket per TCP listener and worker; a Unix socket is shared by all workers, and so is one that a
service manager has bound. Workers inherit them. What others have bound before us is in `inheritance`.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import socket
import stat
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proxy.controlplane.listeners.inheritance import Heirloom, Inheritance
from proxy.core.settings import Address, ListenerSettings

BACKLOG = 4096
"""Connections that may wait to be accepted; the kernel's `somaxconn` may lower it."""


class StartError(Exception):
    """Why the proxy can't start, in words for the person who starts it."""


@dataclass(frozen=True, slots=True)
class BoundListener:
    """A Listener with its sockets."""

    name: str
    address: Address
    """As bound: with the port that port 0 became."""
    sockets: tuple[socket.socket, ...]
    """At least one for each worker; the same one for all where it is shared."""
    workers: int = 1
    is_foreign: bool = False
    """Whether a service manager has bound it, who keeps it open whatever we do."""
    is_inherited: bool = False
    """Whether somebody else may still accept on it: a worker from before, or whoever a service manager starts next."""
    shares: Mapping[int, tuple[socket.socket, ...]] | None = None
    """By the number of the worker, once a reload has changed how many there are; before it follows from `sockets`."""

    @property
    def numbers(self) -> tuple[int, ...]:
        """Of the workers that accept here."""
        return tuple(range(self.workers) if self.shares is None else self.shares)

    @property
    def is_shared(self) -> bool:
        """Whether all workers accept on one socket."""
        return self.is_foreign or self.sockets[0].family == socket.AF_UNIX

    def of(self, worker: int) -> tuple[socket.socket, ...]:
        """A worker's own sockets: several where a program before us had more workers, so that no queue is forgotten."""
        if self.shares is not None:
            return self.shares.get(worker, ())
        return tuple(dict.fromkeys(self.sockets[worker :: self.workers]))

    def pause(self, worker: int) -> None:
        """Refuse connections in place of a worker that stays away, so that the kernel hands them to the others."""
        if not self.is_shared:
            for one in self.of(worker):
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)

    def resume(self, worker: int) -> None:
        """Accept again."""
        for one in self.of(worker):
            one.listen(BACKLOG)

    def undo(self) -> None:
        """Let go of it; what others bound stays as it was, and theirs."""
        if not self.is_inherited:
            self.close()
        for one in self.sockets:
            one.close()

    def close(self) -> None:
        """Give the address up. Workers may still accept who is connected already."""
        was_open = self.sockets[0].fileno() >= 0
        for one in self.sockets:
            if was_open and not self.is_foreign:
                _refuse_newcomers(one)
            one.close()
        if self.address.path and was_open and not self.is_foreign:
            Path(self.address.path).unlink(missing_ok=True)


def bind_listener(
    settings: ListenerSettings, workers: int, inheritance: Inheritance | None = None, *, may_share: bool = False
) -> BoundListener:
    """Bind one Listener for so many workers, or go on with the sockets that it has already.

    `may_share`: it is no mistake if we ourselves listen on its port already.
    """
    try:
        inherited = _claim(f"listener {settings.name}", settings.address, inheritance)
        if inherited:
            return _continue(settings.name, inherited, workers)
        if settings.address.path:
            shared = _bind_unix(settings.address.path)
            return BoundListener(settings.name, settings.address, (shared,) * workers, workers)
        family, sockaddr = _resolve(settings.address)
        with _reserve(family, sockaddr, may_share=may_share) as reserved:
            host, port = reserved.getsockname()[:2]
            sockaddr = (sockaddr[0], port, *sockaddr[2:])
            sockets = tuple(_bind_tcp(family, sockaddr, shared=True) for _ in range(workers))
        return BoundListener(settings.name, Address(host, port), sockets, workers)
    except (OSError, UnicodeError) as error:
        raise StartError(_explain(f"listener {settings.name}", settings.address, error)) from error


def bind_beside(listener: BoundListener) -> socket.socket:
    """One more socket for a Listener that has some."""
    first = listener.sockets[0]
    try:
        return _bind_tcp(first.family, first.getsockname(), shared=True)
    except OSError as error:
        raise StartError(_explain(f"listener {listener.name}", listener.address, error)) from error


def bind_admin(address: Address, inheritance: Inheritance | None = None) -> BoundListener:
    """Bind the admin endpoint, which is the supervisor's alone."""
    try:
        inherited = _claim("admin", address, inheritance)
        if inherited:
            return _continue("admin", inherited, 1)
        if address.path:
            return BoundListener("admin", address, (_bind_unix(address.path),))
        bound = _bind_tcp(*_resolve(address), shared=False)
        host, port = bound.getsockname()[:2]
        return BoundListener("admin", Address(host, port), (bound,))
    except (OSError, UnicodeError) as error:
        raise StartError(_explain("admin", address, error)) from error


def bound_addresses(listeners: Iterable[ListenerSettings]) -> list[Any]:
    """Where these would be bound, as `getsockname` would say; those that can't be resolved are left to fail later."""
    found = []
    for one in listeners:
        with contextlib.suppress(OSError, UnicodeError):
            found.append(one.address.path or _resolve(one.address)[1])
    return found


def is_there(owner: str, address: Address, inheritance: Inheritance) -> bool:
    """Whether this owner would go on with sockets that are there already; they are claimed by asking."""
    try:
        return bool(_claim(owner, address, inheritance))
    except (OSError, UnicodeError) as error:
        raise StartError(_explain(owner, address, error)) from error


def _claim(owner: str, address: Address, inheritance: Inheritance | None) -> tuple[Heirloom, ...]:
    return inheritance.claim(owner, address, address.path or _resolve(address)[1]) if inheritance else ()


def _continue(name: str, inherited: tuple[Heirloom, ...], workers: int) -> BoundListener:
    """Every socket is kept, for its queue; where workers have none of their own yet, they get one beside the others."""
    sockets = [one.sock for one in inherited]
    family, bound = sockets[0].family, sockets[0].getsockname()
    is_alone = family != socket.AF_UNIX and not sockets[0].getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT)
    is_foreign = inherited[0].is_foreign or is_alone
    for one in sockets:
        one.setblocking(False)
        with contextlib.suppress(OSError):  # there is none, mostly
            one.setsockopt(socket.SOL_SOCKET, SO_DETACH_FILTER, 0)
        one.listen(BACKLOG)
    address = Address(path=bound) if isinstance(bound, str) else Address(*bound[:2])
    missing = range(workers - len(sockets))
    if not is_foreign and family != socket.AF_UNIX:
        sockets += [_bind_tcp(family, bound, shared=True) for _ in missing]
    else:
        sockets += [sockets[number % len(sockets)] for number in missing]
    return BoundListener(name, address, tuple(sockets), workers, is_foreign, is_inherited=True)


def _resolve(address: Address) -> tuple[socket.AddressFamily, tuple[Any, ...]]:
    """Family and kernel address of the first that the name stands for; no host means all of IPv4."""
    found = socket.getaddrinfo(
        address.host or "0.0.0.0",
        address.port,
        type=socket.SOCK_STREAM,
        flags=socket.AI_PASSIVE,
    )
    family, _, _, _, sockaddr = found[0]
    return family, sockaddr


def _reserve(family: socket.AddressFamily, sockaddr: tuple[Any, ...], *, may_share: bool = False) -> socket.socket:
    """A socket that holds the port while the workers' are bound. It never listens, so it gets no connection.

    SO_REUSEPORT would let two proxies of one user share a port without a word. So a given port is first taken without
    it, which fails where anybody listens.
    """
    port = sockaddr[1]
    if port and not may_share:
        _bind_tcp(family, sockaddr, shared=False).close()
    reserved = _open(family)
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    return _bound(reserved, sockaddr)


def _bind_tcp(family: socket.AddressFamily, sockaddr: tuple[Any, ...], *, shared: bool) -> socket.socket:
    one = _open(family)
    if shared:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    _bound(one, sockaddr).listen(BACKLOG)
    return one


def _open(family: socket.AddressFamily) -> socket.socket:
    one = socket.socket(family, socket.SOCK_STREAM)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family is socket.AF_INET6:
        one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    one.setblocking(False)
    return one


def _bound(one: socket.socket, sockaddr: str | tuple[Any, ...]) -> socket.socket:
    try:
        one.bind(sockaddr)
    except OSError:
        one.close()
        raise
    return one


def _bind_unix(path: str) -> socket.socket:
    _remove_stale(path)
    one = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    one.setblocking(False)
    _bound(one, path).listen(BACKLOG)
    return one


def _remove_stale(path: str) -> None:
    """Remove a socket that nobody listens on any more; anything else is left, and binding will fail."""
    try:
        if not stat.S_ISSOCK(Path(path).stat().st_mode):
            return
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as caller:
        try:
            caller.connect(path)
        except ConnectionRefusedError:
            Path(path).unlink()


SO_ATTACH_FILTER = 26
SO_DETACH_FILTER = 27
NO_SYN = (
    (0x30, 0, 0, 13),  # load the byte with the flags
    (0x54, 0, 0, 0x12),  # of them SYN and ACK
    (0x15, 0, 1, 0x02),  # just SYN?
    (0x06, 0, 0, 0),  # drop it
    (0x06, 0, 0, 0xFFFFFFFF),  # let it pass
)
"""A filter for the packets of a listening socket (Linux's networking/filter): code, jump if true, if false, operand."""


def _refuse_newcomers(sock: socket.socket) -> None:
    """Let nobody begin to connect, but let those finish who have begun, for as long as anybody holds the socket.

    Whoever connected between a worker's last look at the queue and the end of the socket would be reset. Now he asks
    again within a second, and finds whoever listens then.
    """
    if sock.family == socket.AF_UNIX:
        return
    program = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *one) for one in NO_SYN))
    with contextlib.suppress(OSError):
        address = struct.pack("@HP", len(NO_SYN), ctypes.addressof(program))
        sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, address)


EXPLANATIONS = {
    errno.EADDRINUSE: "is taken: another process listens there",
    errno.EADDRNOTAVAIL: "is not an address of this machine",
    errno.EACCES: "may not be bound by this user",
}


def _explain(what: str, address: Address, error: OSError | UnicodeError) -> str:
    number = error.errno if isinstance(error, OSError) else None
    if number in EXPLANATIONS:
        return f"{what}: {address} {EXPLANATIONS[number]}"
    return f"{what}: cannot bind {address}: {error}"
