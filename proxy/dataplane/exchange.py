"""One request and its answer: carries out what `core.dispatch` decides, and moves the bytes.

Called by `downstream` for each request. Every path leaves the Attempt settled and the Upstream released or closed.
"""

from __future__ import annotations

from math import inf
from time import monotonic
from typing import TYPE_CHECKING, cast

from proxy.core import answers
from proxy.core.chunked import last_chunk
from proxy.core.dispatch import Attempt, Decision, Dispatch, Refuse, Relay, Wait
from proxy.core.grammar import CHUNKED, UNTIL_CLOSE
from proxy.core.headers import downstream_head, ends_with_connection, is_chunked_for, upstream_head
from proxy.core.holding import hold_for
from proxy.core.http1 import RequestHead, ResponseHead
from proxy.core.keyed import KeyedDispatch
from proxy.core.retry import Outcome, answered
from proxy.dataplane.idle import connect
from proxy.dataplane.keyed import KeyedWrite, begin_keyed
from proxy.dataplane.pause import PAUSE, wait
from proxy.dataplane.relay import Answer, ClientLeftError, again, begin_stream, pass_interims, stream_failure, whole
from proxy.dataplane.tunnel import run_tunnel
from proxy.dataplane.upload import Upload, begin_upload
from proxy.dataplane.upstream import Upstream
from proxy.errors import ErrorKind, RequestError

if TYPE_CHECKING:
    from proxy.core.pool import Pool
    from proxy.dataplane.downstream import Downstream


class Exchange:
    """One request, from its head to the last byte of its answer."""

    __slots__ = (
        "_answer",
        "_answered",
        "_client",
        "_dispatch",
        "_failure",
        "_held",
        "_held_until",
        "_is_due",
        "_keyed",
        "_pool",
        "_request",
        "_rewrite",
        "_route",
        "_started",
        "_timeouts",
        "_total_at",
        "_upload",
        "_upstream",
        "_worker",
    )

    _answered: Outcome
    _dispatch: Dispatch | KeyedDispatch
    _failure: Outcome | None
    _pool: Pool

    def __init__(self, client: Downstream, request: RequestHead) -> None:
        self._client = client
        self._worker = client.worker
        self._request = request
        self._started = monotonic()
        self._upload: Upload | None = None
        self._upstream: Upstream | None = None
        self._answer: Answer | None = None
        self._keyed: KeyedWrite | None = None

    async def run(self) -> bool:
        """Serve the request; True if the client may ask again on this connection. Raises RequestError."""
        worker, request = self._worker, self._request
        route = worker.route(request)
        self._route = route.name
        if route.settings.answer is not None:
            close, own = self._must_close(), route.settings.answer
            return self._answer_here(answers.static(own, request, close=close), own.status, "", close=close)
        self._rewrite = worker.rewrites[route.number]
        self._enter(worker.pools[route.pool or route.choose(worker.rng)])
        keyed = self._keyed
        self._dispatch = dispatch = Dispatch(self._pool, request, worker.rng) if keyed is None else keyed.dispatch
        decision: Decision | Answer
        try:
            if self._upload is not None:
                self._check_client()
            check = self._check_client
            decision = dispatch.start(self._started) if keyed is None else await keyed.start(self._upload, check)
            while type(decision) is not Relay:
                if type(decision) is Attempt:
                    if self._reuse(decision) or await self._connect(decision):
                        if keyed is not None and (barred := await keyed.record(decision)) is not None:
                            self._drop_upstream()
                            decision = barred
                            continue
                        self._send()
                        while self._failure is None:
                            await PAUSE
                            if self._is_judgeable():
                                break
                    decision = self._judge()
                elif type(decision) is Wait:
                    await wait(self._client, decision.seconds, self._check_client)
                    decision = dispatch.resume(monotonic())
                else:
                    return self._refuse(cast("Refuse | Answer", decision))
            if keyed is not None:
                await keyed.keep(cast("Upstream", self._upstream))
            return self._relay_plain() or await self._relay()
        except ClientLeftError:
            worker.stats.client_aborts += 1
            self._client.reset()
            return False
        finally:
            if self._upstream is not None or keyed is not None or not dispatch.is_settled:
                self._leave()

    def _leave(self) -> None:
        """Nothing stays open, however the request ended."""
        self._drop_upstream()
        if not self._dispatch.is_settled:
            self._dispatch.abandon(monotonic())
        if self._keyed is not None:
            self._keyed.leave()

    def _enter(self, pool: Pool) -> None:
        """The request goes to this Pool."""
        self._pool = pool
        self._timeouts = timeouts = pool.settings.timeouts
        self._total_at = inf if timeouts.total is None else self._started + timeouts.total
        if self._request.has_body:
            self._upload = begin_upload(self._client, self._request, pool.settings)
        if pool.settings.idempotency is not None:
            self._keyed = begin_keyed(self._client, self._request, pool, pool.settings.idempotency)

    # The request's body

    def _check_client(self) -> None:
        """Raises if the client has left or what it sent can't be used."""
        client, upload = self._client, self._upload
        if client.is_gone or (client.has_ended and upload is not None and not upload.is_complete):
            raise ClientLeftError
        if upload is not None and upload.error is not None:
            raise upload.error

    @property
    def _is_uploaded(self) -> bool:
        return self._upload is None or self._upload.is_complete

    # One Attempt

    def _reuse(self, attempt: Attempt) -> bool:
        """Whether an idle connection could be had; a second Attempt gets a fresh one, which can't be stale."""
        longest = self._timeouts.backend_idle if attempt.number == 1 else -1.0
        if not self._request.idempotent:
            longest = min(longest, self._pool.settings.retries.unsafe_reuse)
        self._upstream = self._worker.idle[attempt.backend].take(attempt.started, longest, self._client)
        return self._upstream is not None

    async def _connect(self, attempt: Attempt) -> bool:
        """Whether a new connection came within `timeouts.connect`; given up when the client leaves."""
        self._arm(self._timeouts.connect)
        connected = await connect(self._worker.idle[attempt.backend], self._client, self._check_client)
        if isinstance(connected, Upstream):
            self._upstream = connected
            return True
        self._failure = connected
        return False

    def _send(self) -> None:
        """Write the request's head, and what is there of its body, in one piece."""
        client, request, upload = self._client, self._request, self._upload
        upstream = client.upstream = cast("Upstream", self._upstream)
        upstream.begin(client, to_head=request.method == b"HEAD")
        if upstream.is_lost or upstream.transport.is_closing():
            self._failure = Outcome(ErrorKind.CONNECTION_TERMINATED)
            return
        head = upstream_head(request, client.forwarding, self._rewrite, self._worker.make_id)
        self._failure = None
        self._held_until = -1.0
        self._held = 0
        self._is_due = True
        if upload is not None:
            head += upload.attach(upstream)
            self._is_due = upload.is_complete or (request.expects_continue and not upload.size)
        self._worker.outbox.send(upstream, head)
        self._arm_for_answer()

    def _arm_for_answer(self) -> None:
        """Await the answer's head, or the rest of the body, each byte of which puts the deadline off."""
        seconds = self._timeouts.first_byte if self._is_due else self._timeouts.stall
        self._arm(seconds, is_moving=not self._is_due)

    def _is_judgeable(self) -> bool:
        """Whether the Attempt has failed, or its answer has come so far that it can be judged."""
        upstream = cast("Upstream", self._upstream)
        if upstream.interims:
            pass_interims(self._client, upstream, self._request)
            if not self._is_uploaded:
                self._is_due = False
                self._arm_for_answer()
        if upstream.error is not None:
            self._failure = self._outcome(upstream.error.kind, upstream.error.detail)
            return True
        if upstream.is_complete:
            return True
        if upstream.head is None:
            return self._has_failed(upstream, ErrorKind.CONNECTION_TERMINATED)
        return self._is_held_enough(upstream) or self._has_failed(upstream, ErrorKind.HTTP_RESPONSE_INCOMPLETE)

    def _has_failed(self, upstream: Upstream, broken: ErrorKind) -> bool:
        """Whether waiting on is in vain; if not, the deadline of what is waited for is armed."""
        if upstream.is_lost or upstream.has_ended:
            self._failure = self._outcome(broken)
            return True
        self._check_client()
        if self._client.is_expired:
            self._failure = self._timed_out(upstream)
            return True
        is_due = self._is_uploaded or (self._is_due and not cast("Upload", self._upload).size)
        if is_due is not self._is_due:
            self._is_due = is_due
            self._arm_for_answer()
        return False

    def _is_held_enough(self, upstream: Upstream) -> bool:
        """Whether an answer whose head is there may begin to be passed on.

        A small answer to an idempotent request is held until it is whole: one that breaks off can still be retried.
        """
        response, keyed = cast("ResponseHead", upstream.head), self._keyed
        most = self._pool.settings.retries.hold_answer if keyed is None else keyed.most_held
        if response.status == 101 and not self._request.is_upgrade:
            self._failure = self._outcome(ErrorKind.HTTP_UPGRADE_FAILED, "101 to a request that did not ask for it")
            return True
        if self._held_until < 0:
            seconds = hold_for(self._request, response, most) if keyed is None else keyed.hold_for(response)
            self._held_until = monotonic() + seconds
            if 0 < seconds < inf:
                self._client.wake_after(seconds)
        if not self._held or upstream.held > self._held:
            self._held = max(upstream.held, 1)
            self._arm(self._timeouts.stall)
        if upstream.held <= most:
            upstream.resume_reading()
        return upstream.held > most or monotonic() >= self._held_until

    def _judge(self) -> Decision:
        """An Attempt has ended, or its answer is there: ask what to do."""
        now = monotonic()
        failure, upstream, upload = self._failure, self._upstream, self._upload
        if (upload is not None and not upload.is_whole) or now >= self._total_at:
            self._dispatch.replayable = False
        if failure is None and upstream is not None and upstream.head is not None:
            self._answered = answered(upstream.head.status, upstream.requests > 1)
            decision = self._dispatch.report(self._answered, now)
            if type(decision) is not Relay:
                if upstream.is_complete:
                    self._answer = Answer(upstream.head, upstream.pieces, upstream.trailer)
                self._drop_upstream()
            return decision
        self._drop_upstream()
        assert failure is not None
        return self._dispatch.report(failure, now)

    def _outcome(self, kind: ErrorKind, detail: str = "") -> Outcome:
        """How the Attempt failed, and how far the request had got by then."""
        return cast("Upstream", self._upstream).outcome(kind, detail, is_uploaded=self._is_uploaded)

    def _timed_out(self, upstream: Upstream) -> Outcome:
        """Who let the deadline pass: the Backend, or the client that sends its body?"""
        if upstream.head is not None:
            return self._outcome(ErrorKind.CONNECTION_READ_TIMEOUT)
        if self._is_due:
            return self._outcome(ErrorKind.HTTP_RESPONSE_TIMEOUT)
        if upstream.is_write_paused:
            return self._outcome(ErrorKind.CONNECTION_WRITE_TIMEOUT)
        raise RequestError(408, "the body did not come in time")

    def _drop_upstream(self) -> None:
        """Leave a connection whose exchange did not come to its proper end."""
        if self._upload is not None:
            self._upload.detach()
        if self._upstream is not None:
            self._upstream.close()
            self._upstream = self._client.upstream = None

    def _arm(self, seconds: float, *, is_moving: bool = False) -> None:
        stall = seconds if is_moving else 0.0
        self._client.arm(min(self._total_at, monotonic() + seconds), stall=stall, latest=self._total_at)

    # The answer

    def _must_close(self) -> bool:
        is_unread = self._request.has_body if self._upload is None else not self._upload.is_complete
        return not self._request.is_keep_alive or self._worker.is_draining or is_unread

    def _relay_plain(self) -> bool:
        """Pass on a whole plain answer that needs nothing more; False if it is not one."""
        client, request, upstream = self._client, self._request, cast("Upstream", self._upstream)
        response = cast("ResponseHead", upstream.head)
        is_plain = response.is_plain and upstream.is_complete and request.is_plain and self._dispatch.attempts == 1
        if not is_plain or self._pool.panic or self._worker.is_draining:
            return False
        answer = b"".join((downstream_head(request, response, close=False), *upstream.pieces))
        client.send(answer)
        self._finish(upstream, response.status)
        return True

    def _finish(self, upstream: Upstream, status: int) -> None:
        """The answer has been passed on to its end."""
        now = monotonic()
        self._upstream = self._client.upstream = None
        upstream.release(now, reusable=self._upload is None or self._upload.is_complete)
        self._dispatch.finish(self._answered, now)
        self._count(status, now, self._pool.name)

    async def _relay(self) -> bool:
        """Pass the answer on; True if the client's connection may be used again."""
        client, request, upstream = self._client, self._request, cast("Upstream", self._upstream)
        response = cast("ResponseHead", upstream.head)
        close = self._must_close() or ends_with_connection(request, response)
        head = downstream_head(request, response, close=close, proxy_status=self._proxy_status())
        if response.status == 101:
            return await self._switch(upstream, head)
        chunked = is_chunked_for(request, response)
        if upstream.is_complete:
            client.send(whole(head, upstream.pieces, upstream.trailer, chunked=chunked))
        else:
            failure = await self._stream(upstream, head, chunked=chunked)
            if failure is not None:
                return self._break_off(failure, response)
        self._finish(upstream, response.status)
        return not close

    async def _stream(self, upstream: Upstream, head: bytes, *, chunked: bool) -> Outcome | None:
        """Pass the body on as it comes; None when it came to its end."""
        client = self._client
        client.arm(monotonic() + self._timeouts.stall, stall=self._timeouts.stall)
        begin_stream(client, upstream, head, chunked=chunked)
        while not upstream.is_complete:
            broken = stream_failure(client, upstream, self._upload)
            if broken is not None:
                return self._outcome(*broken)
            await PAUSE
        if chunked:
            client.write(last_chunk(upstream.trailer))
        return None

    def _break_off(self, failure: Outcome, response: ResponseHead) -> bool:
        """A body that breaks off can't be retried any more: show the break, never a clean end."""
        self._drop_upstream()
        now = monotonic()
        self._dispatch.finish(failure, now)
        self._count(response.status, now, self._pool.name)
        if response.body is UNTIL_CLOSE or response.body is CHUNKED:
            self._client.reset()
        return False

    async def _switch(self, upstream: Upstream, head: bytes) -> bool:
        """The protocol changes: from here on bytes pass both ways."""
        client = self._client
        self._count(101, monotonic(), self._pool.name)
        client.write(head + upstream.buffer)
        upstream.buffer = b""
        await run_tunnel(client, upstream, self._upload, self._timeouts)
        self._dispatch.finish(answered(101, upstream.requests > 1), monotonic())
        return False

    def _refuse(self, refuse: Refuse | Answer) -> bool:
        """Nothing more can be done: an answer that is here, the last real one, or the truth about what happened."""
        request, close, attempts = self._request, self._must_close(), self._dispatch.attempts
        if isinstance(refuse, Refuse):
            if refuse.executed == "unknown":
                self._worker.stats.count_unknown(self._route, self._pool.name)
            if self._answer is None:
                answer = answers.refusal(refuse, request, attempts=attempts, close=close)
                return self._answer_here(answer, refuse.status, self._pool.name, close=close)
            refuse = self._answer
        close = close or ends_with_connection(request, refuse.head)
        answer = again(refuse, request, close=close, proxy_status=self._proxy_status())
        return self._answer_here(answer, refuse.head.status, self._pool.name, close=close)

    def _answer_here(self, data: bytes, status: int, pool: str, *, close: bool) -> bool:
        """Send an answer that is whole already."""
        self._client.send(data)
        self._count(status, monotonic(), pool)
        return not close

    def _proxy_status(self) -> bytes:
        attempts, panic = self._dispatch.attempts, self._pool.panic
        return answers.proxy_status(attempts=attempts, panic=panic) if attempts > 1 or panic else b""

    def _count(self, status: int, now: float, pool: str) -> None:
        self._worker.stats.count(self._route, pool, self._request.method, status, now - self._started)
