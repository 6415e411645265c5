"""How much goes through a Pool or a Backend now: the differences between a worker's last Reports.

Pure arithmetic: `tally` feeds it, `admin.view` shows it. What comes from workers that have ended is not counted.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from proxy.core.messages import Report

WINDOW = 6
"""Reports of a worker between the first and the last of which a rate is taken: about five seconds."""
MINUTE = 7
STEP = 10.0
"""Seconds between two Reports that are kept for longer: seven of them are about a minute."""

Counts = dict[str, "Flow"]
Key = tuple[str, str]


class Flow(NamedTuple):
    """Requests and how many of them failed: a number, or so many a second."""

    requests: float = 0
    failures: float = 0

    def __add__(self, other: object) -> Flow:
        assert isinstance(other, Flow)
        return Flow(self.requests + other.requests, self.failures + other.failures)

    def since(self, before: Flow, seconds: float = 1.0) -> Flow:
        """What has come since, a second if `seconds` is how long ago that was; never less than nothing."""
        requests, failures = self[0] - before[0], self[1] - before[1]
        return Flow(requests / seconds if requests > 0 else 0.0, failures / seconds if failures > 0 else 0.0)


NOTHING = Flow()


class _Seen(NamedTuple):
    """What one Report said."""

    at: float
    backends: dict[Key, Flow]
    pools: dict[str, Flow]
    """Requests of clients; those that were answered with a status of 500 or more have failed."""


class _Worker:
    """The last Reports of one process."""

    __slots__ = ("minute", "pid", "recent")

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.recent: deque[_Seen] = deque(maxlen=WINDOW)
        self.minute: deque[_Seen] = deque(maxlen=MINUTE)

    def take(self, seen: _Seen) -> None:
        self.recent.append(seen)
        if not self.minute or seen.at - self.minute[-1].at >= STEP:
            self.minute.append(seen)


class Rates:
    """Of all workers that live."""

    def __init__(self) -> None:
        self._workers: dict[int, _Worker] = {}

    def take(self, report: Report) -> None:
        """Take in a worker's Report."""
        known = self._workers.get(report.worker)
        if known is None or known.pid != report.pid:
            known = self._workers[report.worker] = _Worker(report.pid)
        backends = {key: Flow(counts.requests, counts.failures) for key, counts in report.backends.items()}
        known.take(_Seen(report.at, backends, _by_pool(report)))

    def lose(self, worker: int) -> None:
        """A worker has ended."""
        self._workers.pop(worker, None)

    def backend(self, key: Key) -> Flow:
        """Attempts on one Backend, a second."""
        requests = failures = 0.0
        for worker in self._workers.values():
            first, last = worker.recent[0], worker.recent[-1]
            now = last.backends.get(key)
            if now is not None and last.at > first.at:
                flow = now.since(first.backends.get(key, NOTHING), last.at - first.at)
                requests += flow[0]
                failures += flow[1]
        return Flow(requests, failures)

    def pool(self, name: str) -> Flow:
        """Requests of clients that a Pool got, a second."""
        flow = NOTHING
        for worker in self._workers.values():
            first, last = worker.recent[0], worker.recent[-1]
            if last.at > first.at and name in last.pools:
                flow += last.pools[name].since(first.pools.get(name, NOTHING), last.at - first.at)
        return flow

    def last_minute(self, name: str) -> Flow:
        """Requests of clients that a Pool got in about the last minute, and how many of them failed."""
        flow = NOTHING
        for worker in self._workers.values():
            before, last = worker.minute[0].pools, worker.recent[-1].pools
            flow += last.get(name, NOTHING).since(before.get(name, NOTHING))
        return flow


def _by_pool(report: Report) -> dict[str, Flow]:
    found: dict[str, Flow] = {}
    for (_, pool, _, status), count in report.requests.items():
        if pool:
            found[pool] = found.get(pool, NOTHING) + Flow(count, count if status >= 500 else 0)
    return found
