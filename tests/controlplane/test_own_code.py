"""A user's own probe, and what is said of own code that goes wrong: once, until other settings are in force."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from proxy.controlplane.own_code import OwnCode
from proxy.controlplane.pools.change import Change
from proxy.controlplane.probing.probe import Prober
from proxy.core.pools.health import HealthPolicy
from proxy.core.settings import Address, Settings
from tests.own_code import forgotten, write, write_examples

OWN = """
import aiohttp
async def well(target):
    return True, f"{target.host} {target.tls} {target.timeout:g}"
async def refused(target):
    raise ConnectionRefusedError("nobody there")
async def cut(target):
    raise aiohttp.ServerDisconnectedError
async def wrong(target):
    raise KeyError("length")
async def odd(target):
    return 5
async def leaves(target):
    raise SystemExit(3)
async def gives_up(target):
    import asyncio
    raise asyncio.CancelledError
class Odd:
    def __bool__(self):
        raise KeyError("ok")
async def unsure(target):
    return Odd(), "x"
async def hangs(target):
    import asyncio
    await asyncio.Event().wait()
"""


class Rig:
    """A Prober with own code, and a server that tells how long its queue is."""

    def __init__(self, folder: Path) -> None:
        self.settings = Settings((), (), (), own_code=str(folder))
        self.changes: list[Change] = []
        self.own = OwnCode(self.settings, self.changes.extend)
        self.prober = Prober(self.own)
        self.body = b'{"length": 7}'
        self.address = Address()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.0 200 OK\r\n\r\n" + self.body)
        writer.close()

    async def probe(self, path: str, timeout: float = 5.0, **policy: object) -> tuple[bool, str]:
        checked = HealthPolicy(check=path, timeout=timeout, **policy)  # type: ignore[arg-type]
        seen = await self.prober.probe(self.address, checked)
        return seen.ok, seen.detail

    @property
    def said(self) -> list[tuple[str, str]]:
        return [(change.before, change.reason) for change in self.changes]


@pytest.fixture(autouse=True)
def forgetful() -> Iterator[None]:
    with forgotten():
        yield


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    write(tmp_path, "own", OWN)
    write_examples(tmp_path)
    rig = Rig(tmp_path)
    async with await asyncio.start_server(rig.serve, "127.0.0.1", 0) as server:
        rig.address = Address("127.0.0.1", server.sockets[0].getsockname()[1])
        yield rig


async def test_own_code_says_whether_a_backend_is_well(rig: Rig) -> None:
    assert (True, "127.0.0.1 False 5") == await rig.probe("own:well")
    assert [] == rig.changes


async def test_the_example_looks_at_the_queue(rig: Rig) -> None:
    short = await rig.probe("shop.checks:short_queue")
    rig.body = b'{"length": 100}'

    assert [(True, "7 orders wait"), (False, "100 orders wait")] == [short, await rig.probe("shop.checks:short_queue")]


@pytest.mark.parametrize(("path", "detail"), [("own:refused", "nobody there"), ("own:cut", "Server disconnected")])
async def test_a_connection_that_can_not_be_had_is_a_failed_probe(rig: Rig, path: str, detail: str) -> None:
    assert (False, detail) == await rig.probe(path)
    assert [] == rig.changes


async def test_own_code_that_does_not_end_is_a_failed_probe(rig: Rig) -> None:
    assert (False, "no connection within 0.05s") == await rig.probe("own:hangs", timeout=0.05)


async def test_a_probe_that_is_ended_is_ended_in_own_code_too(rig: Rig) -> None:
    probing = asyncio.ensure_future(rig.probe("own:hangs"))
    await asyncio.sleep(0)
    probing.cancel()

    with pytest.raises(asyncio.CancelledError):
        await probing
    assert [] == rig.changes


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("own:wrong", "KeyError: 'length'"),
        ("own:leaves", "SystemExit: 3"),
        ("own:gives_up", "CancelledError"),
        ("own:unsure", "KeyError: 'ok'"),
        ("own:odd", "TypeError: cannot unpack non-iterable int object"),
        ("own:gone", "ExtensionError: module 'own' has no 'gone'"),
    ],
)
async def test_where_own_code_goes_wrong_the_built_in_probe_looks_and_it_is_said_once(
    rig: Rig, path: str, reason: str
) -> None:
    assert [(True, "connected")] * 3 == [await rig.probe(path) for _ in range(3)]
    assert [(path, reason)] == rig.said


async def test_it_is_said_anew_once_other_settings_are_in_force(rig: Rig) -> None:
    await rig.probe("own:wrong")
    rig.own.obey(rig.settings)
    await rig.probe("own:wrong")

    assert 2 == len(rig.changes)


async def test_what_several_workers_tell_is_said_once(rig: Rig) -> None:
    for _ in range(3):
        rig.own.tell("own:key", "ValueError: no")

    assert [Change("extension", "", "", "own:key", "built in", "ValueError: no")] == rig.changes
