"""Listening sockets that the supervisor hands to a worker that serves: the worker's end of `controlplane.handing`."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable

from proxy.core.messages import Decoder, Doors

log = logging.getLogger("proxy.dataplane.handed")

MESSAGE_MAX = 262144
DESCRIPTORS_MAX = 253
"""In one message (unix(7), SCM_RIGHTS)."""

Pairs = list[tuple[str, socket.socket]]


class Handed:
    """Takes in all sockets of this worker, with the version of the settings that speak of them."""

    def __init__(self, sock: socket.socket, heed: Callable[[int, Pairs], None]) -> None:
        self._sock = sock
        self._heed = heed
        self._loop = asyncio.get_running_loop()
        self._coming: Pairs = []
        sock.setblocking(False)
        self._loop.add_reader(sock, self._read)

    def __repr__(self) -> str:
        return f"<Handed {len(self._coming)} coming>"

    def _read(self) -> None:
        try:
            data, descriptors, flags, _ = socket.recv_fds(self._sock, MESSAGE_MAX, DESCRIPTORS_MAX)
        except BlockingIOError:
            return
        except OSError as error:
            # Out of descriptors, mostly. The supervisor's word is lost; its next one names all again.
            log.warning("listening sockets could not be taken over", extra={"fields": {"error": error.strerror}})
            return
        for fd in descriptors:
            os.set_inheritable(fd, False)
        sockets = [socket.socket(fileno=fd) for fd in descriptors]
        if not data:
            self.close()
            return
        message = next(Decoder().feed(data), None)
        is_whole = isinstance(message, Doors) and len(message.names) == len(sockets) and not flags & socket.MSG_CTRUNC
        if not isinstance(message, Doors) or not is_whole:
            log.warning(
                "listening sockets could not be taken over", extra={"fields": {"error": "they did not all come"}}
            )
            for one in sockets:
                one.close()
            return
        self._take(message, sockets)

    def _take(self, message: Doors, sockets: list[socket.socket]) -> None:
        if message.is_first:
            self._drop()
        self._coming += zip(message.names, sockets, strict=True)
        if message.is_last:
            coming, self._coming = self._coming, []
            self._heed(message.settings_version, coming)

    def _drop(self) -> None:
        for _, one in self._coming:
            one.close()
        self._coming = []

    def close(self) -> None:
        """Nobody hands us any more."""
        if self._sock.fileno() >= 0:
            self._loop.remove_reader(self._sock)
            self._sock.close()
        self._drop()
