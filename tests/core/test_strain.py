from __future__ import annotations

from proxy.core.limits.concurrency import ConcurrencyPolicy
from proxy.core.messages import StrainCounts
from proxy.core.requests.hedging import HedgeAfter, HedgePolicy, HedgeResult
from tests.core.pools import OK, begin, make_pool, members


def test_only_who_wants_to_know_is_told_how_long_answers_take() -> None:
    hedge = HedgePolicy(HedgeAfter(share=0.9), min_requests=1)
    plain, limited = make_pool(1), make_pool(members(1, max_in_flight=1))
    hedged, adaptive = make_pool(1, hedge=hedge), make_pool(1, concurrency=ConcurrencyPolicy())
    assert [False, False, True, True] == [one.is_timed for one in (plain, limited, hedged, adaptive)]

    dispatch, _ = begin(hedged)
    dispatch.report(OK, 0.5)

    assert hedged.hedging is not None
    assert (hedged.hedging.after(1.0) or 0.0) > 0.5


def test_a_limit_that_does_not_learn_is_told_nothing() -> None:
    pool = make_pool(members(1, max_in_flight=5), hedge=HedgePolicy(HedgeAfter(seconds=1.0)))
    dispatch, _ = begin(pool)
    dispatch.report(OK, 0.5)

    assert pool.gate is not None
    assert pool.gate.concurrency is None


def test_a_pool_of_the_same_name_takes_the_totals_over() -> None:
    hedge = HedgePolicy(HedgeAfter(seconds=1.0))
    one, other = make_pool(1, hedge=hedge), make_pool(1, hedge=hedge)
    for pool in (one, other):
        assert pool.hedging is not None
        pool.hedging.note(HedgeResult.WON)
        pool.strain.waits["full"] = 2

    one.absorb(other)

    assert StrainCounts({"full": 4}, 0, {"won": 2}, None) == one.counts().strain


def test_counts_add_up_and_a_limit_that_is_not_there_adds_nothing() -> None:
    one = StrainCounts({"full": 1}, 2, {"won": 1}, 5)

    assert StrainCounts({"full": 2}, 4, {"won": 2}, 10) == one.plus(one)
    assert one == one.plus(StrainCounts())
    assert StrainCounts().plus(StrainCounts()).concurrency_limit is None
