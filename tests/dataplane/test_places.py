"""Promises of `proxy.dataplane.places`."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator

import pytest

from proxy.core.counts import PAGE, ROW_SIZE, SharedCounts, used_rows
from proxy.core.settings import Address, ListenerSettings
from proxy.dataplane.places import Descriptors, Places

WEB = ListenerSettings("web", Address(), connections=3, connections_per_client=2)
API = ListenerSettings("api", Address(), connections=3)


def workers(number: int) -> list[Places]:
    memory = memoryview(bytearray(PAGE + number * ROW_SIZE))
    used_rows(memory)[0] = number
    return [Places(SharedCounts(memory, row)) for row in range(number)]


def test_a_listener_takes_so_many_and_no_more_until_one_leaves() -> None:
    places = Places()
    taken = [places.enter(WEB, "") for _ in range(4)]

    assert ["connections"] == [one for one in taken if isinstance(one, str)]
    assert 3 == places.inside
    places.leave(taken[0])
    assert isinstance(places.enter(WEB, ""), tuple)


def test_a_client_takes_so_many_and_one_that_was_refused_takes_none_of_the_listeners() -> None:
    places = Places()
    taken = [places.enter(WEB, "192.0.2.1") for _ in range(4)]

    assert ["connections_per_client"] * 2 == taken[2:]
    assert isinstance(places.enter(WEB, "192.0.2.2"), tuple)
    assert "<Places 3 inside>" == repr(places)


def test_each_listener_counts_its_own() -> None:
    places = Places()
    for listener in (WEB, API):
        for _ in range(2):
            assert isinstance(places.enter(listener, "192.0.2.1"), tuple)

    assert isinstance(places.enter(API, "192.0.2.1"), tuple)
    assert 5 == places.inside


def test_addresses_of_one_ipv6_network_are_one_client() -> None:
    places = Places()
    same = [places.enter(WEB, address) for address in ("2001:db8::1", "2001:db8::ffff", "2001:db8::2")]

    assert "connections_per_client" == same[2]
    assert isinstance(places.enter(WEB, "2001:db8:0:1::1%eth0"), tuple)


def test_all_workers_together_take_so_many() -> None:
    one, two = workers(2)
    taken = [
        worker.enter(WEB, address) for worker, address in ((one, "a"), (two, "a"), (two, "a"), (one, "b"), (two, "c"))
    ]

    assert [tuple, tuple, "connections_per_client", tuple, "connections"] == [
        one if isinstance(one, str) else tuple for one in taken
    ]
    one.leave(taken[0])
    assert isinstance(two.enter(WEB, "a"), tuple)


def test_nothing_is_remembered_of_those_who_left() -> None:
    [places] = workers(1)
    for _ in range(3):
        taken = [places.enter(WEB, address) for address in ("192.0.2.1", "192.0.2.2")]
        for one in taken:
            places.leave(one)

    assert (0, {}) == (places.inside, places._counts)


@pytest.fixture
def few() -> Iterator[int]:
    """As many descriptors as this process needs, and a few more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    newest = os.dup(0)
    os.close(newest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (newest + 40, hard))
    yield newest + 40
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_some_descriptors_are_spared_for_backends(few: int) -> None:
    descriptors = Descriptors()
    spare = max(16, few // 4)

    assert [False, True] == [descriptors.are_short_after(few - spare - 1), descriptors.are_short_after(few - spare)]
    assert f"<Descriptors {few - spare}>" == repr(descriptors)


def test_none_left_is_noticed_without_taking_one(few: int) -> None:
    descriptors = Descriptors()
    before = descriptors.are_short()
    taken = []
    try:
        while True:
            taken.append(os.dup(0))
    except OSError:
        pass
    after = descriptors.are_short()
    for one in taken:
        os.close(one)

    assert (False, True, False) == (before, after, descriptors.are_short())


def test_a_limit_that_is_changed_is_heeded(few: int) -> None:
    descriptors = Descriptors()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (few - 30, hard))
    before = descriptors.are_short()
    descriptors.measure()

    assert (False, True) == (before, descriptors.are_short())
