"""Promises of `proxy.dataplane.departed`: who has left is settled, told of and let go of exactly once."""

from __future__ import annotations

import pytest

from proxy.core.messages import BackendCounts, PoolCounts
from proxy.core.pools.pool import Pool
from proxy.core.settings import Address, BackendSettings, PoolSettings
from proxy.dataplane.backends.idle import IdleConnections
from proxy.dataplane.backends.upstream import Upstream
from proxy.dataplane.departed import QUIET, Departed, Homes
from tests.core.pools import OK, begin

HERE, THERE = Address("192.0.2.1", 80), Address("192.0.2.2", 80)
KEY = ("app", "b")

Told = tuple[dict[tuple[str, str], BackendCounts], dict[str, PoolCounts]]


class Bench:
    """One worker's Pools, and what it reports."""

    def __init__(self) -> None:
        self.homes: Homes = {}
        self.departed = Departed(self.homes)
        self.pools: dict[str, Pool] = {}

    def open(self, name: str = "app", address: Address = HERE) -> Pool:
        pool = self.pools[name] = Pool(PoolSettings(name, (BackendSettings("b", address),)), 0.0)
        for backend in pool.backends:
            self.homes[backend] = IdleConnections(address, None)
        return pool

    def remove(self, name: str = "app") -> None:
        pool = self.pools.pop(name)
        self.departed.add(pool.dissolve(), pool)

    def report(self, now: float) -> Told:
        """As the worker makes a Report."""
        self.departed.settle(now, self.pools)
        backends = {b.key: b.counts(len(self.homes[b])) for pool in self.pools.values() for b in pool.backends}
        pools = {pool.name: pool.counts() for pool in self.pools.values()}
        self.departed.add_to(backends, pools)
        return backends, pools

    def requests(self, now: float) -> tuple[int, int] | None:
        """Requests and those in flight, as the Report at `now` tells; None if it does not know the Backend."""
        counts = self.report(now)[0].get(KEY)
        return (counts.requests, counts.in_flight) if counts is not None else None


def test_what_is_in_flight_is_told_until_it_has_ended_and_the_last_word_is_told_too() -> None:
    bench = Bench()
    dispatch, _ = begin(bench.open())
    bench.remove()

    assert (1, 1) == bench.requests(1.0)
    dispatch.report(OK, 2.0)
    dispatch.finish(OK, 2.0)

    assert [(1, 0), (1, 0), None] == [bench.requests(now) for now in (3.0, 3.0 + QUIET, 4.0 + QUIET)]
    assert ({}, False) == (bench.homes, bool(bench.departed))


def test_a_request_that_waits_between_two_attempts_finds_its_pool_still_there() -> None:
    bench = Bench()
    pool = bench.open()
    bench.remove()
    bench.report(1.0)

    dispatch, _ = begin(pool, now=1.2)

    assert (1, 1) == bench.requests(10.0)
    dispatch.abandon(10.0)


@pytest.mark.parametrize("what", ["holding", "preparing"])
def test_a_request_that_is_held_or_has_not_asked_for_a_backend_yet_keeps_its_pool(what: str) -> None:
    bench = Bench()
    pool = bench.open()
    setattr(pool if what == "holding" else pool.strain, what, 1)
    bench.remove()

    for now in (1.0, 10.0, 20.0):
        bench.report(now)

    assert bench.departed


def test_who_bears_the_name_again_takes_the_totals_over() -> None:
    bench = Bench()
    dispatch, _ = begin(bench.open())
    bench.remove()
    begin(bench.open(address=THERE))

    assert (2, 2) == bench.requests(1.0)
    dispatch.abandon(1.0)
    seen = [bench.requests(now) for now in (2.0, 2.0 + QUIET, 9.0, 10.0)]

    assert [(2, 1)] * 4 == seen
    assert not bench.departed
    assert 2 == bench.pools["app"].backends[0].requests
    assert 1 == len(bench.homes)


def test_the_totals_of_pools_go_over_too() -> None:
    bench = Bench()
    bench.open().saved = 3
    bench.remove()
    bench.open().saved = 4

    assert [7, 7, 7] == [bench.report(now)[1]["app"].saved for now in (1.0, 5.0, 9.0)]
    assert 7 == bench.pools["app"].saved


def test_of_two_that_have_left_with_one_name_the_last_to_go_tells_for_both() -> None:
    bench = Bench()
    bench.open()
    begin(bench.pools["app"])[0].abandon(0.5)
    bench.remove()
    dispatch, _ = begin(bench.open(address=THERE))
    bench.remove()

    seen = [bench.requests(now) for now in (1.0, 5.0, 6.0)]
    dispatch.abandon(6.0)
    seen += [bench.requests(now) for now in (7.0, 8.0, 9.0)]

    assert [(2, 1)] * 3 + [(2, 0), (2, 0), None] == seen
    assert {} == bench.homes


def test_connections_that_come_back_to_one_that_has_left_are_closed() -> None:
    bench = Bench()
    backend = bench.open().backends[0]
    bench.remove()
    connection = Upstream(bench.homes[backend])
    connection.is_lost = True
    bench.homes[backend].keep(connection, 1.0)

    bench.departed.sweep()

    assert 0 == len(bench.homes[backend])
