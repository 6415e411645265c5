"""Promises of `proxy.dataplane.clients.places`."""

from __future__ import annotations

import contextlib
import gc
import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.core.pools.counts import PAGE, ROW_SIZE, SharedCounts, used_rows
from proxy.core.settings import Address, ListenerSettings
from proxy.dataplane.clients.places import RECOUNT, Descriptors, Places

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


class Files:
    """So many more open files than this process needs."""

    def __init__(self, most: int) -> None:
        self._hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        self.limit(most)
        self.taken: list[int] = []

    def limit(self, most: int) -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, self._hard))

    def take(self, number: int) -> None:
        self.taken += [os.dup(0) for _ in range(number)]

    def free(self, number: int) -> None:
        for _ in range(number):
            os.close(self.taken.pop(0))


@pytest.fixture
def files() -> Iterator[Files]:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    # What other tests have left to the garbage collector must not be closed meanwhile.
    gc.collect()
    files = Files(len(list(Path("/proc/self/fd").iterdir())) + 100)
    yield files
    files.free(len(files.taken))
    files.limit(soft)


def room(descriptors: Descriptors, files: Files) -> int:
    """How many clients come in, one file each, until descriptors are short."""
    clients, now = 0, 0.0
    while not descriptors.are_short(clients, now):
        files.take(1)
        clients += 1
        now += RECOUNT
    return clients


def test_a_quarter_of_all_descriptors_is_spared_for_backends(files: Files) -> None:
    descriptors = Descriptors()
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    clients = room(descriptors, files)

    # The look itself takes one or two.
    assert most // 4 <= 100 - clients <= most // 4 + 2
    assert repr(descriptors).endswith("in use>")


def test_it_is_enough_to_look_now_and_then(files: Files) -> None:
    """Between two looks each client counts for one, of those that have come since."""
    descriptors = Descriptors()
    clients = room(descriptors, files)
    files.free(10)

    assert [True, False, False, True] == [
        descriptors.are_short(clients - 10, RECOUNT * clients),
        descriptors.are_short(clients - 10, RECOUNT * (clients + 1)),
        descriptors.are_short(clients - 2, RECOUNT * (clients + 1)),
        descriptors.are_short(clients, RECOUNT * (clients + 1)),
    ]


def test_where_not_one_is_left_they_are_short(files: Files) -> None:
    descriptors = Descriptors()
    with contextlib.suppress(OSError):
        files.take(1000)

    assert descriptors.are_short(0, 0.0)


def test_a_limit_that_is_changed_is_heeded_at_once(files: Files) -> None:
    descriptors = Descriptors()
    before = descriptors.are_short(0, 0.0)
    # So few above what is open that those which are spared are begun, however many this process has.
    files.limit(len(list(Path("/proc/self/fd").iterdir())) + 5)

    assert (False, True) == (before, descriptors.are_short(0, 0.0))
