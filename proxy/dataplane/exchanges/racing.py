"""Asking a second Backend beside a slow one: the first good answer wins, and the other connection is closed.

`exchange` builds on it, and asks it where the Pool hedges. All goes on within the coroutine of the client's connection,
which both connections wake. Whether there may be a second Attempt is decided in `core.dispatch`, and when in
`core.hedging`. An answer wins by its head; what becomes of its body is then as for any other.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, cast

from proxy.core.pools.breaker import GOOD
from proxy.core.requests.decisions import HEDGE_LOST, Attempt
from proxy.core.requests.dispatch import Dispatch
from proxy.core.requests.hedging import HedgeResult, Hedging
from proxy.core.requests.retry import FIRST_RETRIED, Outcome, answered
from proxy.core.telling.accesslog import GIVEN_UP, LOST_RACE, result_of
from proxy.core.wire.headers import upstream_head
from proxy.dataplane.backends.idle import begin_opening, give_up, opened
from proxy.dataplane.exchanges.asking import Asking
from proxy.dataplane.exchanges.relay import Answer
from proxy.dataplane.transport.pause import PAUSE
from proxy.errors import ErrorKind

if TYPE_CHECKING:
    from proxy.dataplane.backends.upstream import Upstream

Sending = tuple[int, float, bytes]

HEDGED = frozenset({b"GET", b"HEAD", b"OPTIONS"})
"""Safe methods (RFC 9110, section 9.2.1). A DELETE that two Backends carry out at once could answer 404."""


class Rival:
    """The second Attempt: its connection is being opened, or has been asked."""

    __slots__ = ("attempt", "opening", "sent", "upstream")

    def __init__(self, attempt: Attempt, upstream: Upstream | None) -> None:
        self.attempt = attempt
        self.upstream = upstream
        self.opening: asyncio.Task[Upstream] | None = None
        self.sent: Sending = (0, 0.0, b"")
        """How many bytes, when, and under which id in the trace."""

    def __repr__(self) -> str:
        return f"<Rival {self.attempt!r} {self.upstream!r}>"

    def close(self) -> None:
        """Nobody wants its answer."""
        if self.opening is not None and self.upstream is None:
            give_up(self.opening)
            if self.opening.done() and not self.opening.cancelled() and self.opening.exception() is None:
                self.opening.result().close()
        if self.upstream is not None:
            self.upstream.close()


class Racing(Asking):
    """One request, asked of two Backends where the first is slow."""

    __slots__ = ("_answer",)

    _answer: Answer | None
    """The last whole answer that is not passed on unless nothing better comes."""

    async def _race(self, dispatch: Dispatch, hedging: Hedging) -> bool:
        """Whether the Attempt that is left can be judged already."""
        after = hedging.after(monotonic())
        if after is None:
            return False
        if not await self._is_slow(after):
            return self._is_judgeable()
        chosen = dispatch.hedge(monotonic())
        if isinstance(chosen, HedgeResult):
            hedging.note(chosen)
            return False
        first_sent = self._client.record.sending if self._client.record is not None else (0, 0.0, b"")
        home = self._worker.idle[chosen.backend]
        rival = Rival(chosen, home.take(chosen.started, self._timeouts.backend_idle, self._client))
        try:
            if rival.upstream is None:
                rival.opening = begin_opening(home, self._client)
            else:
                self._send_to(rival)
            return await self._run_race(dispatch, hedging, rival, first_sent)
        finally:
            if dispatch.rival is chosen:
                self._note(chosen, GIVEN_UP, rival.sent, first_sent)
                rival.close()

    async def _is_slow(self, after: float) -> bool:
        """Whether nothing came of the first Attempt in so many seconds."""
        until = monotonic() + after
        self._client.wake_after(after)
        upstream = cast("Upstream", self._upstream)
        while monotonic() < until:
            await PAUSE
            if upstream.head is not None or self._is_judgeable():
                return False
        return True

    async def _run_race(self, dispatch: Dispatch, hedging: Hedging, rival: Rival, first_sent: Sending) -> bool:
        """Until one of the two is left."""
        while True:
            await PAUSE
            upstream = cast("Upstream", self._upstream)
            is_over = self._is_judgeable()
            if self._failure is not None:
                self._yield_to(dispatch, rival, self._failure, first_sent)
                return await self._join(rival)
            if upstream.head is not None:
                outcome = answered(upstream.head.status, upstream.requests > 1)
                if self._is_good(outcome):
                    self._drop_rival(dispatch, hedging, rival, HEDGE_LOST, first_sent)
                    return is_over
                if is_over:
                    self._keep_answer(upstream)
                    self._yield_to(dispatch, rival, outcome, first_sent)
                    return await self._join(rival)
            lost = self._look_at(rival)
            if lost is not None:
                self._keep_answer(rival.upstream)
                self._drop_rival(dispatch, hedging, rival, lost, first_sent)
                return False
            if rival.upstream is not None and rival.upstream.head is not None:
                hedging.note(HedgeResult.WON)
                self._yield_to(dispatch, rival, HEDGE_LOST, first_sent)
                return await self._join(rival)

    def _keep_answer(self, upstream: Upstream | None) -> None:
        """A bad answer that is whole is better than none."""
        if upstream is not None and upstream.head is not None and upstream.is_complete:
            self._answer = Answer(upstream.head, upstream.pieces, upstream.trailer)

    def _is_good(self, outcome: Outcome) -> bool:
        """Whether this answer is one to pass on, while another may still come."""
        if outcome.verdict() is not GOOD:
            return False
        return outcome.status < FIRST_RETRIED or not self._pool.settings.retries.names(outcome)

    def _look_at(self, rival: Rival) -> Outcome | None:
        """How the second Attempt has failed; None if it has not."""
        if rival.upstream is None:
            opening = cast("asyncio.Task[Upstream]", rival.opening)
            if not opening.done():
                return None
            connected = opened(opening)
            if isinstance(connected, Outcome):
                return connected
            rival.upstream = connected
            self._send_to(rival)
        upstream = rival.upstream
        if upstream.error is not None:
            return upstream.outcome(upstream.error.kind, upstream.error.detail, is_uploaded=True)
        if upstream.head is not None:
            outcome = answered(upstream.head.status, upstream.requests > 1)
            return None if self._is_good(outcome) else outcome
        if upstream.is_lost or upstream.has_ended:
            return upstream.outcome(ErrorKind.CONNECTION_TERMINATED, "", is_uploaded=True)
        return None

    def _send_to(self, rival: Rival) -> None:
        """Ask the second Backend the same."""
        client, request, upstream = self._client, self._request, cast("Upstream", rival.upstream)
        upstream.begin(client, to_head=request.method == b"HEAD")
        head = upstream_head(request, client.forwarding, self._rewrite, self._worker.make_id)
        record, span = client.record, b""
        if record is not None and record.trace is not None:
            head, span = self._traced(head, record.trace)
        rival.sent = (len(head), monotonic(), span)
        self._worker.outbox.send(upstream, head)

    # One of the two is left

    def _drop_rival(
        self, dispatch: Dispatch, hedging: Hedging, rival: Rival, outcome: Outcome, first_sent: Sending
    ) -> None:
        """The first Attempt goes on alone."""
        is_lost = outcome is HEDGE_LOST
        hedging.note(HedgeResult.LOST if is_lost else HedgeResult.FAILED)
        self._note(rival.attempt, LOST_RACE if is_lost else result_of(outcome), rival.sent, first_sent)
        dispatch.drop(rival.attempt, outcome, monotonic())
        rival.close()

    def _yield_to(self, dispatch: Dispatch, rival: Rival, outcome: Outcome, first_sent: Sending) -> None:
        """The second Attempt takes the place of the first."""
        first = cast("Attempt", dispatch.attempt)
        self._note(first, LOST_RACE if outcome is HEDGE_LOST else result_of(outcome), first_sent, rival.sent)
        dispatch.drop(first, outcome, monotonic())
        self._drop_upstream()

    async def _join(self, rival: Rival) -> bool:
        """Go on with the second Attempt alone; whether it can be judged already."""
        self._failure = None
        self._held_until = -1.0
        self._held = 0
        self._is_due = True
        if rival.upstream is None:
            self._arm(self._timeouts.connect)
            try:
                connected = await self._opened(rival)
            except BaseException:
                rival.close()
                raise
            if isinstance(connected, Outcome):
                self._failure = connected
                return True
            rival.upstream = connected
            self._upstream = self._client.upstream = connected
            self._send_to(rival)
            self._arm(self._timeouts.first_byte)
            return False
        self._arm(self._timeouts.first_byte)
        self._upstream = self._client.upstream = rival.upstream
        return self._is_judgeable()

    async def _opened(self, rival: Rival) -> Upstream | Outcome:
        """The second Attempt's connection, which nobody else is waited for beside."""
        opening = cast("asyncio.Task[Upstream]", rival.opening)
        while not opening.done():
            self._check_client()
            if self._client.is_expired:
                give_up(opening)
                return Outcome(ErrorKind.CONNECTION_TIMEOUT, detail="no connection in time")
            await PAUSE
        return opened(opening)

    def _note(self, attempt: Attempt, result: str, its: Sending, other: Sending) -> None:
        """For the access log: one of the two has ended, and the other goes on."""
        record, now = self._client.record, monotonic()
        if record is not None:
            record.send(*its)
            record.end(attempt.backend.name, attempt.started, result, now)
            record.send(*other)
