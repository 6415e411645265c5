"""Steady load: an open-loop client that sends on time, however slowly answers come, and keeps a record of each request.

Every third request is a POST whose body is found nowhere else, so that it can be counted where it was executed.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections import deque
from dataclasses import dataclass, field
from itertools import count
from typing import Self

from tests.e2e.client import Answer, BrokenOffError, Client, request

RATE = 150.0
"""Requests a second: enough to notice a failure within milliseconds, little enough for a busy machine."""
CONNECTIONS = 12
"""Kept-alive connections, so many that every worker has some, and few enough that each is used often."""
GIVE_UP = 10.0
"""Seconds after which a client gives up."""


@dataclass(slots=True)
class Record:
    """One request and what became of it."""

    id: str
    method: str
    sent_at: float
    answer: Answer | None = None
    seconds: float = 0.0
    error: str = ""

    @property
    def is_good(self) -> bool:
        """Whether it got its own answer, from a backend."""
        return (
            self.answer is not None
            and self.answer.status == 200
            and self.answer.backend is not None
            and self.id.encode() in self.answer.body
        )

    @property
    def executed(self) -> str | None:
        """What the proxy says of a request that it could not get answered: `no` or `unknown`; None: nothing."""
        if self.answer is None or self.answer.field("content-type") != "application/problem+json":
            return None
        said: str | None = json.loads(self.answer.body).get("executed")
        return said

    def __str__(self) -> str:
        answer = self.answer
        what = self.error if answer is None else f"{answer.status} from {answer.backend}: {answer.body[:200]!r}"
        return f"{self.method} {self.id}, {self.seconds:.3f}s: {what}"


@dataclass(slots=True)
class Load:
    """Sends from `async with` on, and waits at its end for what is under way."""

    address: str
    rate: float = RATE
    writes: bool = True
    tls: ssl.SSLContext | None = None
    path: str = "/"
    """What every target begins with."""
    records: list[Record] = field(default_factory=list)
    """Of the requests that have ended."""
    _idle: deque[Client] = field(default_factory=deque)
    _running: set[asyncio.Task[None]] = field(default_factory=set)
    _ended: asyncio.Condition = field(default_factory=asyncio.Condition)
    _sender: asyncio.Task[None] | None = None
    _serial: int = field(default_factory=count().__next__)

    async def __aenter__(self) -> Self:
        for _ in range(CONNECTIONS):
            self._idle.append(await Client.connect(self.address, tls=self.tls))
        self._sender = asyncio.create_task(self._send_all())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._sender is not None:
            self._sender.cancel()
        await asyncio.gather(*self._running)
        for client in self._idle:
            client.close()

    async def answered(self, more: int) -> None:
        """Wait until so many more requests have ended."""
        wanted = len(self.records) + more
        async with asyncio.timeout(more / self.rate + 3 * GIVE_UP), self._ended:
            await self._ended.wait_for(lambda: len(self.records) >= wanted)

    async def _send_all(self) -> None:
        loop = asyncio.get_running_loop()
        begun, number = loop.time(), 0
        while True:
            number += 1
            await asyncio.sleep(begun + number / self.rate - loop.time())
            task = asyncio.create_task(self._send(number, "POST" if self.writes and number % 3 == 0 else "GET"))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def _send(self, number: int, method: str) -> None:
        loop = asyncio.get_running_loop()
        record = Record(f"{method.lower()}-{self._serial}-{number}-", method, loop.time())
        body = record.id.encode() if method == "POST" else b""
        data = request(method, f"{self.path}{record.id}", "Content-Type: text/plain", body=body)
        try:
            async with asyncio.timeout(GIVE_UP):
                record.answer = await self._ask(data, method)
        except (OSError, BrokenOffError, TimeoutError) as error:
            record.error = f"{type(error).__name__} {error}"
        record.seconds = loop.time() - record.sent_at
        async with self._ended:
            self.records.append(record)
            self._ended.notify_all()

    async def _ask(self, data: bytes, method: str) -> Answer:
        client = await self._connection()
        try:
            client.send(data)
            answer = await client.answer(method)
        except BaseException:
            client.close()
            raise
        if client.is_usable and len(self._idle) < CONNECTIONS:
            self._idle.append(client)
        else:
            client.close()
        return answer

    async def _connection(self) -> Client:
        """The one that has been idle for longest, so that all of them, and all workers, are used."""
        while self._idle:
            client = self._idle.popleft()
            if client.is_usable:
                return client
            client.close()
        return await Client.connect(self.address, tls=self.tls)

    @property
    def pending(self) -> int:
        """How many requests are under way."""
        return len(self._running)

    # What the records say

    def failed(self, method: str = "GET") -> list[str]:
        """Requests with this method that did not get their answer."""
        return [str(record) for record in self.records if record.method == method and not record.is_good]

    def untold(self) -> list[str]:
        """Failed writes whose clients were not told what may have happened.

        They may see the backend's own answer, a break within it, or the proxy's word on whether it was executed.
        """
        return [
            str(record)
            for record in self.records
            if record.method == "POST"
            and not record.is_good
            and record.executed not in {"no", "unknown"}
            and (record.answer is None or record.answer.backend is None)
            and not record.error.startswith("BrokenOffError in a body")
        ]

    def ids(self, executed: str) -> set[str]:
        """Writes of which the proxy said this."""
        return {record.id for record in self.records if record.executed == executed}

    def written(self) -> set[str]:
        """Writes that were answered well."""
        return {record.id for record in self.records if record.method == "POST" and record.is_good}
