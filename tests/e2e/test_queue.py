"""A keyed write that no backend can take is accepted, and delivered when one can: once, in order, and told so."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.e2e.client import PATIENCE, Answer, Client, request
from tests.e2e.peers import reserve_port
from tests.e2e.rig import Json, Proxy, Rig
from tests.e2e.scripted import Asked, Scripted

POOL: dict[str, Any] = {
    "timeouts": {"connect": "200ms", "first_byte": "5s"},
    "health": {"interval": "100ms", "fast_interval": "100ms", "rise": 1, "fall": 1},
    "hold": {"for": "0", "max_requests": 0},
    "idempotency": {},
}


class Gateway:
    """Honours keys, and notes the order in which it was asked."""

    def __init__(self) -> None:
        self.executed: list[str] = []
        self.asked: list[Asked] = []
        self.cuts = 0
        """So many times it executes and does not answer."""
        self._answers: dict[str, bytes] = {}

    async def __call__(self, asked: Asked) -> None:
        self.asked.append(asked)
        body = await asked.body()
        key = str(asked.field("idempotency-key"))
        if key not in self._answers:
            self.executed.append(key)
            self._answers[key] = b"charge " + body
        if self.cuts:
            self.cuts -= 1
            asked.abort()
        else:
            asked.answer(201, "X-Charge: yes", body=self._answers[key])


@pytest.fixture
def port() -> Iterator[int]:
    """At which nobody listens yet."""
    with ExitStack() as stack:
        yield stack.enter_context(reserve_port()).getsockname()[1]


async def start(rig: Rig, *backends: object, workers: int = 1, route: Json | None = None, **changes: object) -> Proxy:
    routes = [{"name": "pay", "match": {"path": "/pay/*"}, "pool": "app", "on_unavailable": "queue", **(route or {})}]
    pool = {**POOL, "backends": list(backends), **changes}
    state = str(rig.folder / "state")
    return await rig.start_proxy({"workers": workers, "state_dir": state, "pools": {"app": pool}, "routes": routes})


async def pay(client: Client, key: str, body: bytes = b"5 EUR", **fields: str) -> Answer:
    lines = [f"Idempotency-Key: {key}", *(f"{name.title()}: {value}" for name, value in fields.items())]
    return await client.ask("POST", "/pay/order", *lines, body=body)


async def state_of(client: Client, answer: Answer) -> Json:
    """What the status URL of an accepted write tells."""
    status = await client.ask("GET", str(answer.field("location")))
    document: Json = json.loads(status.body)
    return document


async def until_over(client: Client, answer: Answer) -> Json:
    async with asyncio.timeout(PATIENCE):
        while (document := await state_of(client, answer))["state"] == "pending":  # noqa: ASYNC110 - as a client does
            await asyncio.sleep(0.05)
    return document


def listening(gateway: Gateway, port: int) -> Scripted:
    return Scripted(gateway, port=port)


@pytest.mark.parametrize("workers", [1, 2])
async def test_writes_are_accepted_while_nobody_can_take_them_and_delivered_in_order(
    rig: Rig, port: int, workers: int
) -> None:
    proxy = await start(rig, f"127.0.0.1:{port}", workers=workers)
    client = await rig.connect(proxy.address)
    accepted = [await pay(client, f"k{number}", b"%d EUR" % number) for number in range(20)]
    waiting = await state_of(client, accepted[0])
    gateway = Gateway()
    async with listening(gateway, port):
        told = [await until_over(client, answer) for answer in accepted]
        repeats = [await pay(client, f"k{number}", b"%d EUR" % number) for number in range(20)]

    assert [202] * 20 == [answer.status for answer in accepted]
    assert ("pending", "no") == (waiting["state"], waiting["executed"])
    assert [f"k{number}" for number in range(20)] == gateway.executed
    assert [("delivered", 201, f"charge {n} EUR") for n in range(20)] == [
        (one["state"], one["answer"]["status"], one["answer"]["body"]) for one in told
    ]
    assert [(201, "true")] * 20 == [(one.status, one.field("idempotency-replayed")) for one in repeats]
    assert 20 == len(gateway.asked)


async def test_a_repeat_of_an_accepted_write_is_told_of_the_same_status_url(rig: Rig, port: int) -> None:
    proxy = await start(rig, f"127.0.0.1:{port}")
    client = await rig.connect(proxy.address)

    first, again, other = await pay(client, "k"), await pay(client, "k"), await pay(client, "k", b"6 EUR")

    assert (202, 202, 422) == (first.status, again.status, other.status)
    assert first.field("location") == again.field("location")
    assert "1" == first.field("retry-after")


async def test_what_is_delivered_is_what_the_client_sent(rig: Rig, port: int) -> None:
    proxy = await start(rig, f"127.0.0.1:{port}")
    client = await rig.connect(proxy.address)
    head = request(
        "POST", "/pay/x?y=%20z", "Idempotency-Key: k", "X-Trace: Ab", "X-Request-Id: me", "Transfer-Encoding: chunked"
    )
    client.send(head + b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n")
    accepted = await client.answer()
    gateway = Gateway()
    async with listening(gateway, port):
        told = await until_over(client, accepted)

    (asked,) = gateway.asked
    assert ("charge hello world", "/pay/x?y=%20z") == (told["answer"]["body"], asked.target)
    assert ("Ab", "me", "127.0.0.1") == tuple(asked.field(n) for n in ("x-trace", "x-request-id", "x-forwarded-for"))


async def test_accepted_writes_outlive_the_proxy(rig: Rig, port: int) -> None:
    first = await start(rig, f"127.0.0.1:{port}")
    client = await rig.connect(first.address)
    accepted = [await pay(client, f"k{number}") for number in range(3)]
    await first.kill()
    gateway = Gateway()
    async with listening(gateway, port):
        second = await start(rig, f"127.0.0.1:{port}")
        other = await rig.connect(second.address)
        told = [await until_over(other, answer) for answer in accepted]

    assert (["k0", "k1", "k2"], ["delivered"] * 3) == (gateway.executed, [one["state"] for one in told])


async def test_a_delivery_whose_outcome_is_unknown_is_asked_for_again_where_it_may_have_been_executed(
    rig: Rig, port: int
) -> None:
    proxy = await start(rig, f"127.0.0.1:{port}", retries={"attempts": 1})
    client = await rig.connect(proxy.address)
    accepted = [await pay(client, f"k{number}") for number in range(2)]
    gateway = Gateway()
    gateway.cuts = 2
    async with listening(gateway, port):
        told = [await until_over(client, answer) for answer in accepted]

    assert ["delivered"] * 2 == [one["state"] for one in told]
    assert (["k0", "k1"], 4) == (sorted(gateway.executed), len(gateway.asked))


async def test_what_is_too_old_has_failed(rig: Rig, port: int) -> None:
    proxy = await start(rig, f"127.0.0.1:{port}", route={"queue": {"max_age": "500ms"}})
    client = await rig.connect(proxy.address)
    accepted = await pay(client, "k")

    told = await until_over(client, accepted)
    again = await pay(client, "k")

    assert ("failed", "no") == (told["state"], told["executed"])
    assert (202, False) == (again.status, again.field("location") == accepted.field("location"))


@pytest.mark.parametrize("bound", [{"max_requests": 2}, {"max_bytes": "600B"}])
async def test_beyond_its_bounds_a_write_is_refused_as_without_a_queue(rig: Rig, port: int, bound: Json) -> None:
    proxy = await start(rig, f"127.0.0.1:{port}", route={"queue": bound})
    client = await rig.connect(proxy.address)

    answers = [await pay(client, f"k{number}", b"x" * 160) for number in range(3)]

    assert [202, 202] == [answer.status for answer in answers[:2]]
    assert answers[2].status in {502, 503}
    assert "no" == json.loads(answers[2].body)["executed"]


async def test_only_keyed_writes_are_accepted(rig: Rig, port: int) -> None:
    proxy = await start(rig, f"127.0.0.1:{port}")
    client = await rig.connect(proxy.address)

    answers = [await client.ask("POST", "/pay/x", body=b"x"), await client.ask("GET", "/pay/x", "Idempotency-Key: k")]

    assert all(answer.status in {502, 503} for answer in answers)


async def test_a_status_url_can_not_be_guessed_and_tells_nobody_of_others(rig: Rig, port: int) -> None:
    proxy = await start(rig, f"127.0.0.1:{port}")
    client = await rig.connect(proxy.address)
    accepted = await pay(client, "k", authorization="Bearer secret")

    answers = [await client.ask("GET", f"/.failover/writes/{token}") for token in ("", "0" * 32, "%27", "x" * 500)]

    assert [404] * 4 == [answer.status for answer in answers]
    assert 32 == len(str(accepted.field("location")).rpartition("/")[2])
    assert "secret" not in proxy.log


async def test_a_status_url_may_be_asked_for_its_head_alone(rig: Rig, port: int) -> None:
    proxy = await start(rig, f"127.0.0.1:{port}")
    client = await rig.connect(proxy.address)
    accepted = await pay(client, "k")

    head = await client.ask("HEAD", str(accepted.field("location")))
    after = await client.ask("GET", str(accepted.field("location")))

    assert (200, b"", 200) == (head.status, head.body, after.status)


async def test_the_api_and_status_show_what_waits(rig: Rig, port: int) -> None:
    proxy = await start(rig, f"127.0.0.1:{port}")
    client = await rig.connect(proxy.address)
    for number in range(3):
        await pay(client, f"k{number}")
    async with asyncio.timeout(PATIENCE):
        while (keys := (await proxy.admin.get("/v1/pools/app"))["keys"])["queued"] != 3:  # noqa: ASYNC110 - as a person does
            await asyncio.sleep(0.05)

    assert 200 < keys["queue"]["bytes"] < 3000
    assert 0 <= keys["queue"]["oldest_seconds"] < 60
    assert (0, 0) == (keys["queue"]["delivered"], keys["queue"]["failed"])


async def test_an_accepted_write_is_not_sent_to_another_pool(rig: Rig, port: int) -> None:
    """There its key is new, or means nothing, and it would be executed again with each look at the queue."""
    gateway = Gateway()
    async with Scripted(gateway) as elsewhere:
        pools = {"app": {**POOL, "backends": [f"127.0.0.1:{port}"]}, "other": {"backends": [elsewhere.address]}}
        route = {"name": "pay", "match": {"path": "/pay/*"}, "pool": "app", "on_unavailable": "queue"}
        away = [{"name": "moved", "match": {"path": "/pay/order"}, "pool": "other"}, route]
        state = str(rig.folder / "state")
        proxy = await rig.start_proxy({"workers": 1, "state_dir": state, "pools": pools, "routes": [route]})
        client = await rig.connect(proxy.address)
        accepted = await pay(client, "k")
        await proxy.reload(routes=away)
        home = Gateway()
        async with listening(home, port):
            async with asyncio.timeout(PATIENCE):
                while (await state_of(client, accepted))["tries"] < 2:  # noqa: ASYNC110 - as a client does
                    await asyncio.sleep(0.05)
            sent = [*gateway.executed, *home.executed]
            await proxy.reload(routes=[route])
            told = await until_over(client, accepted)

    assert ([], ["k"], []) == (sent, home.executed, gateway.executed)
    assert "delivered" == told["state"]


async def test_a_delivery_that_may_have_been_executed_goes_to_nobody_else_when_its_key_is_forgotten(
    rig: Rig, port: int
) -> None:
    gateway, other = Gateway(), Gateway()
    with ExitStack() as stack:
        spare = stack.enter_context(reserve_port()).getsockname()[1]
        backends = [{"address": f"127.0.0.1:{at}", "tier": tier} for tier, at in enumerate((port, spare), 1)]
        changes = {"retries": {"attempts": 1}, "idempotency": {"keep_for": "1s"}}
        proxy = await start(rig, *backends, **changes)
        client = await rig.connect(proxy.address)
        accepted = await pay(client, "k")
        gateway.cuts = 1000
        async with listening(gateway, port):
            async with asyncio.timeout(PATIENCE):
                while not gateway.executed:  # noqa: ASYNC110 - as a client does
                    await asyncio.sleep(0.01)
        async with listening(other, spare):
            told = await until_over(client, accepted)

    assert ("failed", "unknown") == (told["state"], told["executed"])
    assert (["k"], []) == (gateway.executed, other.executed)


async def test_an_accepted_write_that_we_would_refuse_now_does_not_hold_up_the_others(rig: Rig, port: int) -> None:
    proxy = await start(rig, f"127.0.0.1:{port}")
    client = await rig.connect(proxy.address)
    accepted = [await pay(client, "k0", b"x" * 100), await pay(client, "k1")]
    pool = {**POOL, "backends": [f"127.0.0.1:{port}"], "limits": {"body": "50B"}}
    await proxy.reload(pools={"app": pool})
    gateway = Gateway()
    async with listening(gateway, port):
        delivered = await until_over(client, accepted[1])
        waiting = await state_of(client, accepted[0])

    assert ("delivered", ["k1"]) == (delivered["state"], gateway.executed)
    assert ("pending", "no") == (waiting["state"], waiting["executed"])
