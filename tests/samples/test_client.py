"""What the demo's client counts as a failure: a demo that cannot fail would show nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from proxy.samples.backend import Backend, Fault
from proxy.samples.client import Answer, OpenLoopClient, Verdict, judge

UNKNOWN = b'{"title": "The backend did not answer in time", "executed": "unknown"}'
NOT_EXECUTED = b'{"title": "No backend is available", "executed": "no"}'


@pytest.mark.parametrize(
    ("answer", "body", "verdict"),
    [
        (Answer(200, b"{}"), "", Verdict.GOOD),
        (Answer(503, b"unwell"), "", Verdict.FAILED),
        (Answer(502, UNKNOWN), "", Verdict.FAILED),
        (Answer(200, b"order 20"), "order 20", Verdict.GOOD),
        (Answer(200, b"order 40"), "order 20", Verdict.FAILED),
        (Answer(504, UNKNOWN), "order 20", Verdict.UNKNOWN),
        (Answer(503, NOT_EXECUTED), "order 20", Verdict.FAILED),
        (Answer(503, b"[]"), "order 20", Verdict.FAILED),
        (Answer(503, b"unwell", is_backends=True), "order 20", Verdict.UNKNOWN),
        (Answer(503, b"unwell", is_backends=True), "", Verdict.FAILED),
        (Answer(400, b"", is_backends=True), "order 20", Verdict.FAILED),
    ],
)
def test_only_a_write_that_a_backend_had_may_end_without_success(answer: Answer, body: str, verdict: Verdict) -> None:
    assert verdict == judge(answer, body)


@pytest.fixture
async def backend() -> AsyncIterator[Backend]:
    backend = Backend("sample")
    yield backend
    await backend.stop()


async def send_some(client: OpenLoopClient, count: int) -> None:
    running = asyncio.create_task(client.run())
    while client.tally.verdicts.total() < count:
        await client.tally.counted.wait()
        client.tally.counted.clear()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_reads_and_writes_are_sent_over_kept_connections(backend: Backend) -> None:
    host, port = await backend.start("127.0.0.1", 0)
    client = OpenLoopClient(f"{host}:{port}", rate=500)

    await send_some(client, 45)

    assert {Verdict.GOOD} == set(client.tally.verdicts)
    assert ["order 20", "order 40"] == client.tally.writes[:2]
    assert 1 == backend.executions["order 20"]
    assert client.connections < 40


@pytest.mark.parametrize(
    ("fault", "description"),
    [
        (Fault.UNWELL, "GET: 503 sample is unwell\n"),
        (Fault.HALF, "GET: the answer broke off: 7 of 1000 bytes"),
        (Fault.CLOSE, "GET: IncompleteReadError 0 bytes read on a total of undefined expected bytes"),
    ],
)
async def test_what_a_client_should_not_see_is_counted(backend: Backend, fault: Fault, description: str) -> None:
    host, port = await backend.start("127.0.0.1", 0)
    await backend.set_fault(fault, spares_health=False)
    client = OpenLoopClient(f"{host}:{port}", rate=500)

    await send_some(client, 3)

    assert {Verdict.FAILED} == set(client.tally.verdicts)
    assert {description} == set(client.tally.failures)


async def test_a_proxy_that_is_gone_is_a_failure_for_reads_and_writes(backend: Backend) -> None:
    host, port = await backend.start("127.0.0.1", 0)
    await backend.set_fault(Fault.REFUSE, spares_health=False)
    client = OpenLoopClient(f"{host}:{port}", rate=500)

    await send_some(client, 20)

    assert {Verdict.FAILED} == set(client.tally.verdicts)
    assert {"GET", "POST"} == {description.split(":")[0] for description in client.tally.failures}
