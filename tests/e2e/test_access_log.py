"""Every request has its line, and the line says what happened to it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
from pathlib import Path
from typing import Any

from tests.collector import collecting
from tests.e2e.client import PATIENCE, Client, request
from tests.e2e.peers import reserve_port
from tests.e2e.rig import Rig, until
from tests.e2e.scripted import Asked, Scripted
from tests.e2e.test_replace import replace

PATIENT: dict[str, Any] = {
    "health": {"interval": "1h", "fast_interval": "1h", "jitter": "100%"},
    "breaker": {"consecutive": 1000, "min_requests": 1000},
    "hold": {"for": "0"},
}


class Log:
    """The file of the access log."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "access.txt"

    async def lines(self, count: int) -> list[dict[str, Any]]:
        """All lines, once there are so many."""
        await until(lambda: self.path.exists() and self.path.read_bytes().count(b"\n") >= count)
        return [json.loads(line) for line in self.path.read_text().splitlines()]


async def read_and_go(asked: Asked) -> None:
    await asked.body()
    asked.abort()


async def test_a_line_tells_who_was_asked_and_what_came_back(rig: Rig) -> None:
    log = Log(rig.folder)
    async with Scripted() as backend:
        pool = {**PATIENT, "backends": [{"name": "one", "address": backend.address}]}
        proxy = await rig.start_proxy({"workers": 1, "pools": {"app": pool}, "access_log": str(log.path)})
        async with await Client.connect(proxy.address) as client:
            await client.ask("POST", "/pay?card=1", "X-Request-Id: r1", "User-Agent: me", body=b"write")
            line = (await log.lines(1))[0]

    assert {
        "client": "127.0.0.1",
        "method": "POST",
        "target": "/pay?card=1",
        "status": 200,
        "bytes_in": 5,
        "bytes_out": len("/pay?card=1"),
        "route": "app",
        "pool": "app",
        "flags": "",
        "executed": "",
        "request_id": "r1",
        "user_agent": "me",
    }.items() <= line.items()
    assert [("one", "200")] == [(attempt["backend"], attempt["outcome"]) for attempt in line["attempts"]]
    assert line["attempts"][0]["sent"] > len("POST /pay?card=1")
    assert line["connect_ms"] + line["first_byte_ms"] <= line["total_ms"]


async def test_all_attempts_of_a_saved_request_are_told(rig: Rig) -> None:
    log = Log(rig.folder)
    with reserve_port() as closed:
        gone = f"127.0.0.1:{closed.getsockname()[1]}"
        async with Scripted() as backend:
            backends = [
                {"name": "gone", "address": gone, "tier": 1},
                {"name": "two", "address": backend.address, "tier": 2},
            ]
            proxy = await rig.start_proxy(
                {"workers": 1, "pools": {"app": {**PATIENT, "backends": backends}}, "access_log": str(log.path)}
            )
            async with await Client.connect(proxy.address) as client:
                await client.ask("GET", "/")
                line = (await log.lines(1))[0]

    assert [("gone", "connection_refused", 0), ("two", "200")] == [
        (line["attempts"][0]["backend"], line["attempts"][0]["outcome"], line["attempts"][0]["sent"]),
        (line["attempts"][1]["backend"], line["attempts"][1]["outcome"]),
    ]
    assert (200, "") == (line["status"], line["flags"])


async def test_failures_bear_their_flags_and_what_is_known_of_a_write(rig: Rig) -> None:
    log = Log(rig.folder)
    async with Scripted(read_and_go) as one, Scripted(read_and_go) as two:
        pool = {**PATIENT, "retries": {"attempts": 2}, "backends": [one.address, two.address]}
        routes = [{"name": "all", "match": {"path": "/x/*"}, "pool": "app"}]
        proxy = await rig.start_proxy(
            {"workers": 1, "pools": {"app": pool}, "routes": routes, "access_log": str(log.path)}
        )
        for asked in (
            request("POST", "/x/1", "Content-Length: 0"),
            request("GET", "/x/2"),
            request("GET", "/nowhere"),
            b"no request\r\n\r\n",
        ):
            async with await Client.connect(proxy.address) as client:
                client.send(asked)
                await client.answer()
        lines = await log.lines(4)

    assert [
        ("/x/1", 502, "UC", "unknown", 1),
        ("/x/2", 502, "UC,URX", "", 2),
        ("/nowhere", 404, "NR", "", 0),
        ("", 400, "DPE", "", 0),
    ] == [(x["target"], x["status"], x["flags"], x["executed"], len(x["attempts"])) for x in lines]


async def test_a_client_that_leaves_and_a_body_that_breaks_off_show(rig: Rig) -> None:
    log = Log(rig.folder)
    asked_for = asyncio.Event()

    async def behave(asked: Asked) -> None:
        if asked.target == "/wait":
            asked_for.set()
            await asked.until_closed()
        else:
            asked.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"x" * 70000)
            await asyncio.sleep(0)
            asked.abort()

    async with Scripted(behave) as backend:
        pool = {**PATIENT, "retries": {"hold_answer": "1KiB"}, "backends": [backend.address]}
        proxy = await rig.start_proxy({"workers": 1, "pools": {"app": pool}, "access_log": str(log.path)})
        async with await Client.connect(proxy.address) as client:
            client.send(request("GET", "/wait"))
            await asked_for.wait()
        left = (await log.lines(1))[0]
        async with await Client.connect(proxy.address) as client:
            client.send(request("POST", "/break", "Content-Length: 0"))
            with contextlib.suppress(Exception):
                await client.answer()
        broken = (await log.lines(2))[1]

    assert (0, "DC", "client_left") == (left["status"], left["flags"], left["attempts"][0]["outcome"])
    assert (200, "UC") == (broken["status"], broken["flags"])
    assert 0 < broken["bytes_out"] <= 70000


async def test_usr1_begins_a_file_that_was_renamed_anew_in_every_worker(rig: Rig) -> None:
    log = Log(rig.folder)
    async with Scripted() as backend:
        pool = {**PATIENT, "backends": [backend.address]}
        proxy = await rig.start_proxy({"workers": 2, "pools": {"app": pool}, "access_log": {"path": str(log.path)}})
        clients = [await rig.connect(proxy.address) for _ in range(8)]
        for client in clients:
            await client.ask("GET", "/before")
        await log.lines(8)
        moved = log.path.rename(rig.folder / "access.1")
        proxy.process.send_signal(signal.SIGUSR1)
        count = 0
        while not log.path.exists() or log.path.stat().st_size == 0:
            for client in clients:
                await client.ask("GET", "/after")
                count += 1
        while len({await proxy.worker_with(client) for client in clients}) < 2:
            clients.append(await rig.connect(proxy.address))
        before = moved.read_text().count("\n")
        await until(lambda: moved.read_text().count("\n") + log.path.read_text().count("\n") == 8 + count)

    assert before >= 8


async def test_successes_can_be_sampled_and_failures_never_are(rig: Rig) -> None:
    log = Log(rig.folder)
    async with Scripted() as backend:
        pool = {**PATIENT, "backends": [backend.address]}
        routes = [{"match": {"path": "/x/*"}, "pool": "app"}]
        access_log = {"path": str(log.path), "sample": "0%", "redact": ["token"]}
        proxy = await rig.start_proxy(
            {"workers": 1, "pools": {"app": pool}, "routes": routes, "access_log": access_log}
        )
        async with await Client.connect(proxy.address) as client:
            for _ in range(20):
                await client.ask("GET", "/x/1")
        async with await Client.connect(proxy.address) as client:
            await client.ask("GET", "/nowhere?token=secret")
        lines = await log.lines(1)

    assert ["/nowhere?token=REDACTED"] == [line["target"] for line in lines]


async def test_a_log_that_can_not_be_written_stops_nobody_and_is_said(rig: Rig) -> None:
    async with Scripted() as backend:
        pool = {**PATIENT, "backends": [backend.address]}
        missing = rig.folder / "missing" / "access.txt"
        proxy = await rig.start_proxy({"workers": 1, "pools": {"app": pool}, "access_log": str(missing)})
        async with await Client.connect(proxy.address) as client:
            assert 200 == (await client.ask("GET", "/")).status
            await until(lambda: "the access log can't be written" in proxy.log)
            missing.parent.mkdir()
            assert 200 == (await client.ask("GET", "/again")).status
            lines = await Log(missing.parent).lines(1)

    assert ["/again"] == [line["target"] for line in lines]


async def test_usr1_reaches_the_workers_of_a_program_that_was_replaced(rig: Rig) -> None:
    """One still serves a request when the log is rotated: its line goes to the new file."""
    log, asked_for, go_on = Log(rig.folder), asyncio.Event(), asyncio.Event()

    async def behave(asked: Asked) -> None:
        if asked.target == "/long":
            asked_for.set()
            await go_on.wait()
        asked.answer()

    async with Scripted(behave) as backend:
        pool = {**PATIENT, "backends": [backend.address]}
        proxy = await rig.start_proxy({"workers": 1, "pools": {"app": pool}, "access_log": str(log.path)})
        async with await Client.connect(proxy.address) as client:
            await client.ask("GET", "/before")
            await log.lines(1)
            client.send(request("GET", "/long"))
            await asked_for.wait()
            await replace(proxy)
            moved = log.path.rename(rig.folder / "access.1")
            proxy.process.send_signal(signal.SIGUSR1)
            await until(log.path.exists)
            go_on.set()
            await client.answer()
            lines = await log.lines(1)

    assert ["/long"] == [line["target"] for line in lines]
    assert 1 == moved.read_text().count("\n")


async def test_spans_of_sampled_requests_reach_a_collector(rig: Rig) -> None:
    """And the Backend is told of the span that it belongs under."""
    with collecting() as collector:
        async with Scripted() as backend:
            pool = {**PATIENT, "backends": [{"name": "one", "address": backend.address}]}
            tracing = {"sample": "0%", "export": collector.url, "service": "edge"}
            proxy = await rig.start_proxy({"workers": 1, "pools": {"app": pool}, "tracing": tracing})
            async with await Client.connect(proxy.address) as client:
                await client.ask("GET", "/unsampled")
                await client.ask("GET", "/sampled", f"traceparent: 00-{'a' * 32}-{'b' * 16}-01", "tracestate: x=1")
            await until(lambda: len(collector.spans) >= 2)
            told = [asked.field("traceparent") for asked in backend.asked]
            async with asyncio.timeout(PATIENCE):
                while not await proxy.admin.counter("failover_spans_total", result="exported"):  # noqa: ASYNC110 - a page has none
                    await asyncio.sleep(0.05)

    whole, attempt = collector.spans
    assert ({"edge"}, "GET app", "GET app/one") == (collector.services, whole.name, attempt.name)
    assert ("b" * 16, whole.span_id) == (whole.parent_span_id.hex(), attempt.parent_span_id)
    assert f"00-{'a' * 32}-{attempt.span_id.hex()}-01" == told[1]
    assert told[0].endswith("-00")
