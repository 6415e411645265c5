"""Promises of what the journal is told: `recorder` and the modules that word its entries."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from proxy.controlplane.admin.dates import Dates
from proxy.controlplane.availability.accounting import Accounting
from proxy.controlplane.difference import difference
from proxy.controlplane.journal import process
from proxy.controlplane.journal.journal import Journal
from proxy.controlplane.journal.recorder import FULL_FOR, WRITES_EVERY, Recorder
from proxy.controlplane.pools.change import Change
from proxy.controlplane.pools.registry import Registry
from proxy.controlplane.probing import expiry
from proxy.core.messages import AdminState, BackendCounts, BreakerNews, PoolNews, Report
from proxy.core.pools.active import FailoverPolicy
from proxy.core.pools.breaker import BreakerState
from proxy.core.pools.damping import DampingPolicy
from proxy.core.pools.health import HealthPolicy, Probe
from proxy.core.pools.locality import LocalityPolicy
from proxy.core.pools.model import Unavailable
from proxy.core.pools.outlier import EjectionPolicy
from proxy.core.pools.word import BackendWord
from proxy.core.settings import Address, BackendSettings, JournalSettings, PoolSettings, RouteSettings, Settings
from proxy.core.telling.journal import Query
from tests.controlplane.conftest import Make

WALL = 1_700_000_000.0
PASSIVE = FailoverPolicy(failback_after=5.0)
Json = dict[str, Any]


class Book:
    """A journal, and the registry that it tells of, under a clock that is a number."""

    def __init__(self, settings: Settings) -> None:
        self.registry = Registry(settings, 0.0)
        self.journal = Journal(JournalSettings(), clock=lambda: WALL)
        self.accounting = Accounting(settings, lambda: WALL)
        self.problems: list[str] = []
        dates = Dates(lambda: 0.0, lambda: WALL)
        self.recorder = Recorder(self.journal, self.registry, self.accounting, lambda: self.problems, dates)

    def note(self, changes: Iterable[Change], now: float) -> None:
        self.recorder.note(list(changes), now)

    def probe(self, backend: str, *details: str, at: float = 1.0) -> None:
        """Probes a second apart; those with a detail have failed."""
        for number, detail in enumerate(details):
            probe = Probe(at + number, ok=not detail, duration=0.25, detail=detail or "200 OK")
            self.recorder.probed(("app", backend), probe)
            self.note(self.registry.take_probe(("app", backend), probe), probe.at)

    def report(self, report: Report, now: float) -> None:
        self.note(self.registry.take_report(report), now)
        self.recorder.take_report(report)

    def told(self, **query: Any) -> list[Json]:
        return self.journal.since(Query(limit=1000, **query))

    def sentences(self, **query: Any) -> list[str]:
        return [one["sentence"] for one in self.told(**query)]


def pool(*backends: BackendSettings, **changes: Any) -> PoolSettings:
    backends = backends or tuple(BackendSettings(f"b{number}", Address("h", number)) for number in range(3))
    return PoolSettings("app", backends, **changes)


@pytest.fixture
def book(make: Make) -> Book:
    return Book(make.settings(pools=(pool(health=HealthPolicy(fall=2, rise=2)),)))


# Backends


def test_who_falls_by_probes_is_told_with_the_probes_and_the_rule(book: Book) -> None:
    book.probe("b0", "connection refused", "connection refused")

    entry = book.told(kind="backend")[0]

    assert ("b0 of pool app: 2 probes in a row failed (connection refused); it is out (failed_probes).") == entry[
        "sentence"
    ]
    assert ("up", "down", "connection refused", "health.fall", "rule") == tuple(
        entry[name] for name in ("from", "to", "cause", "rule", "who")
    )
    assert {
        "threshold": 2,
        "probes": [
            {"at": f"2023-11-14T22:13:2{second}.000Z", "ok": False, "ms": 250.0, "detail": "connection refused"}
            for second in (1, 2)
        ],
    } == entry["evidence"]


def test_who_rises_by_probes_is_told_once(book: Book) -> None:
    book.probe("b0", "no", "no", "", "")

    assert [
        "b0 of pool app: 2 probes in a row failed (no); it is out (failed_probes).",
        "b0 of pool app: 2 probes in a row went well; it serves.",
    ] == book.sentences(kind="backend")


def test_a_breaker_is_told_at_each_step_with_its_rule_and_counts(book: Book, make: Make) -> None:
    opened = replace(make.opened(0, until=15.0, at=10.0), began=9.5)
    for news in (
        opened,
        replace(opened, state=BreakerState.HALF_OPEN, reason="open_for is over", at=15.0),
        replace(opened, state=BreakerState.OPEN, reason="a trial failed", until=25.0, at=15.1, began=0.0),
        replace(opened, state=BreakerState.HALF_OPEN, reason="open_for is over", at=25.0),
        replace(opened, state=BreakerState.CLOSED, reason="2 trials passed", at=25.2),
    ):
        book.note(book.registry.take_breaker_news(news), news.at)

    told = book.told(backend="b0")

    assert [
        ("breaker", "closed", "open", "breaker.consecutive"),
        ("breaker", "open", "half-open", "breaker.open_for"),
        ("breaker", "half-open", "open", "breaker.trials"),
        ("breaker", "open", "half-open", "breaker.open_for"),
        ("breaker", "half-open", "closed", "breaker.trial_successes"),
    ] == [(one["kind"], one["from"], one["to"], one["rule"]) for one in told]
    assert {
        "reason": "5 failures in a row",
        "workers": {"0": "open"},
        "until": "2023-11-14T22:13:35.000Z",
        "failing_since": "2023-11-14T22:13:29.500Z",
    } == told[0]["evidence"]
    assert "it serves." == told[-1]["sentence"][-10:]


def test_a_person_and_the_backend_itself_are_told_apart(make: Make) -> None:
    book = Book(make.settings(pools=(pool(obey_backend=True),)))
    record = book.registry.pools["app"].backends["b0"]
    book.note(book.registry.set_admin(record, AdminState.DRAIN, 1.0), 1.0)
    book.note(book.registry.set_admin(record, AdminState.READY, 2.0), 2.0)
    book.note(book.registry.set_weight(record, 0, 3.0), 3.0)
    book.note(book.registry.set_weight(record, None, 4.0), 4.0)
    probe = Probe(5.0, ok=True, duration=0.0, detail="200 OK", word=BackendWord("maint"))
    book.note(book.registry.take_probe(("app", "b0"), probe), 5.0)

    assert [
        ("person", "A person said drain of b0 of pool app, before ready; it is out (drain)."),
        ("person", "A person said ready of b0 of pool app, before drain; it serves."),
        ("person", "A person gave b0 of pool app the weight 0, before 1; it is out (drain)."),
        ("person", "A person gave b0 of pool app the weight 1, before 0; it serves."),
        ("backend", "b0 of pool app says maint of itself, before ready; it is out (maint)."),
    ] == [(one["who"], one["sentence"]) for one in book.told(backend="b0")]


def test_who_does_worse_than_its_peers_is_told_with_their_figures(book: Book) -> None:
    figures = "40% of its requests fail, of its peers' 1%"
    book.note([Change("share", "app", "b0", "100%", "50%", figures)], 1.0)
    news = BreakerNews(-1, "app", "b0", BreakerState.OPEN, 30.0, figures, 2.0, outlier=True)
    book.registry.pools["app"].backends["b0"].note_ejection(30.0, figures, 2.0, [0])
    book.note([Change("outlier", "app", "b0", "compared", "ejected", figures, news=news)], 2.0)

    assert [
        f"b0 of pool app gets 50% of its weight, before 100%: {figures}.",
        f"b0 of pool app is ejected until 2023-11-14T22:13:50.000Z: it does worse than its peers ({figures}).",
    ] == book.sentences(backend="b0")
    assert {figures} == {one["evidence"]["peers"] for one in book.told(backend="b0")}


def test_flapping_is_told_with_its_end(make: Make) -> None:
    book = Book(make.settings(pools=(pool(damping=DampingPolicy(half_life=1.0, longest=30.0)),)))
    record = book.registry.pools["app"].backends["b0"]
    book.registry.pools["app"].governor.dampings["b0"].until = record.damped_until = 9.0
    book.note([Change("damping", "app", "b0", "quiet", "damped", "its flapping has cost it 5000")], 1.0)
    book.note([Change("damping", "app", "b0", "damped", "quiet")], 9.0)

    assert [
        "b0 of pool app stays out until 2023-11-14T22:13:29.000Z: its flapping has cost it 5000.",
        "b0 of pool app was quiet for long enough; it serves.",
    ] == book.sentences(backend="b0")


def test_a_reason_that_nobody_has_spoken_of_is_told_all_the_same(book: Book) -> None:
    """As after a reload, which changes much at once."""
    record = book.registry.pools["app"].backends["b0"]
    record.vetoes = {Unavailable.MAINT: 0.0}
    book.recorder.tick(1.0)
    record.vetoes = {}
    book.recorder.tick(2.0)

    assert [("up", "out", "maint"), ("out", "up", "maint is over")] == [
        (one["from"], one["to"], one["cause"]) for one in book.told(backend="b0")
    ]


def test_a_backend_that_is_full_is_told_only_when_it_stays_so(book: Book) -> None:
    record = book.registry.pools["app"].backends["b0"]
    now = 0.0
    for is_full, seconds in ((True, 1), (False, 1), (True, FULL_FOR), (False, FULL_FOR)):
        record.vetoes = {Unavailable.FULL: now} if is_full else {}
        book.recorder.tick(now)
        now += seconds
        book.recorder.tick(now)

    assert [
        "b0 of pool app is out: it has as many requests in flight as it may have.",
        "b0 of pool app: no longer that it has as many requests in flight as it may have; it serves.",
    ] == book.sentences(backend="b0")


def test_a_backend_of_a_reload_is_no_news_and_one_that_has_gone_is_forgotten(book: Book, make: Make) -> None:
    other = pool(BackendSettings("new", Address("h", 9)))
    book.registry.obey(make.settings(pools=(replace(other, name="other"),)), 1.0)
    book.recorder.tick(1.0)

    assert [] == book.told()
    assert "<Recorder 1 backends, <Switches 0 pools, 0 open>>" == repr(book.recorder)


# Pools


def test_a_pool_is_told_when_it_is_degraded_down_and_up(book: Book) -> None:
    for number in range(3):
        book.probe(f"b{number}", "no", "no", at=10.0 * number)
    book.probe("b0", "", "", at=50.0)
    for number in (1, 2):
        book.probe(f"b{number}", "", "", at=60.0 * number)

    told = book.told(kind="pool")

    assert [("up", "degraded"), ("degraded", "down"), ("down", "degraded"), ("degraded", "up")] == [
        (one["from"], one["to"]) for one in told
    ]
    assert "Pool app is degraded, before up: 2 of 3 backends serve; out: b0 (failed_probes)." == told[0]["sentence"]
    assert {"available": 0, "total": 3, "standby": 0, "out": {f"b{n}": ["failed_probes"] for n in range(3)}} == told[1][
        "evidence"
    ]


@pytest.mark.parametrize(
    ("below", "rule", "why"),
    [
        (0.7, "ejection.panic_below", "too few backends are well"),
        (0.0, "hold", "the last backend that was tried could not be reached"),
    ],
)
def test_panic_is_told_with_its_rule(make: Make, below: float, rule: str, why: str) -> None:
    """It may begin because too few are well, or because those that seem well can't be reached."""
    settings = pool(health=HealthPolicy(fall=1, rise=2), ejection=EjectionPolicy(panic_below=below))
    book = Book(make.settings(pools=(settings,)))
    book.probe("b0", "no")
    for is_panic in (True, False):
        book.note(book.registry.take_pool_news(PoolNews(0, "app", panic=is_panic, at=1.0)), 1.0)

    told = book.told(kind="pool")[1:]
    assert [("degraded", "panic", rule, why), ("panic", "degraded", None, told[1]["cause"])] == [
        (one["from"], one["to"], one["rule"], one["cause"]) for one in told
    ]


def test_a_pool_that_does_badly_as_a_whole_is_told_with_its_figures(book: Book) -> None:
    book.probe("b0", "no", "no")
    detector = book.registry.pools["app"].governor.detector
    assert detector is not None
    detector.degraded = "30% of the requests fail on most backends"
    book.recorder.tick(5.0)
    detector.degraded = ""
    book.recorder.tick(6.0)

    assert [
        "Pool app does badly as a whole, so nobody more is ejected: 30% of the requests fail on most backends.",
        "Pool app no longer does badly as a whole: 30% of the requests fail on most backends is over.",
    ] == book.sentences(kind="pool")[1:]


def test_spill_over_is_told_once_for_all_who_stood_by(make: Make) -> None:
    backends = [BackendSettings(f"b{number}", Address("h", number), tier=1 + number // 2) for number in range(4)]
    book = Book(make.settings(pools=(pool(*backends, health=HealthPolicy(fall=1, rise=1)),)))
    book.probe("b0", "no")
    book.probe("b1", "no", at=5.0)
    book.probe("b1", "", at=9.0)

    told = [one for one in book.told(kind="pool") if one["cause"] == "spill-over"]

    assert [("tier 1", "tier 1 and tier 2"), ("tier 1 and tier 2", "tier 2"), ("tier 2", "tier 1 and tier 2")] == [
        (one["from"], one["to"]) for one in told
    ]
    assert {"available": {"tier 1": "1 of 2", "tier 2": "2 of 2"}} == told[0]["evidence"]
    assert [] == [one for one in book.told(kind="backend") if one["backend"] in {"b2", "b3"}]


def test_who_serves_otherwise_since_a_reload_has_not_spilt_over(make: Make) -> None:
    tiers = [tuple(BackendSettings(f"b{n}", Address("h", n), tier=tier) for n in range(2)) for tier in (1, 2)]
    before, after = (make.settings(pools=(pool(*backends),)) for backends in tiers)
    book = Book(before)
    book.registry.obey(after, 1.0)
    book.recorder.tick(1.0)

    assert [("Requests of pool app go to tier 2, before to tier 1, since a reload.", "reload", None)] == [
        (one["sentence"], one["cause"], one["rule"]) for one in book.told(kind="pool")
    ]


def test_spill_over_to_other_regions_names_them(make: Make) -> None:
    backends = (
        BackendSettings("b0", Address("h", 0), region="eu"),
        BackendSettings("b1", Address("h", 1), region="us"),
    )
    settings = pool(*backends, region="eu", locality=LocalityPolicy(), health=HealthPolicy(fall=1, rise=1))
    book = Book(make.settings(pools=(settings,)))
    book.probe("b0", "no")

    told = [one for one in book.told(kind="pool") if one["cause"] == "spill-over"]

    assert [("tier 1 in eu", "tier 1 in other regions", "locality.spill_below")] == [
        (one["from"], one["to"], one["rule"]) for one in told
    ]


def test_a_pool_under_load_is_not_told_at_every_turn(make: Make) -> None:
    """Who is full serves as hard as it may; that others help out is told once it lasts."""
    backends = [BackendSettings(f"b{number}", Address("h", number), tier=1 + number) for number in range(2)]
    book = Book(make.settings(pools=(pool(*backends),)))
    first, second = book.registry.pools["app"].backends.values()
    for second_passed in range(4):
        first.vetoes = {Unavailable.FULL: 0.0} if second_passed % 2 else {}
        second.vetoes = {Unavailable.FULL: 0.0} if second_passed % 2 else {Unavailable.STANDBY: 0.0}
        book.recorder.tick(float(second_passed))
    early = book.told()
    book.recorder.tick(3.0 + FULL_FOR)

    assert [] == early
    assert [("tier 1", "tier 1 and tier 2")] == [(one["from"], one["to"]) for one in book.told(kind="pool")]


# Switches


@pytest.fixture
def passive(make: Make) -> Book:
    book = Book(make.settings(pools=(pool(health=HealthPolicy(fall=2, rise=1), failover=PASSIVE),)))
    book.recorder.tick(0.5)
    return book


def counted(make: Make, at: float, *, failed: int = 0, unknown: int = 0, saved: int = 0, held: int = 0) -> Report:
    return make.report(
        at=at,
        requests={("all", "app", "GET", 200): 100 + saved, ("all", "app", "POST", 502): failed + unknown},
        saved={("all", "app"): saved},
        unknown_outcomes={("all", "app"): unknown},
        pools={"app": make.pool_counts(retries={("reset", "success"): saved}, held=held)},
    )


def test_a_failover_is_told_once_with_all_that_it_has_cost(passive: Book, make: Make) -> None:
    """Its cost is what workers have counted since the first sign of trouble, once all of them have reported."""
    passive.report(counted(make, 1.0, failed=7), 1.0)
    passive.recorder.tick(1.5)
    passive.probe("b0", "connection refused", "connection refused", at=3.0)
    passive.report(counted(make, 4.1, failed=8), 4.1)
    early = passive.told(kind="failover")
    passive.report(counted(make, 5.0, failed=10, unknown=1, saved=4, held=2), 5.0)
    passive.recorder.tick(6.0)

    [entry] = passive.told(kind="failover")

    assert [] == early
    cost = {"detect_s": 1.25, "switch_s": 0.0, "failed": 3, "retried": 4, "saved": 4, "held": 2, "unknown": 1}
    assert cost == entry["cost"]
    assert ("b0", "b1", "failover: failed_probes: connection refused", "failover.after", "rule") == tuple(
        entry[name] for name in ("from", "to", "cause", "rule", "who")
    )
    assert (
        "Pool app failed over from b0 to b1 0.00 s after it was noticed, which took 1.25 s "
        "(failed_probes: connection refused); 3 failed, 4 retried, 4 saved, 2 held, 1 with unknown outcome."
    ) == entry["sentence"]


def test_a_failover_by_the_breaker_began_with_its_first_failure(passive: Book, make: Make) -> None:
    news = replace(make.opened(0, until=15.0, at=3.0), began=2.6)
    passive.note(passive.registry.take_breaker_news(news), 3.0)
    passive.recorder.close()

    assert 0.4 == passive.told(kind="failover")[0]["cost"]["detect_s"]


def test_a_switch_is_told_though_a_worker_says_nothing(passive: Book, make: Make) -> None:
    passive.report(counted(make, 1.0), 1.0)
    passive.probe("b0", "no", "no", at=3.0)
    passive.recorder.tick(5.9)
    early = passive.told(kind="failover")
    passive.recorder.tick(6.1)

    assert [0, 1] == [len(early), len(passive.told(kind="failover"))]


def test_the_way_back_takes_no_time_to_detect(passive: Book) -> None:
    passive.probe("b0", "no", "no", at=3.0)
    passive.probe("b0", "", at=6.0)
    passive.note(passive.registry.tick(12.0), 12.0)
    passive.recorder.tick(15.0)

    entry = passive.told(kind="failover")[-1]

    assert ("b1", "b0", "failover.failback", 0.0, 0.0) == (
        entry["from"],
        entry["to"],
        entry["rule"],
        entry["cost"]["detect_s"],
        entry["cost"]["switch_s"],
    )
    assert "Pool app went back from b1 to b0 in 0.00 s (b0 is well); no request was harmed." == entry["sentence"]


def test_a_switch_that_waits_for_a_person_is_told_and_then_who_gave_the_order(make: Make) -> None:
    policy = FailoverPolicy(automatic=False, failback=False)
    book = Book(make.settings(pools=(pool(health=HealthPolicy(fall=1), failover=policy),)))
    book.recorder.tick(0.5)
    book.probe("b0", "no", at=3.0)
    book.note(book.registry.order(book.registry.pools["app"], None, 8.0), 8.0)
    book.registry.tick(11.0)
    book.recorder.tick(11.0)

    pending, done = book.told(kind="failover")

    assert "Pool app: a failover from b0 to b1 waits for a person (failover: failed_probes: no)." == pending["sentence"]
    assert ("pending", "failover.mode", "rule") == (pending["to"], pending["rule"], pending["who"])
    assert ("b1", "person", 5.0) == (done["to"], done["who"], done["cost"]["switch_s"])
    assert [("up", "down"), ("down", "degraded")] == [(one["from"], one["to"]) for one in book.told(kind="pool")]


def test_a_switch_that_is_no_longer_wanted_is_told(make: Make) -> None:
    book = Book(make.settings(pools=(pool(health=HealthPolicy(fall=1, rise=1), failover=FailoverPolicy(False)),)))
    book.recorder.tick(0.5)
    book.probe("b0", "no", at=3.0)
    book.recorder.tick(4.0)
    book.probe("b0", "", at=5.0)
    for second in (6.0, 7.0):
        book.recorder.tick(second)

    assert [
        "Pool app: a failover from b0 to b1 waits for a person (failover: failed_probes: no).",
        "Pool app: the failover to b1 is no longer wanted; b0 stays the active one.",
    ] == book.sentences(kind="failover")


def test_who_stands_by_is_not_called_out(passive: Book) -> None:
    passive.probe("b0", "no", "no", at=3.0)

    assert ["Pool app is degraded, before up: 1 of 3 backends serve, 1 on standby; out: b0 (failed_probes)."] == (
        passive.sentences(kind="pool")
    )


def test_while_the_place_is_vacant_the_pool_is_not_called_down(passive: Book) -> None:
    passive.registry.told = lambda: (0,)
    passive.probe("b0", "no", "no", at=3.0)
    passive.recorder.tick(4.1)
    passive.note(passive.registry.heard(0, passive.registry.version, 4.2), 4.2)
    passive.recorder.tick(6.5)

    assert [("up", "degraded")] == [(one["from"], one["to"]) for one in passive.told(kind="pool")]


# Writes, workers, certificates, problems


def test_writes_of_which_nobody_knows_are_told_at_once_and_then_together(book: Book, make: Make) -> None:
    for second in range(12):
        book.report(counted(make, float(second), unknown=second), float(second))
        book.recorder.tick(float(second))
    book.recorder.tick(1.0 + WRITES_EVERY)

    assert [(1, 1), (10, 11)] == [(one["evidence"]["count"], one["evidence"]["total"]) for one in book.told()]
    assert (
        "1 write to pool app failed, and nobody knows whether it was executed; none was sent again."
        == book.sentences()[0]
    )
    book.recorder.close()
    assert 2 == len(book.told())


def test_what_is_left_to_tell_is_told_at_the_end(book: Book, make: Make) -> None:
    for second in (1, 2):
        book.report(counted(make, float(second), unknown=second), float(second))
        book.recorder.tick(float(second))
    book.recorder.close()

    assert [1, 1] == [one["evidence"]["count"] for one in book.told(kind="write")]


def test_a_worker_that_died_and_who_replaces_it_are_told(book: Book) -> None:
    book.recorder.worker_serves(0, 11)
    book.recorder.worker_ended(0, 11, "signal SIGKILL", is_orderly=False)
    book.recorder.worker_serves(0, 12)
    book.recorder.worker_ended(0, 12, "status 0", is_orderly=True)

    assert [
        "Worker 0 serves (process 11).",
        "Worker 0 died (process 11, signal SIGKILL); another takes its place.",
        "Worker 0 replaces the one that died, and serves (process 12).",
        "Worker 0 has ended as it was told (process 12, status 0).",
    ] == book.sentences(kind="worker")


def test_a_certificate_that_probes_do_not_accept_is_told_once_and_when_it_is_well(book: Book) -> None:
    book.probe("b0", "certificate expired on 2026-03-01 03:00 UTC", "certificate expired on 2026-03-01 03:00 UTC")
    book.probe("b0", "connection refused", "", "", at=5.0)

    assert [
        "b0 of pool app: certificate expired on 2026-03-01 03:00 UTC.",
        "b0 of pool app: certificate accepted again.",
    ] == book.sentences(kind="certificate")


def test_our_own_certificates_are_told_before_they_expire_and_once_more_when_they_have(
    book: Book, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends = {("web", "", "shop.example"): WALL + 100.0, ("", "app", "client"): WALL + 90 * 86400.0}
    monkeypatch.setattr("proxy.controlplane.journal.recorder.expiries", lambda _: ends)
    for _ in range(2):
        book.recorder.look_at_certificates()
    again = Recorder(book.journal, book.registry, book.accounting, tuple, Dates())
    again.begin(is_replacement=False, orphans=0)
    again.look_at_certificates()
    book.journal.now = lambda: WALL + 200.0
    again.look_at_certificates()

    assert [("expires soon", None), ("expired", None)] == [
        (one["to"], one["pool"]) for one in book.told(kind="certificate")
    ]
    assert "The certificate for shop.example of listener web will expire on" in book.sentences(kind="certificate")[0]
    assert expiry.SOON > 100.0


def test_what_is_wrong_with_the_proxy_itself_is_told_with_its_end(book: Book) -> None:
    ledger, state = "the ledger of keyed writes fails: database is locked", "state can't be written: no space left"
    for second, problems in enumerate(([], [ledger, state], [ledger, f"{state} on device"], [])):
        book.problems = problems
        book.recorder.tick(float(second))

    assert [
        ("process", "Something is wrong: state can't be written: no space left."),
        ("write", "Something is wrong: the ledger of keyed writes fails: database is locked."),
        ("process", "It is over that state can't be written."),
        ("write", "It is over that the ledger of keyed writes fails."),
    ] == [(one["kind"], one["sentence"]) for one in book.told()]


def test_own_code_that_fails_is_told(book: Book) -> None:
    book.note([Change("extension", "", "", "mine:probe", "built in", "ValueError: x")], 1.0)

    assert ["The own code mine:probe failed, and what is built in stands in for it: ValueError: x."] == book.sentences(
        kind="process"
    )


# The process and its config


@pytest.mark.parametrize(
    ("last", "cause"),
    [
        ([], "start"),
        ([process.stopped()], "start"),
        ([process.started("has started", "", "start")], "the run before crashed or was killed"),
        ([process.stopping(quick=True)], "the run before crashed or was killed"),
        ([process.stopped(), process.problem("x", is_over=False)], "start"),
    ],
)
def test_a_start_says_how_the_run_before_has_ended(book: Book, last: list[Any], cause: str) -> None:
    for one in last:
        book.journal.add(one)
    book.recorder.begin(is_replacement=False, orphans=2)

    assert [cause, "their supervisor is gone"] == [one["cause"] for one in book.told()[-2:]]


def test_a_replacement_says_so(book: Book) -> None:
    book.journal.add(process.replacing())
    book.recorder.begin(is_replacement=True, orphans=2)

    assert [("started", "replaced"), ("replaced", "started")] == [(one["from"], one["to"]) for one in book.told()]


def test_a_replacement_that_comes_to_nothing_says_why() -> None:
    assert "failover-proxy was not replaced, and goes on: it drains." == process.not_replaced("it drains").sentence


def test_a_reload_is_told_by_the_names_of_what_it_changes(make: Make) -> None:
    before = make.settings(pools=(pool(),))
    after = replace(before, pools=(pool(BackendSettings("b0", Address("h", 0))),), drain_timeout=9.0)

    entry = process.reloaded(difference(before, after), 0.12345, [1], "signal")

    assert "The config was read anew: backends: 2 removed; settings: drain_timeout." == entry.sentence
    assert {
        "seconds": 0.123,
        "late_workers": [1],
        "changed": {"backends": {"removed": ["app/b1", "app/b2"]}, "settings": ["drain_timeout"]},
    } == entry.evidence
    assert "signal" == entry.who
    assert "nothing has changed" == process.reloaded(difference(before, before), 0.1, [], "person").cause


def test_a_split_that_a_reload_changes_is_told(make: Make) -> None:
    def routes(**splits: tuple[tuple[str, float], ...]) -> Settings:
        return make.settings(routes=tuple(RouteSettings(name, split=split) for name, split in splits.items()))

    before = routes(a=(("x", 0.95), ("y", 0.05)), b=(("x", 1.0),), c=(("x", 1.0),), gone=(("x", 1.0),))
    after = routes(a=(("x", 0.5), ("y", 0.5)), b=(("x", 0.875), ("y", 0.125)), c=(("y", 1.0),), new=(("x", 1.0),))

    assert [
        "Route a sends 50% to x, 50% to y, before 95% to x, 5% to y.",
        "Route b sends 87.5% to x, 12.5% to y, before 100% to x.",
    ] == [entry.sentence for entry in process.splits_changed(before, after, "person")]


def test_a_rejected_config_is_told_by_its_mistakes() -> None:
    entry = process.rejected([f"a.yaml:{line}:1: error: wrong" for line in range(30)], "person")

    assert (
        "The new config was rejected, the old one stays in force: 30 mistakes; the first: a.yaml:0:1: error: wrong."
        == entry.sentence
    )
    assert (10, 30) == (len(entry.evidence["mistakes"]), entry.evidence["total"])


def test_a_state_that_is_only_in_reports_is_told_too(book: Book, make: Make) -> None:
    """A worker's news may be lost; its Report tells the same a second later."""
    counts = BackendCounts(breaker=BreakerState.OPEN, breaker_until=9.0, breaker_reason="5 failures in a row")
    book.report(make.report(at=1.0, backends={("app", "b0"): counts}), 1.0)

    assert [("breaker", "open")] == [(one["kind"], one["to"]) for one in book.told(backend="b0")]
