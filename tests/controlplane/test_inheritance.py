from __future__ import annotations

import os
import socket
import sys
from asyncio import create_subprocess_exec
from asyncio.subprocess import PIPE
from collections.abc import Iterator

import pytest

from proxy.controlplane.listeners.inheritance import Heirloom, Inheritance, from_service_manager
from proxy.core.settings import Address

ANY = Address("127.0.0.1", 0)


@pytest.fixture
def sock() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock


def claimed(inheritance: Inheritance, owner: str, configured: Address, bound: object = None) -> list[socket.socket]:
    return [one.sock for one in inheritance.claim(owner, configured, bound)]


def test_a_socket_is_claimed_by_its_address_and_only_once(sock: socket.socket) -> None:
    inheritance = Inheritance()
    inheritance.add(Heirloom(sock))

    assert [] == claimed(inheritance, "listener web", ANY, ("127.0.0.1", 1))
    assert [sock] == claimed(inheritance, "listener web", ANY, sock.getsockname())
    assert [] == claimed(inheritance, "listener web", ANY, sock.getsockname())


def test_a_socket_of_port_0_is_claimed_by_owner_and_configured_address(sock: socket.socket) -> None:
    """Where it is bound, no config says."""
    inheritance = Inheritance()
    inheritance.add(Heirloom(sock, "listener web", str(ANY)))

    assert [] == claimed(inheritance, "admin", ANY)
    assert [] == claimed(inheritance, "listener api", ANY)
    assert [] == claimed(inheritance, "listener web", Address("127.0.0.2", 0))
    assert [sock] == claimed(inheritance, "listener web", ANY)


def test_a_socket_of_a_service_manager_is_claimed_by_its_name(sock: socket.socket) -> None:
    inheritance = Inheritance()
    inheritance.add(Heirloom(sock, "web", is_foreign=True))

    assert [] == claimed(inheritance, "listener api", ANY)
    assert [sock] == claimed(inheritance, "listener web", Address("192.0.2.1", 80))


def test_a_nameless_one_is_nobodys_by_name(sock: socket.socket) -> None:
    inheritance = Inheritance()
    inheritance.add(Heirloom(sock))

    assert [] == claimed(inheritance, "listener ", ANY)


def test_one_socket_under_two_descriptors_is_one(sock: socket.socket) -> None:
    """The one that comes second, of an orphan, is closed."""
    inheritance = Inheritance()
    twin = socket.socket(fileno=os.dup(sock.fileno()))
    inheritance.add(Heirloom(sock))
    inheritance.add(Heirloom(twin))

    assert -1 == twin.fileno()
    assert [sock] == claimed(inheritance, "", ANY, sock.getsockname())


def test_what_nobody_claims_is_given_up(sock: socket.socket) -> None:
    inheritance = Inheritance()
    inheritance.add(Heirloom(sock))

    inheritance.close()

    assert (-1, False) == (sock.fileno(), bool(inheritance))


@pytest.mark.parametrize("pid", ["", "1", "x"])
def test_descriptors_for_another_process_are_left_alone(pid: str) -> None:
    environment = {"LISTEN_PID": pid, "LISTEN_FDS": "2", "LISTEN_FDNAMES": "web:api", "HOME": "/"}

    assert not from_service_manager(environment)
    assert {"HOME": "/"} == environment


PROGRAM = """
import os, socket, sys
os.environ["LISTEN_PID"] = str(os.getpid())
from proxy.controlplane.listeners.inheritance import from_service_manager
from proxy.core.settings import Address
found = from_service_manager(os.environ)
[web] = found.claim("listener web", Address("127.0.0.1", 80), None)
[other] = found.claim("listener x", Address("127.0.0.1", 80), ("127.0.0.1", int(sys.argv[1])))
print(web.sock.getsockname()[1], web.is_foreign, os.get_inheritable(3), [name for name in os.environ if "LISTEN" in name])
"""


async def test_systemd_passes_sockets_by_name_or_without_one(sock: socket.socket) -> None:
    """As sd_listen_fds(3) has it: from descriptor 3 on."""
    with socket.create_server(("127.0.0.1", 0)) as second:
        passing = (
            f"import os; os.dup2({sock.fileno()}, 3); os.dup2({second.fileno()}, 4); os.execv({sys.executable!r}, "
        )
        port = second.getsockname()[1]
        passing += f"[{sys.executable!r}, '-c', {PROGRAM!r}, '{port}'])"
        process = await create_subprocess_exec(
            sys.executable,
            "-c",
            passing,
            pass_fds=[sock.fileno(), second.fileno()],
            env=os.environ | {"LISTEN_FDS": "2", "LISTEN_FDNAMES": "web:failover-proxy.socket"},
            stdout=PIPE,
        )
        output, _ = await process.communicate()

    assert f"{sock.getsockname()[1]} True False []\n" == output.decode()
