"""Promises of `proxy.dataplane.exchanges.racing`: the first good answer wins, the other connection is closed."""

from __future__ import annotations

import json
from pathlib import Path
from time import monotonic
from typing import Any, cast

import pytest

from proxy.core.messages import BackendState
from proxy.core.requests.hedging import HedgeAfter, HedgePolicy
from proxy.core.requests.retry import CONDITIONS, Outcome, RetryPolicy
from proxy.core.settings import AccessLogSettings, HoldPolicy, Timeouts
from proxy.core.wire.tracing import TracingPolicy
from proxy.dataplane.accesslog import follow_log
from proxy.dataplane.backends.upstream import Upstream
from proxy.dataplane.clients.downstream import Downstream
from proxy.dataplane.recording import Recorder
from tests.core.pools import DOWN
from tests.dataplane.plane import Plane, Wire

GET = b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"
HEAD = b"HEAD / HTTP/1.1\r\nHost: a.example\r\n\r\n"
DELETE = b"DELETE / HTTP/1.1\r\nHost: a.example\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 0\r\n\r\n"
WITH_BODY = b"GET / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 2\r\n\r\nhi"
UPGRADE = b"GET / HTTP/1.1\r\nHost: a.example\r\nConnection: upgrade\r\nUpgrade: a\r\n\r\n"
HELD = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n"
FAST, SLOW = HELD + b"fast", HELD + b"slow"
UNWELL = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 6\r\n\r\nunwell"
AT_ONCE = HedgePolicy(HedgeAfter(seconds=1e-9))
LATE = HedgePolicy(HedgeAfter(seconds=60.0))
RETRIES = RetryPolicy(unsafe_reuse=1e6)
TWICE: dict[str, Any] = {"retries": RetryPolicy(attempts=2, unsafe_reuse=1e6), "hold": HoldPolicy(duration=0.0)}


class Race:
    """One request; `one` is asked first, by the seed, and `two` is its rival."""

    def __init__(self, request: bytes = GET, *, idle: tuple[str, ...] = ("one", "two"), **policies: Any) -> None:
        self.plane = Plane(backends=2, **{"hedge": AT_ONCE, "retries": RETRIES, **policies})
        self.pool = self.plane.pool
        self.wires = {name: self.open(name) for name in idle}
        self.client = self.plane.client()
        if request:
            self.client.hear(request)

    def open(self, name: str) -> Wire:
        """An idle connection to this Backend."""
        home = self.plane.worker.idle[self.pool.by_name[name]]
        upstream = Upstream(home)
        wire = Wire(self.plane.loop, upstream)
        home.keep(upstream, monotonic())
        return wire

    def come(self, name: str) -> Wire:
        """The connection that is waited for is there."""
        upstream = Upstream(self.plane.worker.idle[self.pool.by_name[name]])
        self.wires[name] = wire = Wire(self.plane.loop, upstream)
        self.plane.loop.connecting.pop(0).end(upstream)
        return wire

    @property
    def asked(self) -> list[str]:
        return [name for name, wire in self.wires.items() if wire.written]

    @property
    def hedges(self) -> dict[str, int]:
        return self.pool.counts().strain.hedges

    @property
    def said(self) -> bytes:
        """The status and the body of what the client got."""
        head, _, body = bytes(self.client.written).partition(b"\r\n\r\n")
        return head[9:12] + b" " + body

    def assert_settled(self, failures: int = 0) -> None:
        assert [0, 0] == [backend.in_flight for backend in self.pool.backends]
        assert failures == sum(backend.failures for backend in self.pool.backends)
        assert [] == self.plane.mistakes


def test_a_slow_request_is_sent_to_a_second_backend_with_the_same_id() -> None:
    race = Race()

    assert ["one", "two"] == race.asked
    assert race.wires["one"].written == race.wires["two"].written


def test_the_second_wins_and_the_first_is_closed_without_blame() -> None:
    race = Race()
    race.wires["two"].hear(FAST)

    assert (b"200 fast", {"won": 1}) == (race.said, race.hedges)
    assert b"Proxy-Status: failover-proxy; attempts=2" in race.client.written
    assert (True, False) == (race.wires["one"].is_closing(), race.wires["two"].is_closing())
    race.assert_settled()
    assert {} == race.pool.counts().retries
    assert 0 == race.pool.counts().saved


def test_the_first_wins_and_the_second_is_closed_without_blame() -> None:
    race = Race()
    race.wires["one"].hear(SLOW)

    assert (b"200 slow", {"lost": 1}) == (race.said, race.hedges)
    assert (False, True) == (race.wires["one"].is_closing(), race.wires["two"].is_closing())
    race.assert_settled()


def test_what_the_loser_still_says_reaches_nobody() -> None:
    race = Race()
    race.wires["two"].hear(FAST)
    race.wires["one"].hear(SLOW)
    race.client.hear(GET)

    assert 1 == bytes(race.client.written).count(b"HTTP/1.1 200")


def test_the_connection_of_the_winner_serves_the_next_request() -> None:
    race = Race()
    race.wires["two"].hear(FAST)

    assert 1 == len(race.plane.worker.idle[race.pool.by_name["two"]])


def test_a_head_wins_and_its_body_may_follow() -> None:
    race = Race()
    race.wires["two"].hear(HELD)
    assert race.wires["one"].is_closing()
    race.wires["two"].hear(b"fast")

    assert b"200 fast" == race.said
    race.assert_settled()


def test_a_body_that_breaks_off_after_the_race_is_tried_again() -> None:
    race = Race()
    race.wires["two"].hear(HELD)
    race.wires["two"].hear_end()
    race.come("one").hear(SLOW)

    assert b"200 slow" == race.said
    race.assert_settled(failures=1)


def test_an_answer_before_the_time_is_passed_on_without_a_second_request() -> None:
    race = Race(hedge=LATE)
    race.wires["one"].hear(FAST)

    assert (b"200 fast", ["one"], {}) == (race.said, race.asked, race.hedges)
    race.assert_settled()


@pytest.mark.parametrize("loser", ["one", "two"])
def test_a_bad_answer_does_not_win_while_another_may_come(loser: str) -> None:
    race = Race()
    winner = "two" if loser == "one" else "one"
    race.wires[loser].hear(UNWELL)
    assert b"" == race.client.written
    race.wires[winner].hear(FAST)

    assert b"200 fast" == race.said
    race.assert_settled(failures=1)
    # That the first one failed would have been tried again; that the second did cost nothing.
    assert (loser == "one") == race.pool.counts().saved


def test_own_code_is_not_asked_whether_a_good_answer_is_to_be_had_again(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def eager(outcome: Outcome) -> bool:
        asked.append(outcome.status)
        return True

    monkeypatch.setitem(CONDITIONS, "own:eager", eager)
    race = Race(retries=RetryPolicy(on=("own:eager",), unsafe_reuse=1e6))
    race.wires["two"].hear(FAST)

    assert ([], b"200 fast", {"won": 1}) == (asked, race.said, race.hedges)
    race.assert_settled()


@pytest.mark.parametrize("loser", ["one", "two"])
def test_one_that_breaks_leaves_the_other_alone(loser: str) -> None:
    race = Race()
    winner = "two" if loser == "one" else "one"
    race.wires[loser].hear(b"HTTP/1.1 2")
    race.wires[loser].hear_end()
    race.wires[winner].hear(FAST)

    assert b"200 fast" == race.said
    race.assert_settled(failures=1)


def test_where_both_fail_the_client_is_told() -> None:
    race = Race()
    for name in ("two", "one"):
        race.wires[name].hear(UNWELL)

    assert b"503 unwell" == race.said
    race.assert_settled(failures=2)


@pytest.mark.parametrize("whole", ["one", "two"])
def test_where_one_fails_without_an_answer_the_answer_of_the_other_is_passed_on(whole: str) -> None:
    race = Race(**TWICE)
    race.wires[whole].hear(UNWELL)
    race.wires["two" if whole == "one" else "one"].hear_reset()

    assert b"503 unwell" == race.said
    race.assert_settled(failures=2)


def test_where_the_first_runs_out_of_time_the_second_has_its_own() -> None:
    race = Race()
    race.plane.expire(idle=False)
    assert b"" == race.client.written
    race.wires["two"].hear(FAST)

    assert b"200 fast" == race.said
    race.assert_settled(failures=1)


# Connections


def test_a_connection_for_the_second_is_opened_beside_the_first() -> None:
    race = Race(idle=("one",))
    race.come("two").hear(FAST)

    assert (b"200 fast", {"won": 1}) == (race.said, race.hedges)
    race.assert_settled()


def test_a_connection_that_comes_too_late_is_closed() -> None:
    race = Race(idle=("one",))
    race.wires["one"].hear(SLOW)
    late = race.come("two")
    race.plane.loop.turn()

    assert (b"200 slow", True, b"") == (race.said, late.is_closing(), bytes(late.written))
    race.assert_settled()


def test_a_connection_that_can_not_be_had_leaves_the_first_alone() -> None:
    race = Race(idle=("one",))
    race.plane.refuse()
    race.wires["one"].hear(SLOW)

    assert (b"200 slow", {"failed": 1}) == (race.said, race.hedges)
    race.assert_settled(failures=1)


def test_where_the_first_fails_before_the_second_is_connected_it_is_awaited() -> None:
    race = Race(idle=("one",))
    race.wires["one"].hear_end()
    race.come("two").hear(FAST)

    assert b"200 fast" == race.said
    race.assert_settled(failures=1)


def test_where_the_first_fails_the_second_has_no_longer_to_connect_and_to_answer_than_any_other() -> None:
    race = Race(idle=("one",), timeouts=Timeouts(connect=100.0, first_byte=10_000.0))

    def seconds_left() -> float:
        return cast("Downstream", race.client._protocol).deadline - monotonic()

    race.wires["one"].hear_end()
    assert 0.0 < seconds_left() <= 100.0
    race.come("two")
    assert 100.0 < seconds_left() <= 10_000.0
    race.wires["two"].hear(FAST)

    assert b"200 fast" == race.said


def test_where_the_first_fails_and_the_second_can_not_be_connected_that_is_told() -> None:
    race = Race(idle=("one",), **TWICE)
    race.wires["one"].hear_reset()
    race.plane.refuse()

    assert race.said.startswith(b"502 ")
    race.assert_settled(failures=2)


def test_where_the_first_fails_and_the_second_never_connects_time_ends_it() -> None:
    race = Race(idle=("one",), **TWICE)
    race.wires["one"].hear_end()
    race.plane.expire(idle=False)
    assert [True] == [one.was_given_up for one in race.plane.loop.connecting]
    late = race.come("two")
    race.plane.loop.turn()

    assert race.said.startswith(b"504 ")
    assert late.is_closing()
    race.assert_settled(failures=2)


# The client


@pytest.mark.parametrize("idle", [("one", "two"), ("one",)])
def test_a_client_that_leaves_ends_both(idle: tuple[str, ...]) -> None:
    race = Race(idle=idle)
    race.client.hear_reset()
    if idle == ("one",):
        race.come("two")
    race.plane.loop.turn()

    assert [True, True] == [wire.is_closing() for wire in race.wires.values()]
    race.assert_settled()


def test_a_worker_that_ends_ends_both() -> None:
    race = Race()
    for client in list(race.plane.worker.connections):
        client.abort()
    race.plane.loop.turn()

    assert [True, True] == [wire.is_closing() for wire in race.wires.values()]
    race.assert_settled()


# What is never hedged


@pytest.mark.parametrize("request_", [DELETE, POST, WITH_BODY, UPGRADE])
def test_what_may_change_something_or_has_a_body_goes_to_one_backend(request_: bytes) -> None:
    race = Race(request_)

    assert (["one"], {}) == (race.asked, race.hedges)


def test_head_is_hedged() -> None:
    race = Race(HEAD)
    race.wires["two"].hear(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n")

    assert b"200 " == race.said
    race.assert_settled()


def test_without_budget_there_is_no_second_request() -> None:
    race = Race(retries=RetryPolicy(budget=0.0, budget_min=0.0, unsafe_reuse=1e6))

    assert (["one"], {"no_budget": 1}) == (race.asked, race.hedges)


def test_where_no_other_serves_there_is_no_second_request() -> None:
    race = Race(b"")
    race.pool.heed({("app", "two"): DOWN}, monotonic())
    race.client.hear(GET)

    assert (["one"], {"nobody": 1}) == (race.asked, race.hedges)


def test_in_panic_there_is_no_second_request() -> None:
    race = Race(b"")
    race.pool.heed({("app", name): DOWN for name in ("one", "two")}, monotonic())
    race.client.hear(GET)

    assert (1, {"nobody": 1}) == (len(race.asked), race.hedges)
    race.pool.heed({("app", name): BackendState() for name in ("one", "two")}, monotonic())


def test_without_enough_requests_for_a_percentile_there_is_no_second_request() -> None:
    race = Race(hedge=HedgePolicy(HedgeAfter(share=0.95)))

    assert (["one"], {}) == (race.asked, race.hedges)


# The access log


def test_the_access_log_tells_both_attempts(tmp_path: Path) -> None:
    race = Race(b"")
    log = tmp_path / "access.log"
    access_log = follow_log(None, AccessLogSettings(str(log)), race.plane.worker.rng)
    assert access_log is not None
    race.plane.worker.recorder = Recorder(access_log, TracingPolicy(), None, race.plane.worker.rng)
    race.client.hear(GET)
    race.wires["two"].hear(FAST)
    access_log.file.close()

    line = json.loads(log.read_text())
    tried = line["attempts"]
    assert [("one", "lost_race"), ("two", "200")] == [(one["backend"], one["outcome"]) for one in tried]
    assert [len(race.wires[one["backend"]].written) for one in tried] == [one["sent"] for one in tried]


def test_each_of_the_two_is_told_its_own_place_in_the_trace() -> None:
    race = Race(b"")
    race.plane.worker.recorder = Recorder(None, TracingPolicy(), None, race.plane.worker.rng)
    race.client.hear(GET)
    race.wires["two"].hear(FAST)

    told = [bytes(race.wires[name].written).split(b"traceparent: ")[1][:55] for name in ("one", "two")]
    assert told[0][:36] == told[1][:36]
    assert told[0] != told[1]
