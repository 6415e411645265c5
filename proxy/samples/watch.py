"""Watches the admin API and tells each change of a backend as it happens. Used by the demo."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, NamedTuple

import aiohttp

POLL_EVERY = 0.02
"""Seconds; the demo's times are as exact as this."""

Json = dict[str, Any]


class Standing(NamedTuple):
    """Whether a backend gets requests, and if not, why."""

    available: bool
    reasons: tuple[str, ...]


class AdminGoneError(Exception):
    """The admin API does not answer any more."""


class Watch:
    """Knows the standing of every backend of one pool."""

    def __init__(self, admin: str, pool: str, tell: Callable[[str, Standing, str], None]) -> None:
        self._url = f"http://{admin}/v1/pools/{pool}"
        self._tell = tell
        self._changed = asyncio.Event()
        self.standings: dict[str, Standing] = {}
        self.pool: Json = {}

    async def run(self) -> None:
        """Poll until cancelled."""
        timeout = aiohttp.ClientTimeout(total=2)
        try:
            async with aiohttp.ClientSession(timeout=timeout, raise_for_status=True) as session:
                while True:
                    async with session.get(self._url) as answer:
                        self._take(await answer.json())
                    await asyncio.sleep(POLL_EVERY)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise AdminGoneError(f"{self._url} does not answer: {error}") from None

    def _take(self, pool: Json) -> None:
        self.pool = pool
        for backend in pool["backends"]:
            name, standing = backend["name"], Standing(backend["available"], tuple(backend["reasons"]))
            if self.standings.get(name) != standing:
                self.standings[name] = standing
                self._tell(name, standing, cause(backend))
        self._changed.set()
        self._changed = asyncio.Event()

    async def until(self, name: str, *, available: bool, within: float) -> float | None:
        """Seconds until a backend is out, or back; None if that takes too long."""
        now = asyncio.get_running_loop().time
        begun = now()
        try:
            async with asyncio.timeout(within):
                while name not in self.standings or self.standings[name].available is not available:
                    await self._changed.wait()
        except TimeoutError:
            return None
        return now() - begun


def cause(backend: Json) -> str:
    """Say in words why a backend is out."""
    texts = []
    if "failed_probes" in backend["reasons"]:
        texts += [f"probe: {probe['detail']}" for probe in backend["health"]["last"] if not probe["ok"]][-1:]
    if "breaker_open" in backend["reasons"]:
        texts.append(f"breaker {backend['breaker']['state']}: {backend['breaker']['reason']}")
    return "; ".join(texts)
