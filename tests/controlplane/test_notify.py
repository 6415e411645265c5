from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.controlplane.notify import Notifier


class Manager:
    """A service manager: hears datagrams."""

    def __init__(self, address: str) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind(address)
        self.sock.setblocking(False)

    async def hear(self) -> list[str]:
        loop = asyncio.get_running_loop()
        return (await asyncio.wait_for(loop.sock_recv(self.sock, 4096), 10)).decode().splitlines()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(str(tmp_path / "notify"))
    yield manager
    manager.sock.close()


def notifier(manager: Manager, **variables: str) -> Notifier:
    return Notifier({"NOTIFY_SOCKET": manager.sock.getsockname(), **variables})


async def test_readiness_and_the_end_are_told(manager: Manager) -> None:
    one = notifier(manager)

    one.ready()
    one.stopping()

    assert ["READY=1", f"MAINPID={os.getpid()}"] == await manager.hear()
    assert ["STOPPING=1", "STATUS=draining"] == await manager.hear()


async def test_a_reload_is_told_with_its_time(manager: Manager) -> None:
    notifier(manager).reloading()

    word, moment = await manager.hear()
    assert "RELOADING=1" == word
    assert moment.removeprefix("MONOTONIC_USEC=").isdigit()


async def test_the_watchdog_is_fed_twice_in_its_time_and_a_status_told_when_it_changes(manager: Manager) -> None:
    statuses = iter(["starting", "ready", "ready", "ready"])
    one = notifier(manager, WATCHDOG_USEC="20000", WATCHDOG_PID=str(os.getpid()))

    one.begin(lambda: next(statuses))

    heard = [await manager.hear() for _ in range(4)]
    one.close()
    assert [["WATCHDOG=1", "STATUS=starting"], ["WATCHDOG=1", "STATUS=ready"], ["WATCHDOG=1"], ["WATCHDOG=1"]] == heard


@pytest.mark.parametrize(
    "variables", [{}, {"WATCHDOG_USEC": "0"}, {"WATCHDOG_USEC": "x"}, {"WATCHDOG_USEC": "9", "WATCHDOG_PID": "1"}]
)
async def test_a_watchdog_that_is_not_ours_is_not_fed(manager: Manager, variables: dict[str, str]) -> None:
    one = notifier(manager, **variables)

    one.begin(lambda: "ready")

    assert ["STATUS=ready"] == await manager.hear()
    one.close()


async def test_an_abstract_address_is_understood() -> None:
    manager = Manager(f"\0failover-proxy-test-{os.getpid()}")

    Notifier({"NOTIFY_SOCKET": f"@failover-proxy-test-{os.getpid()}"}).ready()

    assert "READY=1" in await manager.hear()
    manager.sock.close()


async def test_without_a_service_manager_nothing_happens() -> None:
    one = Notifier({})

    one.begin(lambda: "never asked")
    one.ready()
    one.close()

    assert one._timer is None


async def test_a_service_manager_that_is_gone_is_no_trouble(tmp_path: Path) -> None:
    one = Notifier({"NOTIFY_SOCKET": str(tmp_path / "nobody")})

    one.ready()

    one.close()
