"""The journal's files in `state_dir`: one entry a line, appended to one until it is full; then that is the older one.

So there are always the last `most` entries, and never more than twice as many. Everything here blocks: `journal` calls
it beside the loop.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

from proxy.core.telling.journal import Kept, read_line

CURRENT, OLDER = "journal.jsonl", "journal.1.jsonl"
MODE = 0o640


class Files:
    """The two files."""

    def __init__(self, folder: Path, most: int) -> None:
        self._folder = folder
        self.most = most
        self._in_current = 0

    def __repr__(self) -> str:
        return f"<Files {self.path} {self._in_current} of {self.most}>"

    @property
    def path(self) -> Path:
        """The one that is appended to."""
        return self._folder / CURRENT

    def read(self) -> tuple[list[Kept], int]:
        """What can be read, oldest first, and how many lines can't. Passes OSError on."""
        older, torn = _read(self._folder / OLDER)
        current, torn_too = _read(self.path)
        self._in_current = len(current) + torn_too
        return older + current, torn + torn_too

    def append(self, entries: Sequence[Kept]) -> None:
        """Write these, whole or not at all, to the disk itself. Passes OSError on."""
        self._folder.mkdir(parents=True, exist_ok=True)
        if self._in_current and self._in_current + len(entries) > self.most:
            self.path.replace(self._folder / OLDER)
            self._in_current = 0
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, MODE)
        try:
            _write(descriptor, "".join(f"{one.text}\n" for one in entries).encode("ascii"))
        finally:
            os.close(descriptor)
        self._in_current += len(entries)


def _read(path: Path) -> tuple[list[Kept], int]:
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return [], 0
    entries = [read_line(line) for line in lines if line]
    found = [one for one in entries if one is not None]
    return found, len(entries) - len(found)


def _write(descriptor: int, data: bytes) -> None:
    """What a crash has torn off stays a line of its own; what does not fit on the disk leaves nothing behind."""
    size = os.fstat(descriptor).st_size
    if size and os.pread(descriptor, 1, size - 1) != b"\n":
        data = b"\n" + data
    try:
        while data:
            data = data[os.write(descriptor, data) :]
        os.fdatasync(descriptor)
    except OSError:
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, size)
        raise
