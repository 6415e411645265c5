"""A client that pays as real clients do: one key for each order, and repeats until it knows. Used by `payments`."""

from __future__ import annotations

import asyncio
import json
import random
import uuid
from dataclasses import dataclass, field
from typing import Any

import aiohttp

FIRST_WAIT = 0.1
LONGEST_WAIT = 1.0
TIMEOUT = aiohttp.ClientTimeout(total=8.0)


@dataclass(slots=True)
class Order:
    """One order, and all that its client was told."""

    number: str
    key: str = field(default_factory=lambda: str(uuid.uuid4()))
    told: list[str] = field(default_factory=list)
    answer: dict[str, Any] | None = None
    """What the gateway said in the end."""

    @property
    def was_unknown(self) -> bool:
        """Whether the client was told that nobody knows, or was told nothing at all."""
        return any(one.startswith(("unknown", "nothing")) for one in self.told)

    @property
    def resolution(self) -> str:
        """How an unknown outcome became known."""
        if self.answer is None:
            return "not resolved"
        return "had been charged" if self.answer["known_before"] else "had not been charged, and was then"


class Shopper:
    """Places orders over one proxy."""

    def __init__(self, url: str, session: aiohttp.ClientSession, rng: random.Random) -> None:
        self._url = url
        self._session = session
        self._rng = rng
        self.orders: list[Order] = []

    async def pay(self, number: str, patience: float) -> Order:
        """Place an order, and repeat until the gateway has answered."""
        order = Order(number)
        self.orders.append(order)
        wait = FIRST_WAIT
        try:
            async with asyncio.timeout(patience):
                while order.answer is None:
                    await self._try(order)
                    if order.answer is None:
                        await asyncio.sleep(wait * self._rng.uniform(0.5, 1.0))
                        wait = min(wait * 2, LONGEST_WAIT)
        except TimeoutError:
            order.told.append("gave up")
        return order

    async def _try(self, order: Order) -> None:
        body = {"order": order.number, "amount": 500}
        try:
            request = self._session.post(self._url, json=body, headers={"Idempotency-Key": order.key}, timeout=TIMEOUT)
            async with request as answer:
                document = json.loads(await answer.read())
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            order.told.append(f"nothing: {type(error).__name__}")
            return
        if answer.status == 201:
            order.answer = document
            order.told.append("charged")
        else:
            order.told.append(f"{document.get('executed', 'refused')}: {answer.status}")
