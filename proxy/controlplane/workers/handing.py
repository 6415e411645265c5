"""Hands listening sockets to a worker that runs (unix(7), SCM_RIGHTS), on a socketpair beside the control socket.

Always all that it shall have, so that one message that could not be sent is made good by the next. `fleet` owns one for
each worker process.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence

from proxy.core.messages import Doors, encode

AT_ONCE = 200
"""Descriptors in one message; the kernel takes 253."""

Pairs = Sequence[tuple[str, socket.socket]]


class Handing:
    """The supervisor's end. What can't be sent now is sent by `again`."""

    def __init__(self) -> None:
        self._ours, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._ours.setblocking(False)
        self._unsent: tuple[int, Pairs] | None = None

    def __repr__(self) -> str:
        return f"<Handing{' behind' if self._unsent else ''}>"

    def send(self, settings_version: int, pairs: Pairs) -> None:
        """The process accepts on these from now on, each for the Listener of that name, and on no others."""
        self._unsent = (settings_version, list(pairs))
        self.again()

    def again(self) -> None:
        """Send what could not be sent before."""
        if self._unsent is None:
            return
        version, pairs = self._unsent
        cuts = range(0, max(len(pairs), 1), AT_ONCE)
        try:
            for cut in cuts:
                some = pairs[cut : cut + AT_ONCE]
                is_last = cut + AT_ONCE >= len(pairs)
                message = Doors(version, cut == 0, is_last, tuple(name for name, _ in some))
                socket.send_fds(self._ours, [encode(message)], [sock.fileno() for _, sock in some])
        except BlockingIOError:
            return
        except OSError:
            # The process is gone; its successor inherits what it shall have.
            pass
        self._unsent = None

    def close(self) -> None:
        """The process has ended."""
        self._ours.close()
        self.theirs.close()
        self._unsent = None
