from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import NamedTuple

import aiohttp
import pytest

from proxy.controlplane.admin import events, sheet
from proxy.controlplane.admin.events import Reader
from proxy.core.messages import AdminState
from proxy.core.pools.health import Probe
from proxy.core.settings import Address, AdminSettings
from proxy.core.telling.journal import Entry, Kind, Query
from tests.controlplane.conftest import Api, Make, OpenApi, Stage

Open = Callable[..., Awaitable["Stream"]]


class Event(NamedTuple):
    name: str
    data: object
    id: str


class Stream:
    """Reads events as a browser does."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self.answer = answer

    async def next(self) -> Event:
        """The next one; comments are skipped."""
        fields: dict[str, str] = {}
        async with asyncio.timeout(20):
            while "data" not in fields:
                fields = {}
                while (line := (await self.answer.content.readuntil(b"\n")).decode().rstrip("\n")) != "":
                    name, _, value = line.partition(": ")
                    fields[name] = value
        return Event(fields["event"], json.loads(fields["data"]), fields.get("id", ""))

    async def next_named(self, name: str) -> Event:
        while (event := await self.next()).name != name:
            pass
        return event

    async def ends(self) -> bool:
        """Whether the answer comes to its end, whole, whatever is said before."""
        async with asyncio.timeout(20):
            while await self.answer.content.readany():
                pass
        return self.answer.content.at_eof() and self.answer.content.exception() is None


@pytest.fixture
async def listen(api: Api) -> AsyncIterator[Open]:
    opened: list[aiohttp.ClientResponse] = []

    async def listen(**headers: str) -> Stream:
        answer = await api.client.get("/v1/events", headers={name.replace("_", "-"): v for name, v in headers.items()})
        opened.append(answer)
        assert (200, "text/event-stream") == (answer.status, answer.content_type)
        return Stream(answer)

    yield listen
    for answer in opened:
        answer.close()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "TICK", 0.02)


def happened(api: Api, number: int) -> None:
    api.control.journal.add(Entry(Kind.BACKEND, f"entry {number}"))


async def test_the_first_event_is_how_things_stand(api: Api, listen: Open) -> None:
    first = await (await listen()).next()

    assert ("snapshot", (await api.get("/v1/pools"))[1]) == (first.name, first.data)


async def test_then_come_the_backends_that_have_changed_and_no_others(api: Api, listen: Open, quick: None) -> None:
    stream = await listen()
    await stream.next()
    registry = api.control.registry
    registry.set_admin(registry.pools["app"].backends["b1"], AdminState.DRAIN, 1.0)

    changed = await stream.next()

    assert ("pools", "") == (changed.name, changed.id)
    pool = changed.data["pools"][0]
    assert ("app", "degraded", 1) == (pool["name"], pool["state"], pool["available"])
    assert [("b1", ["drain"])] == [(one["name"], one["reasons"]) for one in pool["backends"]]


async def test_nothing_is_sent_while_nothing_changes(api: Api, listen: Open, quick: None) -> None:
    stream = await listen()
    await stream.next()
    for _ in range(5):
        await api.admin._events._look()
    happened(api, 1)

    assert "journal" == (await stream.next()).name


async def test_two_readers_are_told_the_same_whenever_they_came(api: Api, listen: Open, quick: None) -> None:
    registry = api.control.registry
    first = await listen()
    await first.next()
    registry.take_probe(("app", "b0"), Probe(1.0, ok=False, duration=0.0, detail="connection refused"))
    second = await listen()
    known = {one["name"]: one for one in (await second.next()).data["pools"][0]["backends"]}

    change = (await first.next_named("pools")).data["pools"][0]["backends"]
    if known["b0"] != change[0]:
        known |= {one["name"]: one for one in (await second.next_named("pools")).data["pools"][0]["backends"]}

    assert change == [known["b0"]]


async def test_whoever_comes_or_goes_is_told_by_another_snapshot(
    api: Api, make: Make, listen: Open, quick: None
) -> None:
    stream = await listen()
    await stream.next()
    settings = api.control.registry.settings
    api.control.registry.obey(make.settings(settings.pools[0].backends[0].address), 1.0)

    told = await stream.next()

    assert ("snapshot", ["b0"]) == (told.name, [one["name"] for one in told.data["pools"][0]["backends"]])


async def test_what_is_wrong_with_the_proxy_itself_is_told(api: Api, listen: Open, quick: None) -> None:
    stream = await listen()
    await stream.next()
    api.control.readiness_is, api.control.problems_are = "draining", ["disk full"]

    told = await stream.next()

    assert ("proxy", {"cut_off": [], "readiness": "draining", "problems": ["disk full"]}) == (told.name, told.data)


# The journal


async def test_an_entry_of_the_journal_is_told_at_once_with_its_number(
    api: Api, listen: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "TICK", 3600.0)
    stream = await listen()
    await stream.next()
    happened(api, 1)

    told = await stream.next()

    assert ("journal", "1", "entry 1") == (told.name, told.id, told.data["sentence"])


@pytest.mark.parametrize("asked", [{"headers": {"Last-Event-ID": "2"}}, {"params": {"last_event_id": "2"}}])
async def test_whoever_comes_back_is_told_what_was_missed_and_then_what_is_new(
    api: Api, asked: dict[str, dict[str, str]]
) -> None:
    for number in range(1, 5):
        happened(api, number)
    async with api.client.get("/v1/events", **asked) as answer:
        stream = Stream(answer)
        missed = [await stream.next() for _ in range(3)]
        happened(api, 5)
        new = await stream.next()

    assert ["snapshot", "journal", "journal"] == [one.name for one in missed]
    assert ["3", "4", "5"] == [one.id for one in (*missed[1:], new)]


async def test_whoever_has_not_been_here_before_is_not_told_the_past(api: Api, listen: Open) -> None:
    happened(api, 1)
    stream = await listen()
    await stream.next()
    happened(api, 2)

    assert "2" == (await stream.next()).id


@pytest.mark.parametrize("text", ["x", "-1", "1.5", "1" * 19, "0" * 5000, "٣"])
async def test_a_last_id_that_is_no_number_is_refused(api: Api, text: str) -> None:
    status, problem = await api.send("GET", "/v1/events", params={"last_event_id": text})

    assert (400, "Last-Event-ID must be the number of an entry of the journal") == (status, problem["detail"])


# Bounds and ends


async def test_a_reader_that_is_too_slow_is_let_go_and_the_others_go_on(
    api: Api, make: Make, listen: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "ROOM", 100_000)
    monkeypatch.setattr(events, "TICK", 3600.0)
    good = await listen()
    await good.next()
    slow = socket.create_connection((api.client.host, api.client.port))
    slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    slow.sendall(b"GET /v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    hub, number = api.admin._events, 0
    async with asyncio.timeout(30):
        while len(hub._readers) < 2:  # noqa: ASYNC110 - the server has no event for that
            await asyncio.sleep(0.01)
        while len(hub._readers) == 2:
            number += 1
            api.control.journal.add(Entry(Kind.BACKEND, "x" * 300, evidence={"x": "y" * 7000}))
            assert str(number) == (await good.next()).id
    happened(api, 0)

    assert str(number + 1) == (await good.next()).id
    slow.close()


def test_what_is_written_next_may_be_larger_than_the_room_and_others_wait_behind_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(events, "ROOM", 10)
    dropped: list[bool] = []
    reader = Reader(lambda: dropped.append(True))
    reader.put(b"x" * 1000)
    reader.put(b"x" * 10)
    assert [] == dropped

    reader.put(b"x")

    assert ([True], True) == (dropped, reader.is_over)


async def test_whoever_comes_back_to_more_than_the_room_holds_is_served_what_fits(
    api: Api, listen: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else they would be let go again and again, and never see anything."""
    for number in range(1, 5):
        happened(api, number)
    told = [len(json.dumps(entry)) + 40 for entry in api.control.journal.since(Query())]
    monkeypatch.setattr(events, "ROOM", 2 * sum(told[:2]))
    stream = await listen(Last_Event_ID="0")
    assert "snapshot" == (await stream.next()).name
    happened(api, 5)

    assert ["1", "2", "5"] == [(await stream.next()).id for _ in range(3)]


async def test_many_who_come_at_a_time_are_no_more_than_may(
    api: Api, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "READERS", 2)
    drawn = sheet.draw

    async def slowly(*arguments: object) -> object:
        await asyncio.sleep(0.05)
        return await drawn(*arguments)

    monkeypatch.setattr(sheet, "draw", slowly)
    answers = await asyncio.gather(*(api.client.get("/v1/events") for _ in range(6)))
    for answer in answers:
        answer.close()

    assert [200, 200, 503, 503, 503, 503] == sorted(answer.status for answer in answers)


async def test_whoever_reads_by_a_token_that_counts_no_more_reads_no_more(open_api: OpenApi) -> None:
    api = await open_api(admin=AdminSettings(Address("127.0.0.1", 0), token="old"))
    async with api.client.get("/v1/events", headers={"Authorization": "Bearer old"}) as answer:
        stream = Stream(answer)
        await stream.next()
        api.admin.obey(AdminSettings(Address("127.0.0.1", 0), token="old"))
        assert 1 == len(api.admin._events._all)

        api.admin.obey(AdminSettings(Address("127.0.0.1", 0), token="new"))

        assert await stream.ends()


async def test_silence_is_broken_so_that_a_dead_connection_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "SILENCE", 0.001)

    assert b":\n\n" == await Reader(lambda: None).next()


async def test_there_is_an_end_to_how_many_may_read(api: Api, listen: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "READERS", 1)
    stream = await listen()
    await stream.next()

    status, problem = await api.get("/v1/events")

    assert (503, "there are 1 readers already") == (status, problem["detail"])


async def test_when_the_last_reader_has_left_nobody_looks_any_more(api: Api, listen: Open, quick: None) -> None:
    stream = await listen()
    await stream.next()
    hub = api.admin._events
    stream.answer.close()
    registry = api.control.registry
    async with asyncio.timeout(20):
        number = 0
        while hub._ticking is not None:
            number += 1
            registry.set_weight(registry.pools["app"].backends["b0"], number % 9, 1.0)
            await asyncio.sleep(0.01)

    assert (set(), None, []) == (hub._readers, hub._sheet, api.control.journal._listeners)


async def test_a_head_request_ends_at_once(api: Api) -> None:
    assert 200 == (await api.send("HEAD", "/v1/events"))[0]
    assert set() == api.admin._events._readers


async def test_an_answer_ends_whole_when_the_proxy_ends(api: Api, listen: Open) -> None:
    stream = await listen()
    await stream.next()

    await api.admin._events.close()

    assert await stream.ends()
    status, problem = await api.get("/v1/events")
    assert (503, "the proxy ends") == (status, problem["detail"])


async def test_a_stop_is_not_held_up_by_who_reads(stage: Stage, make: Make) -> None:
    supervisor, _ = await stage.serve(make.settings())
    loop = asyncio.get_running_loop()
    async with aiohttp.ClientSession() as session, session.get(f"http://{supervisor.admin.address}/v1/events") as got:
        stream = Stream(got)
        await stream.next()
        began = loop.time()
        supervisor.stop(quick=True)
        supervisor.stop()
        ended = await stream.ends()
        await stage.ended(supervisor)

    assert (True, True) == (ended, loop.time() - began < 10)


async def test_a_mistake_of_ours_ends_the_answers_and_the_next_reader_is_served(
    api: Api, listen: Open, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = await listen()
    await stream.next()
    with monkeypatch.context() as broken:
        broken.setattr(api.admin._events, "_look", None)
        ended = await stream.ends()
    again = await (await listen()).next()

    assert (True, "snapshot") == (ended, again.name)
