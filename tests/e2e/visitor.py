"""A visitor: a client with a cookie jar, who opens a new connection for each request and so meets every worker."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from tests.e2e.client import Answer, Client

COOKIE = "fo_node"


class Visitor:
    """Keeps the cookie of this name, as browsers do."""

    def __init__(self, address: str, cookie: str = "") -> None:
        self.address = address
        self.cookie = cookie
        self.given: list[str] = []
        """All cookies that it was given."""
        self.failed: list[int] = []

    async def ask(self, target: str = "/", *fields: str, method: str = "GET") -> Answer:
        """Ask, and keep what comes with the answer."""
        own = (f"Cookie: theme=dark; {COOKIE}={self.cookie}; lang=en",) if self.cookie else ()
        async with await Client.connect(self.address) as client:
            answer = await client.ask(method, target, *own, *fields)
        given = answer.field("set-cookie") or ""
        if given.startswith(f"{COOKIE}="):
            self.cookie = given.partition("=")[2].partition(";")[0]
            self.given.append(given)
        if answer.status != 200:
            self.failed.append(answer.status)
        return answer

    async def backend(self) -> str:
        """Who answers."""
        return (await self.ask()).backend or "nobody"


def visitors(address: str, number: int) -> list[Visitor]:
    """So many, who were never here."""
    return [Visitor(address) for _ in range(number)]


async def places(crowd: Iterable[Visitor]) -> list[str]:
    """Who answers each of them, in their order."""
    return list(await asyncio.gather(*(one.backend() for one in crowd)))
