"""The access log on its way to a file: batches, written by a thread of their own, bounded.

A disk that is slow or full never stops a request: lines over the bound are dropped and counted, and the log says so.
`core.accesslog` makes the lines; `worker` opens, flushes and closes this, once a sweep.
"""

from __future__ import annotations

import logging
import os
import select
import stat
import threading
from queue import SimpleQueue

from proxy.core.settings import STANDARD_STREAMS

log = logging.getLogger("proxy.dataplane.logfile")

REOPEN = b""
"""An order to begin the file anew; what was ordered before goes to the one before."""
LAST_WORD = 2.0
"""Seconds that the last lines have to be written when the worker ends."""


class LogFile:
    """Appends lines to a file. All methods are for the loop's thread and never wait, except `close`."""

    __slots__ = (
        "_added",
        "_batch",
        "_failing",
        "_is_torn",
        "_lost",
        "_most",
        "_orders",
        "_path",
        "_refused",
        "_thread",
        "_written",
    )

    def __init__(self, path: str, most: int) -> None:
        self._path = path
        self._most = most
        self._batch: list[bytes] = []
        self._added = 0
        self._orders: SimpleQueue[bytes | None] = SimpleQueue()
        self._refused = 0
        """Lines that found no room."""
        # The writer's
        self._written = 0
        self._lost = 0
        """Lines that the file did not take."""
        self._is_torn = False
        """Whether the last line in the file has no end."""
        self._failing = False
        self._thread = threading.Thread(target=self._write_all, name="access log", daemon=True)
        self._thread.start()

    def __repr__(self) -> str:
        return f"<LogFile {self._path} {self._added - self._written} bytes waiting>"

    @property
    def dropped(self) -> int:
        """Lines that were lost: no room, or no file."""
        return self._refused + self._lost

    def add(self, line: bytes) -> None:
        """Take in one line, or drop it where too much waits already."""
        if self._added - self._written + len(line) > self._most:
            self._refused += 1
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
        self._orders.put(REOPEN)

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
            if batch == REOPEN:
                descriptor = _closed(descriptor)
                self._is_torn = False
            try:
                if descriptor < 0:
                    descriptor = self._open()
            except OSError as error:
                self._lost += batch.count(b"\n")
                self._note(error)
            else:
                failure = self._write(descriptor, batch)
                self._note(failure)
                if failure is not None:
                    # It may have gone for good, as on a disk of the network: the next batch looks for it anew.
                    descriptor = _closed(descriptor)
            self._written += len(batch)
        _closed(descriptor)

    def _write(self, descriptor: int, batch: bytes) -> OSError | None:
        """Write all of it. Of what does not fit, whole lines are lost: half a one never runs into the next."""
        begin = b"\n" if self._is_torn and batch else b""
        data, done = begin + batch, 0
        try:
            is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
            while done < len(data):
                end = len(data) if is_file else _end_of_piece(data, done)
                done += os.write(descriptor, memoryview(data)[done:end])
        except OSError as error:
            whole = data.rfind(b"\n", 0, done) + 1
            self._lost += data.count(b"\n", max(whole, len(begin)))
            self._is_torn = whole < done or (self._is_torn and not done)
            return error
        self._is_torn = self._is_torn and not batch
        return None

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


def _end_of_piece(data: bytes, begin: int) -> int:
    """Where a write to a pipe ends that the kernel keeps together: other workers may write to the same one.

    Whole lines, as many as are sure to stay so; or one that is longer, which may not.
    """
    return data.rfind(b"\n", begin, begin + select.PIPE_BUF) + 1 or data.find(b"\n", begin) + 1 or len(data)


def _closed(descriptor: int) -> int:
    if descriptor >= 0:
        os.close(descriptor)
    return -1
