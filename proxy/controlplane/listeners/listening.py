"""The listening sockets of other settings, made from those that are bound: what stays is kept, only the rest is bound.

It binds and closes nothing that is in use: who calls puts in force what it gets, or lets go of it. Called for a reload.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from proxy.controlplane.listeners.sockets import BoundListener, bind_beside, bind_listener
from proxy.core.settings import ListenerSettings, Settings


@dataclass(frozen=True, slots=True)
class Arrangement:
    """Which sockets there will be."""

    listeners: tuple[BoundListener, ...]
    removed: tuple[BoundListener, ...]
    """Of these ours are to be closed; the workers empty their queues before they close theirs."""
    opened: tuple[socket.socket, ...]

    def undo(self) -> None:
        """Nothing came of it."""
        _close(self.opened)


def _close(sockets: Iterable[socket.socket]) -> None:
    for one in sockets:
        one.close()


def arrange(bound: Sequence[BoundListener], before: Settings, after: Settings, numbers: Sequence[int]) -> Arrangement:
    """The Listeners of `after` for the workers with these numbers. Raises StartError, and leaves nothing bound then.

    A Listener is known by its address, whatever its name: its sockets stay, and what waits in their queues.
    """
    known = list(zip(before.listeners, bound, strict=True))
    opened: list[socket.socket] = []
    with contextlib.ExitStack() as undo:
        undo.callback(_close, opened)
        listeners = []
        for one in after.listeners:
            listener = _take(one, known)
            if listener is None:
                listeners.append(_bind(one, bound, numbers))
                opened += listeners[-1].sockets
            else:
                listeners.append(_share(replace(listener, name=one.name), numbers, opened))
        undo.pop_all()
    return Arrangement(tuple(listeners), tuple(left for _, left in known), tuple(opened))


def _take(settings: ListenerSettings, known: list[tuple[ListenerSettings, BoundListener]]) -> BoundListener | None:
    """The one with this address, which is known no more; of several that any port suits, first the one so named."""
    suitable = [pair for pair in known if pair[0].address == settings.address]
    if not suitable:
        return None
    chosen = next((pair for pair in suitable if pair[0].name == settings.name), suitable[0])
    known.remove(chosen)
    return chosen[1]


def _bind(settings: ListenerSettings, bound: Sequence[BoundListener], numbers: Sequence[int]) -> BoundListener:
    """A new one. That its port is taken is no mistake where it is we who listen there, at another address."""
    is_ours = any(one.address.port == settings.address.port for one in bound if not one.address.path)
    listener = bind_listener(settings, len(numbers), may_share=is_ours)
    return replace(listener, shares={number: listener.of(place) for place, number in enumerate(numbers)})


def _share(listener: BoundListener, numbers: Sequence[int], opened: list[socket.socket]) -> BoundListener:
    """The same sockets for other workers. None is closed: what waits there is accepted by somebody else.

    Who is new takes over one that another has too many, or gets one of its own.
    """
    shares = {number: list(listener.of(number)) for number in listener.numbers}
    if set(shares) == set(numbers):
        return listener
    free = [sock for number in list(shares) if number not in numbers for sock in shares.pop(number)]
    for number in numbers:
        if number not in shares:
            shares[number] = [_another(listener, shares, free, opened)]
    held = {sock for own in shares.values() for sock in own}
    for place, sock in enumerate(sock for sock in free if sock not in held):
        shares[numbers[place % len(numbers)]].append(sock)
    kept = {number: tuple(shares[number]) for number in numbers}
    every = tuple(dict.fromkeys(sock for own in kept.values() for sock in own))
    return replace(listener, sockets=every, shares=kept)


def _another(
    listener: BoundListener,
    shares: dict[int, list[socket.socket]],
    free: list[socket.socket],
    opened: list[socket.socket],
) -> socket.socket:
    """A socket for one more worker."""
    if listener.is_shared:
        return listener.sockets[0]
    if free:
        return free.pop()
    richest = max(shares.values(), key=len)
    if len(richest) > 1:
        return richest.pop()
    opened.append(bind_beside(listener))
    return opened[-1]
