"""A Rig for each test; and, for all tests of a module that change nothing of it, a proxy before a scripted backend."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.e2e.client import Client
from tests.e2e.rig import Rig, rigged
from tests.e2e.scripted import Scripted, Way, say_who


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with rigged(tmp_path) as rig:
        yield rig


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def one_way(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Way]:
    async with rigged(tmp_path_factory.mktemp("way")) as rig, Scripted() as backend:
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
