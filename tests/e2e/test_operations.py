"""What an administrator does under load, and what it costs: nothing."""

from __future__ import annotations

import asyncio
import re
import sys
from collections import Counter
from collections.abc import Callable

from tests.e2e.client import PATIENCE, Client
from tests.e2e.load import RATE, Load
from tests.e2e.rig import NAMES, POLICIES, Proxy, Rig
from tests.test_monitoring import ALL_RULES, asked_for, queries, recorded


async def command(*arguments: str) -> tuple[int | None, str, str]:
    """Run the command line: exit code, output, errors."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "proxy", *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    output, errors = await process.communicate()
    return process.returncode, output.decode(), errors.decode()


async def shares(load: Load, requests: int) -> Counter[str | None]:
    """Who answers so many of the following requests."""
    begin = len(load.records)
    await load.answered(requests)
    return Counter(record.answer.backend for record in load.records[begin:] if record.answer is not None)


async def settle(load: Load, holds: Callable[[Counter[str | None]], bool]) -> None:
    """Wait until workers have heard of a change and what was sent before is answered."""
    for _ in range(20):
        if holds(await shares(load, 15)):
            return
    raise AssertionError("the change has not reached the workers")


async def test_drain_and_maint_and_ready_again_cost_no_request(rig: Rig) -> None:
    proxy = await rig.start()
    seen: dict[str, Counter[str | None]] = {}
    async with Load(proxy.address, 2 * RATE) as load:
        for state in ("drain", "ready", "maint", "ready"):
            changed = await proxy.admin.patch("red", state=state)
            assert (state, state == "ready") == (changed["admin_state"], changed["available"])
            serves = state == "ready"
            await settle(load, lambda counts, serves=serves: ("red" in counts) is serves)
            seen[state] = await shares(load, 60)

    assert ([], []) == (load.failed("GET"), load.failed("POST"))
    assert {"green", "blue"} == seen["drain"].keys() == seen["maint"].keys()
    assert set(NAMES) == seen["ready"].keys()


async def test_a_weight_changes_the_shares_at_once_and_can_be_taken_back(rig: Rig) -> None:
    await rig.start_backends("red", "green")
    pool = {**POLICIES, "balance": "round_robin", "backends": rig.addresses()}
    proxy = await rig.start_proxy({"pools": {"app": pool}})
    seen = []
    async with Load(proxy.address, 2 * RATE) as load:
        for weight in (9, 0, None):
            await proxy.admin.patch("red", weight=weight)
            await settle(load, lambda counts, weight=weight: WEIGHED[weight](counts["red"] / counts.total()))
            seen.append((await shares(load, 100))["red"])

    assert ([], []) == (load.failed("GET"), load.failed("POST"))
    assert [True, 0, True] == [85 <= seen[0] <= 95, seen[1], 45 <= seen[2] <= 55]


UNPROBED = {"interval": "1h", "fast_interval": "1h", "jitter": "100%"}
WEIGHED: dict[int | None, Callable[[float], bool]] = {
    9: lambda share: share > 0.75,
    0: lambda share: share == 0,
    None: lambda share: 0.35 < share < 0.65,
}


async def test_the_metrics_count_each_request_that_clients_have_sent_once(rig: Rig) -> None:
    """By method and status, whatever failed meanwhile and was tried again."""
    proxy = await rig.start()
    async with Load(proxy.address) as load:
        await load.answered(40)
        await rig.spoil("red", "503", spares_health=True)
        await load.answered(80)
    seen = Counter((record.method, str(record.answer.status)) for record in load.records if record.answer)

    async with asyncio.timeout(PATIENCE):
        while (counted := await requests(proxy)).total() < seen.total():  # noqa: ASYNC110 - no event
            await asyncio.sleep(0.02)
    pool = await proxy.admin.get("/v1/pools/app")

    assert seen == counted
    assert [] == load.failed("GET")
    assert pool["saved_requests_total"] == sum(
        record.answer is not None and "attempts=2" in (record.answer.field("proxy-status") or "")
        for record in load.records
    )


async def test_everything_that_alerts_and_the_dashboard_ask_for_is_on_the_page(rig: Rig) -> None:
    """Of a running proxy: the rest of `tests/test_monitoring.py` looks at the code that writes the page."""
    proxy = await rig.start_proxy({"workers": 1, "pools": {"app": {"backends": ["127.0.0.1:9"], "health": UNPROBED}}})
    status, page = await proxy.admin.text("/metrics")
    told = set(re.findall(r"^# TYPE (\S+) ", page, re.MULTILINE))

    asked = {name for rule in ALL_RULES for name in asked_for(rule["expr"])}
    asked |= {name for query in queries() for name in asked_for(query)}
    assert 200 == status
    assert set() == {re.sub("_(bucket|sum|count)$", "", name) for name in asked} - told - recorded()


async def requests(proxy: Proxy) -> Counter[tuple[str, str]]:
    """By method and status."""
    return Counter(
        {
            (sample.labels["method"], sample.labels["code"]): int(sample.value)
            for sample in await proxy.admin.samples()
            if sample.name == "failover_requests_total"
        }
    )


async def test_status_says_who_serves_and_why_another_does_not(rig: Rig) -> None:
    proxy = await rig.start()
    async with await Client.connect(proxy.address) as client:
        await client.ask("GET", "/")
    well = await command("status", "--admin", proxy.admin.address)
    await rig.kill("red")
    await proxy.admin.patch("green", state="drain")
    await until_out(proxy, "red")
    ill = await command("status", "--admin", proxy.admin.address)
    await proxy.admin.patch("blue", state="maint")
    none_left = await command("status", "--admin", proxy.admin.address)

    assert (0, "", "POOL app  UP  3 of 3 available") == (well[0], well[2], well[1].splitlines()[0])
    assert (0, "", "POOL app  DEGRADED  1 of 3 available") == (ill[0], ill[2], ill[1].splitlines()[0])
    assert "    failed_probes: its probes fail (connection refused); until 2 good probes in a row" in ill[1]
    assert "    drain: a person has put it in drain; until a person says ready\n" in ill[1]
    assert (1, "", True) == (none_left[0], none_left[2], "  0 of 3 available\n" in none_left[1])


async def until_out(proxy: Proxy, name: str) -> None:
    async with asyncio.timeout(15):
        while "failed_probes" not in (await proxy.admin.backend(name))["reasons"]:  # noqa: ASYNC110 - no event
            await asyncio.sleep(0.02)
