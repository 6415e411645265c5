"""Which of the processes that note things in a ledger are alive: each holds a lock on one byte of a file.

The kernel lets the lock go when the process ends, however it ends. So there is no lease to renew, no clock to trust and
no process number that another process could have taken over; and it holds across containers that share the folder.
The file must lie on a local disk.
"""

from __future__ import annotations

import fcntl
import os
import random
import struct
from pathlib import Path

# struct flock of 64-bit Linux: type, whence, start, length, pid, padding. The pid of such a lock is 0 (fcntl(2)).
_FLOCK = struct.Struct("hhqqi0q")
_ID_BITS = 62
"""A byte's place in a file is a signed 64-bit number."""


class Owners:
    """This process's lock, and questions about those of others."""

    def __init__(self, path: Path, rng: random.Random) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self.own = 1 + rng.getrandbits(_ID_BITS)
        try:
            fcntl.fcntl(self._file, fcntl.F_OFD_SETLK, self._byte(fcntl.F_WRLCK, self.own))
        except OSError:
            os.close(self._file)
            raise

    def __repr__(self) -> str:
        return f"<Owners own={self.own}>"

    def is_alive(self, owner: int) -> bool:
        """Whether the process that has this number still runs."""
        if owner == self.own:
            return True
        found = fcntl.fcntl(self._file, fcntl.F_OFD_GETLK, self._byte(fcntl.F_WRLCK, owner))
        kind: int = _FLOCK.unpack(found[: _FLOCK.size])[0]
        return kind != fcntl.F_UNLCK

    def close(self) -> None:
        """Be dead for the others."""
        os.close(self._file)

    @staticmethod
    def _byte(kind: int, place: int) -> bytes:
        return _FLOCK.pack(kind, os.SEEK_SET, place, 1, 0)
