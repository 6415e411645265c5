"""Promises of `proxy.dataplane.stats`."""

from dataclasses import replace

from proxy.core.messages import DURATION_BUCKETS
from proxy.core.telling.naming import Names
from proxy.dataplane.stats import Stats


def test_each_request_is_counted_once_under_its_route_pool_method_and_status() -> None:
    stats = Stats()

    stats.count("web", "app", b"GET", 200, 0.004)
    stats.count("web", "app", b"GET", 200, 0.004)
    stats.count("web", "app", b"POST", 502, 0.2)

    assert {("web", "app", "GET", 200): 2, ("web", "app", "POST", 502): 1} == stats.requests()


def test_methods_that_a_client_made_up_share_one_label() -> None:
    stats = Stats()

    stats.count("web", "app", b"PROPFIND", 200, 0.1)
    stats.count("web", "app", b"MKCOL", 200, 0.1)

    assert {("web", "app", "OTHER", 200): 2} == stats.requests()


def test_durations_of_all_statuses_of_a_route_add_up_in_their_buckets() -> None:
    stats = Stats()

    stats.count("web", "app", b"GET", 200, 0.001)
    stats.count("web", "app", b"GET", 404, 0.001)
    stats.count("web", "app", b"GET", 200, 99.0)
    buckets, seconds = stats.durations()["web", "app"]

    assert (2, 1) == (buckets[0], buckets[-1])
    assert len(DURATION_BUCKETS) + 1 == len(buckets)
    assert round(seconds, 3) == 99.002


def test_refusals_are_counted_by_status() -> None:
    stats = Stats()

    stats.refuse(400)
    stats.refuse(400)
    stats.refuse(431)

    assert {"400": 2, "431": 1} == stats.refused


def names(**changes: object) -> Names:
    return replace(Names({"web"}, {"app"}, {("app", "one")}, {"main"}), **changes)


def test_what_is_counted_under_a_name_that_is_gone_is_forgotten_when_it_has_been_told() -> None:
    stats = Stats()
    stats.count("web", "app", b"GET", 200, 0.1)
    stats.count("web", "", b"GET", 200, 0.1)
    stats.count("old", "app", b"GET", 200, 0.1)
    stats.count_unknown("web", "old")
    stats.count_keyed("old", "fresh")
    stats.turn_away("old", "full")
    stats.turn_away("main", "full")

    assert stats.has_gone(names())
    stats.forget_gone(names())

    assert not stats.has_gone(names())
    assert {("web", "app", "GET", 200): 1, ("web", "", "GET", 200): 1} == stats.requests()
    assert ({}, {}, {("main", "full"): 1}) == (stats.unknown_outcomes, stats.keyed, stats.turned_away)


def test_nothing_is_forgotten_while_all_names_are_known() -> None:
    stats = Stats()
    stats.count("web", "app", b"GET", 200, 0.1)

    assert not stats.has_gone(names())
