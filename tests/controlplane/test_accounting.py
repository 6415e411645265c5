from __future__ import annotations

import asyncio
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.controlplane.admin.availability import availability_families
from proxy.controlplane.availability import remembered as module
from proxy.controlplane.availability.accounting import GONE_MAX, POOLS, ROUTES, Accounting
from proxy.controlplane.availability.remembered import FILE, Remembered
from proxy.core.messages import Report
from proxy.core.settings import Address, BackendSettings, PoolSettings, RouteSettings
from proxy.core.telling.availability import Counts
from tests.controlplane.conftest import Api, Make, OpenApi

WALL = 1_700_000_000.0
ROUTE = RouteSettings("all", split=(("app", 1.0),), slo=0.99)


def accounting(make: Make, **changes: object) -> Accounting:
    return Accounting(make.settings(**{"routes": (ROUTE,), **changes}), lambda: WALL)


def report(make: Make, pid: int, good: int, bad: int = 0, *, route: str = "all", pool: str = "app") -> Report:
    return make.report(0, pid, requests={(route, pool, "GET", 200): good, (route, pool, "GET", 503): bad})


def hour(accounts: Accounting, what: str = POOLS, name: str = "app") -> Counts:
    found = {row.name: row.availability.counts for row in accounts.rows(what) if row.span == "1h"}
    return found.get(name, Counts())


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 9), st.booleans()), max_size=40))
def test_each_request_counts_once_whoever_dies_is_replaced_or_is_not_heard_in_between(
    steps: list[tuple[int, int, bool]],
) -> None:
    """Workers report totals; a successor begins at zero, and after a restart of ours a worker goes on where it was."""
    make, total, pids, sums = Make(), 0, [1, 2, 3], {}
    accounts = accounting(make)
    for worker, good, dies in steps:
        pid = pids[worker]
        sums[pid] = sums.get(pid, 0) + good
        total += good
        accounts.take(report(make, pid, sums[pid]))
        if dies:
            accounts.forget(pid)
            pids[worker] = max(pids) + 1
        else:
            text = accounts.freeze()()
            accounts = accounting(make)
            accounts.recall(text)

    assert Counts(good=total) == hour(accounts) == hour(accounts, ROUTES, "all")


def test_what_is_new_in_a_report_is_told(make: Make) -> None:
    accounts = accounting(make)
    accounts.take(report(make, 1, 5, 1))

    assert {("all", "app"): Counts(good=2, bad=1)} == accounts.take(report(make, 1, 7, 2))
    assert {} == accounts.take(report(make, 1, 7, 2))
    assert Counts(good=7, bad=2) == accounts.pool("app")


def test_a_process_that_bears_the_number_of_one_from_before_begins_at_zero(make: Make) -> None:
    accounts = accounting(make)
    accounts.take(report(make, 1, 5))
    accounts.begin(1)
    accounts.take(report(make, 1, 5))
    accounts.take(report(make, 1, 3))  # nobody has said that it is another

    assert Counts(good=13) == hour(accounts)


def test_a_request_that_is_counted_otherwise_than_before_makes_none_of_the_others_new(make: Make) -> None:
    accounts = accounting(make)
    before = report(make, 1, 1000, 5)
    accounts.take(before)
    accounts.take(replace(before, unknown_outcomes={("all", "app"): 1}))
    accounts.take(replace(before, unknown_outcomes={("all", "app"): 1}, broken={("all", "app"): 1}))

    assert (1000, 1) == (hour(accounts).good, hour(accounts).unknown)


def test_what_another_pool_served_is_bad_for_the_route_and_its_pool_and_good_for_the_other(make: Make) -> None:
    accounts = accounting(make, pools=(make.settings().pools[0], replace(make.settings().pools[0], name="spare")))
    taken = replace(report(make, 1, 4, pool="spare"), degraded_ends={("all", "app", "spare", 200): 4})
    accounts.take(taken)

    assert Counts(bad=4) == hour(accounts) == hour(accounts, ROUTES, "all")
    assert Counts(good=4) == hour(accounts, POOLS, "spare")


def test_an_answer_of_our_own_counts_for_its_route_alone(make: Make) -> None:
    accounts = accounting(make)
    accounts.take(report(make, 1, 5, pool=""))

    assert (Counts(good=5), []) == (hour(accounts, ROUTES, "all"), list(accounts.rows(POOLS)))


def test_the_document_names_every_pool_and_route_with_its_budget(make: Make) -> None:
    accounts = accounting(make)
    accounts.take(report(make, 1, 997, 3))

    document = accounts.document()

    [route], [pool] = document["routes"], document["pools"]
    assert ("app", None, None) == (pool["name"], pool["slo"], pool["windows"]["1h"]["budget"])
    assert ("all", 0.99) == (route["name"], route["slo"])
    assert {
        "good": 997,
        "bad": 3,
        "unknown": 0,
        "saved": 0,
        "availability": 0.997,
        "nines": 2.523,
        "bad_minutes": 0,
        "budget": {"allowed": 10.0, "spent": 3, "left_share": 0.7},
    } == route["windows"]["30d"]


def test_who_has_gone_is_not_shown_but_remembered_should_it_come_back(make: Make) -> None:
    accounts = accounting(make)
    accounts.take(report(make, 1, 5))
    before = make.settings(routes=(ROUTE,))
    accounts.obey(replace(before, pools=(), routes=()))
    gone = accounts.document()
    accounts.obey(before)

    assert ({"pools": [], "routes": []}, Counts(good=5)) == (gone, hour(accounts))


def test_what_is_counted_of_a_pool_never_goes_back_not_even_over_a_restart(make: Make) -> None:
    first = accounting(make)
    first.take(report(make, 1, 5, 1))
    second = accounting(make)
    second.recall(first.freeze()())
    second.take(report(make, 1, 6, 1))

    rows = {family.name: dict(family.rows) for family in availability_families(second)}
    assert {
        ("app", "good"): 6,
        ("app", "bad"): 1,
        ("app", "unknown"): 0,
    } == rows["failover_availability_requests"]


def test_what_was_kept_before_there_were_such_counters_is_read_all_the_same(make: Make) -> None:
    first, second = accounting(make), accounting(make)
    first.take(report(make, 1, 5, 1))
    document = json.loads(first.freeze()())
    del document["totals"]
    second.recall(json.dumps(document))

    assert (Counts(good=5, bad=1), Counts()) == (hour(second), second.pool("app"))


def test_so_many_who_have_gone_are_forgotten(make: Make) -> None:
    accounts = accounting(make)
    for number in range(GONE_MAX + 5):
        accounts.take(report(make, number, 1, route=f"r{number}"))
    accounts.obey(make.settings(routes=(ROUTE,)))

    assert f"<Accounting 1 pools, {GONE_MAX} routes>" == repr(accounts)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "{}", '{"pools": {}, "routes": {}, "seen": {"x": []}}', '{"pools": {"a": 1}}']
)
def test_what_can_not_be_read_changes_nothing(make: Make, text: str) -> None:
    accounts = accounting(make)
    accounts.take(report(make, 1, 5))

    with pytest.raises(ValueError, match=r".*"):
        accounts.recall(text)
    assert Counts(good=5) == hour(accounts)


# On disk


async def test_it_survives_a_restart_and_a_worker_that_lives_on_counts_on(make: Make, tmp_path: Path) -> None:
    first = accounting(make)
    kept = Remembered(first, str(tmp_path))
    kept.begin()
    first.take(report(make, os.getpid(), 5, 2))
    first.take(report(make, 2**22 + 1, 3))  # no such process
    await kept.settle()
    second = accounting(make)
    Remembered(second, str(tmp_path)).recall()
    second.take(report(make, os.getpid(), 6, 2))

    assert Counts(good=9, bad=2) == hour(second)
    assert [str(os.getpid())] == list(json.loads(second.freeze()())["seen"])


async def test_what_only_a_worker_that_has_ended_had_counted_is_kept_at_once(make: Make, tmp_path: Path) -> None:
    """A supervisor that is killed a moment later has nobody to ask."""
    accounts = accounting(make)
    kept = Remembered(accounts, str(tmp_path))
    kept.begin()
    accounts.take(report(make, 1, 5))
    accounts.forget(1)
    async with asyncio.timeout(10):
        while '"all"' not in (tmp_path / FILE).read_text() if (tmp_path / FILE).exists() else True:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    await kept.settle()

    assert ["availability.json"] == [path.name for path in tmp_path.iterdir()]


@pytest.mark.parametrize("content", [b"{", b"\xff", b'{"version": 1}'])
async def test_a_broken_file_is_said_and_it_begins_anew(
    make: Make, tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / FILE).write_bytes(content)
    accounts = accounting(make)
    Remembered(accounts, str(tmp_path)).recall()

    assert ["the availability of the past can't be read: it begins anew"] == [one.message for one in caplog.records]
    assert Counts() == hour(accounts)


async def test_without_a_folder_or_a_file_it_begins_anew(make: Make, tmp_path: Path) -> None:
    for folder in ("", str(tmp_path)):
        kept = Remembered(accounting(make), folder)
        kept.recall()
        await kept.settle()
        assert "" == kept.problem
    assert [] == list(tmp_path.iterdir())


async def test_a_disk_that_fails_is_said_and_it_goes_on_once_it_is_well(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "EVERY", 0.01)
    blocked = tmp_path / "state"
    blocked.write_text("in the way")
    kept = Remembered(accounting(make), str(blocked))
    kept.begin()
    async with asyncio.timeout(10):
        while not kept.problem:  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.001)
    assert kept.problem.startswith("availability can't be written: a restart would forget it: ")
    blocked.unlink()
    async with asyncio.timeout(10):
        while kept.problem:  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.001)
    await kept.settle()

    assert [FILE] == [path.name for path in blocked.iterdir()]


# Over HTTP


async def test_the_api_and_the_metrics_tell_the_same(open_api: OpenApi, make: Make) -> None:
    pool = PoolSettings("app", (BackendSettings("b0", Address("h", 1)),), slo=0.999)
    api: Api = await open_api(pools=(pool,), routes=(ROUTE,))
    api.control.accounting.take(report(make, 1, 997, 3))

    status, document = await api.get("/v1/availability")
    _, page = await api.get("/metrics")

    assert (200, 0.997) == (status, document["pools"][0]["windows"]["24h"]["availability"])
    lines = [line for line in str(page).splitlines() if "ratio{" in line and "24h" in line and "retry" not in line]
    assert [
        'failover_availability_ratio{pool="app",route="",window="24h"} 0.997',
        'failover_availability_ratio{pool="",route="all",window="24h"} 0.997',
        'failover_error_budget_remaining_ratio{pool="app",route="",window="24h"} -2.0',
        'failover_error_budget_remaining_ratio{pool="",route="all",window="24h"} 0.7',
    ] == [line[: line.index("}") + 2] + f"{float(line.split()[-1]):.6g}".replace("-2", "-2.0") for line in lines]
