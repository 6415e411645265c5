"""Asking a Backend: the Attempts of one request, from the connection to an answer that can be judged.

`exchange` builds on it: what follows from an Outcome is not decided here, and nothing goes to the client but 1xx.
"""

from __future__ import annotations

from math import inf
from time import monotonic, time
from typing import TYPE_CHECKING, cast

from proxy.core.requests.decisions import Attempt
from proxy.core.requests.dispatch import Dispatch
from proxy.core.requests.holding import hold_for
from proxy.core.requests.retry import Outcome, Progress
from proxy.core.telling.accesslog import CLIENT_LEFT, GIVEN_UP, Entry, result_of
from proxy.core.wire.grammar import is_chosen_of
from proxy.core.wire.headers import upstream_head
from proxy.core.wire.http1 import RequestHead
from proxy.core.wire.http1_answers import ResponseHead
from proxy.core.wire.tracing import Trace, new_span, with_trace
from proxy.dataplane.backends.idle import connect
from proxy.dataplane.backends.upstream import Upstream
from proxy.dataplane.exchanges.relay import ClientLeftError, pass_interims
from proxy.dataplane.exchanges.upload import Upload
from proxy.errors import ErrorKind, RequestError

if TYPE_CHECKING:
    from proxy.core.pools.pool import Pool
    from proxy.core.settings import Timeouts
    from proxy.core.wire.headers import Rewrite
    from proxy.core.writes.keyed import KeyedDispatch
    from proxy.dataplane.clients.downstream import Downstream
    from proxy.dataplane.writes.keyed import KeyedWrite


class Asking:
    """One request on its way to Backends, one after the other."""

    __slots__ = (
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

    _dispatch: Dispatch | KeyedDispatch
    _failure: Outcome | None
    _held: int
    _held_until: float
    _is_due: bool
    _pool: Pool
    _rewrite: Rewrite | None
    _route: str
    _timeouts: Timeouts
    _total_at: float

    def __init__(self, client: Downstream, request: RequestHead) -> None:
        self._client = client
        self._worker = client.worker
        self._request = request
        self._started = monotonic()
        self._upload: Upload | None = None
        self._upstream: Upstream | None = None
        self._keyed: KeyedWrite | None = None
        if self._worker.recorder is not None:
            client.record = self._worker.recorder.begin(request, self._started)

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
        upstream = client.upstream = self._upstream
        assert upstream is not None
        upstream.begin(client, to_head=request.method == b"HEAD")
        if upstream.is_lost or upstream.transport.is_closing():
            self._failure = Outcome(ErrorKind.CONNECTION_TERMINATED)
            return
        head = upstream_head(request, client.forwarding, self._rewrite, self._worker.make_id)
        self._failure = None
        self._held_until = -1.0
        self._held = 0
        self._is_due = True
        record, span = client.record, b""
        if record is not None and record.trace is not None:
            head, span = self._traced(head, record.trace)
        if upload is None:
            parts = None
            self._worker.outbox.send(upstream, head)
        else:
            parts = [head, *upload.attach(upstream)]
            self._worker.outbox.send_parts(upstream, parts)
            self._is_due = upload.is_complete or (request.expects_continue and not upload.size)
        if record is not None:
            record.send(len(head) if parts is None else sum(map(len, parts)), monotonic(), span)
        self._arm_for_answer()

    def _traced(self, head: bytes, trace: Trace) -> tuple[bytes, bytes]:
        """The head with a parent of its own for this Attempt, and that parent."""
        span = new_span(self._worker.rng)
        return with_trace(head, trace, span), span

    def _arm_for_answer(self) -> None:
        """Await the answer's head, or the rest of the body, each byte of which puts the deadline off."""
        seconds = self._timeouts.first_byte if self._is_due else self._timeouts.stall
        self._arm(seconds, is_moving=not self._is_due)

    def _is_judgeable(self) -> bool:
        """Whether the Attempt has failed, or its answer has come so far that it can be judged."""
        upstream = self._upstream
        assert upstream is not None
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
        request = self._request
        if response.status == 101 and not (request.is_upgrade and is_chosen_of(request.upgrade, response.upgrade)):
            self._failure = self._outcome(ErrorKind.HTTP_UPGRADE_FAILED, "101 to a request that did not ask for it")
            return True
        if self._held_until < 0:
            seconds = hold_for(request, response, most) if keyed is None else keyed.hold_for(response)
            self._held_until = monotonic() + seconds
            if 0 < seconds < inf:
                self._client.wake_after(seconds)
        if not self._held or upstream.size > self._held:
            self._held = max(upstream.size, 1)
            self._arm(self._timeouts.stall)
        if upstream.size <= most:
            upstream.resume_reading()
        return upstream.size > most or monotonic() >= self._held_until

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

    def _note_attempt(self, attempt: Attempt | None, result: str, now: float, *, is_sent: bool = True) -> None:
        """For the access log and the trace: an Attempt has ended."""
        record = self._client.record
        if record is None or attempt is None:
            return
        if not is_sent:
            record.sent = 0
        elif self._upload is not None:
            record.sent += self._upload.passed
            self._upload.passed = 0
        record.end(attempt.backend.name, attempt.started, result, now)

    def _note_failure(self, attempt: Attempt | None, failure: Outcome, now: float) -> None:
        is_sent = failure.kind is None or failure.progress is not Progress.NOT_SENT
        self._note_attempt(attempt, result_of(failure), now, is_sent=is_sent)

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

    # What is told of it

    def _count(self, status: int, now: float, pool: str) -> None:
        self._worker.stats.count(self._route, pool, self._request.method, status, now - self._started)

    def _log(
        self,
        status: int,
        now: float,
        pool: str,
        sent: int = 0,
        *,
        flags: str = "",
        executed: str = "",
        tunnelled: int = 0,
    ) -> None:
        """The request has ended: a line for the access log, where there is one."""
        client, recorder = self._client, self._worker.recorder
        if client.record is not None and recorder is not None:
            total, received = now - self._started, self._uploaded + tunnelled
            asked = (time() - total, client.client, self._request)
            recorder.note(
                Entry(*asked, status, received, sent, self._route, pool, client.record, total, flags, executed)
            )

    @property
    def _uploaded(self) -> int:
        return 0 if self._upload is None else self._upload.size

    def _note_refusal(self, error: RequestError) -> None:
        """The line in the log is made where the answer is, in `downstream`."""
        record = self._client.record
        if record is not None:
            self._note_attempt(self._dispatch.attempt, error.kind.value, monotonic())
            record.route, record.pool, record.received = self._route, self._pool.name, self._uploaded

    def _log_departure(self, now: float) -> None:
        """The client has left."""
        upstream, sent, status = self._upstream, 0, 0
        if upstream is not None and upstream.is_passed_on and upstream.head is not None:
            sent, status = upstream.body_size, upstream.head.status
        self._note_attempt(self._dispatch.attempt, GIVEN_UP, now)
        self._log(status, now, self._pool.name, sent, flags=CLIENT_LEFT)
