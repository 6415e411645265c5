"""Workers whose supervisor was killed: signals still end them, and nothing under way is lost by that."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from pathlib import Path

from tests.e2e.client import request
from tests.e2e.rig import Rig, happens, until
from tests.e2e.scripted import Asked, Scripted
from tests.e2e.test_processes import until_refused


def has_ended(pid: int) -> bool:
    """Also if nobody has asked for its status yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


async def test_orphaned_workers_finish_what_is_under_way_and_end_on_term(rig: Rig) -> None:
    asked_for, go_on = asyncio.Event(), asyncio.Event()

    async def answer_late(asked: Asked) -> None:
        asked_for.set()
        await happens(go_on)
        asked.answer(body=b"late")

    async with Scripted(answer_late) as backend:
        proxy = await rig.start_proxy({"pools": {"app": [backend.address]}})
        workers = proxy.workers()
        try:
            busy = await rig.connect(proxy.address)
            busy.send(request("GET", "/"))
            await happens(asked_for)
            proxy.process.kill()
            await proxy.process.wait()
            await until(lambda: proxy.log.count("the supervisor is gone") == len(workers))
            for pid in workers:
                os.kill(pid, signal.SIGTERM)
            await until_refused(proxy.address)
            go_on.set()
            answer = await busy.answer()
            await until(lambda: all(map(has_ended, workers)))
        finally:
            for pid in workers:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    assert (200, b"late", "close") == (answer.status, answer.body, answer.field("connection"))
