"""All decisions of one request: which Backend, whether again, whether to wait, what to tell the client.

Hops 3 and 7 of a request's eight. It says what should be done; `dataplane.exchange` does it. Each Attempt that is
admitted here is settled exactly once: by `report` when it failed, by `finish` when its answer was passed on, or by
`abandon` when the client left.
"""

from __future__ import annotations

import random
from math import inf

from proxy.core.limits.crowded import has_full, with_room
from proxy.core.limits.gate import Gate
from proxy.core.limits.waiting import HOLD_STEP, WAIT_STEP, End, Priority, Waiter
from proxy.core.pools.breaker import BAD, GOOD
from proxy.core.pools.model import Backend
from proxy.core.pools.pool import WELL, Pool
from proxy.core.requests import decisions
from proxy.core.requests.decisions import RELAY, Attempt, Decision, Refuse, Relay, Request, Wait
from proxy.core.requests.hedging import HedgeResult
from proxy.core.requests.retry import CLIENT_GONE, FIRST_RETRIED, NOT_SENT, Outcome
from proxy.core.requests.staying import stays
from proxy.errors import ERRORS, ErrorKind


class Dispatch:
    """The decisions of one request. `replayable` is False once its body can't be sent again; `owner`: see `staying`."""

    __slots__ = (
        "_gate",
        "_held_until",
        "_hold_ends",
        "_idempotent",
        "_last",
        "_pool",
        "_reason",
        "_request",
        "_rng",
        "_rounds",
        "_tried",
        "_unsent_until",
        "_waiter",
        "attempt",
        "attempts",
        "owner",
        "priority",
        "replayable",
        "rival",
    )

    def __init__(self, pool: Pool, request: Request, rng: random.Random) -> None:
        self._pool = pool
        self._request = request
        self._idempotent = request.idempotent
        self._rng = rng
        self._tried: tuple[Backend, ...] = ()
        self._last: Outcome | None = None
        self._reason = ""
        self._rounds = 0
        self._unsent_until = -inf
        self._held_until: float | None = None
        self._hold_ends: float | None = None
        self._gate: Gate | None = None
        self._waiter: Waiter | None = None
        self.priority = Priority.NORMAL
        self.attempt: Attempt | None = None
        self.rival: Attempt | None = None
        """A second Attempt beside the first one."""
        self.attempts = 0
        self.owner: Backend | None = None
        self.replayable = True

    @property
    def is_settled(self) -> bool:
        """Whether nothing is open: no Attempt, no place among those who wait."""
        return self.attempt is None and self._held_until is None and self._waiter is None

    # What to do

    def start(self, now: float) -> Decision:
        """The first decision for a request."""
        pool = self._pool
        pool.budget.count_request(now)
        if pool.scouts_only and pool.lets_scouts_only(now) and not self._may_scout(now):
            return self._hold_or_refuse(now)
        if pool.gate is not None and not self._is_let_in(pool.gate, self.priority, now):
            return self._stand_in_line(pool.gate, now)
        if self.owner is not None and stays(pool, self.owner, now):
            return self._admit(self.owner, now)
        may_try = self._idempotent and not self._request.has_body
        backend = pool.pick(self._request, now, self._rng, may_try=may_try)
        return self._hold_or_refuse(now) if backend is None else self._admit(backend, now)

    def report(self, outcome: Outcome, now: float) -> Decision:
        """An Attempt has failed, or its answer is there and could be passed on. What now?

        For an answer that is to be passed on the Attempt stays open until `finish`.
        """
        answered = outcome.kind is None
        if answered and outcome.status < FIRST_RETRIED:
            return self._relay(outcome, now)
        if not self._may_repeat(outcome):
            return self._relay(outcome, now) if answered else self._fail(outcome, now)
        following = self._follower(outcome, now)
        if answered and following is None:
            return self._relay(outcome, now)
        self._settle(outcome, now)
        self._reason = outcome.kind.value if outcome.kind else str(outcome.status)
        if isinstance(following, Backend):
            return self._admit(following, now)
        return following or self._hold_or_refuse(now)

    def resume(self, now: float) -> Decision:
        """A wait is over."""
        pool = self._pool
        if self._gate is not None and self._waiter is not None:
            return self._take_turn(self._gate, self._waiter, now)
        if not self.replayable:
            return self._refuse()
        if self._held_until is not None:
            if pool.is_out(now) and not self._may_scout(now):
                return Wait(HOLD_STEP) if now < self._held_until else self._refuse()
            self._release()
            if pool.gate and self._last is None and not self._is_let_in(pool.gate, self.priority, now):
                return self._stand_in_line(pool.gate, now)
        backend = with_room(pool, self._tried, self._request, now, self._rng)
        if backend is None:
            if has_full(pool, self._tried, now) and self._may_be_held(now):
                return Wait(HOLD_STEP)
            self._tried = ()
            backend = self._whom(now)
        return self._hold_or_refuse(now) if backend is None else self._admit(backend, now)

    def _whom(self, now: float) -> Backend | None:
        """After a wait: the owner, or whom the Balancer says."""
        if self.owner is not None and stays(self._pool, self.owner, now):
            return self.owner
        return self._pool.pick(self._request, now, self._rng)

    def finish(self, outcome: Outcome, now: float) -> None:
        """The answer was passed on, whole or not."""
        if self.attempt is None:
            return
        self._settle(outcome, now)
        if self._reason and outcome.verdict() is GOOD:
            self._pool.saved += 1

    def abandon(self, now: float) -> None:
        """The client has left or the proxy ends: this says nothing of the Backend."""
        if self._held_until is not None:
            self._release()
        if self._gate is not None and self._waiter is not None:
            self._gate.settle(self._waiter, End.LEFT, now)
            self._waiter = None
        if self.rival is not None:
            self.drop(self.rival, CLIENT_GONE, now)
        if self.attempt is not None:
            self._settle(CLIENT_GONE, now)

    # Whether to go on

    def _may_repeat(self, outcome: Outcome) -> bool:
        if not self.replayable:
            return False
        if self._idempotent and self.attempt is not None and self.attempt.ticket.is_trial:
            # A trial is our wish, not the client's: whatever fails it is tried again elsewhere.
            return outcome.verdict() is not GOOD
        return self._pool.settings.retries.permits(outcome, idempotent=self._idempotent)

    def _follower(self, outcome: Outcome, now: float) -> Backend | Wait | None:
        """Whom to try next, or how long to wait before; None: nobody, now."""
        pool, failed = self._pool, self.attempt
        if failed is None:
            return None
        self._tried = (*self._tried, failed.backend)
        # Attempts of which nothing was sent cost no Backend anything; only who has asked everybody knows of an outage.
        if outcome.progress is not NOT_SENT or outcome.verdict() is not BAD:
            self._unsent_until = -inf
        elif self._last is None:
            self._unsent_until = now + pool.settings.hold.duration
        following: Backend | Wait | None = pool.pick(self._request, now, self._rng, self._tried)
        if following is None:
            following = self._second_round(outcome, failed, now)
        knows = pool.failing_at is not None or now >= self._unsent_until
        is_at_end = knows and self.attempts >= pool.settings.retries.attempts
        if following is None or (is_at_end and not self._awaits_relief(now)):
            return None
        return following if failed.ticket.is_trial or pool.budget.withdraw(now) else None

    def _awaits_relief(self, now: float) -> bool:
        """Whether a failover may soon give this request a Backend that is well: for as long as a hold lasts."""
        return self._pool.is_relieved(now) and self._may_be_held(now)

    def _may_be_held(self, now: float) -> bool:
        if self._hold_ends is None:
            self._hold_ends = now + self._pool.settings.hold.duration
        return now < self._hold_ends

    def _second_round(self, outcome: Outcome, failed: Attempt, now: float) -> Backend | Wait | None:
        """All who serve were tried: replace a stale connection, try one that is out, wait; none in reach: outage."""
        pool = self._pool
        if outcome.is_stale_connection and failed.backend.unavailable(now) in WELL:
            return failed.backend
        # What we lack ourselves, such as descriptors, says nothing of the Backends.
        is_theirs = outcome.progress is NOT_SENT and outcome.verdict() is BAD
        is_outage = is_theirs and not has_full(pool, self._tried, now) and pool.note_outage(failed.started, now)
        last_resort = pool.last_resort(self._tried)
        if last_resort is not None:
            return last_resort
        if is_outage or (outcome.kind is None and not self._awaits_relief(now)):
            return None
        self._rounds += 1
        return Wait(pool.settings.retries.backoff_for(self._rounds, self._rng))

    def _hold_or_refuse(self, now: float) -> Wait | Refuse:
        """Wait while the pool has just lost its last Backend, within the bounds of `hold`, however many outages follow.

        Only where nothing was sent: such Attempts cost no Backend anything, so `attempts` and the budget are not asked.
        Or where a failover is to be expected: then the budget was asked before.
        """
        pool, policy = self._pool, self._pool.settings.hold
        began = pool.outage_began()
        if began is None and pool.gate is not None and self._last is None:
            return self._stand_in_line(pool.gate, now)
        if began is None or pool.holding >= policy.max_requests:
            return self._refuse()
        is_first = self._hold_ends is None
        if self._hold_ends is None:
            self._hold_ends = began + policy.duration
        if now >= self._hold_ends:
            return self._refuse()
        last = self._last
        if not self.replayable or (last is not None and not self._may_repeat(last)):
            return self._refuse()
        if last is not None and last.progress is not NOT_SENT and not pool.is_relieved(now):
            return self._refuse()
        pool.holding += 1
        pool.held += is_first
        self._held_until = self._hold_ends
        return Wait(HOLD_STEP)

    def _may_scout(self, now: float) -> bool:
        """Whether this request may look if a Backend is back; one that can't be repeated awaits a failover instead."""
        pool = self._pool
        if pool.scouts_only and pool.failing_at is None and not self._idempotent:
            return False
        return pool.may_scout(now)

    def _release(self) -> None:
        if self._held_until is not None:
            self._pool.holding -= 1
            self._held_until = None

    # All are full

    def _is_let_in(self, gate: Gate, priority: Priority, now: float) -> bool:
        self._pool.look_around(now)
        return gate.admits(priority)

    def _stand_in_line(self, gate: Gate, now: float) -> Wait | Refuse:
        """Wait until a Backend is free; nothing of this request was sent yet."""
        self._gate = gate
        self._waiter = waiter = gate.line.join(self.priority, now)
        return (
            Refuse.overloaded(End.FULL, is_idempotent=self._idempotent) if waiter is None else Wait(WAIT_STEP, waiter)
        )

    def _take_turn(self, gate: Gate, waiter: Waiter, now: float) -> Decision:
        """It was called, sent away, or looks by itself."""
        pool = self._pool
        pool.look_around(now)
        gate.tend(now)
        if waiter.end is not None:
            self._waiter = None
            return Refuse.overloaded(waiter.end, is_idempotent=self._idempotent)
        if not waiter.is_called:
            return Wait(WAIT_STEP, waiter)
        backend = self._whom(now)
        if backend is None and pool.outage_began() is None:
            gate.put_back(waiter)
            return Wait(WAIT_STEP, waiter)
        self._waiter = None
        gate.settle(waiter, End.SERVED, now)
        return self._hold_or_refuse(now) if backend is None else self._admit(backend, now)

    # Ends

    def _relay(self, outcome: Outcome, now: float) -> Relay:
        """A trial is judged by the answer's head: its body may stream for hours and must not keep the Backend out."""
        attempt = self.attempt
        if attempt is not None and attempt.ticket.is_trial:
            breaker = attempt.backend.breaker
            breaker.settle(attempt.ticket, outcome.verdict(), now)
            attempt.ticket = breaker.ticket
            self._pool.touch()
        if self._pool.failing_at is not None:
            self._pool.end_outage(now)
        if self._pool.is_timed and attempt is not None:
            self._pool.strain.observe(now - attempt.started, now)
        return RELAY

    def _fail(self, outcome: Outcome, now: float) -> Refuse:
        self._settle(outcome, now)
        return self._refuse()

    def _refuse(self) -> Refuse:
        """What to tell the client: the truth, also about what is not known."""
        self._release()
        last = self._last
        kind = last.kind if last is not None and last.kind is not None else ErrorKind.DESTINATION_UNAVAILABLE
        sent = last is not None and last.progress is not NOT_SENT
        executed = None if self._idempotent else "unknown" if sent else "no"
        detail = "request may have been executed" if executed == "unknown" else last.detail if last is not None else ""
        return Refuse(kind, ERRORS[kind].status, detail, executed, None if sent else decisions.RETRY_AFTER)

    # A second Attempt beside a slow one

    def hedge(self, now: float) -> Attempt | HedgeResult:
        """Ask another Backend as well. It comes last of all: only where there is room, and the budget allows it."""
        pool, first = self._pool, self.attempt
        # What belongs to an owner may mean nothing to another.
        if first is None or first.ticket.is_trial or self.attempts > 1 or self.owner is not None:
            return HedgeResult.NOBODY
        if pool.gate is not None and not self._is_let_in(pool.gate, Priority.LOW, now):
            return HedgeResult.NOBODY
        other = pool.pick(self._request, now, self._rng, (first.backend,))
        if other is None or pool.panic or pool.outage_began() is not None or pool.settings.retries.attempts < 2:
            return HedgeResult.NOBODY
        if not pool.budget.withdraw(now):
            return HedgeResult.NO_BUDGET
        self.rival = self._admit(other, now)
        self.attempt = first
        return self.rival

    def drop(self, attempt: Attempt, outcome: Outcome, now: float) -> None:
        """One of the two has failed or lost; the other is the Attempt from now on."""
        other = self.rival if attempt is self.attempt else self.attempt
        self.attempt, self.rival = attempt, None
        self._settle(outcome, now)
        if outcome is not decisions.HEDGE_LOST:
            self._tried = (*self._tried, attempt.backend)
            if attempt.number == 1:
                self._reason = outcome.kind.value if outcome.kind else str(outcome.status)
        elif self._pool.hedging is not None:
            # So slow at least, else percentiles would sink with each hedge.
            self._pool.hedging.observe(now - attempt.started, now)
        self.attempt = other

    # For `keyed`, which decides by itself once a write may have been executed

    def admit(self, backend: Backend, now: float) -> Attempt:
        """Try this Backend, whatever the Balancer says."""
        return self._admit(backend, now)

    def settle_for_another(self, outcome: Outcome, now: float) -> None:
        """The Attempt has failed, or its answer is not passed on; another will follow."""
        self._settle(outcome, now)
        self._reason = outcome.kind.value if outcome.kind else str(outcome.status)

    def end(self, outcome: Outcome, now: float) -> Relay | Refuse:
        """No other Attempt follows: pass the answer on, or say that there is none."""
        return self._relay(outcome, now) if outcome.kind is None else self._fail(outcome, now)

    # Admit and settle, in pairs

    def _admit(self, backend: Backend, now: float) -> Attempt:
        pool = self._pool
        pool.enter(backend)
        ticket = backend.breaker.admit(now)
        if ticket.is_trial:
            pool.touch()
        self.attempts += 1
        self.attempt = attempt = Attempt(backend, ticket, self.attempts, now)
        return attempt

    def _settle(self, outcome: Outcome, now: float) -> None:
        attempt = self.attempt
        if attempt is None:
            return
        self.attempt = None
        self._last = outcome
        verdict = outcome.verdict()
        failed = verdict is BAD
        pool, backend = self._pool, attempt.backend
        ticket = attempt.ticket
        pool.leave(backend, now - attempt.started, failed=failed, now=now)
        if not backend.breaker.is_closed:
            pool.touch()
        if failed:
            backend.breaker.settle(ticket, verdict, now, may_open=pool.may_eject(backend, now))
        else:
            backend.breaker.settle(ticket, verdict, now)
        if pool.failing_at is not None and outcome.progress is not NOT_SENT:
            pool.end_outage(now)
        if self._reason:
            key = (self._reason, "success" if verdict is GOOD else "failure")
            pool.retries[key] = pool.retries.get(key, 0) + 1
