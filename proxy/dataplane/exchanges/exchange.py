"""One request and its answer: carries out what `core.dispatch` decides, and moves the bytes.

Called by `downstream` for each request. Every path leaves the Attempt settled and the Upstream released or closed.
"""

from __future__ import annotations

from math import inf
from time import monotonic
from typing import TYPE_CHECKING, cast

from proxy.core.requests.decisions import RELAY, Attempt, Decision, Refuse, Relay, Wait
from proxy.core.requests.dispatch import Dispatch
from proxy.core.requests.retry import answered
from proxy.core.settings import RouteSettings
from proxy.core.telling.accesslog import result_of
from proxy.core.wire.http1 import RequestHead
from proxy.core.wire.http1_answers import ResponseHead
from proxy.dataplane.backends.upstream import Upstream
from proxy.dataplane.exchanges.answering import Answering
from proxy.dataplane.exchanges.racing import HEDGED
from proxy.dataplane.exchanges.relay import Answer, ClientLeftError
from proxy.dataplane.exchanges.rescue import Rescue
from proxy.dataplane.exchanges.sticking import Siblings, Tie, may_go_on, place, sibling
from proxy.dataplane.exchanges.turns import await_turn
from proxy.dataplane.exchanges.upload import begin_upload
from proxy.dataplane.transport.pause import PAUSE, wait
from proxy.dataplane.writes.keyed import begin_keyed
from proxy.errors import RequestError

if TYPE_CHECKING:
    from proxy.core.pools.pool import Pool
    from proxy.core.requests.fallback import Fallback
    from proxy.core.requests.routing import Route
    from proxy.dataplane.clients.downstream import Downstream


class Exchange(Answering):
    """One request, from its head to the last byte of its answer."""

    __slots__ = ("_siblings",)

    def __init__(self, client: Downstream, request: RequestHead) -> None:
        super().__init__(client, request)
        self._answer: Answer | None = None
        self._tie: Tie | None = None
        self._siblings: Siblings | None = None

    async def run(self) -> bool:
        """Serve the request; True if the client may ask again on this connection. Raises RequestError."""
        worker, request = self._worker, self._request
        route = worker.route(request)
        self._route = route.name
        if route.is_guarded and (is_kept := await self._answer_early(route)) is not None:
            return is_kept
        self._rewrite = worker.rewrites[route.number]
        self._enter(worker.pools[route.pool] if route.pool else self._place(route), route.settings)
        keyed, dispatch = self._keyed, self._dispatch
        self._rescue = rescue = None if route.fallback is None else self._begin_rescue(route, route.fallback)
        decision: Decision | Answer
        try:
            if self._upload is not None:
                self._check_client()
            decision = (
                dispatch.start(self._started) if keyed is None else await keyed.start(self._upload, self._check_client)
            )
            while type(decision) is not Relay or (
                rescue is not None and type(decision := self._look(rescue)) is not Relay
            ):
                if type(decision) is Attempt:
                    if self._reuse(decision) or await self._connect(decision):
                        if keyed is not None and (barred := await keyed.record(decision)) is not None:
                            self._drop_upstream()
                            decision = barred
                            continue
                        self._send()
                        is_over = self._pool.hedging is not None and await self._run_hedged(decision)
                        while not is_over and self._failure is None:
                            await PAUSE
                            is_over = self._is_judgeable()
                    decision = self._judge()
                elif type(decision) is Wait and not may_go_on(decision, self._siblings, self._upload):
                    await self._wait(decision)
                    decision = dispatch.resume(monotonic())
                elif (other := self._go_elsewhere(decision)) is not None:
                    dispatch, decision = self._dispatch, other
                else:
                    return await self._refuse(decision if keyed is None else await keyed.instead(decision))
            if keyed is not None:
                await keyed.keep(cast("Upstream", self._upstream))
            return self._relay_plain() or await self._relay()
        except (RequestError, ClientLeftError) as error:
            return self._give_up(error)
        finally:
            if self._upstream is not None or keyed is not None or not dispatch.is_settled:
                self._leave()
            # Its error's traceback leads back to here.
            self._upload = None

    def _give_up(self, error: RequestError | ClientLeftError) -> bool:
        """The client has left, or what it sent, or did not send, ends the request: then `downstream` answers."""
        if isinstance(error, RequestError):
            self._note_refusal(error)
            raise error
        self._worker.stats.client_aborts += 1
        self._log_departure(monotonic())
        self._client.reset()
        return False

    def _leave(self) -> None:
        """Nothing stays open, however the request ended."""
        self._drop_upstream()
        if not self._dispatch.is_settled:
            self._dispatch.abandon(monotonic())
        if self._keyed is not None:
            self._keyed.leave()

    def _place(self, route: Route) -> Pool:
        """Where a request goes whose Route is split or sticky."""
        self._siblings, self._tie = place(self._client, self._request, route)
        return self._siblings.next()

    def _enter(self, pool: Pool, route: RouteSettings) -> None:
        """The request goes to this Pool."""
        self._pool = pool
        self._timeouts = timeouts = pool.settings.timeouts
        self._total_at = inf if timeouts.total is None else self._started + timeouts.total
        if self._request.has_body:
            self._upload = begin_upload(self._client, self._request, pool.settings)
        if pool.settings.idempotency is not None:
            self._keyed = begin_keyed(self._client, self._request, pool, pool.settings.idempotency, route)
        keyed = self._keyed
        self._dispatch = Dispatch(pool, self._request, self._worker.rng) if keyed is None else keyed.dispatch
        if pool.gate is not None:
            self._dispatch.priority = route.priority
        if self._siblings is not None:
            self._dispatch.owner = self._siblings.owner_in(pool)

    async def _wait(self, decision: Wait) -> None:
        if decision.waiter is None:
            await wait(self._client, decision.seconds, self._check_client)
            if monotonic() >= self._total_at:
                self._dispatch.replayable = False
        else:
            await await_turn(self._client, self._pool, decision.waiter, self._check_client, self._total_at)

    async def _run_hedged(self, attempt: Attempt) -> bool:
        """Where this Attempt may get a rival: whether what is left of them can be judged already."""
        request, dispatch, hedging = self._request, self._dispatch, self._pool.hedging
        is_fit = attempt.number == 1 and request.method in HEDGED and not request.has_body and not request.is_upgrade
        if not is_fit or self._failure is not None or hedging is None or not isinstance(dispatch, Dispatch):
            return False
        if dispatch.owner is not None:
            # Another knows nothing of this client, and an answer of it would say that it belongs there.
            return False
        return await self._race(dispatch, hedging)

    # When nothing can serve

    def _begin_rescue(self, route: Route, policy: Fallback) -> Rescue | None:
        """What may stand in for this request's Pool; a write with a key has a ledger that says what became of it."""
        if self._keyed is not None:
            return None
        return Rescue(self._client, self._request, route, policy, self._pool)

    def _look(self, rescue: Rescue) -> Decision:
        """An answer could be passed on: whether to, or something is better."""
        upstream, now = cast("Upstream", self._upstream), monotonic()
        head = cast("ResponseHead", upstream.head)
        if upstream.is_complete and head.status >= 500 and self._request.idempotent:
            if rescue.is_better_than(head.status, now):
                self._answer = Answer(head, upstream.pieces, upstream.trailer)
                self._note_attempt(self._dispatch.attempt, result_of(self._answered), now)
                self._dispatch.finish(self._answered, now)
                self._drop_upstream()
                return rescue.instead_of(head.status)
        else:
            rescue.keep(head, upstream.pieces if upstream.is_complete else None, now)
        if rescue.is_elsewhere:
            # What stood in is told to the client, so its answer is not passed on as it is.
            self._request.is_plain = False
        return RELAY

    def _go_elsewhere(self, decision: Decision | Answer) -> Decision | None:
        """The first decision of another Pool; None where this request gets none, or may not go there."""
        if self._upload is not None and not self._upload.is_whole:
            return None
        if type(decision) is Refuse and monotonic() >= self._total_at:
            # Whoever were asked now would be blamed for the time that others took.
            return None
        before, rescue = self._dispatch, self._rescue
        pool = sibling(self._siblings, decision)
        attempts = before.attempts if pool is not None else 0
        if pool is None and rescue is not None:
            pool = rescue.go_elsewhere(cast("Refuse", decision), before.attempts)
            if pool is not None:
                # From there no way leads back.
                self._rewrite, self._siblings = rescue.rewrite(), None
        if pool is None:
            return None
        now = monotonic()
        before.abandon(now)
        self._pool, self._timeouts = pool, pool.settings.timeouts
        self._dispatch = dispatch = Dispatch(pool, self._request, self._worker.rng)
        dispatch.attempts = attempts
        if self._siblings is not None:
            dispatch.priority, dispatch.owner = self._siblings.priority, self._siblings.owner_in(pool)
        elif rescue is not None:
            dispatch.priority = rescue.priority
        return dispatch.start(now)

    def _judge(self) -> Decision:
        """An Attempt has ended, or its answer is there: ask what to do."""
        now = monotonic()
        failure, upstream, upload = self._failure, self._upstream, self._upload
        if (upload is not None and not upload.is_whole) or now >= self._total_at:
            self._dispatch.replayable = False
        if failure is None and upstream is not None and upstream.head is not None:
            outcome = self._answered = answered(upstream.head.status, upstream.requests > 1)
        else:
            assert failure is not None
            outcome = failure
            self._drop_upstream()
        attempt = self._dispatch.attempt
        decision = self._dispatch.report(outcome, now)
        if self._client.record is not None:
            self._client.record.judge(now)
        if type(decision) is not Relay:
            self._note_failure(attempt, outcome, now)
            if outcome.kind is None and upstream is not None and upstream.head is not None and upstream.is_complete:
                self._answer = Answer(upstream.head, upstream.pieces, upstream.trailer)
            self._drop_upstream()
        return decision
