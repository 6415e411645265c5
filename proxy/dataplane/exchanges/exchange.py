"""One request and its answer: carries out what `core.dispatch` decides, and moves the bytes.

Called by `downstream` for each request. Every path leaves the Attempt settled and the Upstream released or closed.
"""

from __future__ import annotations

from math import inf
from time import monotonic
from typing import TYPE_CHECKING, cast

from proxy.core import answers
from proxy.core.accesslog import RATE_LIMITED, STOOD_IN, flags_of, result_of
from proxy.core.chunked import last_chunk
from proxy.core.dispatch import RELAY, Attempt, Decision, Dispatch, Refuse, Relay, Wait
from proxy.core.grammar import CHUNKED, END_OF_HEAD, UNTIL_CLOSE
from proxy.core.headers import downstream_head, ends_with_connection, is_chunked_for
from proxy.core.http1 import RequestHead, ResponseHead
from proxy.core.retry import Outcome, answered
from proxy.core.settings import Redirect, RouteSettings, StaticAnswer, StatusOfWrites
from proxy.dataplane.backends.upstream import Upstream
from proxy.dataplane.clients.limited import seconds_too_early
from proxy.dataplane.exchanges.racing import HEDGED, Racing
from proxy.dataplane.exchanges.relay import Answer, ClientLeftError, again, begin_stream, stream_failure, whole
from proxy.dataplane.exchanges.rescue import POOL, Rescue
from proxy.dataplane.exchanges.sticking import Siblings, Tie, may_go_on, place, sibling
from proxy.dataplane.exchanges.tunnel import Tunnel
from proxy.dataplane.exchanges.turns import await_turn
from proxy.dataplane.exchanges.upload import begin_upload
from proxy.dataplane.transport.pause import PAUSE, rest, wait
from proxy.dataplane.writes.keyed import begin_keyed, status_of_write
from proxy.errors import RequestError

if TYPE_CHECKING:
    from proxy.core.fallback import Fallback
    from proxy.core.pool import Pool
    from proxy.core.routing import Route
    from proxy.dataplane.clients.downstream import Downstream


class Exchange(Racing):
    """One request, from its head to the last byte of its answer."""

    __slots__ = ("_answered", "_rescue", "_siblings", "_tie")

    _answered: Outcome
    _rescue: Rescue | None

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
        elif upstream.is_complete:
            rescue.keep(head, upstream.pieces, now)
        if rescue.is_elsewhere:
            rescue.count(POOL, head.status)
            # What stood in is told to the client, so its answer is not passed on as it is.
            self._request.is_plain = False
        return RELAY

    def _go_elsewhere(self, decision: Decision | Answer) -> Decision | None:
        """The first decision of another Pool; None where this request gets none, or may not go there."""
        if self._upload is not None and not self._upload.is_whole:
            return None
        before, rescue = self._dispatch, self._rescue
        pool = sibling(self._siblings, decision)
        attempts = before.attempts if pool is not None else 0
        if pool is None and rescue is not None:
            pool = rescue.go_elsewhere(cast("Refuse", decision), before.attempts)
            self._rewrite = self._rewrite if pool is None else rescue.rewrite()
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

    # The answer

    def _must_close(self) -> bool:
        is_unread = self._request.has_body if self._upload is None else not self._upload.is_complete
        return not self._request.is_keep_alive or self._worker.says_close or is_unread

    def _relay_plain(self) -> bool:
        """Pass on a whole plain answer that needs nothing more; False if it is not one."""
        client, request, upstream = self._client, self._request, self._upstream
        assert upstream is not None
        response = upstream.head
        assert response is not None
        is_plain = response.is_plain and upstream.is_complete and request.is_plain and self._dispatch.attempts == 1
        if not is_plain or self._tie is not None or self._pool.panic or self._worker.says_close:
            return False
        self._worker.outbox.send_parts(client, [downstream_head(request, response, close=False), *upstream.pieces])
        self._finish(upstream, response.status)
        return True

    def _finish(self, upstream: Upstream, status: int) -> None:
        """The answer has been passed on to its end."""
        now = monotonic()
        self._upstream = self._client.upstream = None
        if self._client.record is not None:
            self._note_attempt(self._dispatch.attempt, result_of(self._answered), now)
            flags = STOOD_IN if self._rescue is not None and self._rescue.is_elsewhere else ""
            self._log(status, now, self._pool.name, upstream.body_size, flags=flags)
        upstream.release(now, reusable=self._upload is None or self._upload.is_complete)
        self._dispatch.finish(self._answered, now)
        self._count(status, now, self._pool.name)

    async def _relay(self) -> bool:
        """Pass the answer on; True if the client's connection may be used again."""
        client, request, upstream = self._client, self._request, self._upstream
        assert upstream is not None
        response = upstream.head
        assert response is not None
        close = self._must_close() or ends_with_connection(request, response)
        head = downstream_head(request, response, close=close, proxy_status=self._proxy_status())
        if self._tie is not None:
            head = self._tie.mark(head, response, cast("Attempt", self._dispatch.attempt).backend)
        if response.status == 101:
            return await self._switch(upstream, head)
        chunked = is_chunked_for(request, response)
        if upstream.is_complete:
            parts = whole(head, upstream.pieces, upstream.trailer, chunked=chunked)
            self._worker.outbox.send_parts(client, parts)
        else:
            failure = await self._stream(upstream, head, chunked=chunked)
            if failure is not None:
                return self._break_off(failure, response)
        self._finish(upstream, response.status)
        self._worker.stats.count_if_saved(self._route, self._pool.name, self._dispatch.attempts, self._answered)
        return not close

    async def _stream(self, upstream: Upstream, head: bytes, *, chunked: bool) -> Outcome | None:
        """Pass the body on as it comes; None when it came to its end."""
        client = self._client
        client.arm(monotonic() + self._timeouts.stall, stall=self._timeouts.stall)
        begin_stream(client, upstream, head, chunked=chunked)
        try:
            while not upstream.is_complete:
                broken = stream_failure(client, upstream, self._upload)
                if broken is not None:
                    return self._outcome(*broken)
                await PAUSE
        except Exception:
            # Whatever it is: an answer of ours would be read as more of the body.
            client.reset()
            raise
        if chunked:
            client.write(last_chunk(upstream.trailer))
        return None

    def _break_off(self, failure: Outcome, response: ResponseHead) -> bool:
        """A body that breaks off can't be retried any more: show the break, never a clean end."""
        now = monotonic()
        self._note_attempt(self._dispatch.attempt, result_of(failure), now)
        sent = self._upstream.body_size if self._upstream is not None else 0
        self._log(response.status, now, self._pool.name, sent, flags=flags_of(failure.kind))
        self._drop_upstream()
        self._dispatch.finish(failure, now)
        self._count(response.status, now, self._pool.name)
        self._worker.stats.count_broken(self._route, self._pool.name, response.status)
        if response.body is UNTIL_CLOSE or response.body is CHUNKED:
            self._client.reset()
        return False

    async def _switch(self, upstream: Upstream, head: bytes) -> bool:
        """The protocol changes: from here on bytes pass both ways."""
        self._count(101, monotonic(), self._pool.name)
        tunnel = Tunnel(self._client, upstream)
        tunnel.begin(head)
        await tunnel.run(self._upload, self._timeouts)
        now = monotonic()
        self._note_attempt(self._dispatch.attempt, result_of(self._answered), now)
        self._log(101, now, self._pool.name, tunnel.sent, tunnelled=tunnel.received)
        self._dispatch.finish(self._answered, now)
        self._worker.stats.count_if_saved(self._route, self._pool.name, self._dispatch.attempts, self._answered)
        return False

    async def _answer_early(self, route: Route) -> bool | None:
        """What needs no Backend; None where the request goes on to one."""
        seconds = seconds_too_early(self._client, self._request, route.settings)
        if seconds:
            self._worker.stats.count_limited(self._route)
            close = self._must_close()
            answer = answers.too_many(self._request, seconds, close=close)
            return await self._answer_here(answer, 429, "", close=close, flags=RATE_LIMITED)
        return None if route.settings.answer is None else await self._answer_alone(route.settings.answer)

    async def _answer_alone(self, own: StaticAnswer | Redirect | StatusOfWrites) -> bool:
        """What a Route answers without a Backend."""
        request, close = self._request, self._must_close()
        if not isinstance(own, StatusOfWrites):
            return await self._answer_here(answers.static(own, request, close=close), own.status, "", close=close)
        told = await status_of_write(self._worker, request)
        answer = again(told, request, close=close, proxy_status=b"")
        return await self._answer_here(answer, told.head.status, "", close=close)

    async def _refuse(self, refuse: Decision | Answer) -> bool:
        """Nothing more can be done: an answer that is here, the last real one, or the truth about what happened."""
        request, close, attempts = self._request, self._must_close(), self._dispatch.attempts
        exhausted = attempts > 1 and attempts >= self._pool.settings.retries.attempts
        if isinstance(refuse, Refuse):
            if refuse.executed == "unknown":
                self._worker.stats.count_unknown(self._route, self._pool.name)
            if self._rescue is not None:
                self._pool = self._rescue.home
                found = self._rescue.answer(refuse, attempts, monotonic(), close=close, exhausted=exhausted)
                if found is not None:
                    return await self._answer_here(
                        found.data, found.status, self._pool.name, close=close, flags=found.flags
                    )
            if self._answer is None:
                answer = answers.refusal(refuse, request, attempts=attempts, close=close)
                flags, executed = flags_of(refuse.kind, exhausted=exhausted), refuse.executed or ""
                return await self._answer_here(
                    answer, refuse.status, self._pool.name, close=close, flags=flags, executed=executed
                )
            refuse = self._answer
        refuse = cast("Answer", refuse)
        close = close or ends_with_connection(request, refuse.head)
        answer = again(refuse, request, close=close, proxy_status=self._proxy_status())
        flags = flags_of(None, exhausted=exhausted)
        return await self._answer_here(answer, refuse.head.status, self._pool.name, close=close, flags=flags)

    async def _answer_here(
        self, data: bytes, status: int, pool: str, *, close: bool, flags: str = "", executed: str = ""
    ) -> bool:
        """Send an answer that is whole already."""
        now = monotonic()
        self._client.send(data)
        self._count(status, now, pool)
        self._log(
            status, now, pool, len(data) - data.find(END_OF_HEAD) - len(END_OF_HEAD), flags=flags, executed=executed
        )
        if self._client.buffer:
            await rest(self._client)
        return not close

    def _proxy_status(self) -> bytes:
        attempts, panic = self._dispatch.attempts, self._pool.panic
        if self._rescue is not None and self._rescue.is_elsewhere:
            return self._rescue.proxy_status(POOL, attempts, panic=panic)
        return answers.proxy_status(attempts=attempts, panic=panic) if attempts > 1 or panic else b""
