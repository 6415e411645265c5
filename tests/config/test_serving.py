"""Blocks that say who serves: what they become, and what is said of those that do not fit."""

from __future__ import annotations

import pytest

from proxy.config import loads
from proxy.core.pools.active import FailoverPolicy
from proxy.core.pools.damping import DampingPolicy
from proxy.core.pools.locality import LocalityPolicy
from proxy.core.pools.outlier import OutlierPolicy
from proxy.core.pools.warmup import WarmupPolicy
from proxy.core.settings import PoolSettings
from tests.config.test_whole_files import Mistakes


def pool(*lines: str) -> str:
    """A file with one pool that says this."""
    return "\n".join(["listeners: [a:1]", "pools:", "  app:", *(f"    {line}" for line in lines), ""])


def read(*lines: str) -> PoolSettings:
    return loads(pool(*lines), "/etc/proxy/x.yaml", {}).pools[0]


EU = "backends: [{address: b:1, region: eu}, {address: b:2, region: us}]"


def test_the_own_region_may_be_preferred() -> None:
    assert LocalityPolicy(0.7) == read(EU, "region: eu", "locality: {}").locality
    assert LocalityPolicy(0.5) == read(EU, "region: eu", "locality: {prefer: region, spill_below: 50%}").locality
    assert read(EU, "region: eu").locality is None


def test_slow_start_and_damping_are_off_unless_they_are_asked_for() -> None:
    plain = read(EU)

    assert (WarmupPolicy(), None) == (plain.warmup, plain.damping)


def test_slow_start_and_damping_are_what_the_file_says() -> None:
    told = read(EU, "slow_start: 20s", "damping: {half_life: 30s, suppress: 2500}")

    assert WarmupPolicy(20.0) == told.warmup
    assert DampingPolicy(half_life=30.0, suppress=2500) == told.damping
    assert DampingPolicy() == read(EU, "damping: {}").damping


def test_an_active_passive_pool_has_a_failover_policy_and_another_has_none() -> None:
    assert read(EU).failover is None
    assert FailoverPolicy() == read(EU, "mode: active-passive").failover


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        ("{mode: auto, failback: manual}", FailoverPolicy(failback=False, failback_after=0.0)),
        ("{mode: manual}", FailoverPolicy(automatic=False)),
        ("{after: 3s, failback: auto}", FailoverPolicy(after=3.0, failback_after=0.0)),
        ("{failback: {after: 5m}}", FailoverPolicy(failback_after=300.0)),
    ],
)
def test_who_decides_on_a_switch_is_what_the_file_says(block: str, expected: FailoverPolicy) -> None:
    assert expected == read(EU, "mode: active-passive", f"failover: {block}").failover


def test_backends_are_compared_unless_it_is_switched_off() -> None:
    assert OutlierPolicy() == read(EU).outlier
    told = read(EU, "outlier: {detect: false, margin: 20%, latency_factor: 5, eject_for: 1m}").outlier
    assert OutlierPolicy(detect=False, margin=0.2, latency_factor=5.0, eject_for=60.0) == told


def test_a_backends_own_word_is_obeyed_where_the_pool_says_so() -> None:
    assert not read(EU).obey_backend
    assert read(EU, "obey_backend: true", "health: {path: /healthz}").obey_backend


PASSIVE = "mode: active-passive"
FOR_MANY = "does nothing in an active-passive pool: one backend serves"


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (("locality: {}",), ["5:5: pools.app.locality: needs the pool's 'region': where this proxy stands"]),
        (("region: eu", "locality: {prefer: zone}"), ["6:24: pools.app.locality.prefer: expected region for what to prefer, not 'zone'"]),
        (("region: eu", "locality: {spill_below: 0%}"), ["6:29: pools.app.locality.spill_below: must be above 0% and at most 100%, not 0%"]),
        (("region: eux", "locality: {}"), ["5:13: pools.app.region: no backend of this pool is in region 'eux'; did you mean 'eu'?"]),
        (("locality: 70%",), ["5:15: pools.app.locality: expected a map, not '70%'"]),
        (("slow_start: 20",), ["5:17: pools.app.slow_start: expected a duration such as 250ms, 1s or 5m, not 20; did you mean 20s?"]),
        (("damping: {half_life: 0}",), ["5:26: pools.app.damping.half_life: must be longer than 0"]),
        (("damping: {reuse: 6000}",), ["5:22: pools.app.damping.reuse: 'reuse' must be less than 'suppress', which is 5000"]),
        (("damping: {suppress: 1000}",), ["5:25: pools.app.damping.suppress: 'reuse' must be less than 'suppress', which is 1000"]),
        (("damping: {longest: 1m}",), ["5:5: pools.app.damping: 'longest' lets no penalty grow above 3000, so 'suppress' would never be reached"]),
        (("damping: {halflife: 1m}",), ["5:15: pools.app.damping.halflife: unknown key; did you mean 'half_life'?"]),
        (("failover: {}",), ["5:5: pools.app.failover: does nothing without 'mode: active-passive'"]),
        (("failback: auto",), ["5:5: pools.app.failback: belongs in 'failover'"]),
        ((PASSIVE, "failover: {mode: car}"), ["6:22: pools.app.failover.mode: expected auto or manual for who decides, not 'car'"]),
        ((PASSIVE, "failover: {mode: manual, after: 3s}"), ["6:30: pools.app.failover.after: does nothing with 'mode: manual': a person decides"]),
        ((PASSIVE, "failover: {failback: maual}"), ["6:26: pools.app.failover.failback: expected auto, manual or {after: 5m}, not 'maual'; did you mean 'manual'?"]),
        ((PASSIVE, "failover: {failback: {after: 5}}"), ["6:26: pools.app.failover.failback: expected a duration such as 250ms, 1s or 5m, not 5; did you mean 5s?"]),
        ((PASSIVE, "failover: {failback: {after: 0}}"), ["6:26: pools.app.failover.failback: must be longer than 0"]),
        ((PASSIVE, "balance: random"), [f"6:5: pools.app.balance: {FOR_MANY}"]),
        ((PASSIVE, "slow_start: 1s"), [f"6:5: pools.app.slow_start: {FOR_MANY}"]),
        ((PASSIVE, "outlier: {}"), [f"6:5: pools.app.outlier: {FOR_MANY}"]),
        (("outlier: {eject_for: 6m}",), ["5:26: pools.app.outlier.eject_for: 'eject_for' is longer than 'eject_for_max', which is 5m"]),
        (("outlier: {latency_factor: 1}",), ["5:31: pools.app.outlier.latency_factor: must be from 1.1 to 1000, not 1"]),
        (("outlier: {margin: 0%}",), ["5:23: pools.app.outlier.margin: must be above 0% and at most 100%, not 0%"]),
        (("outlier: {detect: no}",), ["5:23: pools.app.outlier.detect: expected true or false, not 'no'"]),
        (("obey_backend: true",), ["5:5: pools.app.obey_backend: does nothing without 'health.path': only the answer to a GET can say something"]),
        (("obey_backend: yes",), ["5:19: pools.app.obey_backend: expected true or false, not 'yes'"]),
        (("damping: {reuse: many}",), ["5:22: pools.app.damping.reuse: expected a number from 1 to 100000, not 'many'"]),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_place(mistakes: Mistakes, lines: tuple[str, ...], expected: list[str]) -> None:
    assert expected == mistakes(pool(EU, *lines))
