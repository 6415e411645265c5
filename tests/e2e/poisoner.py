"""A backend that sends more than it is asked for: `python -m tests.e2e.poisoner --seed 1`.

It answers each request with that request's id in head and body. Behind some answers it sends what looks like an answer
to somebody else: together with the answer, in parts, or later on the idle connection. It never does so after the next
request has come: then nobody could tell. Still the two may cross on their way; such requests are named at the end.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import select
import signal
import sys
from typing import cast

import uvloop

POISON = "poison"
"""How the ids begin that belong to no request."""
LONGEST = 0.03
"""Seconds after which at the latest something comes on an idle connection."""


def answer(name: str, size: int) -> bytes:
    """An answer that says in its head and throughout its body whose it is."""
    body = (f"{name}." * (size // len(name) + 1)).encode()
    return f"HTTP/1.1 200 OK\r\nX-Id: {name}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


class Tally:
    """What one run has done."""

    def __init__(self) -> None:
        self.answered = 0
        self.sent: dict[str, int] = {}
        self.crossed: list[str] = []
        """Requests that were under way when poison was sent ahead of them."""

    def count(self, moment: str) -> None:
        self.sent[moment] = self.sent.get(moment, 0) + 1


class Poisoner(asyncio.Protocol):
    """One connection."""

    def __init__(self, rng: random.Random, tally: Tally) -> None:
        self._rng = rng
        self._tally = tally
        self._buffer = b""
        self._poison = 0
        self._is_poisoned = False
        self._idle = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._poll = select.poll()
        self._poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while b"\r\n\r\n" in self._buffer:
            head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
            fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
            name = fields.get("X-Id", "probe")
            if self._is_poisoned:
                self._tally.crossed.append(name)
            self._answer(name)

    def _answer(self, name: str) -> None:
        self._idle += 1
        self._tally.answered += 1
        own = answer(name, self._rng.choice((1, 100, 3000, 20_000)))
        moment = self._rng.choice(("none",) * 12 + ("together", "split", "later", "later in parts", "rubbish later"))
        poison = self._make_poison()
        if moment == "none" or name == "probe":
            self._transport.write(own)
            return
        if moment == "together":
            self._send(moment, own + poison)
        elif moment == "split":
            cut = self._rng.randrange(1, len(poison))
            self._send(moment, own + poison[:cut])
            self._later(self._idle, "", poison[cut:])
        else:
            self._transport.write(own)
            later = b"x" * self._rng.randrange(1, 3000) if moment == "rubbish later" else poison
            cut = self._rng.randrange(1, len(later) + 1) if moment == "later in parts" else len(later)
            self._later(self._idle, moment, later[:cut], later[cut:])

    def _make_poison(self) -> bytes:
        self._poison += 1
        return answer(f"{POISON}-{self._rng.getrandbits(32):08x}", self._rng.choice((1, 100, 3000)))

    def _send(self, moment: str, data: bytes) -> None:
        if moment:
            self._tally.count(moment)
        self._is_poisoned = True
        self._transport.write(data)

    def _later(self, idle: int, moment: str, *parts: bytes) -> None:
        delay = self._rng.uniform(0, LONGEST)
        asyncio.get_running_loop().call_later(delay, self._send_if_idle, idle, moment, parts)

    def _send_if_idle(self, idle: int, moment: str, parts: tuple[bytes, ...]) -> None:
        """Only if no request has come since, not even into the kernel's buffer."""
        if idle != self._idle or self._transport.is_closing() or (self._poll.poll(0) and not self._is_poisoned):
            return
        self._send(moment, parts[0])
        if parts[1:] and parts[1]:
            self._later(idle, "", *parts[1:])


async def serve(seed: int) -> None:
    loop = asyncio.get_running_loop()
    rng, tally, ended = random.Random(seed), Tally(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    server = await loop.create_server(lambda: Poisoner(rng, tally), "127.0.0.1", 0, backlog=1024)
    host, port = server.sockets[0].getsockname()[:2]
    print(json.dumps({"address": f"{host}:{port}"}), flush=True)
    await ended.wait()
    print(json.dumps({"answered": tally.answered, "sent": tally.sent, "crossed": tally.crossed}), flush=True)
    server.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, required=True)
    uvloop.run(serve(parser.parse_args().seed))
    sys.exit(0)
