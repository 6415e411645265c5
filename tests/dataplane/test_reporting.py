"""Promises of `proxy.dataplane.reporting`."""

from __future__ import annotations

from proxy.core.messages import Message, Report, Snapshot
from proxy.core.settings import RouteSettings, Settings
from tests.dataplane.plane import Plane

OLD = ("old", "app", "GET", 200)


class Ear:
    """Where the supervisor would listen."""

    is_alone = False

    def __init__(self) -> None:
        self.heard: list[Message] = []

    def send(self, message: Message) -> None:
        self.heard.append(message)

    def reports(self) -> list[Report]:
        return [message for message in self.heard if isinstance(message, Report)]


def reload(plane: Plane, version: int, *routes: str) -> Ear:
    ear = plane.worker.control = Ear()
    named = tuple(RouteSettings(name, split=(("app", 1.0),)) for name in routes)
    plane.worker.heed(Snapshot(version, version, Settings((), (plane.pool.settings,), named), {}))
    return ear


def test_what_was_counted_for_a_route_that_is_gone_is_told_once_more_and_then_no_longer() -> None:
    """Else a worker would report each name that ever was; and what came after its last Report would be lost."""
    plane = Plane()
    reload(plane, 2, "old")
    plane.worker.stats.count("old", "app", b"GET", 200, 0.1)

    [last] = reload(plane, 3, "new").reports()

    assert 1 == last.requests[OLD]
    assert OLD not in plane.worker.report(1.0).requests


def test_a_reload_that_removes_no_name_says_nothing_of_counters() -> None:
    plane = Plane()
    reload(plane, 2, "old")
    plane.worker.stats.count("old", "app", b"GET", 200, 0.1)

    assert [] == reload(plane, 3, "old", "new").reports()
    assert 1 == plane.worker.report(1.0).requests[OLD]


def test_a_worker_without_a_supervisor_forgets_them_too() -> None:
    plane = Plane()
    plane.worker.stats.count("old", "app", b"GET", 200, 0.1)

    plane.worker.heed(Snapshot(2, 2, Settings((), (plane.pool.settings,), ()), {}))

    assert OLD not in plane.worker.report(1.0).requests
