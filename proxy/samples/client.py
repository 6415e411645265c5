"""An open-loop client: it sends at a fixed rate over keep-alive connections, however slowly the answers come.

So a stall shows: in a closed loop, a proxy that hangs would simply be asked less. Each request's time counts from the
moment at which it was due. Used by the demo.
"""

from __future__ import annotations

import asyncio
import enum
import itertools
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

TIMEOUT = 10.0
"""Seconds after which a client gives up."""
WRITE_EVERY = 20
"""One request in so many is a POST."""


class Verdict(enum.Enum):
    """How a request ended for the client."""

    GOOD = "good"
    FAILED = "failed"
    UNKNOWN = "unknown"
    """A write that failed on the backend that had it, and may have been executed: no proxy may repeat it."""


class BrokenOffError(Exception):
    """An answer began, and its connection was closed in the middle."""


class Answer(NamedTuple):
    """A whole answer."""

    status: int
    body: bytes
    is_backends: bool = False
    """Whether a backend gave it, and not the proxy."""


@dataclass(slots=True)
class Tally:
    """What the client saw."""

    verdicts: Counter[Verdict] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    """By description."""
    writes: list[str] = field(default_factory=list)
    """Bodies of all writes."""
    seconds: list[float] = field(default_factory=list)
    """From the due time to the end of the answer."""
    counted: asyncio.Event = field(default_factory=asyncio.Event)
    """Set whenever a request has ended."""

    def count(self, verdict: Verdict, seconds: float, description: str) -> None:
        """Note the end of a request."""
        self.verdicts[verdict] += 1
        self.seconds.append(seconds)
        self.counted.set()
        if verdict is not Verdict.GOOD:
            self.failures[description] += 1

    def quantile(self, share: float) -> float:
        """Seconds within which this share of the requests had ended."""
        ordered = sorted(self.seconds)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


class Connection:
    """A kept-alive connection to the proxy."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @property
    def is_usable(self) -> bool:
        """Whether the proxy has left it open."""
        return not self._reader.at_eof() and not self._writer.is_closing()

    async def ask(self, request: bytes) -> Answer:
        """Send a request and read its answer."""
        self._writer.write(request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        fields = dict(line.lower().split(b":", 1) for line in head.split(b"\r\n")[1:] if line)
        try:
            body = await self._reader.readexactly(int(fields[b"content-length"]))
        except asyncio.IncompleteReadError as error:
            raise BrokenOffError(f"{len(error.partial)} of {error.expected} bytes") from None
        if b"close" in fields.get(b"connection", b""):
            self.close()
        return Answer(int(head[9:12]), body, b"x-backend" in fields)

    def close(self) -> None:
        """Close it."""
        self._writer.close()


def request_of(number: int, host: str) -> tuple[bytes, str]:
    """Build a request as bytes, and its body, which is empty unless it is a write."""
    if number % WRITE_EVERY:
        return f"GET /item/{number} HTTP/1.1\r\nHost: {host}\r\nAccept: */*\r\n\r\n".encode(), ""
    body = f"order {number}"
    head = f"POST /orders HTTP/1.1\r\nHost: {host}\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\n\r\n"
    return (head + body).encode(), body


def judge(answer: Answer, body: str) -> Verdict:
    """Say what an answer means to the client: a write must come back as its own body."""
    if answer.status == 200 and (not body or answer.body == body.encode()):
        return Verdict.GOOD
    may_have_been_executed = answer.status >= 500 and (answer.is_backends or _executed(answer) == "unknown")
    return Verdict.UNKNOWN if body and may_have_been_executed else Verdict.FAILED


def _executed(answer: Answer) -> object:
    """Read what the proxy says of the write in its problem document."""
    try:
        return json.loads(answer.body)["executed"]
    except (ValueError, KeyError, TypeError):
        return None


class OpenLoopClient:
    """Sends requests at a fixed rate."""

    def __init__(self, address: str, rate: float) -> None:
        self._address = address
        self._rate = rate
        self._idle: list[Connection] = []
        self._running: set[asyncio.Task[None]] = set()
        self.connections = 0
        self.tally = Tally()

    async def run(self) -> None:
        """Send until cancelled; then wait for what is under way."""
        try:
            for number, due in self._schedule():
                await asyncio.sleep(due - asyncio.get_running_loop().time())
                task = asyncio.create_task(self._send(number, due))
                self._running.add(task)
                task.add_done_callback(self._running.discard)
        finally:
            await asyncio.gather(*self._running)
            for connection in self._idle:
                connection.close()

    def _schedule(self) -> Iterator[tuple[int, float]]:
        begun = asyncio.get_running_loop().time()
        return ((number, begun + number / self._rate) for number in itertools.count(1))

    async def _send(self, number: int, due: float) -> None:
        request, body = request_of(number, self._address)
        if body:
            self.tally.writes.append(body)
        verdict, description = Verdict.FAILED, ""
        try:
            async with asyncio.timeout(TIMEOUT):
                answer = await self._ask(request)
            verdict, description = judge(answer, body), f"{answer.status} {answer.body[:100].decode(errors='replace')}"
        except BrokenOffError as error:
            verdict = Verdict.UNKNOWN if body else Verdict.FAILED
            description = f"the answer broke off: {error}"
        except (OSError, EOFError, TimeoutError) as error:
            description = f"{type(error).__name__} {error}"
        kind = "POST" if body else "GET"
        self.tally.count(verdict, asyncio.get_running_loop().time() - due, f"{kind}: {description}")

    async def _ask(self, request: bytes) -> Answer:
        connection = await self._connection()
        try:
            answer = await connection.ask(request)
        except BaseException:
            connection.close()
            raise
        if connection.is_usable:
            self._idle.append(connection)
        return answer

    async def _connection(self) -> Connection:
        while self._idle:
            connection = self._idle.pop()
            if connection.is_usable:
                return connection
            connection.close()
        host, _, port = self._address.rpartition(":")
        self.connections += 1
        return Connection(*await asyncio.open_connection(host, int(port)))
