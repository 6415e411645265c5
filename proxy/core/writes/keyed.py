"""All decisions of one keyed write: `dispatch`'s own, until a Backend may have executed it; then only that Backend.

Rule (d) of `behaviour.md`, section 2. It has the methods of Dispatch, so that `dataplane.exchange` need not know which
of the two it asks.
"""

from __future__ import annotations

import random
from dataclasses import replace

from proxy.core.limits.waiting import Priority
from proxy.core.pools.model import Backend
from proxy.core.pools.pool import Pool
from proxy.core.requests.decisions import Attempt, Decision, Refuse, Relay, Request, Wait
from proxy.core.requests.dispatch import Dispatch
from proxy.core.requests.retry import NOT_SENT, Outcome
from proxy.core.settings import IdempotencyPolicy
from proxy.core.writes.idempotency import NOT_KNOWN, RETRY_AFTER, is_final


class Repeatable:
    """A request whose key all Backends of its Pool know: as good as idempotent."""

    __slots__ = ("_request",)

    idempotent = True
    has_body = True

    def __init__(self, request: Request) -> None:
        self._request = request

    def balance_key(self, source: str, name: str) -> bytes:
        """As the request itself."""
        return self._request.balance_key(source, name)


class KeyedDispatch:
    """The decisions of one keyed write."""

    __slots__ = ("_inner", "_only", "_policy", "_pool", "_rng", "_rounds", "may_be_executed", "was_sent")

    def __init__(self, pool: Pool, request: Request, rng: random.Random, policy: IdempotencyPolicy) -> None:
        self._inner = Dispatch(pool, Repeatable(request) if policy.shares_keys else request, rng)
        self._pool = pool
        self._policy = policy
        self._rng = rng
        self._rounds = 0
        self._only: Backend | None = None
        self.was_sent = False
        """Whether some Backend may have got it."""
        self.may_be_executed = False
        """Whether some Backend may have executed it, and no answer says so."""

    @property
    def is_settled(self) -> bool:
        """As Dispatch."""
        return self._inner.is_settled

    @property
    def attempt(self) -> Attempt | None:
        """As Dispatch."""
        return self._inner.attempt

    @property
    def attempts(self) -> int:
        """As Dispatch."""
        return self._inner.attempts

    @property
    def replayable(self) -> bool:
        """As Dispatch."""
        return self._inner.replayable

    @replayable.setter
    def replayable(self, claim: bool) -> None:
        self._inner.replayable = claim

    @property
    def priority(self) -> Priority:
        """As Dispatch."""
        return self._inner.priority

    @priority.setter
    def priority(self, priority: Priority) -> None:
        self._inner.priority = priority

    @property
    def owner(self) -> Backend | None:
        """As Dispatch."""
        return self._inner.owner

    @owner.setter
    def owner(self, owner: Backend | None) -> None:
        self._inner.owner = owner

    @property
    def only(self) -> str:
        """The Backend that may have executed it; empty if none may."""
        return self._only.name if self._only is not None else ""

    # What to do

    def start(self, now: float) -> Decision:
        """The first decision for a write that nobody has executed."""
        return self._truly(self._inner.start(now))

    def start_again(self, name: str, now: float) -> Decision:
        """The first decision for a write that this Backend may have executed, and nobody else."""
        self.was_sent = self.may_be_executed = True
        self._pool.budget.count_request(now)
        self._only = self._pool.by_name.get(name)
        if self._only is None:
            return NOT_KNOWN.refuse("the backend that may have executed it is no more")
        return self._try_only(self._only, now)

    def start_anywhere(self, now: float) -> Decision:
        """The first decision for a write that some Backend may have executed, where all know the key."""
        self.was_sent = self.may_be_executed = True
        return self.start(now)

    def report(self, outcome: Outcome, now: float) -> Decision:
        """As Dispatch."""
        is_sent = outcome.progress is not NOT_SENT
        if is_sent:
            self.was_sent = self.may_be_executed = True
        if self._policy.shares_keys or (self._only is None and not is_sent):
            return self._noted(self._inner.report(outcome, now), outcome)
        attempt = self._inner.attempt
        if attempt is not None:
            self._only = attempt.backend
        if self._may_ask_again(outcome, now):
            self._inner.settle_for_another(outcome, now)
            self._rounds += 1
            return Wait(self._pool.settings.retries.backoff_for(self._rounds, self._rng))
        return self._noted(self._inner.end(outcome, now), outcome)

    def resume(self, now: float) -> Decision:
        """As Dispatch."""
        return self._truly(self._inner.resume(now)) if self._only is None else self._try_only(self._only, now)

    def finish(self, outcome: Outcome, now: float) -> None:
        """As Dispatch."""
        self._inner.finish(outcome, now)

    def abandon(self, now: float) -> None:
        """As Dispatch. An Attempt that is under way may go on without us."""
        if self._inner.attempt is not None:
            self.was_sent = self.may_be_executed = True
        self._inner.abandon(now)

    def withdraw(self, now: float) -> None:
        """The Attempt must not be made after all, and nothing of it was sent."""
        self._inner.abandon(now)

    # The Backend that may have executed it

    def _try_only(self, backend: Backend, now: float) -> Attempt | Refuse:
        if backend.may_be_asked_again(now):
            return self._inner.admit(backend, now)
        return NOT_KNOWN.refuse("the backend that may have executed it is not available")

    def _may_ask_again(self, outcome: Outcome, now: float) -> bool:
        """Whether the same Backend gets the same write once more, with the same key."""
        policy = self._pool.settings.retries
        if not self._policy.honoured or not self.replayable or self.attempts >= policy.attempts:
            return False
        if outcome.kind is None and is_final(outcome.status, self._policy):
            return False
        return policy.permits(outcome, idempotent=True) and self._pool.budget.withdraw(now)

    # The truth

    def _noted(self, decision: Decision, outcome: Outcome) -> Decision:
        if outcome.kind is None and isinstance(decision, Relay) and is_final(outcome.status, self._policy):
            self.may_be_executed = False
        return self._truly(decision)

    def _truly(self, decision: Decision) -> Decision:
        """A refusal says what is known of all Attempts, not only of the last."""
        if not isinstance(decision, Refuse) or not self.may_be_executed:
            return decision
        return replace(decision, executed="unknown", detail="request may have been executed", retry_after=RETRY_AFTER)
