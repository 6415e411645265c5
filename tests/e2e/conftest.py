"""A Rig for each test; and, for all tests of a module that change nothing of it, a proxy before a scripted backend."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from proxy.samples.children import Children
from tests.e2e.client import Client
from tests.e2e.rig import Rig
from tests.e2e.scripted import Scripted, Way, say_who


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with aiohttp.ClientSession() as session, Children() as children:
        rig = Rig(children, tmp_path, session)
        yield rig
        rig.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def one_way(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Way]:
    folder = tmp_path_factory.mktemp("way")
    async with aiohttp.ClientSession() as session, Scripted() as backend, Children() as children:
        rig = Rig(children, folder, session)
        yield Way(await rig.start_proxy({"pools": {"app": [backend.address]}}), backend)


@pytest.fixture
def way(one_way: Way) -> Way:
    """As at the start, whatever the test before has done. Its tests run on the module's loop."""
    one_way.backend.handler = say_who
    one_way.backend.asked.clear()
    return one_way


@pytest_asyncio.fixture(loop_scope="module")
async def client(way: Way) -> AsyncIterator[Client]:
    async with await Client.connect(way.proxy.address) as client:
        yield client
