"""What goes to the client: a Backend's answer, whole or as a stream, or an answer of our own.

Part of an Exchange, which decides when. What may be passed on as it is, `relay` words; refusals are `core.answers`'.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, cast

from proxy.core.requests.decisions import Attempt, Decision, Refuse
from proxy.core.requests.retry import Outcome
from proxy.core.settings import Redirect, StaticAnswer, StatusOfWrites
from proxy.core.telling.accesslog import RATE_LIMITED, STOOD_IN, flags_of, result_of
from proxy.core.telling.availability import FIRST_ERROR
from proxy.core.wire import answers
from proxy.core.wire.chunked import last_chunk
from proxy.core.wire.grammar import CHUNKED, END_OF_HEAD, UNTIL_CLOSE
from proxy.core.wire.headers import downstream_head, ends_with_connection, is_chunked_for
from proxy.core.wire.http1_answers import ResponseHead
from proxy.dataplane.backends.upstream import Upstream
from proxy.dataplane.clients.limited import seconds_too_early
from proxy.dataplane.exchanges.racing import Racing
from proxy.dataplane.exchanges.relay import Answer, again, begin_stream, stream_failure, whole
from proxy.dataplane.exchanges.rescue import POOL, Rescue
from proxy.dataplane.exchanges.sticking import Tie
from proxy.dataplane.exchanges.tunnel import Tunnel
from proxy.dataplane.transport.outbox import JOIN_BELOW
from proxy.dataplane.transport.pause import PAUSE, rest
from proxy.dataplane.writes.keyed import status_of_write

if TYPE_CHECKING:
    from proxy.core.requests.routing import Route

BROKEN_OFF = 502
"""What an answer with a good status that broke off counts as."""


class Answering(Racing):
    """The answers of one request."""

    __slots__ = ("_answered", "_rescue", "_tie")

    _answered: Outcome
    _rescue: Rescue | None
    _tie: Tie | None

    # A Backend's

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
        head, pieces = downstream_head(request, response, close=False), upstream.pieces
        if len(pieces) == 1 and len(pieces[0]) < JOIN_BELOW:
            client.send(head + pieces[0])
        else:
            self._worker.outbox.send_parts(client, [head, *pieces])
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
        self._count_rescue(response.status)
        self._worker.stats.count_if_saved(self._route, self._pool.name, self._dispatch.attempts, self._answered)
        return not close

    def _count_rescue(self, status: int) -> None:
        """The request has just been counted with this status: did another Pool serve it than its own?"""
        if self._rescue is not None:
            self._rescue.count_if_elsewhere(status)

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
        self._count_rescue(response.status if response.status >= FIRST_ERROR else BROKEN_OFF)
        if response.body is UNTIL_CLOSE or response.body is CHUNKED:
            self._client.reset()
        return False

    async def _switch(self, upstream: Upstream, head: bytes) -> bool:
        """The protocol changes: from here on bytes pass both ways."""
        self._count(101, monotonic(), self._pool.name)
        self._count_rescue(101)
        tunnel = Tunnel(self._client, upstream)
        tunnel.begin(head)
        await tunnel.run(self._upload, self._timeouts)
        now = monotonic()
        self._note_attempt(self._dispatch.attempt, result_of(self._answered), now)
        self._log(101, now, self._pool.name, tunnel.sent, tunnelled=tunnel.received)
        self._dispatch.finish(self._answered, now)
        self._worker.stats.count_if_saved(self._route, self._pool.name, self._dispatch.attempts, self._answered)
        return False

    def _proxy_status(self) -> bytes:
        attempts, panic = self._dispatch.attempts, self._pool.panic
        if self._rescue is not None and self._rescue.is_elsewhere:
            return self._rescue.proxy_status(POOL, attempts, panic=panic)
        return answers.proxy_status(attempts=attempts, panic=panic) if attempts > 1 or panic else b""

    # Our own

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
            elif self._rescue is not None:
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
