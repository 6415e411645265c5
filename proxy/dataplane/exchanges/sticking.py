"""Where a request of a split or sticky Route goes, and what its client is told of it.

Called by `exchange`, for such Routes alone. What a cookie says is the matter of `core.sticky`, which Pool of a split of
`core.splitting`, and whether an owner serves of `core.staying`.
"""

from __future__ import annotations

from time import monotonic, time
from typing import TYPE_CHECKING

from proxy.core.limits.waiting import Priority
from proxy.core.pools.balancer import hashed
from proxy.core.pools.model import Backend, Unavailable
from proxy.core.pools.pool import Pool
from proxy.core.requests.decisions import Decision, Refuse, Wait
from proxy.core.requests.fallback import may_stand_in
from proxy.core.requests.routing import Route
from proxy.core.requests.splitting import is_passed_over
from proxy.core.requests.staying import stays
from proxy.core.requests.sticky import SEED_BITS, Bond, Stickiness
from proxy.core.wire.http1 import RequestHead
from proxy.core.wire.http1_answers import ResponseHead

if TYPE_CHECKING:
    from proxy.dataplane.clients.downstream import Downstream
    from proxy.dataplane.exchanges.relay import Answer
    from proxy.dataplane.exchanges.upload import Upload
    from proxy.dataplane.worker import Worker

FIRST_NOT_KEPT = 500
"""A status from which on whoever has answered is no place to come back to."""


class Tie:
    """One request of a client that is kept on its Backend."""

    __slots__ = ("_bond", "_is_secure", "_owner", "_seed", "_stickiness")

    def __init__(
        self, stickiness: Stickiness, bond: Bond | None, seed: int, owner: Backend | None, *, is_secure: bool
    ) -> None:
        self._stickiness = stickiness
        self._bond = bond
        self._seed = seed
        self._is_secure = is_secure
        self._owner = owner

    def __repr__(self) -> str:
        return f"<Tie {self._bond.owner if self._bond else None}>"

    def mark(self, head: bytes, response: ResponseHead, server: Backend) -> bytes:
        """The head of the answer of this Backend, with a cookie where the client needs a new one."""
        now = time()
        if response.status >= FIRST_NOT_KEPT or not self._stickiness.is_due(self._bond, server.key, now):
            return head
        veto = self._owner.unavailable(monotonic()) if self._owner is not None else None
        # A full owner is well: the client comes back. To one that drains clients belong till their cookies end.
        if veto is (Unavailable.DRAIN if server is self._owner else Unavailable.FULL):
            return head
        fields = self._stickiness.fields(server.key, self._seed, now, response.head, is_secure=self._is_secure)
        return head[:-2] + fields + b"\r\n"


class Siblings:
    """The Pools of a split for one request: its own, and the others where it goes if that one can't serve it."""

    __slots__ = ("_now", "_owner", "_route", "_seed", "_tried", "_worker")

    def __init__(self, worker: Worker, route: Route, seed: int | None, owner: Backend | None = None) -> None:
        self._worker = worker
        self._route = route
        self._seed = seed
        """None: each request is drawn for."""
        self._owner = owner
        self._tried: tuple[str, ...] = ()
        self._now = monotonic()

    def __repr__(self) -> str:
        return f"<Siblings {self._route.split} tried={self._tried}>"

    @property
    def priority(self) -> Priority:
        """That of the Route."""
        return self._route.settings.priority

    def next(self) -> Pool:
        """The Pool that gets the request, or gets it next."""
        self._now = monotonic()
        split, worker = self._route.split, self._worker
        if self._seed is None:
            name = split.at_random(worker.rng, self._is_left_out)
        else:
            name = split.of_client(self._seed, self._is_left_out)
        self._tried = (*self._tried, name)
        return worker.pools[name]

    def are_there(self) -> bool:
        """Whether another is left that can serve."""
        self._now = monotonic()
        split = self._route.split
        return any(not self._is_left_out(name) for name, _ in split.shares if name != split.cut_off)

    def owner_in(self, pool: Pool) -> Backend | None:
        """The Backend there that the client belongs to."""
        return self._owner if self._owner is not None and self._owner.key[0] == pool.name else None

    def _is_left_out(self, name: str) -> bool:
        """Whether it was tried or nobody serves there. Who drains serves its own clients still."""
        pool = self._worker.pools.get(name)
        if pool is None or name in self._tried:
            return True
        if not is_passed_over(pool, self._now):
            return False
        owner = self.owner_in(pool)
        return owner is None or not stays(pool, owner, self._now)


def may_go_on(wait: Wait, siblings: Siblings | None, upload: Upload | None) -> bool:
    """Whether another Pool of the split may be asked, rather than to wait for the one that has the request.

    Who stands in line stays there: it will be served.
    """
    if siblings is None or wait.waiter is not None or (upload is not None and not upload.is_whole):
        return False
    return siblings.are_there()


def sibling(siblings: Siblings | None, decision: Decision | Answer) -> Pool | None:
    """Another Pool of the split, in place of a wait or a refusal; a write that may have been executed has none."""
    if siblings is None or not siblings.are_there():
        return None
    if isinstance(decision, Refuse) and not may_stand_in(decision.status, decision.executed):
        return None
    return siblings.next()


def place(client: Downstream, request: RequestHead, route: Route) -> tuple[Siblings, Tie | None]:
    """Where a request may go, and what ties its client to a Backend there."""
    worker, stickiness, policy = client.worker, route.stickiness, route.settings.sticky
    if stickiness is None:
        hash_on = policy.hash_on if policy is not None else None
        seed = None if hash_on is None else hashed(request.balance_key(hash_on.source, hash_on.name))
        return Siblings(worker, route, seed), None
    bond = stickiness.take(request, time())
    seed = worker.rng.getrandbits(SEED_BITS) if bond is None else bond.seed
    owner = worker.backend(*bond.owner) if bond is not None and bond.owner is not None else None
    tie = Tie(stickiness, bond, seed, owner, is_secure=_is_secure(client, request))
    return Siblings(worker, route, seed, owner), tie


def _is_secure(client: Downstream, request: RequestHead) -> bool:
    """Whether the client came over TLS, to us or to a proxy before us that is trusted."""
    forwarding = client.forwarding
    told = dict(request.forwarded).get(b"x-forwarded-proto") if forwarding.is_trusted else None
    return (told or forwarding.scheme).lower() == b"https"
