"""The Breaker against a second one, written from the rules alone: it keeps every event with its time."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, precondition, rule

from proxy.core.pools.breaker import Breaker, BreakerPolicy, BreakerState, Ticket, Transition, Verdict

POLICY = BreakerPolicy(
    consecutive=3,
    failure_rate=0.5,
    window=10.0,
    min_requests=4,
    open_for=2.0,
    open_for_max=9.0,
    trials=2,
    trial_successes=3,
)


@dataclass
class Model:
    """What the rules say. A part of the window, a second long, is forgotten at a time."""

    state: str = "closed"
    until: float = 0.0
    epoch: int = 0
    openings: int = 0
    events: list[tuple[int, bool]] = field(default_factory=list)
    row: int = 0
    running: int = 0
    passed: int = 0
    changes: list[tuple[str, float]] = field(default_factory=list)

    def change(self, state: str, now: float) -> None:
        self.state = state
        self.epoch += 1
        self.events, self.row, self.running, self.passed = [], 0, 0, 0
        self.changes.append((state, now))
        if state == "closed":
            self.openings = 0

    def open(self, now: float, until: float | None = None) -> None:
        self.until = now + min(POLICY.open_for_max, POLICY.open_for * 2**self.openings) if until is None else until
        if until is None or self.state != "open":
            self.openings += 1
        self.change("open", now)

    def lets_in(self, now: float) -> bool:
        return self.state == "closed" or (now >= self.until and self.running < POLICY.trials)

    def admit(self, now: float) -> tuple[int, bool]:
        if self.state == "open" and now >= self.until:
            self.change("half-open", now)
        is_trial = self.state == "half-open" and self.running < POLICY.trials
        self.running += is_trial
        return self.epoch, is_trial

    def settle(self, ticket: tuple[int, bool], verdict: Verdict, now: float, *, may_open: bool) -> None:
        epoch, is_trial = ticket
        if epoch != self.epoch:
            return
        if is_trial:
            self.running -= 1
            if verdict is Verdict.BAD:
                self.open(now)
            elif verdict is Verdict.GOOD:
                self.trial_passed(now)
        elif self.state == "open" and verdict is Verdict.GOOD:
            self.until = min(self.until, now)
        elif self.state == "closed" and verdict is not Verdict.NEUTRAL:
            self.count(now, good=verdict is Verdict.GOOD, may_open=may_open)

    def trial_passed(self, now: float) -> None:
        self.passed += 1
        if self.passed == POLICY.trial_successes:
            self.change("closed", now)

    def count(self, now: float, *, good: bool, may_open: bool) -> None:
        self.events.append((int(now), good))
        self.row = 0 if good else self.row + 1
        seen = [ok for second, ok in self.events if second > int(now) - POLICY.window]
        failed = seen.count(False)
        is_over_rate = len(seen) >= POLICY.min_requests and failed >= POLICY.failure_rate * len(seen)
        if not good and may_open and (self.row >= POLICY.consecutive or is_over_rate):
            self.open(now)

    def probe_passed(self, now: float) -> None:
        if self.state == "open" and now >= self.until:
            self.change("half-open", now)
        if self.state == "half-open" and not self.running:
            self.trial_passed(now)


class BreakerMachine(RuleBasedStateMachine):
    """Attempts that end in any order and at any time, probes, and news of other workers."""

    tickets: Bundle[tuple[Ticket, tuple[int, bool]]] = Bundle("tickets")

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.heard: list[Transition] = []
        self.breaker = Breaker(POLICY, 0.0, self.heard.append)
        self.model = Model()

    @rule(quarters=st.integers(1, 60))
    def time_passes(self, quarters: int) -> None:
        self.now += quarters / 4

    @precondition(lambda self: self.breaker.state is BreakerState.OPEN)
    @rule()
    def the_opening_ends(self) -> None:
        self.now = max(self.now, self.breaker.until)

    @rule(target=tickets)
    def admit(self) -> tuple[Ticket, tuple[int, bool]]:
        """Also where it would not let in: as panic does."""
        return self.breaker.admit(self.now), self.model.admit(self.now)

    @rule(ticket=consumes(tickets), verdict=st.sampled_from(Verdict), may_open=st.booleans())
    def settle(self, ticket: tuple[Ticket, tuple[int, bool]], verdict: Verdict, may_open: bool) -> None:  # noqa: FBT001
        self.breaker.settle(ticket[0], verdict, self.now, may_open=may_open)
        self.model.settle(ticket[1], verdict, self.now, may_open=may_open)

    @rule(count=st.integers(1, 5))
    def failures(self, count: int) -> None:
        for _ in range(count):
            self.settle((self.breaker.admit(self.now), self.model.admit(self.now)), Verdict.BAD, may_open=True)

    @rule()
    def a_probe_passes(self) -> None:
        self.breaker.probe_passed(self.now)
        self.model.probe_passed(self.now)

    @rule(ahead=st.integers(-8, 40))
    def another_worker_opens(self, ahead: int) -> None:
        until = self.now + ahead / 4
        self.breaker.follow(BreakerState.OPEN, until, "news", self.now)
        if self.model.state != "open" or until > self.model.until:
            self.model.open(self.now, until)

    @rule()
    def another_worker_closes(self) -> None:
        self.breaker.follow(BreakerState.CLOSED, 0.0, "news", self.now)
        if self.model.state != "closed":
            self.model.change("closed", self.now)

    @invariant()
    def both_agree(self) -> None:
        assert self.model.state == self.breaker.state
        assert self.model.lets_in(self.now) is self.breaker.may_admit(self.now)
        assert self.model.changes == [(change.after, change.at) for change in self.heard]
        if self.model.state == "open":
            assert self.model.until == self.breaker.until
        if self.model.state == "closed":
            assert self.model.row == self.breaker.consecutive

    @invariant()
    def no_more_trials_run_than_the_policy_says(self) -> None:
        assert 0 <= self.breaker._trials_running <= POLICY.trials

    @invariant()
    def a_way_out_is_always_in_reach(self) -> None:
        """Whatever happened: once its time is over and what runs has ended, a trial is let in."""
        if self.model.state != "closed" and not self.model.running:
            assert self.breaker.may_admit(max(self.now, self.breaker.until))


TestBreaker = BreakerMachine.TestCase
TestBreaker.settings = settings(max_examples=150, stateful_step_count=40)
