"""Promises of `proxy.controlplane.pools.splits`: who is cut off, who is told, what is remembered, who ends it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from proxy.controlplane.admin.metrics import metrics_page
from proxy.controlplane.pools.change import Change
from proxy.controlplane.pools.governor import Refused
from proxy.controlplane.pools.memory import Memory, recall, recalled
from proxy.controlplane.pools.registry import Registry
from proxy.controlplane.replacement.legacy import Legacy, bequeath, inherit
from proxy.core.messages import DURATION_BUCKETS, AdminState, BackendCounts, Report
from proxy.core.pools.health import Probe
from proxy.core.portable import dump, load
from proxy.core.requests.canary import AbortPolicy
from proxy.core.settings import Address, BackendSettings, ListenerSettings, PoolSettings, RouteSettings, Settings
from tests.controlplane.conftest import Make
from tests.controlplane.test_recorder import Book

RULE = AbortPolicy("canary", worse_by=0.05, min_requests=50, window=30.0)
SPLIT = (("stable", 0.95), ("canary", 0.05))
ROUTE = RouteSettings("shop", split=SPLIT, abort_on=RULE)
EVIDENCE = "40 of 100 failed (40.0%), of the others 1 of 1000 failed (0.1%), in 30 s"


def settings(*routes: RouteSettings) -> Settings:
    pools = tuple(
        PoolSettings(name, (BackendSettings("b0", Address("127.0.0.1", 9)),)) for name in ("stable", "canary")
    )
    return Settings((ListenerSettings("web", Address("127.0.0.1", 0)),), pools, routes or (ROUTE,))


def counts(ended: int, failed: int) -> BackendCounts:
    return BackendCounts(requests=ended, failures=failed, duration_buckets=(ended,) + (0,) * len(DURATION_BUCKETS))


def report(make: Make, version: int, stable: tuple[int, int], canary: tuple[int, int]) -> Report:
    backends = {("stable", "b0"): counts(*stable), ("canary", "b0"): counts(*canary)}
    return make.report(0, snapshot_version=version, backends=backends)


def seen(registry: Registry, make: Make, now: float, stable: tuple[int, int], canary: tuple[int, int]) -> list[Change]:
    """A worker has told its totals, and a second has passed."""
    registry.take_report(report(make, registry.version, stable, canary))
    return [change for change in registry.compare(now) if change.subject == "split"]


def cut(make: Make, *routes: RouteSettings) -> Registry:
    """The canary has just been cut off."""
    registry = Registry(settings(*routes), 0.0)
    seen(registry, make, 0.0, (0, 0), (0, 0))
    seen(registry, make, 1.0, (1000, 1), (100, 40))
    return registry


def test_a_canary_that_fails_is_cut_off_once_and_all_workers_are_told(make: Make) -> None:
    registry = Registry(settings(), 0.0)
    seen(registry, make, 0.0, (0, 0), (0, 0))
    before = registry.version

    changes = seen(registry, make, 1.0, (1000, 1), (100, 40))

    assert [Change("split", "canary", "", "5%", "cut off", f"route shop: {EVIDENCE}")] == changes
    assert (before + 1, {"shop": "canary"}) == (registry.version, registry.snapshot().cuts)
    assert [] == seen(registry, make, 2.0, (2000, 1), (200, 80))


def test_one_that_does_as_the_others_is_left_alone(make: Make) -> None:
    registry = Registry(settings(), 0.0)
    seen(registry, make, 0.0, (0, 0), (0, 0))

    assert [] == seen(registry, make, 1.0, (1000, 300), (100, 33))
    assert {} == registry.snapshot().cuts


def test_nobody_is_cut_off_where_nobody_else_serves(make: Make) -> None:
    registry = Registry(settings(), 0.0)
    seen(registry, make, 0.0, (0, 0), (0, 0))
    registry.set_admin(registry.pools["stable"].backends["b0"], AdminState.MAINT, 0.5)

    assert [] == seen(registry, make, 1.0, (1000, 1), (100, 40))


def test_a_split_without_the_rule_is_cut_by_a_person_alone(make: Make) -> None:
    registry = cut(make, replace(ROUTE, abort_on=None))
    before = registry.snapshot().cuts

    assert {} == before
    assert [Change("split", "canary", "", "5%", "cut off", "route shop: by a person")] == registry.cut(
        "shop", "canary", 2.0
    )
    assert [] == registry.cut("shop", "canary", 3.0)
    assert {"shop": "canary"} == registry.snapshot().cuts


def test_a_person_gives_it_its_share_back_and_it_is_judged_anew(make: Make) -> None:
    registry = cut(make)

    assert [Change("split", "canary", "", "cut off", "5%", "route shop: by a person")] == registry.resume("shop")
    assert {} == registry.snapshot().cuts
    assert [] == seen(registry, make, 2.0, (1100, 1), (110, 44))
    assert ["cut off"] == [one.after for one in seen(registry, make, 9.0, (2100, 1), (210, 84))]


@pytest.mark.parametrize(
    ("pool", "said"),
    [("other", "the split of shop has no pool other"), ("stable", "canary is cut off from it already")],
)
def test_an_order_that_can_not_be_carried_out_is_refused(make: Make, pool: str, said: str) -> None:
    registry = cut(make)

    with pytest.raises(Refused, match=said):
        registry.cut("shop", pool, 2.0)


def test_where_nothing_is_cut_off_nothing_can_be_resumed() -> None:
    with pytest.raises(Refused, match="nothing is cut off from the split of shop"):
        Registry(settings(), 0.0).resume("shop")


# Reload, replacement, restart


@pytest.mark.parametrize(
    ("route", "stays"),
    [
        (ROUTE, True),
        (replace(ROUTE, preserve_host=False), True),
        (replace(ROUTE, split=(("stable", 0.9), ("canary", 0.1))), False),
        (replace(ROUTE, abort_on=replace(RULE, worse_by=0.1)), False),
        (replace(ROUTE, abort_on=None), False),
        (replace(ROUTE, name="other"), False),
    ],
)
def test_a_reload_ends_it_where_it_changes_the_split(make: Make, route: RouteSettings, *, stays: bool) -> None:
    registry = cut(make)
    registry.obey(settings(route), 2.0)

    assert ({"shop": "canary"} if stays else {}) == registry.snapshot().cuts
    assert "<Splits 1" in repr(registry.splits)


def test_a_reload_of_other_things_loses_nothing_of_what_was_seen(make: Make) -> None:
    registry = Registry(settings(), 0.0)
    seen(registry, make, 0.0, (0, 0), (0, 0))
    seen(registry, make, 1.0, (500, 1), (40, 20))
    registry.obey(settings(ROUTE, RouteSettings("more", split=(("stable", 1.0),))), 2.0)

    assert ["cut off"] == [one.after for one in seen(registry, make, 3.0, (1000, 1), (60, 30))]


def test_the_next_program_knows_what_was_cut_off(make: Make) -> None:
    told = load(Legacy, json.loads(json.dumps(dump(bequeath(cut(make))))))
    following = Registry(settings(), 5.0)
    inherit(following, told, 5.0)

    assert {"shop": "canary"} == following.snapshot().cuts
    assert (EVIDENCE, 1.0) == (following.cuts()["shop"].evidence, following.cuts()["shop"].since)


async def test_it_survives_a_restart_in_state_dir(make: Make, tmp_path: Path) -> None:
    registry = cut(make)
    memory = Memory(str(tmp_path), lambda: registry.snapshot().backends, registry.cuts)
    memory.keep()
    await memory.settle()

    again = Registry(settings(), 7.0, *recalled(str(tmp_path), 7.0))

    assert {"shop": "canary"} == again.snapshot().cuts
    assert (EVIDENCE, 7.0) == (again.cuts()["shop"].evidence, again.cuts()["shop"].since)
    assert set(recall(str(tmp_path))) == {("stable", "b0"), ("canary", "b0")}


@pytest.mark.parametrize("cuts", ['{"shop": 1}', '{"shop": {"pool": 1, "evidence": "", "split": ""}}', "[]", "5"])
def test_a_file_that_is_spoilt_costs_no_start(tmp_path: Path, cuts: str) -> None:
    (tmp_path / "backends.json").write_text(f'{{"version": 1, "pools": {{}}, "cuts": {cuts}}}')

    assert ({}, {}) == recalled(str(tmp_path), 0.0)


def test_the_journal_tells_of_the_rule_and_of_the_person(make: Make) -> None:
    book = Book(settings())
    seen(book.registry, make, 0.0, (0, 0), (0, 0))
    book.note(seen(book.registry, make, 1.0, (1000, 1), (100, 40)), 1.0)
    book.note(book.registry.resume("shop"), 2.0)

    told = [(one["who"], one["rule"], one["from"], one["to"], one["sentence"]) for one in book.told(kind="split")]
    assert [
        (
            "rule",
            "split.abort_on",
            "5%",
            "cut off",
            f"Pool canary is cut off from the split of route shop: {EVIDENCE}.",
        ),
        ("person", None, "cut off", "5%", "Pool canary has its share of route shop back: by a person."),
    ] == told


def test_the_metrics_tell_of_it_as_long_as_it_lasts(make: Make) -> None:
    def told(registry: Registry) -> list[tuple[dict[str, str], float]]:
        page = "".join(metrics_page(registry, lambda: 0).parts())
        families = {family.name: family for family in text_string_to_metric_families(page)}
        return [(sample.labels, sample.value) for sample in families["failover_split_cut_off"].samples]

    registry = cut(make)
    during = told(registry)
    registry.resume("shop")

    assert ([({"route": "shop", "pool": "canary"}, 1.0)], []) == (during, told(registry))


def test_probes_alone_say_nothing_of_a_split(make: Make) -> None:
    registry = Registry(settings(), 0.0)
    for at in range(5):
        registry.take_probe(("canary", "b0"), Probe(float(at), ok=False, duration=0.1, detail=""))

    assert {} == registry.snapshot().cuts
