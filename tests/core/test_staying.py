from __future__ import annotations

import random

import pytest

from proxy.core.messages import AdminState, BackendState
from proxy.core.pools.breaker import BreakerPolicy
from proxy.core.pools.locality import LocalityPolicy
from proxy.core.pools.model import Backend
from proxy.core.pools.outlier import EjectionPolicy
from proxy.core.pools.pool import Pool
from proxy.core.requests.decisions import Wait
from proxy.core.requests.dispatch import Dispatch
from proxy.core.requests.staying import stays
from proxy.core.settings import BackendSettings, HoldPolicy, IdempotencyPolicy
from proxy.core.writes.keyed import KeyedDispatch
from tests.core.pools import (
    DOWN,
    DRAIN,
    GET,
    MAINT,
    NOWHERE,
    OK,
    REFUSED,
    UNAVAILABLE,
    attempt,
    make_pool,
    serve,
    tell,
    tiered,
    trip,
)


def asking(pool: Pool, owner: Backend) -> Dispatch:
    dispatch = Dispatch(pool, GET, random.Random(0))
    dispatch.owner = owner
    return dispatch


def test_a_client_stays_with_its_owner_however_busy_that_is() -> None:
    pool = make_pool(3)
    owner = pool.by_name["b1"]

    assert [owner] * 20 == [attempt(asking(pool, owner).start(0.0)).backend for _ in range(20)]
    assert 20 == owner.in_flight


@pytest.mark.parametrize("state", [DOWN, MAINT, BackendState(damped_until=5.0), BackendState(word=AdminState.MAINT)])
def test_a_client_whose_owner_is_out_goes_to_another(state: BackendState) -> None:
    pool = make_pool(2)
    tell(pool, b0=state)
    owner, other = pool.backends

    assert (False, other) == (stays(pool, owner, 0.0), attempt(asking(pool, owner).start(0.0)).backend)


@pytest.mark.parametrize("state", [DRAIN, BackendState(word=AdminState.DRAIN), BackendState(weight=0)])
def test_who_drains_keeps_its_clients_and_gets_no_new_ones(state: BackendState) -> None:
    pool = make_pool(2)
    tell(pool, b0=state)
    owner, other = pool.backends

    assert owner is attempt(asking(pool, owner).start(0.0)).backend
    assert {other} == {attempt(Dispatch(pool, GET, random.Random(n)).start(0.0)).backend for n in range(9)}


def test_who_drains_and_is_unwell_keeps_nobody() -> None:
    pool = make_pool(2)
    owner = pool.backends[0]
    tell(pool, b0=BackendState(AdminState.DRAIN, DOWN.health))
    unwell = stays(pool, owner, 0.0)
    tell(pool, b0=DRAIN)
    trip(owner)

    assert (False, False) == (unwell, stays(pool, owner, 0.0))


def test_all_that_drain_keep_their_clients_though_nobody_serves() -> None:
    pool = make_pool(2)
    tell(pool, b0=DRAIN, b1=DRAIN)

    assert pool.backends[1] is attempt(asking(pool, pool.backends[1]).start(0.0)).backend


def test_a_client_whose_owner_is_full_is_served_by_another() -> None:
    pool = make_pool(2)
    pool.obey(
        make_pool([BackendSettings("b0", NOWHERE, max_in_flight=1), BackendSettings("b1", NOWHERE)]).settings, 0.0, 1
    )
    owner, other = pool.backends
    found = [attempt(asking(pool, owner).start(0.0)).backend for _ in range(2)]

    assert [owner, other] == found


def test_a_client_whose_owner_has_an_open_breaker_goes_to_another_and_is_no_trial() -> None:
    pool = make_pool(2)
    owner, other = pool.backends
    trip(owner)
    pool.touch()

    assert other is attempt(asking(pool, owner).start(0.0)).backend


def test_where_all_clients_have_owners_good_probes_stand_for_trials() -> None:
    """Or one whose Breaker has opened would stay out for good: requests that belong elsewhere can't try it."""
    pool = make_pool(2, breaker=BreakerPolicy(consecutive=1))
    owner, tripped = pool.backends
    trip(tripped)
    pool.touch()
    now = tripped.breaker.until
    while not tripped.breaker.is_closed:
        asking(pool, owner).start(now)
        pool.probe_passed(tripped, now)
        now += 1.0

    assert now < tripped.breaker.until + 10.0


def test_a_failure_of_the_owner_is_retried_elsewhere() -> None:
    pool = make_pool(2)
    owner, other = pool.backends
    dispatch = asking(pool, owner)
    dispatch.start(0.0)

    assert other is attempt(dispatch.report(UNAVAILABLE, 0.0)).backend


def test_a_request_that_has_waited_goes_to_its_owner_if_that_is_back() -> None:
    pool = make_pool(2, hold=HoldPolicy(5.0))
    tell(pool, b0=MAINT, b1=MAINT)
    owner = pool.backends[1]
    dispatch = asking(pool, owner)
    first = dispatch.start(0.0)
    tell(pool, b0=BackendState(), b1=BackendState())

    assert isinstance(first, Wait)
    assert owner is attempt(dispatch.resume(0.1)).backend
    assert 0 == pool.holding
    dispatch.finish(OK, 0.2)
    assert dispatch.is_settled


def test_in_an_outage_that_requests_have_found_an_owner_is_not_asked_for_ever() -> None:
    pool = make_pool(2)
    serve(pool, 0.0, lambda _: REFUSED)

    assert not stays(pool, pool.backends[0], 0.0)


def test_in_panic_an_owner_that_is_down_is_as_good_as_any() -> None:
    pool = make_pool(3, ejection=EjectionPolicy(panic_below=0.6))
    tell(pool, b0=DOWN, b1=DOWN)
    kept = stays(pool, pool.backends[0], 0.0)
    tell(pool, b0=MAINT)

    assert (True, True, False) == (kept, pool.panic, stays(pool, pool.backends[0], 0.0))


def test_a_client_of_a_standby_goes_back_to_the_tier_that_serves_first() -> None:
    pool = tiered(1, 2)
    first, standby = pool.backends
    tell(pool, b0=DOWN)
    while_out = attempt(asking(pool, standby).start(0.0)).backend
    tell(pool, b0=BackendState())

    assert (standby, first) == (while_out, attempt(asking(pool, standby).start(0.0)).backend)


def test_a_client_of_a_draining_first_tier_stays_there() -> None:
    pool = tiered(1, 2)
    tell(pool, b0=DRAIN)

    assert pool.backends[0] is attempt(asking(pool, pool.backends[0]).start(0.0)).backend


def test_a_client_in_another_region_comes_home_when_its_own_serves_again() -> None:
    settings = [BackendSettings("b0", NOWHERE, region="near"), BackendSettings("b1", NOWHERE, region="far")]
    pool = make_pool(settings, region="near", locality=LocalityPolicy())

    assert (True, False) == tuple(stays(pool, backend, 0.0) for backend in pool.backends)


def test_who_stands_by_in_an_active_passive_pool_has_no_clients_even_if_it_drains() -> None:
    pool = make_pool(2)
    tell(pool, b0=BackendState(AdminState.DRAIN, standby=True), b1=BackendState(standby=True))

    assert [False, False] == [stays(pool, backend, 0.0) for backend in pool.backends]


def test_a_keyed_write_goes_to_the_owner_first() -> None:
    pool = make_pool(3)
    owner = pool.by_name["b2"]
    dispatch = KeyedDispatch(pool, GET, random.Random(0), IdempotencyPolicy())
    dispatch.owner = owner

    assert (owner, owner) == (dispatch.owner, attempt(dispatch.start(0.0)).backend)
