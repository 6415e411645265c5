"""The journal and the availability of real processes: what they say agrees with what was done and what clients saw."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections import Counter
from datetime import datetime
from math import inf
from pathlib import Path
from typing import Any

from tests.e2e.client import Client
from tests.e2e.load import Load
from tests.e2e.rig import PATIENCE, POLICIES, Proxy, Rig, now, until
from tests.e2e.test_operations import command
from tests.e2e.test_orphans import has_ended
from tests.e2e.test_policies_active import PAIR
from tests.e2e.test_replace import replace
from tests.e2e.test_takeover import fixed_address, kill_supervisor, none_left, successor

WITHIN = 2.0
"""Seconds in which the journal tells of what has happened."""

Json = dict[str, Any]


async def entries(proxy: Proxy, query: str = "") -> list[Json]:
    told: list[Json] = (await proxy.admin.get(f"/v1/journal?limit=1000{query}"))["entries"]
    return told


async def told(proxy: Proxy, query: str, **wanted: object) -> Json:
    """The first entry that says this, once it is there."""
    async with asyncio.timeout(PATIENCE):
        while True:
            for entry in await entries(proxy, query):
                if wanted.items() <= entry.items():
                    return entry
            await asyncio.sleep(0.02)


async def windows(proxy: Proxy, wanted: int, what: str = "pools") -> Json:
    """The last hour, once so many requests are counted."""
    async with asyncio.timeout(PATIENCE):
        while True:
            hour: Json = (await proxy.admin.get("/v1/availability"))[what][0]["windows"]["1h"]
            if hour["good"] + hour["bad"] + hour["unknown"] >= wanted:
                return hour
            await asyncio.sleep(0.05)


def fared(load: Load, until: float = inf) -> Counter[str]:
    """What clients saw of the requests that had ended by then, in the words of the accounting."""
    seen: Counter[str] = Counter(good=0, bad=0, unknown=0)
    for record in load.records:
        if record.sent_at + record.seconds > until:
            continue
        if record.answer is not None and record.answer.status < 400:
            seen["good"] += 1
        elif record.answer is not None and record.answer.status >= 500:
            seen["unknown" if record.executed == "unknown" else "bad"] += 1
    return seen


async def test_within_two_seconds_the_journal_says_who_was_killed_and_why_it_is_out(rig: Rig) -> None:
    proxy = await rig.start()
    async with Load(proxy.address) as load:
        await load.answered(50)
        await rig.kill("red")
        killed = now()
        out = await told(proxy, "&backend=red")
        degraded = await told(proxy, "&kind=pool", to="degraded")
        seconds = now() - killed
        by_probes = await told(proxy, "&backend=red&kind=backend", to="down")
        await load.answered(30)
    code, output, _ = await command("journal", "--admin", proxy.admin.address, "--pool", "app", "--since", "1h")

    # A busy machine is slow to probe, but the first sign comes from requests.
    assert seconds <= WITHIN + 3.0
    assert out["to"] in {"open", "down"}
    assert out["evidence"]
    assert "red" in degraded["cause"]
    assert ("health.fall", "connection refused") == (by_probes["rule"], by_probes["cause"])
    assert [False] * 2 == [probe["ok"] for probe in by_probes["evidence"]["probes"]]
    assert (0, True) == (code, "red of pool app: 2 probes in a row failed (connection refused)" in output)
    print(f"told {seconds:.2f}s after the kill")


async def test_what_a_failover_is_said_to_have_cost_is_what_clients_saw(rig: Rig) -> None:
    """Every third request is a write, so that of those which fail in a row some have an unknown outcome."""
    await rig.start_backends(*PAIR)
    pool = {**POLICIES, "mode": "active-passive", "hold": {"for": "5s"}, "backends": rig.addresses(), "slo": "99.9%"}
    breaker = {**POLICIES["breaker"], "consecutive": 12}
    proxy = await rig.start_proxy({"pools": {"app": {**pool, "breaker": breaker}}})
    async with Load(proxy.address) as load:
        await load.answered(150)
        await rig.spoil("red", "close", spares_health=True)
        entry = await told(proxy, "&kind=failover", to="green")
        done = datetime.fromisoformat(entry["evidence"]["done_at"]).timestamp() - time.time() + now()
        await load.answered(30)
    # Where the machine is busy, a request to red may still fail a moment after the switch.
    seen, early, cost = fared(load), fared(load, done), entry["cost"]
    hour = await windows(proxy, seen.total())
    saved = sum(
        r.is_good and "attempts=" in ((r.answer and r.answer.field("proxy-status")) or "") for r in load.records
    )

    assert dict(seen) == {name: hour[name] for name in ("good", "bad", "unknown")}
    assert early["bad"] <= cost["failed"] <= seen["bad"]
    assert 0 < early["unknown"] <= cost["unknown"] <= seen["unknown"]
    assert saved == hour["saved"] >= cost["saved"] > 0
    assert ("red", "rule", True) == (entry["from"], entry["who"], 0 <= cost["detect_s"] + cost["switch_s"] < PATIENCE)
    assert (await told(proxy, "&kind=write", pool="app"))["evidence"]["count"] <= seen["unknown"]
    assert seen["unknown"] + seen["bad"] == hour["budget"]["spent"]
    print(f"{entry['sentence']}")


async def test_journal_and_availability_survive_a_stop_a_replacement_and_a_kill(rig: Rig) -> None:
    """Numbers go on, each request counts once, and a line that was torn off costs that line alone."""
    await rig.start_backends("red")
    state = rig.folder / "state"
    async with fixed_address() as address:
        config = {
            "pools": {"app": {**POLICIES, "backends": rig.addresses()}},
            "listeners": {"web": address},
            "state_dir": str(state),
        }
        first = await rig.start_proxy(config)
        sent = await ask(first, 40)
        await windows(first, sent)
        first.process.send_signal(signal.SIGTERM)
        await first.process.wait()
        tear(state / "journal.jsonl")

        second = await rig.start_proxy(config)
        sent += await ask(second, 40)
        await replace(second)
        sent += await ask(second, 40)
        await windows(second, sent)
        orphans = await kill_supervisor(second)
        with none_left(orphans):
            sent += await ask(second, 40)
            third = await successor(rig, config)
            hour = await windows(third, sent)
            kept = await entries(third)
            await until(lambda: all(map(has_ended, orphans)))

    numbers = [one["id"] for one in kept]
    assert sent == hour["good"]
    assert sorted(set(numbers)) == numbers
    process = [(one["to"], one["cause"]) for one in kept if one["kind"] == "process"]
    assert [
        ("started", "start"),
        ("stopping", "TERM"),
        ("started", "the run before crashed or was killed"),  # its last word was torn off
        ("replaced", "USR2"),
        ("started", "USR2"),
        ("started", "the run before crashed or was killed"),
        ("taken over", "their supervisor is gone"),
    ] == process


async def ask(proxy: Proxy, count: int) -> int:
    """So many good answers, each on a connection of its own: workers that give way close theirs."""
    for _ in range(count):
        async with await Client.connect(proxy.address) as client:
            assert 200 == (await client.ask("GET", "/")).status
    return count


def tear(path: Path) -> None:
    """Take off the last twenty bytes, as a crash does."""
    path.write_bytes(path.read_bytes()[:-20])


async def test_a_full_disk_costs_nothing_but_a_word(rig: Rig) -> None:
    """And what could not be written is written once there is room."""
    await rig.start_backends("red")
    state = rig.folder / "state"
    rig.expected += ["can't be written"]
    pools = {"app": {**POLICIES, "backends": rig.addresses()}}
    proxy = await rig.start_proxy({"pools": pools, "state_dir": str(state)})
    journal = state / "journal.jsonl"
    await until(lambda: journal.exists() and '"serving"' in journal.read_text())
    journal.rename(state / "aside")
    journal.symlink_to("/dev/full")
    await proxy.admin.patch("red", weight=7)
    async with asyncio.timeout(PATIENCE):
        while not (problems := (await proxy.admin.get("/v1/pools"))["problems"]):  # noqa: ASYNC110 - no event
            await asyncio.sleep(0.02)
    await ask(proxy, 10)
    failing = await told(proxy, "&kind=process", to="failing")
    journal.unlink()
    (state / "aside").rename(journal)
    await told(proxy, "&kind=process", to="well")
    await until(lambda: '"to":"well"' in journal.read_text())
    written = [json.loads(line)["id"] for line in journal.read_text().splitlines()]

    assert ["the journal can't be written: a restart would forget it"] == [one.rpartition(": ")[0] for one in problems]
    assert "No space left on device" in failing["sentence"]
    assert written == [one["id"] for one in await entries(proxy)]


async def test_a_worker_that_is_killed_and_a_config_that_is_wrong_are_told(rig: Rig) -> None:
    await rig.start_backends("red")
    proxy = await rig.start_proxy({"pools": {"app": {**POLICIES, "backends": rig.addresses()}}})
    pid = proxy.workers()[0]
    os.kill(pid, signal.SIGKILL)
    died = await told(proxy, "&kind=worker", to="died")
    replaced = await told(proxy, "&kind=worker", **{"from": "died"})
    proxy.rewrite(nonsense=1)
    await proxy.admin.reload()
    rejected = await told(proxy, "&kind=config", to="rejected")
    config = json.loads(proxy.config.read_text())
    del config["nonsense"]
    proxy.config.write_text(json.dumps(config | {"drain_timeout": "9s"}))
    await proxy.admin.reload()
    reloaded = await told(proxy, "&kind=config", to="reloaded")

    assert ("signal SIGKILL", {"worker": died["evidence"]["worker"], "pid": pid, "how": "signal SIGKILL"}) == (
        died["cause"],
        died["evidence"],
    )
    assert died["evidence"]["worker"] == replaced["evidence"]["worker"]
    assert "unknown key" in rejected["evidence"]["mistakes"][0]
    assert "settings: drain_timeout" == reloaded["cause"]
