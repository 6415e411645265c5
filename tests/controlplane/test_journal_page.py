from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from click.testing import CliRunner, Result

from proxy.cli.journal import WIDTH, journal, lines
from proxy.controlplane.admin.journal import parse_query
from proxy.controlplane.admin.problems import Problem
from proxy.core.telling.journal import Entry, Kind, Query
from tests.controlplane.conftest import Api

NOW = 1_700_000_000.0
Run = Callable[..., Awaitable[Result]]


@pytest.fixture
def told(api: Api) -> Api:
    for number in range(5):
        api.control.journal.add(Entry(Kind.BACKEND, f"b{number} is out.", "app", f"b{number}", rule="health.fall"))
    api.control.journal.add(Entry(Kind.CONFIG, "The config was read anew.", who="person"))
    return api


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("", [1, 2, 3, 4, 5, 6]),
        ("?backend=b1", [2]),
        ("?pool=app&limit=2", [4, 5]),
        ("?kind=config", [6]),
        ("?after=4", [5, 6]),
        ("?after=0&limit=1", [1]),
        ("?since=1h", [1, 2, 3, 4, 5, 6]),
        ("?since=2999-01-01", []),
    ],
)
async def test_the_journal_is_asked_by_what_it_is_about(told: Api, query: str, ids: list[int]) -> None:
    status, document = await told.get(f"/v1/journal{query}")

    assert (200, ids, 6) == (status, [one["id"] for one in document["entries"]], document["last_id"])


@pytest.mark.parametrize(
    ("query", "detail"),
    [
        ("?kind=weather", "kind must be one of backend, pool"),
        ("?limit=0", "limit must be a whole number from 1 to 1000"),
        ("?limit=1001", "limit must be"),
        ("?limit=٣", "limit must be"),
        ("?after=-1", "after must be"),
        ("?after=99999999999999999999", "after must be"),
        ("?since=yesterday", "since must be"),
        ("?since=", "since must be"),
        ("?color=red", "there is no parameter color; there are pool, backend"),
    ],
)
async def test_what_can_not_be_asked_is_a_problem(told: Api, query: str, detail: str) -> None:
    status, document = await told.get(f"/v1/journal{query}")

    assert 400 == status
    assert document["detail"].startswith(detail)


@pytest.mark.parametrize(
    ("text", "since"),
    [
        ("90s", NOW - 90),
        ("15m", NOW - 900),
        ("1h", NOW - 3600),
        ("7d", NOW - 604800),
        ("2023-11-14", 1_699_920_000.0),
        ("2023-11-14T22:13:20Z", NOW),
        ("2023-11-14T23:13:20+01:00", NOW),
        ("2023-11-14T23:13:20 01:00", NOW),
    ],
)
def test_a_time_is_an_age_or_a_date(text: str, since: float) -> None:
    assert Query(since=since) == parse_query({"since": text}, NOW)


def test_an_age_of_thousands_of_years_asks_for_everything() -> None:
    assert -1e14 < (parse_query({"since": "999999999d"}, NOW).since or 0) < 0
    with pytest.raises(Problem):
        parse_query({"since": "9999999999d"}, NOW)


# The command


@pytest.fixture
def run() -> Run:
    async def run(api: Api, *arguments: str) -> Result:
        address = f"{api.client.host}:{api.client.port}"
        runner = CliRunner(env={"FAILOVER_PROXY_TOKEN": None, "FAILOVER_PROXY_ADMIN": address})
        return await asyncio.to_thread(runner.invoke, journal, arguments)

    return run


async def test_the_command_shows_when_what_and_by_which_rule(told: Api, run: Run) -> None:
    result = await run(told, "--backend", "b1", "--since", "1h")

    assert [
        "2023-11-14 22:13:20  backend     b1 is out.",
        "                                 (rule health.fall)",
    ] == result.output.splitlines()
    assert 0 == result.exit_code


async def test_json_is_one_entry_a_line(told: Api, run: Run) -> None:
    result = await run(told, "--json", "--limit", "2")

    assert [5, 6] == [json.loads(line)["id"] for line in result.output.splitlines()]


async def test_what_can_not_be_asked_is_said(told: Api, run: Run) -> None:
    result = await run(told, "--since", "yesterday")

    assert 1 == result.exit_code
    assert "error: since must be a time ago such as 1h" in result.output


async def test_a_page_that_is_full_is_followed_by_the_next(
    told: Api, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until somebody ends it, and no entry twice."""
    monkeypatch.setattr("proxy.cli.journal.PAGE", 2)
    naps: list[float] = []

    def nap(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 3:
            raise KeyboardInterrupt
        for number in range(3):
            told.control.journal.add(Entry(Kind.POOL, f"{len(naps)}.{number}"))

    monkeypatch.setattr("proxy.cli.journal.time.sleep", nap)

    result = await run(told, "--follow", "--json")

    assert list(range(1, 13)) == [json.loads(line)["id"] for line in result.output.splitlines()]
    assert 0 == result.exit_code


def test_a_long_sentence_is_wrapped() -> None:
    entry: dict[str, Any] = {"time": "2023-11-14T22:13:20.000Z", "kind": "failover", "rule": None, "who": "person"}

    shown = list(lines(entry | {"sentence": "many words " * 30}))

    assert max(map(len, shown)) <= WIDTH
    assert shown[-1].strip() == "(by a person)"
