"""Wherever an address may stand, so may an IPv6 address or the path of a Unix socket."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

import pytest

from tests.e2e.client import Client
from tests.e2e.rig import Rig
from tests.e2e.scripted import Scripted


def has_ipv6() -> bool:
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
        probe.bind(("::1", 0))
        return True
    return False


async def test_a_unix_socket_listens_and_serves(rig: Rig, tmp_path: Path) -> None:
    async with Scripted(path=str(tmp_path / "backend.sock")) as backend:
        listeners = {"local": f"unix:{tmp_path / 'proxy.sock'}", "web": "127.0.0.1:0"}
        proxy = await rig.start_proxy({"listeners": listeners, "pools": {"app": [backend.address]}})
        answers = []
        for address in (proxy.listeners["local"], proxy.listeners["web"]):
            async with await Client.connect(address) as client:
                answers += [await client.ask("GET", f"/{number}") for number in range(2)]

    assert [b"/0", b"/1"] * 2 == [answer.body for answer in answers]
    assert ["unknown", "unknown", "127.0.0.1", "127.0.0.1"] == [one.field("x-forwarded-for") for one in backend.asked]


@pytest.mark.skipif(
    not has_ipv6(), reason="this machine has no IPv6 on its loopback interface: sysctl net.ipv6.conf.lo.disable_ipv6=0"
)
async def test_an_ipv6_address_listens_and_serves(rig: Rig) -> None:
    async with Scripted(host="::1") as backend:
        proxy = await rig.start_proxy({"listeners": ["[::1]:0"], "pools": {"app": [backend.address]}})
        async with await Client.connect(proxy.address) as client:
            answers = [await client.ask("GET", f"/{number}", host="[::1]:80") for number in range(2)]

    assert [b"/0", b"/1"] == [answer.body for answer in answers]
    assert ["::1"] * 2 == [one.field("x-forwarded-for") for one in backend.asked]
    assert ['for="[::1]";proto=http;host="[::1]:80"'] * 2 == [one.field("forwarded") for one in backend.asked]
