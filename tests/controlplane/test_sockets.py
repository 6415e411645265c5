from __future__ import annotations

import os
import socket
from collections.abc import Iterable
from pathlib import Path

import pytest

from proxy.controlplane.listeners.inheritance import Heirloom, Inheritance
from proxy.controlplane.listeners.sockets import BoundListener, StartError, bind_admin, bind_listener
from proxy.core.settings import Address, ListenerSettings

ANY_PORT = ListenerSettings("web", Address("127.0.0.1", 0))


@pytest.fixture
def bound() -> BoundListener:
    listener = bind_listener(ANY_PORT, 2)
    yield listener
    listener.close()


def connect(address: Address) -> socket.socket:
    return socket.create_connection((address.host, address.port), timeout=5)


def test_each_worker_has_its_own_socket_on_one_port(bound: BoundListener) -> None:
    first, second = bound.sockets

    assert first.fileno() != second.fileno()
    assert [bound.address.port] * 2 == [one.getsockname()[1] for one in bound.sockets]


def test_an_address_that_is_taken_is_named(bound: BoundListener) -> None:
    """By a proxy of the same user, too, whose SO_REUSEPORT would let us in."""
    with pytest.raises(StartError) as caught:
        bind_listener(ListenerSettings("web", bound.address), 1)

    assert f"listener web: {bound.address} is taken: another process listens there" == str(caught.value)


def test_a_port_can_be_bound_again_at_once_after_a_stop() -> None:
    """Connections of the last run that are not quite over do not hinder the next."""
    first = bind_listener(ANY_PORT, 1)
    with connect(first.address):
        accepted, _ = first.sockets[0].accept()
        accepted.close()  # the side that closes first keeps the port in TIME_WAIT
    first.close()

    second = bind_listener(ListenerSettings("web", first.address), 1)

    assert first.address == second.address
    second.close()


def test_an_address_of_another_machine_is_named() -> None:
    with pytest.raises(StartError, match=r"listener web: 192\.0\.2\.1:80 is not an address of this machine"):
        bind_listener(ListenerSettings("web", Address("192.0.2.1", 80)), 1)


def test_a_name_that_cannot_be_one_is_named() -> None:
    """A label over 63 characters raises something else than an OSError."""
    with pytest.raises(StartError, match=r"admin: cannot bind x{64}:80: "):
        bind_admin(Address("x" * 64, 80))


def test_no_host_means_every_ipv4_address() -> None:
    bound = bind_admin(Address("", 0))

    assert "0.0.0.0" == bound.address.host
    bound.close()


def test_ipv6_leaves_the_ipv4_port_alone() -> None:
    """`[::]:80` and `0.0.0.0:80` can both be listeners. A machine without IPv6 is told which address is the trouble."""
    six = ListenerSettings("web", Address("::", 0))
    if not has_ipv6():
        with pytest.raises(StartError, match=r"listener web: .*\[::\]:0"):
            bind_listener(six, 1)
        return
    bound = bind_listener(six, 1)

    beside = bind_listener(ListenerSettings("four", Address("0.0.0.0", bound.address.port)), 1)

    assert f"[::]:{beside.address.port}" == str(bound.address)
    bound.close()
    beside.close()


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as one:
            one.bind(("::", 0))
    except OSError:
        return False
    return True


def test_a_paused_workers_connections_go_to_the_others(bound: BoundListener) -> None:
    bound.pause(0)

    clients = [connect(bound.address) for _ in range(20)]

    accepted = [bound.sockets[1].accept()[0] for _ in clients]
    for one in clients + accepted:
        one.close()


def test_a_resumed_worker_gets_connections_again(bound: BoundListener) -> None:
    bound.pause(0)
    bound.pause(1)
    with pytest.raises(ConnectionRefusedError):
        connect(bound.address)

    bound.resume(0)

    with connect(bound.address):
        accepted, _ = bound.sockets[0].accept()
        accepted.close()


def test_a_unix_socket_is_shared_by_all_workers(tmp_path: Path) -> None:
    bound = bind_listener(ListenerSettings("web", Address(path=str(tmp_path / "web"))), 3)

    assert 1 == len(set(bound.sockets))
    bound.pause(0)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(bound.address.path)
    bound.close()


def test_a_unix_socket_is_removed_at_the_end_and_only_once(tmp_path: Path) -> None:
    """The second close must not remove what a successor has bound."""
    path = tmp_path / "web"
    bound = bind_admin(Address(path=str(path)))
    bound.close()
    assert not path.exists()
    successor = bind_admin(Address(path=str(path)))

    bound.close()

    assert path.exists()
    successor.close()


def test_a_unix_socket_that_a_crash_left_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "web"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))

    bind_admin(Address(path=str(path))).close()

    assert not path.exists()


def test_a_unix_socket_in_use_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "web"
    bound = bind_admin(Address(path=str(path)))

    with pytest.raises(StartError, match=f"admin: unix:{path} is taken"):
        bind_admin(bound.address)

    bound.close()


def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "web"
    path.write_text("precious")

    with pytest.raises(StartError):
        bind_admin(Address(path=str(path)))

    assert "precious" == path.read_text()


# What others bound


def inherited(*sockets: socket.socket, is_foreign: bool = False) -> Inheritance:
    """Under descriptors of their own, as they come from others."""
    inheritance = Inheritance()
    for one in sockets:
        inheritance.add(Heirloom(socket.socket(fileno=os.dup(one.fileno())), is_foreign=is_foreign))
    return inheritance


def inodes(sockets: Iterable[socket.socket]) -> set[int]:
    return {os.fstat(one.fileno()).st_ino for one in sockets}


def test_inherited_sockets_are_used_on_and_others_bound_beside_them(bound: BoundListener) -> None:
    after = bind_listener(ListenerSettings("web", bound.address), 3, inherited(*bound.sockets))

    assert (bound.address, 3) == (after.address, len(after.sockets))
    assert inodes(bound.sockets) < inodes(after.sockets)
    after.undo()


def test_fewer_workers_share_all_inherited_sockets(bound: BoundListener) -> None:
    """Connections wait in each of them."""
    after = bind_listener(ListenerSettings("web", bound.address), 1, inherited(*bound.sockets))

    assert inodes(bound.sockets) == inodes(after.of(0))
    after.undo()


def test_an_inherited_socket_never_blocks(bound: BoundListener) -> None:
    """Those who accept on it share that, and would stand still."""
    after = bind_listener(ListenerSettings("web", bound.address), 2, inherited(*bound.sockets))

    assert [False, False] == [os.get_blocking(one.fileno()) for one in (bound.sockets[0], after.sockets[0])]
    after.undo()


def test_what_is_inherited_and_not_used_after_all_stays_as_it_was(bound: BoundListener, tmp_path: Path) -> None:
    """A start that fails must not shut the doors of those who serve."""
    bind_listener(ListenerSettings("web", bound.address), 2, inherited(*bound.sockets)).undo()
    path = tmp_path / "web"
    local = bind_listener(ListenerSettings("local", Address(path=str(path))), 1)

    bind_listener(ListenerSettings("local", local.address), 1, inherited(*local.sockets)).undo()

    with connect(bound.address), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    local.close()


def test_a_service_managers_socket_is_shared_by_all_workers_and_outlives_us() -> None:
    with socket.create_server(("127.0.0.1", 0)) as theirs:
        address = Address(*theirs.getsockname())
        after = bind_listener(ListenerSettings("web", address), 3, inherited(theirs, is_foreign=True))

        assert {theirs.getsockname()} == {one.getsockname() for one in after.sockets}
        assert (3, 1) == (len(after.sockets), len(inodes(after.sockets)))
        after.pause(1)
        after.close()

        connect(address).close()


def test_a_service_managers_unix_socket_keeps_its_path(tmp_path: Path) -> None:
    path = tmp_path / "web"
    with socket.socket(socket.AF_UNIX) as theirs:
        theirs.bind(str(path))
        theirs.listen()

        bind_listener(ListenerSettings("web", Address(path=str(path))), 2, inherited(theirs, is_foreign=True)).close()

        assert path.exists()


def test_the_admin_endpoint_may_be_inherited_too() -> None:
    first = bind_admin(Address("127.0.0.1", 0))

    second = bind_admin(first.address, inherited(*first.sockets))

    assert first.address == second.address
    first.close()
    second.close()
