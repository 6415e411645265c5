"""The access log of one worker: who gets a line, and what it says. `core.accesslog` words it, `logfile` writes it.

Opened by `worker` where the config asks for it; called by `recording` for each request.
"""

from __future__ import annotations

import random

from proxy.core.settings import AccessLogSettings
from proxy.core.telling.accesslog import Entry, Lines
from proxy.dataplane.logfile import LogFile

FIRST_ERROR = 400
"""The lowest status that is no success."""


class AccessLog:
    """Takes in one Entry for each request."""

    __slots__ = ("_dropped_before", "_lines", "_rng", "_sample", "file", "settings")

    def __init__(self, settings: AccessLogSettings, rng: random.Random, dropped: int = 0) -> None:
        self.settings = settings
        self.file = LogFile(settings.path, settings.buffer)
        self._lines = Lines(settings)
        self._sample = settings.sample
        self._rng = rng
        self._dropped_before = dropped

    def __repr__(self) -> str:
        return f"<AccessLog {self.file!r}>"

    @property
    def dropped(self) -> int:
        """Lines that were lost since the worker's start: no room, or no file."""
        return self._dropped_before + self.file.dropped

    def note(self, entry: Entry) -> None:
        """A request has ended."""
        if self._sample >= 1 or not _is_success(entry) or self._rng.random() < self._sample:
            self.file.add(self._lines.line(entry))


def _is_success(entry: Entry) -> bool:
    return 0 < entry.status < FIRST_ERROR and not entry.flags and len(entry.record.tried) <= 1


def follow_log(log: AccessLog | None, settings: AccessLogSettings | None, rng: random.Random) -> AccessLog | None:
    """The log as the Settings want it: the one that is open if nothing changed."""
    if log is not None and log.settings == settings:
        return log
    dropped = 0
    if log is not None:
        dropped = log.dropped
        log.file.finish()
    return AccessLog(settings, rng, dropped) if settings is not None else None
