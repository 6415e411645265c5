"""Switches of active-passive pools: decided by the registry, carried out by the supervisor, ordered over the API."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest

from proxy.controlplane.pools.change import Change
from proxy.controlplane.pools.governor import Refused
from proxy.controlplane.pools.memory import recall
from proxy.controlplane.pools.records import PoolRecord
from proxy.controlplane.pools.registry import Registry
from proxy.core.messages import AdminState, Heard, Snapshot
from proxy.core.pools.active import FailoverPolicy
from proxy.core.pools.health import HealthPolicy, Probe
from proxy.core.settings import Address, BackendSettings, PoolSettings, Settings
from tests.controlplane.conftest import Make, OpenApi, PlayedWorker, Stage

QUICK = HealthPolicy(interval=1e7, fast_interval=1e7, jitter=1.0, fall=1, rise=1)
AT_ONCE = FailoverPolicy(failback_after=0.0)
BY_HAND = FailoverPolicy(automatic=False, failback=False)


def settings(make: Make, policy: FailoverPolicy | None = AT_ONCE, names: str = "abc", **changes: object) -> Settings:
    """One pool, `app`, of backends in as many tiers."""
    address = Address("127.0.0.1", 9)
    backends = tuple(BackendSettings(name, address, tier=tier) for tier, name in enumerate(names, 1))
    pools = (PoolSettings("app", backends, health=QUICK, failover=policy),)
    return replace(make.settings(), pools=pools, **changes)


def registry_of(make: Make, policy: FailoverPolicy = AT_ONCE, *workers: int) -> Registry:
    registry = Registry(settings(make, policy), 0.0)
    registry.told = lambda: workers
    return registry


def probe(registry: Registry, backend: str, at: float, *, ok: bool) -> list[Change]:
    return registry.take_probe(("app", backend), Probe(at, ok=ok, duration=0.001, detail="connection refused"))


def active(registry: Registry) -> list[str]:
    """Who does not stand by, as workers are told."""
    return [key[1] for key, state in registry.snapshot().backends.items() if not state.standby]


def app(registry: Registry) -> PoolRecord:
    return registry.pools["app"]


# The registry


def test_the_first_tier_is_active_and_the_others_stand_by(make: Make) -> None:
    registry = registry_of(make)

    assert ["a"] == active(registry)
    assert {"b": ("standby",), "c": ("standby",)} == {
        r.settings.name: r.reasons for r in registry.records() if r.reasons
    }


def test_without_workers_a_switch_is_one_snapshot(make: Make) -> None:
    registry = registry_of(make)

    changes = probe(registry, "a", 5.0, ok=False)

    assert ["health", "vacancy", "active"] == [change.subject for change in changes]
    assert ["b"] == active(registry)
    assert "failover: failed_probes: connection refused" == changes[-1].reason


def test_nobody_is_active_until_every_worker_has_said_that_it_knows(make: Make) -> None:
    registry = registry_of(make, AT_ONCE, 0, 1)
    version = registry.version
    probe(registry, "a", 5.0, ok=False)
    between = registry.version
    seen = [active(registry)]

    registry.heard(0, version, 5.1)
    registry.heard(1, between, 5.1)
    seen.append(active(registry))
    registry.heard(0, between, 5.2)
    seen.append(active(registry))

    assert [[], [], ["b"]] == seen
    assert version < between < registry.version


def test_a_report_counts_as_well_as_a_word(make: Make) -> None:
    registry = registry_of(make, AT_ONCE, 0)
    probe(registry, "a", 5.0, ok=False)

    changes = registry.take_report(make.report(0, snapshot_version=registry.version, at=6.0))

    assert ["active"] == [change.subject for change in changes]


def test_a_worker_that_dies_is_not_waited_for(make: Make) -> None:
    registry = registry_of(make, AT_ONCE, 0)
    probe(registry, "a", 5.0, ok=False)

    registry.lose_worker(0)

    assert ["active"] == [change.subject for change in registry.tick(5.1)]


def test_what_waits_for_a_person_is_said_once(make: Make) -> None:
    registry = registry_of(make, BY_HAND)
    changes = probe(registry, "a", 5.0, ok=False)

    assert Change("pending", "app", "", "", "b", "failover: failed_probes: connection refused") == changes[-1]
    assert [] == registry.tick(6.0)
    assert ["a"] == active(registry)


def test_a_drained_backend_hands_its_place_over_and_gets_it_back(make: Make) -> None:
    registry = registry_of(make)
    registry.set_admin(app(registry).backends["a"], AdminState.DRAIN, 5.0)
    assert ["b"] == active(registry)

    registry.set_admin(app(registry).backends["a"], AdminState.READY, 6.0)
    assert ["a"] == active(registry)


@pytest.mark.parametrize(
    ("to", "reason"),
    [
        (None, "no failover waits for approval; say who is to take over"),
        ("b", "b is in maint: make it ready first"),
        ("c", "c is out (failed_probes: connection refused); it can be forced"),
    ],
)
def test_an_order_that_makes_no_sense_is_refused(make: Make, to: str | None, reason: str) -> None:
    registry = registry_of(make)
    registry.set_admin(app(registry).backends["b"], AdminState.MAINT, 1.0)
    probe(registry, "c", 1.0, ok=False)

    with pytest.raises(Refused, match=reason.replace("(", r"\(").replace(")", r"\)")):
        registry.order(app(registry), to, 2.0)


def test_who_is_out_can_be_forced(make: Make) -> None:
    registry = registry_of(make)
    probe(registry, "c", 1.0, ok=False)

    registry.order(app(registry), "c", 2.0, force=True)

    assert ["c"] == active(registry)
    assert [] == [change.subject for change in registry.tick(3.0)]


def test_while_a_switch_is_under_way_no_other_is_ordered(make: Make) -> None:
    registry = registry_of(make, AT_ONCE, 0)
    registry.order(app(registry), "b", 2.0)

    for order in (lambda: registry.order(app(registry), "c", 2.1), lambda: registry.go_back(app(registry), 2.1)):
        with pytest.raises(Refused, match="a switch is under way"):
            order()


def test_an_order_for_who_is_active_already_changes_nothing(make: Make) -> None:
    registry = registry_of(make)

    assert [] == registry.order(app(registry), "a", 2.0)


def test_a_failback_goes_to_the_first_that_is_well(make: Make) -> None:
    registry = registry_of(make)
    registry.order(app(registry), "c", 2.0)
    registry.set_admin(app(registry).backends["a"], AdminState.MAINT, 3.0)

    registry.go_back(app(registry), 4.0)

    assert ["b"] == active(registry)
    with pytest.raises(Refused, match="nobody before it in line is well"):
        registry.go_back(app(registry), 5.0)


def test_who_is_first_in_line_can_go_back_no_further(make: Make) -> None:
    registry = registry_of(make)

    with pytest.raises(Refused, match="a is first in line already"):
        registry.go_back(app(registry), 5.0)


def test_a_pool_in_which_all_serve_has_nothing_to_switch(make: Make) -> None:
    registry = Registry(settings(make, None), 0.0)

    with pytest.raises(Refused, match="app is not active-passive: all its backends serve"):
        registry.go_back(app(registry), 5.0)


# A reload


def test_a_reload_keeps_who_is_active(make: Make) -> None:
    registry = registry_of(make, BY_HAND, 0)
    registry.order(app(registry), "b", 2.0)
    registry.heard(0, registry.version, 2.1)

    registry.obey(settings(make, AT_ONCE, "abcd"), 3.0)

    assert ["b"] == active(registry)


@pytest.mark.parametrize(("names", "expected"), [("bc", "b"), ("cb", "c")])
def test_a_reload_that_takes_the_active_one_away_hands_its_place_over(make: Make, names: str, expected: str) -> None:
    registry = registry_of(make, AT_ONCE, 0)

    registry.obey(settings(make, AT_ONCE, names), 3.0)
    assert [] == active(registry)
    registry.heard(0, registry.version, 3.1)

    assert [expected] == active(registry)


def test_a_reload_that_takes_the_successor_away_finds_another(make: Make) -> None:
    registry = registry_of(make, AT_ONCE, 0)
    registry.order(app(registry), "b", 2.0)

    registry.obey(settings(make, AT_ONCE, "ac"), 3.0)
    assert [] == active(registry)
    registry.heard(0, registry.version, 3.1)

    assert ["a"] == active(registry)


def test_a_pool_that_becomes_active_passive_begins_with_nobody(make: Make) -> None:
    """Some workers may still think that all serve."""
    registry = Registry(settings(make, None), 0.0)
    registry.told = lambda: (0,)

    registry.obey(settings(make), 3.0)
    assert [] == active(registry)
    registry.heard(0, registry.version, 3.1)

    assert ["a"] == active(registry)


def test_a_pool_that_becomes_active_active_has_nobody_standing_by_for_that(make: Make) -> None:
    registry = registry_of(make)

    registry.obey(settings(make, None), 3.0)

    assert ["a", "b", "c"] == active(registry)


# The supervisor


async def heard(worker: PlayedWorker) -> Snapshot:
    """The worker takes the next Snapshot, and says so."""
    snapshot = await worker.hear_a(Snapshot)
    worker.say(Heard(worker.number, snapshot.version))
    return snapshot


def told(snapshot: Snapshot) -> list[str]:
    return [name for (_, name), state in snapshot.backends.items() if not state.standby]


async def test_an_order_is_answered_when_every_worker_has_followed(make: Make, stage: Stage) -> None:
    supervisor, workers = await stage.serve(settings(make, workers=2))
    asking = asyncio.create_task(stage.ask(supervisor, "/v1/pools/app/failover", "POST", json={"to": "b"}))

    between = [told(await heard(worker)) for worker in workers]
    after = [told(await heard(worker)) for worker in workers]
    status, document = await asking

    assert ([[], []], [["b"], ["b"]]) == (between, after)
    assert (200, "b", True) == (status, document["active"], document["pinned"])


async def test_a_worker_that_does_not_follow_is_replaced(
    make: Make, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.controlplane.rounds.TICK", 0.02)
    supervisor, workers = await stage.serve(settings(make, workers=2))
    asking = asyncio.create_task(stage.ask(supervisor, "/v1/pools/app/failover", "POST", json={"to": "b"}))
    await heard(workers[0])

    successor = await stage.worker()
    snapshot = await successor.start()

    assert (1, 200) == (successor.number, (await asking)[0])
    assert told(snapshot) in ([], ["b"])


async def test_who_is_active_survives_a_restart(make: Make, stage: Stage, tmp_path: Path) -> None:
    supervisor = await stage.supervise(settings(make, state_dir=str(tmp_path / "state"), workers=1))
    worker = await stage.worker()
    await worker.start()
    await asyncio.wait_for(supervisor.ready.wait(), 10)
    asking = asyncio.create_task(stage.ask(supervisor, "/v1/pools/app/failover", "POST", json={"to": "c"}))
    await heard(worker)
    await heard(worker)
    await asking
    worker.end()
    supervisor.stop(quick=True)
    await stage.ended(supervisor)

    assert ["c"] == active(Registry(settings(make), 0.0, recall(str(tmp_path / "state"))))


# The API


async def test_a_pool_shows_who_is_active_and_what_waits_for_a_person(make: Make, open_api: OpenApi) -> None:
    api = await open_api(pools=settings(make, BY_HAND).pools)
    probe(api.control.registry, "a", 5.0, ok=False)
    shown = ("mode", "active", "switching_to", "pinned", "pending")

    _, document = await api.get("/v1/pools/app")
    waits = {"to": "b", "cause": "failover", "evidence": "failed_probes: connection refused"}
    assert {
        "mode": "active-passive",
        "active": "a",
        "switching_to": None,
        "pinned": False,
        "pending": {**waits, "since": "2023-11-14T22:13:25.000Z"},
    } == {name: document[name] for name in shown}

    status, document = await api.send("POST", "/v1/pools/app/failover")
    assert (200, "b", None) == (status, document["active"], document["pending"])


async def test_failover_and_failback_by_hand(make: Make, open_api: OpenApi) -> None:
    api = await open_api(pools=settings(make).pools)

    status, document = await api.send("POST", "/v1/pools/app/failover", data=json.dumps({"to": "b"}))
    assert (200, "b", True) == (status, document["active"], document["pinned"])
    status, document = await api.send("POST", "/v1/pools/app/failback")
    assert (200, "a", False) == (status, document["active"], document["pinned"])


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        ("failover", '{"to": "x"}', (404, "no backend of app is named x; there are a, b, c")),
        ("failover", '{"to": 5}', (400, '"to" must be the name of a backend')),
        ("failover", '{"to": "b", "force": 1}', (400, '"force" must be true or false')),
        ("failover", '{"force": true}', (400, '"force" needs "to"')),
        ("failover", '{"two": "b"}', (400, "the body must be an object")),
        ("failover", "[]", (400, "the body must be an object")),
        ("failover", "{", (400, "the body is not JSON")),
        ("failover", "", (409, "no failover waits for approval")),
        ("failback", "", (409, "a is first in line already")),
        ("failback", '{"to": "b"}', (400, "a failback has no body")),
    ],
)
async def test_a_wrong_order_is_answered_with_what_is_wrong(
    make: Make, open_api: OpenApi, path: str, body: str, expected: tuple[int, str]
) -> None:
    api = await open_api(pools=settings(make).pools)

    got, document = await api.send("POST", f"/v1/pools/app/{path}", data=body)

    assert expected == (got, document["detail"][: len(expected[1])])
