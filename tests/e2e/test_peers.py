"""Beside servers that others wrote: real nginx as backends, and HAProxy as the measure of what is well."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from proxy.samples.children import Children
from tests.e2e.load import RATE, Load
from tests.e2e.peers import Peer, haproxy, haproxy_says, nginx
from tests.e2e.rig import NAMES, OPEN_FOR, PATIENCE, POLICIES, Changes, Proxy, Rig, now


@pytest.fixture
async def peers() -> AsyncIterator[tuple[Children, list[Peer]]]:
    """What starts peers, and a list for those to be closed."""
    started: list[Peer] = []
    async with Children() as children:
        yield children, started
        for peer in started:
            await peer.kill()
            peer.close()


async def test_no_read_fails_when_one_of_three_nginx_is_killed(
    rig: Rig, peers: tuple[Children, list[Peer]], program: Callable[..., str], tmp_path: Path
) -> None:
    children, servers = peers
    path = program("nginx")
    servers += [Peer(children, tmp_path / name, nginx(path, name)) for name in NAMES]
    await asyncio.gather(*(server.start() for server in servers))
    backends = [{"name": name, "address": one.address} for name, one in zip(NAMES, servers, strict=True)]
    proxy = await rig.start_proxy({"pools": {"app": {**POLICIES, "backends": backends}}})
    async with Changes(proxy.admin.address).watched() as changes, Load(proxy.address, writes=False) as load:
        await load.answered(int(RATE / 2))
        killed = now()
        await servers[0].kill()
        out = await changes.until("red", available=False)
        await load.answered(int(RATE))
        await servers[0].start()
        revived = now()
        back = await changes.until("red", available=True)
        await load.answered(int(RATE / 2))

    assert [] == load.failed()
    assert out - killed <= 1.0
    assert back - revived <= 2.0 + OPEN_FOR
    assert "red" in {record.answer.backend for record in load.records[-30:] if record.answer}


async def test_haproxy_and_we_say_the_same_of_a_backend_and_we_lose_no_more_reads(
    rig: Rig, peers: tuple[Children, list[Peer]], program: Callable[..., str], tmp_path: Path
) -> None:
    """The same backends, faults and load for both; HAProxy checks and retries as well as it can be told to."""
    children, servers = peers
    path = program("haproxy")
    proxy = await rig.start()
    folder = tmp_path / "haproxy"
    servers.append(peer := Peer(children, folder, haproxy(path, rig.addresses())))
    await peer.start()
    seen = []
    async with (
        Load(proxy.address, RATE / 2, writes=False) as ours,
        Load(peer.address, RATE / 2, writes=False) as theirs,
    ):
        for mode in ("503", "hang", "refuse"):
            await rig.spoil("red", mode)
            seen.append(await agreed(proxy, folder, "DOWN"))
            await rig.spoil("red", "none")
            seen.append(await agreed(proxy, folder, "UP"))
        # Neither's probe sees this.
        await rig.spoil("red", "half")
        await theirs.answered(60)
        await rig.spoil("red", "none")

    assert ["DOWN", "UP"] * 3 == seen
    assert [] == ours.failed()
    print(f"of {len(theirs.records)} reads HAProxy lost {len(theirs.failed())}: {theirs.failed()}")
    assert len(ours.failed()) <= len(theirs.failed())


async def agreed(proxy: Proxy, folder: Path, verdict: str) -> str:
    """Wait until both say this of `red`."""
    async with asyncio.timeout(PATIENCE):
        while True:
            health = (await proxy.admin.backend("red"))["health"]["state"]
            if (health.upper(), await haproxy_says(folder, "red")) == (verdict, verdict):
                return verdict
            await asyncio.sleep(0.02)
