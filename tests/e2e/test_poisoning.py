"""Response-queue poisoning: a backend that sends more than it is asked for, under many clients.

No client may get a byte of an answer that is not its own. What a client may see instead is a failure.
"""

from __future__ import annotations

import asyncio
import json
import signal
from dataclasses import dataclass, field
from typing import Any

import pytest

from proxy.samples.children import Children
from tests.e2e.client import PATIENCE, BrokenOffError, Client, request
from tests.e2e.rig import Rig

CLIENTS = 200
EACH = 15
"""Requests of each client."""
QUIET: dict[str, Any] = {
    "health": {"interval": "1h", "fast_interval": "1h", "jitter": "100%"},
    "ejection": {"panic_below": "100%"},
}
"""Serve on, whatever the backend's failures: the more it answers, the more can go wrong."""


@dataclass(slots=True)
class Verdicts:
    """What the clients have seen."""

    own: int = 0
    failed: int = 0
    foreign: dict[str, str] = field(default_factory=dict)
    """Requests whose clients got something that was not theirs, and what."""

    async def ask(self, address: str, number: int) -> None:
        """One client asks again and again."""
        client = await Client.connect(address)
        try:
            for count in range(EACH):
                name = f"c{number}-{count}"
                if not client.is_usable:
                    client.close()
                    client = await Client.connect(address)
                client.send(request("GET", f"/{name}", f"X-Id: {name}"))
                try:
                    self._judge(name, *await read(client))
                except BrokenOffError:
                    self.failed += 1
                    client.close()
        finally:
            client.close()

    def _judge(self, name: str, status: int, whose: str | None, body: bytes) -> None:
        if whose is None and status in {502, 503, 504}:
            self.failed += 1
        elif whose == name and body and body in (f"{name}." * (len(body) // len(name))).encode():
            self.own += 1
        else:
            self.foreign[name] = f"{status} of {whose}: {body[:200]!r}"


async def read(client: Client) -> tuple[int, str | None, bytes]:
    """An answer; of one that breaks off, what came of it."""
    status, fields = await client.head()
    known = {key.lower(): value for key, value in fields}
    try:
        async with asyncio.timeout(PATIENCE):
            body = await client.reader.readexactly(int(known["content-length"]))
    except asyncio.IncompleteReadError as error:
        body = error.partial
    return status, known.get("x-id"), body


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
async def test_no_client_gets_a_byte_of_anothers_answer(rig: Rig, seed: int) -> None:
    async with Children() as children:
        process = await children.start(
            "-m", "tests.e2e.poisoner", "--seed", str(seed), orphaned=signal.SIGKILL, stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        address = json.loads(await process.stdout.readline())["address"]
        proxy = await rig.start_proxy({"pools": {"app": {**QUIET, "backends": [address]}}})
        verdicts = Verdicts()
        await asyncio.gather(*(verdicts.ask(proxy.address, number) for number in range(CLIENTS)))
        process.terminate()
        told = json.loads(await process.stdout.readline())
    print(f"own {verdicts.own}, failed {verdicts.failed}, foreign {len(verdicts.foreign)}; backend: {told}")

    assert {} == {name: what for name, what in verdicts.foreign.items() if name not in told["crossed"]}
    assert len(told["crossed"]) <= 0.005 * CLIENTS * EACH
    assert sum(told["sent"].values()) >= 0.1 * told["answered"]
    assert verdicts.own >= 0.5 * CLIENTS * EACH
    assert verdicts.own + verdicts.failed + len(verdicts.foreign) == CLIENTS * EACH
