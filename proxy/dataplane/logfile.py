"""The access log on its way to a file: batches, written by a thread of their own, bounded.

A disk that is slow or full never stops a request: lines over the bound are dropped and counted, and the log says so.
`core.accesslog` makes the lines; `worker` opens, flushes and closes this, once a sweep.
"""

from __future__ import annotations

import logging
import os
import threading
from queue import SimpleQueue

from proxy.core.settings import STANDARD_STREAMS

log = logging.getLogger("proxy.dataplane.logfile")

LAST_WORD = 2.0
"""Seconds that the last lines have to be written when the worker ends."""


class LogFile:
    """Appends lines to a file. All methods are for the loop's thread and never wait, except `close`."""

    __slots__ = (
        "_added",
        "_batch",
        "_failing",
        "_most",
        "_orders",
        "_path",
        "_reopens",
        "_thread",
        "_written",
        "dropped",
    )

    def __init__(self, path: str, most: int) -> None:
        self._path = path
        self._most = most
        self._batch: list[bytes] = []
        self._added = 0
        self._orders: SimpleQueue[bytes | None] = SimpleQueue()
        self._reopens = False
        self.dropped = 0
        """Lines that found no room."""
        # The writer's
        self._written = 0
        self._failing = False
        self._thread = threading.Thread(target=self._write_all, name="access log", daemon=True)
        self._thread.start()

    def __repr__(self) -> str:
        return f"<LogFile {self._path} {self._added - self._written} bytes waiting>"

    def add(self, line: bytes) -> None:
        """Take in one line, or drop it where too much waits already."""
        if self._added - self._written + len(line) > self._most:
            self.dropped += 1
            return
        self._added += len(line)
        self._batch.append(line)

    def flush(self) -> None:
        """Hand over what has gathered."""
        if self._batch:
            self._orders.put(b"".join(self._batch))
            self._batch = []

    def reopen(self) -> None:
        """The file may have been renamed: begin it anew."""
        self.flush()
        self._reopens = True
        self._orders.put(b"")

    def finish(self) -> None:
        """Take no more; what is left is written while others go on."""
        self.flush()
        self._orders.put(None)

    def close(self) -> None:
        """Write what is left, within bounds."""
        self.finish()
        self._thread.join(LAST_WORD)

    # The thread

    def _write_all(self) -> None:
        descriptor = -1
        while (batch := self._orders.get()) is not None:
            if self._reopens and descriptor >= 0:
                os.close(descriptor)
                descriptor = -1
            self._reopens = False
            try:
                if descriptor < 0:
                    descriptor = self._open()
                _write_whole(descriptor, batch)
                self._note(None)
            except OSError as error:
                self.dropped += batch.count(b"\n")
                self._note(error)
            self._written += len(batch)
        if descriptor >= 0:
            os.close(descriptor)

    def _open(self) -> int:
        if self._path in STANDARD_STREAMS:
            return os.dup(STANDARD_STREAMS[self._path])
        return os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)

    def _note(self, error: OSError | None) -> None:
        """Say when writing begins to fail, and when it works again."""
        if (error is not None) is self._failing:
            return
        self._failing = error is not None
        if error is not None:
            fields = {"file": self._path, "error": error.strerror}
            log.warning("the access log can't be written: lines are dropped", extra={"fields": fields})
        else:
            log.info("the access log is written again", extra={"fields": {"file": self._path, "dropped": self.dropped}})


def _write_whole(descriptor: int, batch: bytes) -> None:
    rest = memoryview(batch)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
