"""A write with an idempotency key on its way through a worker: asks the ledger, notes, keeps the answer.

`exchange` calls it where a Pool has `idempotency`; other requests never come here. What to do is decided in
`core.idempotency` and `core.keyed`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, cast

from proxy.core.requests.decisions import Attempt, Decision, Refuse
from proxy.core.settings import IdempotencyPolicy, RouteSettings
from proxy.core.wire.chunked import chunk, last_chunk
from proxy.core.wire.grammar import CHUNKED, COUNTED, options_of, with_nominated
from proxy.core.wire.http1 import RequestHead
from proxy.core.wire.http1_answers import ResponseHead
from proxy.core.writes import idempotency
from proxy.core.writes.idempotency import Denial, Entry, Kept, KeyState, Verdict
from proxy.core.writes.keyed import KeyedDispatch
from proxy.core.writes.queueing import CHECKED, STATUS_PATH, Parcel, acceptance, report, unknown
from proxy.dataplane.backends.upstream import Upstream
from proxy.dataplane.exchanges.relay import Answer
from proxy.dataplane.exchanges.upload import Upload
from proxy.dataplane.transport.pause import PAUSE, wait
from proxy.dataplane.writes.mailbox import Mailbox
from proxy.errors import RequestError, ResponseError
from proxy.ledger.batch import BUSY_LIMIT
from proxy.ledger.store import Claim, Store, StoreBusyError, StoreError, StoreFullError

if TYPE_CHECKING:
    from proxy.core.pools.pool import Pool
    from proxy.dataplane.clients.downstream import Downstream
    from proxy.dataplane.worker import Worker

LOOK_EVERY = 0.025
"""Seconds between two looks whether the first request with a key has been answered (`on_conflict: wait`)."""
BUSY_STEP = 0.005
"""Seconds between two looks into a ledger that is just being opened, or that another process holds."""
STRIPPED = "`Connection` names the key's field, so no backend would see it"
NOT_LOOKED_UP = "this request was not sent; what became of an earlier one with its key can't be looked up now"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
RESULTS = {
    Verdict.RUN: "new",
    Verdict.ONLY_TO: "asked_again",
    Verdict.REPLAY: "replayed",
    Verdict.QUEUED: "queued",
    Verdict.CONFLICT: "conflict",
    Verdict.MISMATCH: "mismatch",
    Verdict.UNKNOWN: "unknown",
}
"""What a metric calls what a request got."""


class KeyedWrite:
    """One request that has a key, or should have one."""

    __slots__ = (
        "_before",
        "_check",
        "_client",
        "_entry",
        "_fingerprint",
        "_key",
        "_policy",
        "_pool",
        "_request",
        "_route",
        "_store",
        "_upload",
        "_worker",
        "dispatch",
    )

    def __init__(
        self, client: Downstream, request: RequestHead, pool: Pool, policy: IdempotencyPolicy, route: RouteSettings
    ) -> None:
        self._client = client
        self._worker = client.worker
        self._store = cast("Store", client.worker.ledger)
        self._request = request
        self._pool = pool
        self._policy = policy
        self._route = route
        self._key = self._fingerprint = b""
        self._before: Entry | None = None
        self._entry: Entry | None = None
        """Ours: as long as it is here, what became of the write is still to be noted."""
        self.dispatch = KeyedDispatch(pool, request, client.worker.rng, policy)

    def __repr__(self) -> str:
        return f"<KeyedWrite {self._request} {self._entry}>"

    @property
    def most_held(self) -> int:
        """Bytes of an answer's body that are held, to be kept."""
        return self._policy.max_body

    def hold_for(self, response: ResponseHead) -> float:
        """Seconds to hold an answer for: until it is whole, so that it is kept before the client sees it."""
        is_long = response.body is COUNTED and response.length > self._policy.max_body
        return 0.0 if is_long or response.status == 101 or response.is_event_stream else inf

    # Before anything is sent

    async def start(self, upload: Upload | None, check: Callable[[], None]) -> Decision | Answer:
        """The first decision, once the key is known to be good, the body is whole and the ledger was asked.

        Until then nothing else says that the Pool is still wanted: a reload may remove it meanwhile.
        """
        self._upload, self._check = upload, check
        strain = self._pool.strain
        strain.preparing += 1
        try:
            return await self._begin()
        finally:
            strain.preparing -= 1

    async def _begin(self) -> Decision | Answer:
        self._request.request_id = self._request.request_id or self._worker.make_id()
        # What switches protocols is not answered, so it can't be kept: a write with a key is just a write.
        self._request.upgrade = b""
        if self._policy.header.lower().encode() in options_of(self._request.connection.lower()):
            return self._deny(idempotency.BAD_KEY, STRIPPED)
        denial = self._read_key()
        if denial is not None:
            return self._deny(denial, f"send one {self._policy.header} header of 1 to 255 ASCII characters")
        body = await self._whole_body()
        if body is None:
            most = self._pool.settings.retries.buffer_body
            return self._deny(idempotency.TOO_LARGE, f"at most {most} bytes can be sent with a key")
        self._fingerprint = idempotency.fingerprint(self._request.method, self._request.target, body)
        return await self._decide()

    def _read_key(self) -> Denial | None:
        key = key_of(self._request, self._pool.name, self._policy)
        if key is None:
            is_given = self._request.fields(self._policy.header.lower().encode())
            return idempotency.BAD_KEY if is_given else idempotency.NO_KEY
        self._key = key
        return None

    async def _whole_body(self) -> bytes | None:
        """The body when all of it is here; None if it is too large to be kept. Raises RequestError."""
        upload, request, client = self._upload, self._request, self._client
        most, stall = self._pool.settings.retries.buffer_body, self._pool.settings.timeouts.stall
        if upload is None:
            return b""
        if request.length > most:
            return None
        if request.expects_continue:
            # We take the body in before a Backend is asked, so it is on us to ask for it.
            request.cuts = with_nominated(request.cuts, request.lowered, {b"expect"})
            request.expects_continue = False
            if not upload.is_complete:
                client.write(CONTINUE)
        client.arm(monotonic() + stall, stall=stall)
        while not upload.is_complete and upload.size <= most:
            self._check()
            if client.is_expired:
                raise RequestError(408, "the body did not come in time")
            await PAUSE
        self._check()
        return upload.whole() if upload.size <= most else None

    async def _decide(self) -> Decision | Answer:
        """Ask the ledger what may be done."""
        busy_since: float | None = None
        until = monotonic() + self._pool.settings.timeouts.first_byte
        while True:
            try:
                entry = await self._store.find(self._key, time.time())
                busy_since = None
            except StoreBusyError:
                busy_since = busy_since or monotonic()
                if monotonic() - busy_since > BUSY_LIMIT:
                    return self._deny(idempotency.STORE_FAILED, NOT_LOOKED_UP)
                await wait(self._client, BUSY_STEP, self._check)
                continue
            except StoreError:
                return self._deny(idempotency.STORE_FAILED, NOT_LOOKED_UP)
            verdict = Verdict.RUN if entry is None else idempotency.judge(entry, self._fingerprint, self._policy)
            if verdict is not Verdict.CONFLICT or self._policy.on_conflict != "wait" or monotonic() >= until:
                self._count(RESULTS[verdict])
                return await self._follow(verdict, entry)
            await wait(self._client, LOOK_EVERY, self._check)

    async def _follow(self, verdict: Verdict, entry: Entry | None) -> Decision | Answer:
        now = monotonic()
        self._before = entry
        if entry is None:
            # What is delivered had a key when it was accepted: it may have been executed, or somebody gave it up.
            return NOT_DELIVERED if self._is_delivery else self.dispatch.start(now)
        if verdict is Verdict.RUN:
            return self.dispatch.start_anywhere(now)
        if verdict is Verdict.ONLY_TO:
            return self.dispatch.start_again(entry.backend, now)
        if verdict is Verdict.QUEUED:
            return self.dispatch.start(now) if self._is_delivery else await self._accepted()
        if verdict is Verdict.REPLAY:
            return await self._replay(entry)
        return DENIALS[verdict].refuse()

    async def _replay(self, entry: Entry) -> Decision | Answer:
        try:
            kept = await self._store.answer(entry)
            if kept is None:
                return idempotency.NOT_KEPT.refuse()
            head = ResponseHead(kept.head, CHECKED)
        except StoreError:
            return idempotency.NOT_READABLE.refuse()
        except ResponseError:
            return idempotency.NOT_KEPT.refuse("what was kept can't be read")
        note = b"" if b"\nidempotency-replayed:" in kept.head.lower() else idempotency.REPLAYED
        return Answer(head, [kept.body] if kept.body else [], kept.trailer, note)

    # Before each Attempt

    async def record(self, attempt: Attempt) -> Decision | Answer | None:
        """Note who may execute the write, before a byte of it is sent there; else what to do instead."""
        backend = attempt.backend.name
        if self._entry is not None and self._entry.backend == backend:
            return None
        claim, before = self._claim(backend), self._entry or self._before
        try:
            entry = await self._store.claim(claim, before, time.time(), self._client.wake)
        except StoreError as error:
            return self._not_recorded(error)
        if entry is None:
            self.dispatch.withdraw(monotonic())
            return await self._decide()
        self._entry = entry
        return None

    def _not_recorded(self, error: StoreError) -> Decision:
        is_new = not self.dispatch.may_be_executed
        self.dispatch.withdraw(monotonic())
        if not is_new:
            return self._deny(idempotency.NOT_KNOWN, "the ledger fails")
        return self._deny(idempotency.STORE_FULL if isinstance(error, StoreFullError) else idempotency.STORE_FAILED)

    # After the last one

    async def keep(self, upstream: Upstream) -> None:
        """An answer is about to be passed on: keep it first, if it settles the write."""
        entry, head = self._entry, upstream.head
        assert head is not None
        if entry is None or not idempotency.is_final(head.status, self._policy):
            return
        answer = None
        if upstream.is_complete and sum(map(len, upstream.pieces)) <= self._policy.max_body:
            answer = Kept(head.head, b"".join(upstream.pieces), upstream.trailer)
        elif self._policy.honoured:
            # What is too large to be kept its Backend can be asked for again.
            return
        try:
            await self._store.settle(entry, answer, self._client.wake)
        except StoreError:
            return
        self._entry = None

    def leave(self) -> None:
        """The exchange is over. What was not settled may have been executed, or surely was not."""
        if self._entry is not None:
            untouched = KeyState.QUEUED if self._is_delivery else None
            self._store.let_go(self._entry, KeyState.UNKNOWN if self.dispatch.was_sent else untouched)
            self._entry = None

    # For later

    @property
    def _is_delivery(self) -> bool:
        """Whether it was accepted before and is being delivered."""
        return isinstance(self._client.transport, Mailbox)

    async def instead(self, decision: Decision | Answer) -> Decision | Answer:
        """A write that was sent to nobody is accepted for later, where its Route says so and there is room."""
        policy, queue, is_ours = self._route.queue, self._worker.queue, isinstance(decision, Refuse)
        is_open = is_ours and decision.executed == "no" and not decision.name  # type: ignore[union-attr]
        if policy is None or queue is None or not is_open or self._is_delivery:
            return decision
        client, request = self._client, self._request
        body = b"" if self._upload is None else self._upload.whole()
        framed = b"".join([*chunk([body]), last_chunk()]) if request.body is CHUNKED else body
        parcel = Parcel(request.head + framed, client.client, client.forwarding.scheme.decode(), self._route.name)
        claim = self._claim("")
        before, now = self._entry or self._before, time.time()
        try:
            token = await queue.put(parcel, claim, before, policy, now=now, wake=self._client.wake)
        except StoreError:
            return decision
        self._entry = None
        self._count("accepted")
        return self._told_later(token) if token else await self._decide()

    async def _accepted(self) -> Decision | Answer:
        queue = self._worker.queue
        try:
            token = "" if queue is None else await queue.token_of(self._key)
        except StoreError:
            token = ""
        return self._told_later(token) if token else idempotency.BUSY.refuse()

    @staticmethod
    def _told_later(token: str) -> Answer:
        head, body = acceptance(token)
        return Answer(ResponseHead(head, CHECKED), [body], b"")

    def _claim(self, backend: str) -> Claim:
        policy = self._policy
        return Claim(self._key, self._pool.name, self._fingerprint, backend, policy.keep_for, policy.max_entries)

    def _deny(self, denial: Denial, detail: str = "") -> Decision:
        self._count(denial.name.removeprefix("idempotency_"))
        return denial.refuse(detail)

    def _count(self, result: str) -> None:
        self._worker.stats.count_keyed(self._pool.name, result)


async def status_of_write(worker: Worker, request: RequestHead) -> Answer:
    """What became of an accepted write, for whoever knows its token."""
    token = request.path.removeprefix(STATUS_PATH.encode()).decode("latin-1")
    request.request_id = request.request_id or worker.make_id()
    try:
        queued = None if worker.queue is None else await worker.queue.look(token)
        head, body = report(queued)
    except StoreError:
        head, body = unknown()
    return Answer(ResponseHead(head, CHECKED), [] if request.method == b"HEAD" else [body], b"")


DENIALS = {
    Verdict.CONFLICT: idempotency.BUSY,
    Verdict.MISMATCH: idempotency.REUSED,
    Verdict.UNKNOWN: idempotency.NOT_KNOWN,
}
NOT_DELIVERED = idempotency.NOT_KNOWN.refuse("its key is forgotten")


def key_of(request: RequestHead, pool: str, policy: IdempotencyPolicy) -> bytes | None:
    """What the key of a request is stored as; None if it has none, or none that is valid."""
    key = idempotency.read_key(request.fields(policy.header.lower().encode()))
    scope = request.fields(policy.scope.lower().encode()) if policy.scope else []
    return None if key is None else idempotency.key_id(pool, scope, key)


def begin_keyed(
    client: Downstream, request: RequestHead, pool: Pool, policy: IdempotencyPolicy, route: RouteSettings
) -> KeyedWrite | None:
    """The KeyedWrite of a request; None for one that needs no key and has none."""
    if not idempotency.concerns(policy, request.method):
        return None
    if request.method.decode() in policy.require_for or request.fields(policy.header.lower().encode()):
        return KeyedWrite(client, request, pool, policy, route)
    return None
