"""A Rig for each test, or for all tests of a module that change nothing of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from proxy.samples.children import Children
from tests.e2e.rig import Rig


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with aiohttp.ClientSession() as session, Children() as children:
        yield Rig(children, tmp_path, session)
