"""What a user's own code is shown and what it gives: a balancer, a retry condition, a stick key, a probe.

The public part of this project: these names and shapes stay. What is shown can't be changed and is bounded. Own code
that raises, or gives something else than it should, is passed over for what is built in, and `complain` is called; who
loads it is `proxy.extensions`, and what is said of it is in `docs/extending.md`.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple, Protocol, cast

from proxy.core.pools.balancer import Keyed, LeastRequests
from proxy.core.pools.model import Backend
from proxy.core.requests.retry import Outcome
from proxy.core.settings import PoolSettings
from proxy.core.wire.http1 import RequestHead

WRONG = (Exception, SystemExit)
"""What own code may raise and be passed over for. `sys.exit()` in it must not end the proxy."""
Complain = Callable[[str, BaseException], None]
"""Called with the dotted path of own code that went wrong, and how."""


class RequestView:
    """A client's request. Fields are looked up when they are asked for; names in any case."""

    __slots__ = ("_head",)

    def __init__(self, head: RequestHead) -> None:
        self._head = head

    def __repr__(self) -> str:
        return f"<RequestView {self.method} {self.target}>"

    @property
    def method(self) -> str:
        """As the client wrote it."""
        return self._head.method.decode("latin-1")

    @property
    def host(self) -> str:
        """In lower case, with its port where there is one."""
        return self._head.authority.decode("latin-1")

    @property
    def target(self) -> str:
        """Path and query, as they were sent."""
        return self._head.target.decode("latin-1")

    @property
    def path(self) -> str:
        """Without the query."""
        return self._head.path.decode("latin-1")

    @property
    def client(self) -> str:
        """The client's address."""
        return self._head.client

    def header(self, name: str) -> str | None:
        """The first value of a field; None where there is none."""
        found = self._head.field(name.lower().encode("latin-1"))
        return None if found is None else found.decode("latin-1")

    def cookie(self, name: str) -> str | None:
        """The value of a cookie; None where there is none."""
        found = self._head.cookie(name.encode("latin-1"))
        return None if found is None else found.decode("latin-1")


class BackendView(NamedTuple):
    """A Backend that could get the request."""

    name: str
    region: str
    tier: int
    weight: float
    """In force now: less in slow start, or for one that does worse than its peers."""
    in_flight: int
    """Requests that this worker has there."""


class Ended(NamedTuple):
    """How an Attempt ended."""

    error: str | None
    """A name of RFC 9209, such as `connection_terminated`; None: the Backend answered with `status`."""
    status: int
    """0 where there is an error."""
    progress: str
    """How far the request had got: `not_sent`, `partly_sent`, `sent` or `answered`."""
    reused: bool
    """Whether the connection had carried a request before."""


class Target(NamedTuple):
    """A Backend that is to be probed."""

    host: str
    port: int
    path: str
    """Of its Unix socket; empty where there is none."""
    tls: bool
    timeout: float
    """Seconds after which the probe is given up, and has failed."""


class Balancer(Protocol):
    """Named by `balance`. A class is made anew for each group of Backends in each worker, and may learn."""

    def pick(self, request: RequestView, candidates: Sequence[BackendView]) -> BackendView | None:
        """One of the candidates, of which there is at least one; None: `least_requests` picks."""


class RetryCondition(Protocol):
    """Named in `retries.on`. Only asked of failures and of statuses from 408 that may be tried again at all."""

    def __call__(self, ended: Ended) -> bool:
        """Whether to try again."""


class StickKey(Protocol):
    """Named by `hash_on`."""

    def __call__(self, request: RequestView) -> str | None:
        """What has to be equal for requests to go to one Backend; None: the client's address."""


class Probe(Protocol):
    """Named by `health.check`."""

    def __call__(self, target: Target) -> Awaitable[tuple[bool, str]]:
        """Whether the Backend is well, and what was seen. An OSError is a failed probe."""


class OwnBalancer:
    """Lets own code pick, and `least_requests` where that gives nothing."""

    __slots__ = ("_built_in", "_complain", "_name", "_own")

    def __init__(
        self,
        name: str,
        own: Callable[[], Balancer],
        complain: Complain,
        settings: PoolSettings,
        backends: Sequence[Backend],
    ) -> None:
        self._name = name
        self._complain = complain
        self._built_in = LeastRequests(settings, backends)
        self._own: Balancer | None = None
        try:
            self._own = own()
        except WRONG as error:
            complain(name, error)

    def pick(self, candidates: Sequence[Backend], request: Keyed, now: float, rng: random.Random) -> Backend:
        if self._own is not None:
            try:
                views = [_view(backend) for backend in candidates]
                chosen = self._own.pick(RequestView(cast("RequestHead", request)), tuple(views))
                if chosen is not None:
                    return candidates[views.index(chosen)]
            except WRONG as error:
                self._complain(self._name, error)
        return self._built_in.pick(candidates, request, now, rng)


def _view(backend: Backend) -> BackendView:
    settings = backend.settings
    return BackendView(backend.name, settings.region, settings.tier, backend.weight, backend.in_flight)


def own_condition(name: str, own: RetryCondition, complain: Complain) -> Callable[[Outcome], bool]:
    """A condition for `retry.CONDITIONS`; where own code goes wrong it does not hold."""

    def holds(outcome: Outcome) -> bool:
        error = None if outcome.kind is None else outcome.kind.value
        try:
            return bool(own(Ended(error, outcome.status, outcome.progress.name.lower(), outcome.reused)))
        except WRONG as wrong:
            complain(name, wrong)
            return False

    return holds


def own_key(name: str, own: StickKey, complain: Complain) -> Callable[[Keyed], bytes]:
    """A key for `balancer.KEYS`; where own code gives none it is the client's address."""

    def key(request: Keyed) -> bytes:
        try:
            found = own(RequestView(cast("RequestHead", request)))
            if found is not None:
                return found.encode("utf-8", "surrogatepass")
        except WRONG as wrong:
            complain(name, wrong)
        return request.balance_key("client", "")

    return key
