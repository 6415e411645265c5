"""The clients of a soak: each kind does one thing over and over, with random sizes and pauses from a seed.

A client may fail where things are killed under it. It may not get what is not its own, and it may not hang.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from tests.e2e.client import BrokenOffError, Client, request
from tests.soak.backend import PIECE

HUNG = 120.0
"""Seconds after which a client hangs in what it does; for a single answer it waits `PATIENCE` at the longest."""
STATUSES = frozenset({200, 101, 400, 404, 405, 408, 411, 413, 414, 417, 431, 501, 502, 503, 504, 505})
FAILURES = (OSError, BrokenOffError, asyncio.IncompleteReadError, WebSocketException, EOFError, RuntimeError)


class WrongError(Exception):
    """A client has seen what it must not see."""


@dataclass(slots=True)
class Tally:
    """What became of what the clients did: kind → how often."""

    good: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    """By a break, a reset, or an answer of the proxy's own."""
    wrong: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Actor:
    """One client of one kind."""

    address: str
    rng: random.Random
    serial: int = 0

    async def open(self) -> Client:
        return await Client.connect(self.address)

    def name(self) -> str:
        self.serial += 1
        return f"{self.rng.getrandbits(48):012x}-{self.serial}"

    async def pause(self, most: float = 0.05) -> None:
        await asyncio.sleep(self.rng.uniform(0, most))


def right(*, holds: bool, what: str) -> None:
    if not holds:
        raise WrongError(what)


def is_ours(status: int) -> bool:
    """Whether the proxy itself refused: allowed while things are killed."""
    return status in {408, 502, 503, 504}


async def read(actor: Actor) -> bool:
    """Small GETs on one connection."""
    async with await actor.open() as client:
        for _ in range(actor.rng.randrange(1, 60)):
            name = actor.name()
            answer = await client.ask("GET", "/small", f"X-Id: {name}")
            if is_ours(answer.status):
                return False
            right(holds=(answer.status, answer.body) == (200, name.encode()), what=f"{name}: {answer}")
            if not client.is_usable:
                return True
            await actor.pause(0.01)
    return True


async def pipeline(actor: Actor) -> bool:
    """Several requests at once; the answers in their order."""
    async with await actor.open() as client:
        names = [actor.name() for _ in range(actor.rng.randrange(2, 20))]
        client.send(b"".join(request("GET", "/small", f"X-Id: {name}") for name in names))
        for name in names:
            answer = await client.answer()
            if is_ours(answer.status):
                return False
            right(holds=answer.body == name.encode(), what=f"{name}: {answer}")
    return True


async def write(actor: Actor) -> bool:
    """POSTs that come back, counted or chunked."""
    async with await actor.open() as client:
        for _ in range(actor.rng.randrange(1, 10)):
            body = actor.rng.randbytes(actor.rng.choice((1, 500, 20_000, 200_000)))
            if actor.rng.random() < 0.5:
                client.send(request("POST", "/echo", body=body))
            else:
                half = len(body) // 2
                client.send(request("POST", "/echo", "Transfer-Encoding: chunked"))
                for piece in filter(None, (body[:half], body[half:])):
                    client.send(b"%x\r\n%b\r\n" % (len(piece), piece))
                    await actor.pause(0.005)
                client.send(b"0\r\n\r\n")
            answer = await client.answer("POST")
            if is_ours(answer.status):
                return False
            right(holds=answer.body == body, what=f"an echo of {len(body)} bytes: {answer.status}, {len(answer.body)}")
            if not client.is_usable:
                return True
    return True


async def download(actor: Actor) -> bool:
    """A large body, now and then read slowly."""
    pieces, framing = actor.rng.randrange(1, 256), actor.rng.choice(("", "&chunked"))
    buffer = actor.rng.choice((0, 65536))
    async with await Client.connect(actor.address, receive_buffer=buffer) as client:
        if buffer:
            client.send(request("GET", f"/big?pieces={pieces}"))
            status, _ = await client.head()
            if is_ours(status):
                return False
            for _ in range(pieces):
                right(holds=await client.reader.readexactly(len(PIECE)) == PIECE, what="a piece of a download")
                await actor.pause(0.01)
            return True
        answer = await client.ask("GET", f"/big?pieces={pieces}{framing}")
    if is_ours(answer.status):
        return False
    digest = hashlib.sha256(PIECE * pieces).hexdigest()
    right(holds=hashlib.sha256(answer.body).hexdigest() == digest, what="a download")
    return True


async def upload(actor: Actor) -> bool:
    """A large body in chunks."""
    pieces = actor.rng.randrange(1, 256)
    async with await actor.open() as client:
        client.send(request("POST", "/sink", "Transfer-Encoding: chunked"))
        for _ in range(pieces):
            client.send(b"%x\r\n%b\r\n" % (len(PIECE), PIECE))
            await client.writer.drain()
        client.send(b"0\r\n\r\n")
        answer = await client.answer("POST")
    if is_ours(answer.status):
        return False
    right(holds=answer.body == str(pieces * len(PIECE)).encode(), what=f"an upload: {answer}")
    return True


async def listen(actor: Actor) -> bool:
    """Some events, then leave in one way or the other."""
    client = await actor.open()
    try:
        client.send(request("GET", "/events", "Accept: text/event-stream"))
        status, _ = await client.head()
        if is_ours(status):
            return False
        for _ in range(actor.rng.randrange(1, 40)):
            event = await client.chunk()
            right(holds=event.replace(b"data: tick\n\n", b"") == b"", what=f"an event: {event[:80]!r}")
    finally:
        leave(actor, client)
    return True


async def talk(actor: Actor) -> bool:
    """A WebSocket that ends as it should, or breaks off."""
    async with connect(f"ws://{actor.address}/chat", max_size=None, compression=None, ping_interval=None) as socket:
        for _ in range(actor.rng.randrange(1, 20)):
            message = actor.rng.randbytes(actor.rng.choice((1, 100, 10_000, 300_000)))
            await socket.send(message)
            right(holds=await socket.recv() == message, what="a message")
            await actor.pause(0.02)
        if actor.rng.random() < 0.5:
            socket.transport.abort()
    return True


def leave(actor: Actor, client: Client) -> None:
    """Close, or reset."""
    if actor.rng.random() < 0.5:
        client.reset()
    else:
        client.close()


async def abort(actor: Actor) -> bool:
    """Leave at a random moment of anything."""
    asks = (
        request("GET", "/small"),
        request("GET", "/big?pieces=200"),
        request("GET", "/hang"),
        request("GET", "/events"),
        request("POST", "/echo", "Content-Length: 100000") + b"x" * actor.rng.randrange(100_000),
        request("POST", "/sink", "Transfer-Encoding: chunked") + b"ffff\r\n" + b"x" * actor.rng.randrange(65_535),
        request("GET", "/chat", "Connection: upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"),
    )
    ask = actor.rng.choice(asks)
    client = await actor.open()
    client.send(ask[: actor.rng.randrange(len(ask) + 1)] if actor.rng.random() < 0.3 else ask)
    await actor.pause(0.3)
    if actor.rng.random() < 0.3:
        client.writer.write_eof()
        await actor.pause(0.3)
    leave(actor, client)
    return True


async def dawdle(actor: Actor) -> bool:
    """A head that comes byte by byte, and then perhaps no more."""
    async with await actor.open() as client:
        head = request("GET", "/small", f"X-Id: {(name := actor.name())}")
        for byte in head[: None if actor.rng.random() < 0.7 else -3]:
            client.send(bytes((byte,)))
            await actor.pause(0.004)
        answer = await client.answer()
        right(holds=is_ours(answer.status) or answer.body == name.encode(), what=f"{name}: {answer}")
    return answer.status == 200


async def rave(actor: Actor) -> bool:
    """Bytes that are no HTTP, or hardly."""
    ask = bytearray(request("POST", "/echo", "Transfer-Encoding: chunked", "X-A: b") + b"5\r\nhello\r\n0\r\n\r\n")
    for _ in range(actor.rng.randrange(1, 12)):
        ask[actor.rng.randrange(len(ask))] = actor.rng.randrange(256)
    async with await actor.open() as client:
        client.send(bytes(ask))
        client.writer.write_eof()
        answer = await client.until_closed()
        right(holds=not answer or answer.startswith(b"HTTP/1.1 "), what=f"an answer to rubbish: {answer[:80]!r}")
    return True


async def suffer(actor: Actor) -> bool:
    """Backends that break off or come too late."""
    async with await actor.open() as client:
        target = actor.rng.choice(("/break", "/hang"))
        answer = await client.ask("GET", target)
        right(holds=answer.status in STATUSES, what=f"{target}: {answer.status}")
    return answer.status == 200


async def idle(actor: Actor) -> bool:
    """Connect, perhaps ask once, and do nothing until the proxy closes."""
    async with await actor.open() as client:
        if actor.rng.random() < 0.5:
            await client.ask("GET", "/small")
        await client.until_closed()
    return True


KINDS: dict[str, tuple[Callable[[Actor], Awaitable[bool]], int]] = {
    "read": (read, 8),
    "pipeline": (pipeline, 2),
    "write": (write, 4),
    "download": (download, 3),
    "upload": (upload, 2),
    "listen": (listen, 8),
    "talk": (talk, 6),
    "abort": (abort, 8),
    "dawdle": (dawdle, 4),
    "rave": (rave, 4),
    "suffer": (suffer, 4),
    "idle": (idle, 4),
}
"""What is done, and by how many at once."""


async def keep_on(kind: str, actor: Actor, tally: Tally, stopped: asyncio.Event) -> None:
    """Do one thing over and over, until told to stop."""
    act = KINDS[kind][0]
    loop = asyncio.get_running_loop()
    while not stopped.is_set():
        begun = loop.time()
        try:
            async with asyncio.timeout(HUNG):
                good = await act(actor)
            (tally.good if good else tally.failed)[kind] += 1
        except TimeoutError:
            tally.wrong.append(f"{kind} hung, {loop.time() - begun:.1f} seconds after it had begun")
        except WrongError as error:
            tally.wrong.append(f"{kind} saw {error}")
        except FAILURES as error:
            # So a transport says that it is closed already.
            if isinstance(error, RuntimeError) and "closed" not in str(error):
                raise
            tally.failed[kind] += 1
            await actor.pause(0.1)
        await actor.pause()


async def run(address: str, seed: int, tally: Tally, seconds: float) -> None:
    """All of it for so long; returns when the last client has ended what it was doing."""
    stopped = asyncio.Event()
    asyncio.get_running_loop().call_later(seconds, stopped.set)
    async with asyncio.TaskGroup() as group:
        for kind, (_, many) in KINDS.items():
            for number in range(many):
                actor = Actor(address, random.Random(f"{seed} {kind} {number}"))
                group.create_task(keep_on(kind, actor, tally, stopped))
