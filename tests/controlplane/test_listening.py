from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from dataclasses import replace

import pytest

from proxy.controlplane.listeners.listening import Arrangement, arrange
from proxy.controlplane.listeners.sockets import BoundListener, StartError, bind_listener
from proxy.controlplane.workers.handing import AT_ONCE, Handing
from proxy.core.messages import Decoder, Doors
from proxy.core.settings import Address, ListenerSettings, Settings

ANY = Address("127.0.0.1", 0)


class Street:
    """Listeners that are bound, and closed with the test."""

    def __init__(self) -> None:
        self.settings = Settings((), (), ())
        self.bound: tuple[BoundListener, ...] = ()

    def arrange(self, numbers: list[int], **listeners: Address) -> Arrangement:
        settings = replace(
            self.settings, listeners=tuple(ListenerSettings(name, address) for name, address in listeners.items())
        )
        made = arrange(self.bound, self.settings, settings, numbers)
        self.bound, self.settings = made.listeners, settings
        return made

    def shares(self) -> dict[int, int]:
        """How many sockets each worker has."""
        return {number: len(self.bound[0].of(number)) for number in self.bound[0].numbers}

    def close(self) -> None:
        for one in self.bound:
            one.close()


@pytest.fixture
def street() -> Iterator[Street]:
    street = Street()
    yield street
    street.close()


def test_what_stays_keeps_its_sockets_whatever_its_name(street: Street) -> None:
    street.arrange([0, 1], web=ANY)
    before = street.bound[0].sockets

    made = street.arrange([0, 1], shop=ANY)

    assert (before, "shop") == (street.bound[0].sockets, street.bound[0].name)
    assert ((), ()) == (made.opened, made.removed)


def test_what_is_removed_is_named_and_not_closed_yet(street: Street) -> None:
    street.arrange([0], web=ANY)
    web = street.bound[0]

    made = street.arrange([0], other=Address("127.0.0.2", 0))

    assert (web,) == made.removed
    assert web.sockets[0].fileno() >= 0
    web.close()


def test_each_new_worker_has_a_socket_of_its_own_on_the_one_port(street: Street) -> None:
    street.arrange([0, 1], web=ANY)

    made = street.arrange([0, 1, 2, 3], web=ANY)

    assert {0: 1, 1: 1, 2: 1, 3: 1} == street.shares()
    assert 1 == len({sock.getsockname() for sock in street.bound[0].sockets})
    assert 2 == len(made.opened)


def test_sockets_of_workers_that_leave_go_to_others_and_back_to_who_comes(street: Street) -> None:
    """None is closed: somebody may wait in its queue."""
    street.arrange([0, 1, 2, 3], web=ANY)
    every = set(street.bound[0].sockets)

    street.arrange([0], web=ANY)
    assert {0: 4} == street.shares()
    street.arrange([0, 5, 6], web=ANY)

    assert every == set(street.bound[0].sockets)
    assert {0: 2, 5: 1, 6: 1} == street.shares()


def test_a_socket_that_all_share_is_shared_by_those_who_come_too(street: Street, tmp_path: object) -> None:
    path = Address(path=f"{tmp_path}/x.sock")
    street.arrange([0, 1], web=path)

    street.arrange([1, 7], web=path)

    assert {1: 1, 7: 1} == street.shares()
    assert 1 == len(street.bound[0].sockets)


def test_one_that_can_not_be_bound_leaves_nothing_bound(street: Street) -> None:
    street.arrange([0], web=ANY)
    before = street.bound
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(StartError, match="is taken"):
        street.arrange([0, 1], web=ANY, first=Address("127.0.0.1", 0), more=Address(*taken.getsockname()))

    assert before is street.bound
    assert (0,) == street.bound[0].numbers


async def test_nobody_begins_to_connect_to_one_that_is_closed_and_who_waits_is_still_accepted() -> None:
    bound = bind_listener(ListenerSettings("web", ANY), 1)
    address = bound.address.host, bound.address.port
    worker = bound.sockets[0].dup()
    early = socket.create_connection(address)

    bound.close()
    with socket.socket() as late:
        late.setblocking(False)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.get_running_loop().sock_connect(late, address), 0.2)
    accepted, _ = worker.accept()
    accepted.sendall(b"hello")

    assert b"hello" == early.recv(5)
    with pytest.raises(BlockingIOError):
        worker.accept()
    for one in (worker, early, accepted):
        one.close()


# Handing


def received(handing: Handing) -> list[tuple[Doors, int]]:
    """All messages, with the number of sockets that came along."""
    handing.theirs.setblocking(False)
    seen = []
    while True:
        try:
            data, descriptors, _, _ = socket.recv_fds(handing.theirs, 262144, 253)
        except BlockingIOError:
            return seen
        for fd in descriptors:
            socket.close(fd)
        seen += [(message, len(descriptors)) for message in Decoder().feed(data)]


def test_all_sockets_are_handed_with_their_names() -> None:
    handing = Handing()
    with socket.socket() as one:
        handing.send(7, [("web", one)])

        assert [(Doors(7, is_first=True, is_last=True, names=("web",)), 1)] == received(handing)
    handing.close()


def test_very_many_are_handed_in_parts() -> None:
    handing = Handing()
    with socket.socket() as one:
        handing.send(7, [(f"l{number}", one) for number in range(AT_ONCE + 1)])
        seen = received(handing)

    assert [(True, False, AT_ONCE), (False, True, 1)] == [(m.is_first, m.is_last, number) for m, number in seen]
    handing.close()


def test_what_could_not_be_sent_is_sent_again_and_only_the_newest() -> None:
    handing = Handing()
    with socket.socket() as one:
        version = 0
        while handing._unsent is None:
            version += 1
            handing.send(version, [("web", one)])
        handing.send(version + 1, [("web", one)])
        received(handing)
        handing.again()

        assert [version + 1] == [message.settings_version for message, _ in received(handing)]
    handing.close()


def test_a_process_that_is_gone_is_handed_nothing() -> None:
    handing = Handing()
    handing.theirs.close()
    with socket.socket() as one:
        handing.send(1, [("web", one)])

    assert "<Handing>" == repr(handing)
    handing.close()


def test_two_that_any_port_suits_keep_their_own_sockets(street: Street) -> None:
    """Their addresses are the same as long as they are only configured."""
    street.arrange([0], web=ANY, shop=ANY)
    before = {one.name: one.sockets for one in street.bound}

    made = street.arrange([0], shop=ANY, web=ANY)

    assert before == {one.name: one.sockets for one in street.bound}
    assert ((), ()) == (made.opened, made.removed)
