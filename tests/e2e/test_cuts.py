"""An exchange may be cut at every byte, in every way: no write is executed twice, and none reported wrongly.

`make cuts` cuts each combination at every byte. Else each takes its share of the bytes, another one each, and all take
those at which something begins or ends.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from tests.certificates import Authority
from tests.e2e.client import Answer, BrokenOffError, Client, request
from tests.e2e.cutting import ANSWER, BODY, CuttingBackend
from tests.e2e.rig import Proxy, Rig

CLIENTS = 48
MOST_REPEATS = 8
IS_FULL = os.environ.get("CUTS") == "full"
SHARES = 8
POOL: dict[str, Any] = {
    "timeouts": {"connect": "5s", "first_byte": "5s", "stall": "5s"},
    "health": {"interval": "1h", "fast_interval": "1h", "jitter": "100%"},
    "breaker": {"consecutive": 100000, "min_requests": 100000},
    "retries": {"budget": "1000%", "backoff": "1ms", "backoff_max": "10ms", "on": ["connect", "reset", "timeout"]},
    "balance": "round_robin",
}


@dataclass(frozen=True)
class Cut:
    """Where and how one write is cut."""

    number: int
    how: str
    where: str
    at: int

    def write(self, *, key: bool) -> tuple[bytes, bytes]:
        fields = [f"X-Id: {self.number}", f"X-Cut: {self.how} {self.where} {self.at}"]
        if key:
            fields.append(f"Idempotency-Key: key-{self.number}")
        head = request("POST", "/pay", *fields, body=BODY)
        return head[: -len(BODY)], BODY


def cuts(ways: Iterable[str], longest: int, share: int) -> list[Cut]:
    """In the request, of so many bytes at most, and in the answer."""
    body = longest - len(BODY)
    places = [("request", at) for at in chosen(longest + 1, {0, 1, body - 1, body, body + 1, longest - 1}, share)]
    edges = {0, 1, ANSWER.index(b"\r"), ANSWER.index(b"\r\n\r\n"), len(ANSWER) - len(BODY), len(ANSWER)}
    places += [("answer", at) for at in chosen(len(ANSWER) + 8, edges, share)]
    return [Cut(number, how, *place) for number, (how, place) in enumerate(product(ways, places), 1)]


def chosen(end: int, edges: set[int], share: int) -> list[int]:
    """The bytes before `end` that are cut at."""
    return [at for at in range(end) if IS_FULL or at % SHARES == share or at in edges or at == end - 1]


class Shop:
    """Clients that send each write, and repeat those that have keys until they know what became of them."""

    def __init__(self, proxy: Proxy, *, key: bool) -> None:
        self._proxy, self._key = proxy, key
        self.told: dict[int, list[Answer | None]] = {}
        """Answers by write; None is one that broke off."""

    async def send_all(self, writes: list[Cut]) -> None:
        waiting = list(reversed(writes))

        async def work(shift: int) -> None:
            client = await Client.connect(self._proxy.address)
            while waiting:
                cut = waiting.pop()
                client = await self._settle(client, cut, in_pieces=bool((cut.number + shift) % 2))
            client.close()

        await asyncio.gather(*(work(shift) for shift in range(CLIENTS)))

    async def _settle(self, client: Client, cut: Cut, *, in_pieces: bool) -> Client:
        told = self.told[cut.number] = []
        for _ in range(MOST_REPEATS if self._key else 1):
            if not client.is_usable:
                client.close()
                client = await Client.connect(self._proxy.address)
            head, body = cut.write(key=self._key)
            client.send(head if in_pieces else head + body)
            if in_pieces:
                await asyncio.sleep(0)
                client.send(body)
            try:
                told.append(await client.answer())
            except (BrokenOffError, ConnectionError):
                told.append(None)
                client.close()
            if (last := told[-1]) is not None and last.status == 201:
                break
        return client


def executions(book: Path) -> dict[int, Counter[str]]:
    """By write: how often by which backend."""
    found: dict[int, Counter[str]] = {}
    for path in book.glob("executed_*"):
        _, number, backend, _ = path.name.split("_")
        found.setdefault(int(number), Counter())[backend] += 1
    return found


def said(answer: Answer | None) -> str | None:
    """What a client was told of the execution; `yes` where it got the backend's answer."""
    if answer is None:
        return "broke off"
    return "yes" if answer.status == 201 else json.loads(answer.body).get("executed", f"nothing: {answer.status}")


@asynccontextmanager
async def mortals(book: Path) -> AsyncIterator[list[str]]:
    """Two backends whose processes die."""
    program = [sys.executable, str(Path(__file__).with_name("cutting.py"))]
    processes = [
        subprocess.Popen([*program, name, str(book)], stdout=subprocess.PIPE, start_new_session=True)  # noqa: ASYNC220
        for name in ("one", "two")
    ]
    try:
        yield [process.stdout.readline().decode().strip() for process in processes if process.stdout]
    finally:
        for process in processes:
            # Its children too: those that serve a connection which nobody uses hold the pipe open.
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


async def measure(proxy: Proxy, book: Path) -> None:
    """Have one write pass, so that we know how long it is on its way to a backend."""
    async with await Client.connect(proxy.address) as client:
        for number in (700000, 700001):
            fields = [f"X-Id: {number}", "X-Cut: none request 1000", f"Idempotency-Key: key-{number}"]
            answer = await client.ask("POST", "/pay", *fields, body=BODY)
            assert 201 == answer.status


def judge(shop: Shop, writes: list[Cut], book: Path, *, key: bool) -> None:
    executed = executions(book)
    wrong = []
    for cut in writes:
        count = executed.get(cut.number, Counter())
        told = [said(answer) for answer in shop.told[cut.number]]
        lies = "no" in told and count
        if count.total() > 1 or lies or (key and (told[-1] != "yes" or count.total() != 1)):
            wrong.append((cut, dict(count), told))
        if not key and told[0] not in {"unknown", "broke off", "yes"} and not (told[0] == "no" and not count):
            wrong.append((cut, dict(count), told))
    assert [] == wrong[:10]
    assert len(writes) == len(shop.told)


async def start(rig: Rig, backends: list[str], workers: int, **changes: object) -> Proxy:
    pool = {**POOL, "backends": backends, "idempotency": {}, **changes}
    return await rig.start_proxy({"workers": workers, "state_dir": str(rig.folder / "state"), "pools": {"app": pool}})


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("key", [True, False], ids=["key", "no-key"])
async def test_a_backend_that_cuts_at_any_byte_executes_no_write_twice(rig: Rig, workers: int, key: bool) -> None:  # noqa: FBT001
    book = rig.folder / "book"
    book.mkdir()
    async with CuttingBackend("one", book) as one, CuttingBackend("two", book) as two:
        hasty = {"connect": "5s", "first_byte": "250ms", "stall": "5s"}
        proxy = await start(rig, [one.address, two.address], workers, timeouts=hasty)
        await measure(proxy, book)
        writes = cuts(("rst", "fin", "hang"), max(one.longest, two.longest), 2 * workers + key - 2)
        shop = Shop(proxy, key=key)
        await shop.send_all(writes)

    judge(shop, writes, book, key=key)
    print(f"{len(writes)} writes, {sum(map(len, shop.told.values()))} answers")


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("key", [True, False], ids=["key", "no-key"])
async def test_a_backend_that_is_killed_at_any_byte_executes_no_write_twice(rig: Rig, workers: int, key: bool) -> None:  # noqa: FBT001
    book = rig.folder / "book"
    book.mkdir()
    async with mortals(book) as backends:
        proxy = await start(rig, backends, workers)
        await measure(proxy, book)
        writes = cuts(("kill",), 520, 2 * workers + key + 2)
        shop = Shop(proxy, key=key)
        await shop.send_all(writes)

    judge(shop, writes, book, key=key)
    print(f"{len(writes)} writes, {sum(map(len, shop.told.values()))} answers")


@pytest.mark.parametrize("key", [True, False], ids=["key", "no-key"])
async def test_over_tls_too_a_backend_that_cuts_at_any_byte_executes_no_write_twice(rig: Rig, key: bool) -> None:  # noqa: FBT001
    """What is written there lies in OpenSSL's memory first, and counts as sent all the same."""
    book = rig.folder / "book"
    book.mkdir()
    authority = Authority(rig.folder / "ca")
    tls = authority.issue().context()
    async with CuttingBackend("one", book, tls) as one, CuttingBackend("two", book, tls) as two:
        backends = [f"https://{backend.address}" for backend in (one, two)]
        proxy = await start(rig, backends, 1, tls={"ca": str(authority.cert)})
        await measure(proxy, book)
        writes = cuts(("rst", "fin"), max(one.longest, two.longest), 6 * key)
        shop = Shop(proxy, key=key)
        await shop.send_all(writes)

    judge(shop, writes, book, key=key)
    print(f"{len(writes)} writes, {sum(map(len, shop.told.values()))} answers")
