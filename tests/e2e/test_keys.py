"""A keyed write is executed once, whatever its client, its backends and its workers do; and its repeats get its answer."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.client import PATIENCE, Answer, Client, request
from tests.e2e.peers import reserve_port
from tests.e2e.rig import Proxy, Rig, happens, until
from tests.e2e.scripted import Asked, Handler, Scripted

PATIENT: dict[str, Any] = {
    "timeouts": {"connect": "200ms", "first_byte": "5s"},
    "health": {"interval": "1h", "fast_interval": "1h", "jitter": "100%"},
    "breaker": {"consecutive": 1000, "min_requests": 1000},
    "balance": "round_robin",
}
"""Nothing takes a backend out, and the next request would go to the other one."""


class Gateway:
    """A backend's handler that honours keys: it executes each once, and answers its repeats alike."""

    def __init__(self) -> None:
        self.executed: Counter[str] = Counter()
        self.cuts: list[str] = []
        """What to do instead of answering, request by request."""
        self.fields: tuple[str, ...] = ()
        self._answers: dict[str, bytes] = {}

    async def __call__(self, asked: Asked) -> None:
        body = await asked.body()
        key = asked.field("idempotency-key") or body.decode()
        if key not in self._answers:
            self.executed[key] += 1
            self._answers[key] = b"charge %d: " % len(self._answers) + body
        cut = self.cuts.pop(0) if self.cuts else ""
        if cut == "abort":
            asked.abort()
        elif cut:
            asked.answer(int(cut), body=b"not now")
        else:
            asked.answer(201, "X-Charge: yes", *self.fields, body=self._answers[key])


def keyed(key: str, *fields: str) -> tuple[str, ...]:
    return (f"Idempotency-Key: {key}", *fields)


def told(answer: Answer) -> tuple[int, str, str | None]:
    """Status, and what the problem document says."""
    problem = json.loads(answer.body)
    return answer.status, problem["type"].removeprefix("urn:failover-proxy:"), problem.get("executed")


async def start(rig: Rig, *backends: str, workers: int = 1, idempotency: object = None, **changes: object) -> Proxy:
    policy = {} if idempotency is None else idempotency
    pool = {**PATIENT, "backends": list(backends), "idempotency": policy, **changes}
    return await rig.start_proxy({"workers": workers, "state_dir": str(rig.folder / "state"), "pools": {"app": pool}})


def without_id(answer: Answer) -> tuple[object, ...]:
    """What must be the same in a replayed answer: all but the id of the request and that it is replayed."""
    ours = {"x-request-id", "idempotency-replayed"}
    return (
        answer.status,
        [field for field in answer.fields if field[0].lower() not in ours],
        answer.body,
        answer.trailers,
    )


# Repeats


async def chunked(asked: Asked) -> None:
    await asked.body()
    asked.send(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n5\r\nhello\r\n1\r\n!\r\n0\r\nX-T: t\r\n\r\n"
    )


async def empty(asked: Asked) -> None:
    await asked.body()
    asked.send(b"HTTP/1.1 204 No Content\r\nX-A: 1\r\nx-a: 2\r\n\r\n")


async def until_close(asked: Asked) -> None:
    await asked.body()
    asked.send(b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\n\r\nuntil the end")
    asked.writer.close()


async def declined(asked: Asked) -> None:
    await asked.body()
    asked.answer(402, "Content-Type: application/json", body=b"{}")


@pytest.mark.parametrize("handler", [Gateway(), chunked, empty, until_close, declined])
async def test_a_repeat_gets_the_same_answer_and_nothing_is_sent(rig: Rig, handler: Handler) -> None:
    async with Scripted(handler) as backend:
        proxy = await start(rig, backend.address)
        async with await Client.connect(proxy.address) as client:
            answers = [await client.ask("POST", "/pay", *keyed("k"), body=b"5 EUR") for _ in range(3)]

    assert [None, "true", "true"] == [answer.field("idempotency-replayed") for answer in answers]
    assert [without_id(answers[0])] * 3 == [without_id(answer) for answer in answers]
    assert 3 == len({answer.field("x-request-id") for answer in answers})
    assert 1 == len(backend.asked)


async def test_a_key_may_be_quoted_and_reaches_the_backend_as_it_was_sent(rig: Rig) -> None:
    async with Scripted(Gateway()) as backend:
        proxy = await start(rig, backend.address)
        async with await Client.connect(proxy.address) as client:
            await client.ask("POST", "/", *keyed('"a b"'), body=b"x")

    assert '"a b"' == backend.asked[0].field("idempotency-key")


async def test_another_request_with_the_same_key_is_refused(rig: Rig) -> None:
    async with Scripted(Gateway()) as backend:
        proxy = await start(rig, backend.address)
        async with await Client.connect(proxy.address) as client:
            await client.ask("POST", "/pay", *keyed("k"), body=b"5 EUR")
            refused = [
                await client.ask(*line, *keyed("k"), body=body)
                for line, body in [
                    (("POST", "/pay"), b"6 EUR"),
                    (("POST", "/pay?x"), b"5 EUR"),
                    (("PATCH", "/pay"), b"5 EUR"),
                ]
            ]

    assert [(422, "idempotency_key_reused", None)] * 3 == [told(answer) for answer in refused]
    assert 1 == len(backend.asked)


@pytest.mark.parametrize("workers", [1, 2])
async def test_two_clients_may_have_the_same_key(rig: Rig, workers: int) -> None:
    gateway = Gateway()
    async with Scripted(gateway) as backend:
        proxy = await start(rig, backend.address, workers=workers)
        async with await Client.connect(proxy.address) as client:
            answers = [
                await client.ask("POST", "/", *keyed("k", f"Authorization: Bearer {who}"), body=b"x")
                for who in ("alice", "bob", "alice")
            ]

    assert [None, None, "true"] == [answer.field("idempotency-replayed") for answer in answers]
    stored = b"".join(path.read_bytes() for path in (rig.folder / "state").iterdir())
    assert (False, False) == (b"Bearer" in stored, b"alice" in stored)
    assert "alice" not in proxy.log


async def test_safe_and_idempotent_requests_are_left_alone(rig: Rig) -> None:
    async with Scripted() as backend:
        proxy = await start(rig, backend.address)
        async with await Client.connect(proxy.address) as client:
            answers = [await client.ask(method, "/", *keyed("k")) for method in ("GET", "GET", "PUT", "PUT", "DELETE")]

    assert [200] * 5 == [answer.status for answer in answers]
    assert 5 == len(backend.asked)


async def test_a_write_without_a_key_goes_its_usual_way_where_none_is_required(rig: Rig) -> None:
    async with Scripted() as backend:
        proxy = await start(rig, backend.address)
        async with await Client.connect(proxy.address) as client:
            answers = [await client.ask("POST", "/", body=b"x") for _ in range(2)]

    assert [200, 200] == [answer.status for answer in answers]
    assert 2 == len(backend.asked)


async def test_where_a_key_is_required_a_write_without_a_good_one_is_not_sent(rig: Rig) -> None:
    wrong = [(), keyed(""), keyed("a, b"), keyed("k" * 256), keyed("a") + keyed("a")]
    async with Scripted() as backend:
        proxy = await start(rig, backend.address, idempotency={"require_for": ["POST", "PUT"]})
        async with await Client.connect(proxy.address) as client:
            answers = [await client.ask(method, "/", *fields) for method in ("POST", "PUT") for fields in wrong]

    missing, invalid = (400, "idempotency_key_missing", "no"), (400, "idempotency_key_invalid", "no")
    assert [missing, invalid, invalid, invalid, invalid] * 2 == [told(answer) for answer in answers]
    assert [] == backend.asked


# At the same time


async def test_a_repeat_while_the_first_runs_is_told_so(rig: Rig) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow(asked: Asked) -> None:
        begun.set()
        await go_on.wait()
        asked.answer(201, body=await asked.body())

    async with Scripted(slow) as backend:
        proxy = await start(rig, backend.address)
        async with await Client.connect(proxy.address) as one, await Client.connect(proxy.address) as two:
            one.send(request("POST", "/", *keyed("k"), body=b"x"))
            await happens(begun)
            busy = await two.ask("POST", "/", *keyed("k"), body=b"x")
            go_on.set()
            first = await one.answer()
            repeat = await two.ask("POST", "/", *keyed("k"), body=b"x")

    assert (409, "idempotency_key_busy", None) == told(busy)
    assert "1" == busy.field("retry-after")
    assert (201, 201, "true") == (first.status, repeat.status, repeat.field("idempotency-replayed"))
    assert 1 == len(backend.asked)


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_repeat_may_wait_for_the_first(rig: Rig, workers: int) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow(asked: Asked) -> None:
        begun.set()
        await go_on.wait()
        asked.answer(201, body=await asked.body())

    async with Scripted(slow) as backend:
        proxy = await start(rig, backend.address, workers=workers, idempotency={"on_conflict": "wait"})
        clients = [await rig.connect(proxy.address) for _ in range(6)]
        clients[0].send(request("POST", "/", *keyed("k"), body=b"x"))
        await happens(begun)
        for client in clients[1:]:
            client.send(request("POST", "/", *keyed("k"), body=b"x"))
        await asyncio.sleep(0.1)
        go_on.set()
        answers = [await client.answer() for client in clients]

    assert [201] * 6 == [answer.status for answer in answers]
    assert [None, *["true"] * 5] == [answer.field("idempotency-replayed") for answer in answers]
    assert 1 == len(backend.asked)


@pytest.mark.parametrize("workers", [1, 2])
async def test_of_many_at_once_one_is_executed(rig: Rig, workers: int) -> None:
    gateway = Gateway()
    async with Scripted(gateway) as one, Scripted(gateway) as two:
        proxy = await start(rig, one.address, two.address, workers=workers)
        clients = [await rig.connect(proxy.address) for _ in range(30)]
        for number in range(10):
            for client in clients:
                client.send(request("POST", "/", *keyed(f"k{number}"), body=b"x"))
            answers = [await client.answer() for client in clients]
            assert {201, 409} >= {answer.status for answer in answers}
            assert 201 in {answer.status for answer in answers}

    assert 10 == len(one.asked) + len(two.asked)


# What may have been executed


async def test_a_failed_attempt_is_repeated_on_the_same_backend_with_the_same_key(rig: Rig) -> None:
    one, two = Gateway(), Gateway()
    one.cuts, two.cuts = ["abort"] * 2, ["abort"] * 2
    async with Scripted(one) as first, Scripted(two) as second:
        proxy = await start(rig, first.address, second.address)
        async with await Client.connect(proxy.address) as client:
            answers = [await client.ask("POST", "/", *keyed(str(n)), body=b"x") for n in range(2)]

    assert [201, 201] == [answer.status for answer in answers]
    assert ["failover-proxy; attempts=3"] * 2 == [answer.field("proxy-status") for answer in answers]
    assert ([3, 3], 2) == ([len(first.asked), len(second.asked)], (one.executed + two.executed).total())


async def test_the_repeat_of_an_unknown_outcome_goes_only_to_the_backend_that_may_have_executed_it(rig: Rig) -> None:
    """While that one is away the client is told so, and new writes go to the other one."""
    one, two = Gateway(), Gateway()
    one.cuts = ["abort"] * 1000
    async with Scripted(two) as second, Scripted(one) as first:
        pool = [{"name": "first", "address": first.address}, {"name": "second", "address": second.address, "tier": 2}]
        proxy = await start(rig, *pool)  # type: ignore[arg-type]
        client = await rig.connect(proxy.address)
        unknown = await client.ask("POST", "/", *keyed("k"), body=b"x")
        await proxy.admin.patch("first", state="maint")
        away = await ask_until(client, lambda answer: answer.status == 503)
        one.cuts = []
        new = await client.ask("POST", "/", *keyed("new"), body=b"y")
        await proxy.admin.patch("first", state="ready")
        known = await ask_until(client, lambda answer: answer.status != 503)

    assert (502, "connection_terminated", "unknown") == told(unknown)
    assert (503, "idempotency_outcome_unknown", "unknown") == told(away)
    assert (201, b"charge 0: y") == (new.status, new.body)
    assert (201, b"charge 0: x") == (known.status, known.body)
    assert ({"k": 1}, {"new": 1}) == (one.executed, two.executed)


async def ask_until(client: Client, enough: Callable[[Answer], bool]) -> Answer:
    """Repeat a write until its answer is such."""
    async with asyncio.timeout(PATIENCE):
        while not enough(answer := await client.ask("POST", "/", *keyed("k"), body=b"x")):
            pass
    return answer


async def test_unknown_outcomes_are_counted_by_pool_and_route_and_shown(rig: Rig) -> None:
    gateway = Gateway()
    gateway.cuts = ["abort"] * 3
    async with Scripted(gateway) as backend:
        proxy = await start(rig, backend.address)
        async with await Client.connect(proxy.address) as client:
            await client.ask("POST", "/", *keyed("k"), body=b"x")
        await until_shown(proxy, unknown=1)
        labels = {"pool": "app", "route": "app"}
        async with asyncio.timeout(PATIENCE):
            while await proxy.admin.counter("failover_unknown_outcomes_total", **labels) != 1:  # noqa: ASYNC110 - a Report comes each second
                await asyncio.sleep(0.05)


async def until_shown(proxy: Proxy, **expected: int) -> None:
    """The API shows these numbers of keys; the keeper looks once a second."""
    async with asyncio.timeout(10):
        while True:
            keys = (await proxy.admin.get("/v1/pools/app"))["keys"]
            if {name: keys[name] for name in expected} == expected:
                return
            await asyncio.sleep(0.05)


async def test_a_client_that_leaves_and_comes_back_gets_the_one_answer(rig: Rig) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()
    gateway = Gateway()

    async def slow(asked: Asked) -> None:
        begun.set()
        await go_on.wait()
        await gateway(asked)

    async with Scripted(slow) as backend:
        proxy = await start(rig, backend.address)
        async with await Client.connect(proxy.address) as impatient:
            impatient.send(request("POST", "/", *keyed("k"), body=b"x"))
            await happens(begun)
        go_on.set()
        async with await Client.connect(proxy.address) as client:
            answer = await ask_until(client, lambda answer: answer.status != 409)

    assert (201, {"k": 1}) == (answer.status, gateway.executed)


async def test_where_backends_share_keys_another_one_is_asked(rig: Rig) -> None:
    async def read_and_go(asked: Asked) -> None:
        await asked.body()
        asked.abort()

    gateway = Gateway()
    async with Scripted(read_and_go) as wrong, Scripted(gateway) as right:
        proxy = await start(rig, wrong.address, right.address, idempotency={"shares_keys": True})
        async with await Client.connect(proxy.address) as client:
            answers = [await client.ask("POST", "/", *keyed(f"k{n}"), body=b"x") for n in range(4)]

    assert [201] * 4 == [answer.status for answer in answers]
    assert wrong.asked


async def test_a_backend_that_does_not_honour_keys_never_gets_one_twice(rig: Rig) -> None:
    gateway = Gateway()
    gateway.cuts = ["abort"]
    async with Scripted(gateway) as backend:
        proxy = await start(rig, backend.address, idempotency={"honoured": False})
        async with await Client.connect(proxy.address) as client:
            answers = [await client.ask("POST", "/", *keyed("k"), body=b"x") for _ in range(3)]

    first, *others = [told(answer) for answer in answers]
    assert (502, "connection_terminated", "unknown") == first
    assert [(503, "idempotency_outcome_unknown", "unknown")] * 2 == others
    assert 1 == len(backend.asked)


async def test_an_answer_that_speaks_of_the_moment_is_not_kept(rig: Rig) -> None:
    gateway = Gateway()
    gateway.cuts = ["409", "500"]
    async with Scripted(gateway) as backend:
        proxy = await start(rig, backend.address)
        async with await Client.connect(proxy.address) as client:
            answers = [await client.ask("POST", "/", *keyed("k"), body=b"x") for _ in range(4)]

    assert ([409, 500, 201, 201], 3) == ([answer.status for answer in answers], len(backend.asked))


async def test_a_key_that_no_backend_would_see_is_refused(rig: Rig) -> None:
    """`Connection` may name any field, and what it names is not passed on."""
    async with Scripted() as backend:
        proxy = await start(rig, backend.address)
        async with await Client.connect(proxy.address) as client:
            refused = await client.ask("POST", "/", *keyed("k"), "Connection: idempotency-KEY", body=b"x")

    assert ((400, "idempotency_key_invalid", "no"), 0) == (told(refused), len(backend.asked))


async def test_asking_for_another_protocol_goes_not_past_the_ledger(rig: Rig) -> None:
    gateway = Gateway()
    upgrade = ("Connection: upgrade", "Upgrade: other/1.0")
    async with Scripted(gateway) as backend:
        proxy = await start(rig, backend.address, idempotency={"require_for": ["POST"]})
        async with await Client.connect(proxy.address) as client:
            refused = await client.ask("POST", "/", *upgrade, body=b"x")
            answers = [await client.ask("POST", "/", *keyed("k"), *upgrade, body=b"x") for _ in range(2)]

    assert (400, "idempotency_key_missing", "no") == told(refused)
    assert [(201, None), (201, "true")] == [(one.status, one.field("idempotency-replayed")) for one in answers]
    assert [None] == [asked.field("upgrade") for asked in backend.asked]


# Bodies


async def test_a_body_is_taken_in_whole_before_anything_is_sent(rig: Rig) -> None:
    head = request("POST", "/", *keyed("k"), "Transfer-Encoding: chunked")
    async with Scripted(Gateway()) as backend:
        proxy = await start(rig, backend.address)
        async with await Client.connect(proxy.address) as client:
            client.send(head + b"5\r\nhello\r\n")
            await asyncio.sleep(0.1)
            before = len(backend.asked)
            client.send(b"6\r\n world\r\n0\r\n\r\n")
            answer = await client.answer()
            counted = await client.ask("POST", "/", *keyed("k"), body=b"hello world")

    assert (0, 201, b"charge 0: hello world") == (before, answer.status, answer.body)
    assert "true" == counted.field("idempotency-replayed")


async def test_a_client_that_waits_for_100_continue_gets_it_from_us(rig: Rig) -> None:
    async with Scripted(Gateway()) as backend:
        proxy = await start(rig, backend.address)
        async with await Client.connect(proxy.address) as client:
            client.send(request("POST", "/", *keyed("k"), "Content-Length: 1", "Expect: 100-continue"))
            status, _ = await client.head()
            client.send(b"x")
            answer = await client.answer()

    assert (100, 201) == (status, answer.status)
    assert None is backend.asked[0].field("expect")


@pytest.mark.parametrize("framing", ["Content-Length: 65537", "Transfer-Encoding: chunked"])
async def test_a_body_that_is_too_large_to_be_kept_is_refused(rig: Rig, framing: str) -> None:
    body = b"x" * 65537
    async with Scripted() as backend:
        proxy = await start(rig, backend.address)
        async with await Client.connect(proxy.address) as client:
            client.send(request("POST", "/", *keyed("k"), framing))
            client.send(body if "Length" in framing else b"10001\r\n" + body)
            answer = await client.answer()

    assert (413, "idempotency_body_too_large", "no") == told(answer)
    assert [] == backend.asked


async def test_a_keyed_body_that_stalls_is_cut(rig: Rig) -> None:
    async with Scripted() as backend:
        proxy = await start(rig, backend.address, timeouts={"stall": "100ms"})
        async with await Client.connect(proxy.address) as client:
            client.send(request("POST", "/", *keyed("k"), "Content-Length: 5") + b"x")
            answer = await client.answer()

    assert (408, []) == (answer.status, backend.asked)


@pytest.mark.parametrize(("honoured", "asked"), [(True, 2), (False, 1)])
async def test_an_answer_that_is_too_large_is_passed_on_and_not_kept(rig: Rig, honoured: bool, asked: int) -> None:  # noqa: FBT001
    async def large(asked: Asked) -> None:
        await asked.body()
        asked.answer(201, body=b"x" * 100_000)

    async with Scripted(large) as backend:
        proxy = await start(rig, backend.address, idempotency={"honoured": honoured})
        async with await Client.connect(proxy.address) as client:
            first, second = [await client.ask("POST", "/", *keyed("k"), body=b"x") for _ in range(2)]

    assert (201, 100_000, asked) == (first.status, len(first.body), len(backend.asked))
    if honoured:
        assert (201, None) == (second.status, second.field("idempotency-replayed"))
    else:
        assert (409, "idempotency_answer_not_kept", None) == told(second)


async def test_a_large_answer_is_held_and_kept_where_that_is_allowed(rig: Rig) -> None:
    """More than is read at one go while an answer is held."""

    async def large(asked: Asked) -> None:
        await asked.body()
        asked.answer(201, body=bytes(range(256)) * 3000)

    async with Scripted(large) as backend:
        proxy = await start(rig, backend.address, idempotency={"max_body": "1MiB"})
        async with await Client.connect(proxy.address) as client:
            first, second = [await client.ask("POST", "/", *keyed("k"), body=b"x") for _ in range(2)]

    assert (201, "true") == (first.status, second.field("idempotency-replayed"))
    assert bytes(range(256)) * 3000 == first.body == second.body
    assert 1 == len(backend.asked)


# The ledger


async def test_without_a_ledger_no_keyed_write_is_sent_and_all_else_is_served(rig: Rig) -> None:
    state = rig.folder / "state"
    state.write_text("a file where the folder should be")
    async with Scripted() as backend:
        proxy = await start(rig, backend.address)
        async with await Client.connect(proxy.address) as client:
            refused = await client.ask("POST", "/", *keyed("k"), body=b"x")
            others = [await client.ask("GET", "/"), await client.ask("POST", "/", body=b"x")]
            state.unlink()
            await until(lambda: not state.exists())
            answer = await ask_until(client, lambda answer: answer.status != 503)

    assert (503, "idempotency_store_unavailable", "no") == told(refused)
    assert ([200, 200], 200) == ([one.status for one in others], answer.status)
    assert 1 == proxy.log.count("the ledger fails: keyed writes are refused")
    _forgive(rig)


async def test_a_ledger_that_another_process_keeps_to_itself_is_not_awaited_for_ever(rig: Rig) -> None:
    folder = rig.folder / "state"
    folder.mkdir()
    with closing(sqlite3.connect(folder / "ledger.db", isolation_level=None)) as other:
        other.execute("CREATE TABLE theirs(x)")
        other.execute("BEGIN EXCLUSIVE")
        async with Scripted() as backend:
            proxy = await start(rig, backend.address)
            async with await Client.connect(proxy.address) as client:
                refused = await client.ask("POST", "/", *keyed("k"), body=b"x")
                other.execute("ROLLBACK")
                answer = await ask_until(client, lambda answer: answer.status != 503)

    assert (503, "idempotency_store_unavailable", "no") == told(refused)
    assert "an earlier one with its key can't be looked up" in json.loads(refused.body)["detail"]
    assert 200 == answer.status
    _forgive(rig)


def _forgive(rig: Rig) -> None:
    """The log speaks of the error that was asked for."""
    for log in rig.folder.glob("*.log"):
        log.write_text(log.read_text().replace(" error ", " mistake "))


async def test_beyond_the_bound_a_new_key_is_refused(rig: Rig) -> None:
    async with Scripted(Gateway()) as backend:
        proxy = await start(rig, backend.address, idempotency={"max_entries": 2})
        async with await Client.connect(proxy.address) as client:
            answers = [await client.ask("POST", "/", *keyed(str(n)), body=b"x") for n in range(3)]
            repeat = await client.ask("POST", "/", *keyed("0"), body=b"x")

    assert [201, 201, 503] == [answer.status for answer in answers]
    assert (503, "idempotency_store_full", "no") == told(answers[2])
    assert "true" == repeat.field("idempotency-replayed")


async def test_a_key_is_forgotten_after_its_time(rig: Rig) -> None:
    async with Scripted(Gateway()) as backend:
        proxy = await start(rig, backend.address, idempotency={"keep_for": "2500ms"})
        async with await Client.connect(proxy.address) as client:
            await client.ask("POST", "/", *keyed("k"), body=b"x")
            await until_shown(proxy, kept=1)
            await until_shown(proxy, kept=0)
            again = await client.ask("POST", "/", *keyed("k"), body=b"x")

    assert (None, 2) == (again.field("idempotency-replayed"), len(backend.asked))


async def test_keys_and_answers_outlive_the_proxy(rig: Rig) -> None:
    gateway = Gateway()
    with ExitStack() as stack:
        gone = f"127.0.0.1:{stack.enter_context(reserve_port()).getsockname()[1]}"
        async with Scripted(gateway) as backend:
            first = await start(rig, gone, backend.address)
            async with await Client.connect(first.address) as client:
                before = await client.ask("POST", "/", *keyed("k"), body=b"x")
            await first.kill()
            second = await start(rig, gone, backend.address)
            async with await Client.connect(second.address) as client:
                after = await client.ask("POST", "/", *keyed("k"), body=b"x")

    assert ("true", without_id(after)[2]) == (after.field("idempotency-replayed"), before.body)
    assert {"k": 1} == gateway.executed


def test_the_ledger_is_in_the_state_folder() -> None:
    """Its name is what a person looks for, and what a backup must leave out."""
    source = (Path(__file__).parents[2] / "proxy/ledger/schema.py").read_text()

    assert 'FILE = "ledger.db"' in source
