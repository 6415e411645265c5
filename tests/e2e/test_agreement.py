"""Backends are killed, and everything that a person can ask says the same of it: who is out, and why."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp

from tests.e2e.client import PATIENCE
from tests.e2e.rig import Proxy, Rig, now

WITHIN = 2.0
"""Seconds after the kill in which all agree."""
REFUSED = "connection refused"


@asynccontextmanager
async def events(proxy: Proxy) -> AsyncIterator[asyncio.Queue[tuple[str, object]]]:
    """Names and data of what `/v1/events` tells."""
    queue: asyncio.Queue[tuple[str, object]] = asyncio.Queue()

    async def read(answer: aiohttp.ClientResponse) -> None:
        name = ""
        while line := (await answer.content.readuntil(b"\n")).decode():
            if line.startswith("event: "):
                name = line[7:].strip()
            elif line.startswith("data: "):
                queue.put_nowait((name, json.loads(line[6:])))

    url = f"http://{proxy.admin.address}/v1/events"
    async with aiohttp.ClientSession(read_bufsize=2**20) as session, session.get(url) as answer:
        reading = asyncio.create_task(read(answer))
        try:
            yield queue
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)


async def status(proxy: Proxy) -> str:
    """What the command prints."""
    command = (sys.executable, "-m", "proxy", "status", "--admin", proxy.admin.address)
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    return output.decode()


async def until_told_out(told: asyncio.Queue[tuple[str, object]], name: str) -> None:
    """Read events until one says that this backend is out."""
    async with asyncio.timeout(PATIENCE):
        while True:
            kind, data = await told.get()
            if kind == "pools" and any(
                one["name"] == name and "failed_probes" in one["reasons"]
                for pool in data["pools"]
                for one in pool["backends"]
            ):
                return


async def kill_and_ask(rig: Rig, proxy: Proxy, told: asyncio.Queue[tuple[str, object]], name: str) -> float:
    """Seconds from the kill until the API, the metrics, the journal, `explain` and `status` have said the same."""
    await rig.kill(name)
    killed_at = now()
    await until_told_out(told, name)
    backend, samples, journal, why, printed = await asyncio.gather(
        proxy.admin.backend(name),
        proxy.admin.samples(),
        proxy.admin.get(f"/v1/journal?backend={name}&kind=backend"),
        proxy.admin.get(f"/v1/explain?backend=app/{name}"),
        status(proxy),
    )
    took = now() - killed_at

    cause = next(veto["cause"] for veto in backend["vetoes"] if veto["reason"] == "failed_probes")
    assert f"its probes fail ({REFUSED})" == cause
    assert 1 == next(
        sample.value
        for sample in samples
        if sample.name == "failover_backend_unavailable"
        and (sample.labels["backend"], sample.labels["reason"]) == (name, "failed_probes")
    )
    assert any(entry["to"] == "down" and REFUSED in entry["sentence"] for entry in journal["entries"])
    assert cause in why["sentence"]
    assert f"failed_probes: {cause}" in printed
    return took


async def test_within_two_seconds_of_a_kill_all_agree_on_who_is_out_and_why(rig: Rig) -> None:
    """Twice, so that one moment in which the machine does something else is no failure."""
    proxy = await rig.start()
    async with events(proxy) as told:
        assert "snapshot" == (await asyncio.wait_for(told.get(), PATIENCE))[0]
        took = [await kill_and_ask(rig, proxy, told, name) for name in ("red", "green")]
        pool = await proxy.admin.get("/v1/pools/app")

    assert ("degraded", 1, 3) == (pool["state"], pool["available"], pool["total"])
    assert pool["sentence"].startswith("DEGRADED: 2 of 3 app backends out (red failed_probes")
    assert min(took) < WITHIN
