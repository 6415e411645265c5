"""The value objects that a config file becomes: what the supervisor knows and a Snapshot carries to the workers.

Plain frozen data. Policies with behaviour stand beside that behaviour (`health`, `breaker`, `retry` and others).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from proxy.core.limits.concurrency import ConcurrencyPolicy
from proxy.core.limits.waiting import Priority, WaitingPolicy
from proxy.core.pools.active import FailoverPolicy
from proxy.core.pools.breaker import BreakerPolicy
from proxy.core.pools.damping import DampingPolicy
from proxy.core.pools.health import HealthPolicy
from proxy.core.pools.locality import LocalityPolicy
from proxy.core.pools.outlier import EjectionPolicy, OutlierPolicy
from proxy.core.pools.warmup import WarmupPolicy
from proxy.core.requests.canary import AbortPolicy
from proxy.core.requests.fallback import Fallback
from proxy.core.requests.hedging import HedgePolicy
from proxy.core.requests.retry import RetryPolicy
from proxy.core.tls import BackendTls, ListenerTls
from proxy.core.wire.tracing import TracingPolicy


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen or connect: host and port, or the path of a Unix socket."""

    host: str = ""
    port: int = 0
    path: str = ""
    tls: bool = False
    """Whether TLS is spoken there: a Backend's URL with `https`."""

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Bounds on every wait, in seconds."""

    connect: float = 1.0
    """To open a connection to a Backend, TLS included."""
    first_byte: float = 15.0
    """From the request's last byte to the response head, per Attempt."""
    stall: float = 30.0
    """In which no byte of a body moves."""
    request_head: float = 10.0
    """For a client to send a whole request head."""
    client_idle: float = 60.0
    """An idle client connection is kept so long."""
    backend_idle: float = 30.0
    """An idle connection to a Backend is kept so long."""
    tunnel_idle: float = 3600.0
    """A tunnel (WebSocket) in which no byte moves is kept so long."""
    total: float | None = None
    """For a request with all its Attempts and waits, to the response head."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on sizes and numbers."""

    request_line: int = 8192
    """Bytes of a request line; more is 414."""
    headers: int = 100
    """Header fields of a message; more is 431."""
    header_bytes: int = 32768
    """Bytes of a message's head; more is 431."""
    body: int | None = None
    """Bytes of a request's body; more is 413."""
    connections: int = 10000
    """Client connections of one Listener, over all workers; more get 503 and are closed."""
    max_in_flight: int | None = None
    """Requests at a time on one Backend, over all workers."""
    connections_per_client: int | None = None
    """As `connections`, for one client address; an IPv6 client is a /64."""


@dataclass(frozen=True, slots=True)
class HoldPolicy:
    """Requests wait a little while a pool has just lost its last Backend."""

    duration: float = 1.0
    """Seconds after the loss in which requests wait (`for` in a config file)."""
    max_requests: int = 1000
    """Requests of one worker that may wait at a time; more get 503."""


@dataclass(frozen=True, slots=True)
class IdempotencyPolicy:
    """How writes with an idempotency key are kept from being executed twice."""

    header: str = "Idempotency-Key"
    require_for: tuple[str, ...] = ()
    """Methods that get 400 without a key."""
    scope: str | None = "Authorization"
    """The header that tells clients apart, whose keys may be equal; None: no two clients have the same key."""
    on_conflict: str = "refuse"
    """What a repeat gets while the first is on its way: `refuse` (409) or `wait`."""
    honoured: bool = True
    """Whether a Backend that gets the same key twice executes it once."""
    shares_keys: bool = False
    """Whether that holds for all Backends of the Pool together."""
    keep_for: float = 86400.0
    """Seconds from when it was last sent."""
    max_entries: int = 1_000_000
    """Keys that are kept; beyond them a new one gets 503."""
    max_body: int = 65536
    """Bytes of an answer's body that are kept."""


@dataclass(frozen=True, slots=True)
class BackendSettings:
    """One Backend as the config names it."""

    name: str
    address: Address
    weight: int = 1
    tier: int = 1
    region: str = ""
    max_in_flight: int | None = None


@dataclass(frozen=True, slots=True)
class HashOn:
    """What the `hash` Balancer hashes: `header`, `cookie`, `client` (address), `path`, or what `own` code finds."""

    source: str = "client"
    name: str = ""


@dataclass(frozen=True, slots=True)
class RatePolicy:
    """How many requests of one client a Route takes, over all workers."""

    rate: float
    """Requests a second that go on and on."""
    burst: int = 10
    """Requests that may come at once, after a time without any."""
    key: HashOn = HashOn()
    """What tells clients apart."""


@dataclass(frozen=True, slots=True)
class StickyPolicy:
    """How each client of a Route is kept on one Backend, and in one Pool of a split."""

    cookie: str = ""
    """The name of the cookie that says where a client belongs. Empty: `hash_on` says it, for a split alone."""
    hash_on: HashOn | None = None
    ttl: float = 3600.0
    """Seconds after which a cookie counts no more; it is renewed once half of them have passed."""
    path: str = "/"
    domain: str = ""
    secure: bool | None = None
    """Whether browsers may send it over TLS alone; None: as the client came that got it."""
    http_only: bool = True
    same_site: str = "lax"
    keys: tuple[bytes, ...] = field(default=(), repr=False)
    """What cookies are signed with: the first; those signed with one of the others are still good."""


@dataclass(frozen=True, slots=True)
class PoolSettings:
    """A named set of interchangeable Backends and their policies."""

    name: str
    backends: tuple[BackendSettings, ...]
    balance: str = "least_requests"
    hash_on: HashOn = HashOn()
    overprovisioning: float = 1.4
    """A tier's available share times this, up to 1, is the share of the load that it takes."""
    region: str = ""
    locality: LocalityPolicy | None = None
    """None: all regions are one."""
    obey_backend: bool = False
    """Whether a Backend's own word, in the answer to a probe, is obeyed."""
    failover: FailoverPolicy | None = None
    """None: all Backends serve (`active-active`); else one at a time (`active-passive`)."""
    warmup: WarmupPolicy = WarmupPolicy()
    damping: DampingPolicy | None = None
    """None: flapping has no other cost than what each failure has."""
    timeouts: Timeouts = Timeouts()
    health: HealthPolicy = HealthPolicy()
    breaker: BreakerPolicy = BreakerPolicy()
    retries: RetryPolicy = RetryPolicy()
    ejection: EjectionPolicy = EjectionPolicy()
    outlier: OutlierPolicy = OutlierPolicy()
    limits: Limits = Limits()
    hold: HoldPolicy = HoldPolicy()
    waiting: WaitingPolicy = WaitingPolicy()
    """While all Backends are full (`queue` in a config file)."""
    concurrency: ConcurrencyPolicy | None = None
    """None: no limit but those of the Backends."""
    hedge: HedgePolicy = HedgePolicy()
    has_priorities: bool = False
    """Whether a Route to this Pool has another priority than `normal`."""
    send_proxy_protocol: str = ""
    """`v1` or `v2`: each connection to a Backend begins with such a header. Empty: none does."""
    idempotency: IdempotencyPolicy | None = None
    tls: BackendTls = BackendTls()
    """With Backends whose address says so."""
    slo: float | None = None
    """The share of its requests that should go well; None: nobody has said."""
    sticky: StickyPolicy | None = None
    """What its Routes have that say nothing of their own; in force is what a Route has."""


@dataclass(frozen=True, slots=True)
class Match:
    """What a request must have for a Route to take it; what is empty matches all."""

    host: str = ""
    """`shop.example`, or `*.shop.example` for every name below it."""
    path: str = ""
    """`/x` for just that, `/x/*` for everything that begins with `/x/`."""
    methods: tuple[str, ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    """Names and exact values."""


@dataclass(frozen=True, slots=True)
class StaticAnswer:
    """An answer that a Route gives by itself."""

    status: int = 200
    body: str = ""
    content_type: str = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Redirect:
    """A redirection that a Route answers with. `{path}` in `to` stands for the request's target."""

    to: str
    status: int = 308


@dataclass(frozen=True, slots=True)
class StatusOfWrites:
    """Tells what became of writes that were accepted for later."""


@dataclass(frozen=True, slots=True)
class QueuePolicy:
    """How many keyed writes a Route accepts for later while no Backend can take them."""

    max_requests: int = 1000
    max_bytes: int = 16 * 1024**2
    max_age: float = 86400.0
    """Seconds after which one that could not be delivered has failed."""


@dataclass(frozen=True, slots=True)
class RouteSettings:
    """Match → a Pool, or a split of Pools, or an answer of our own."""

    name: str
    match: Match = Match()
    split: tuple[tuple[str, float], ...] = ()
    """Pools and their shares, which add up to 1; a single Pool has 1."""
    answer: StaticAnswer | Redirect | StatusOfWrites | None = None
    strip_prefix: str = ""
    preserve_host: bool = True
    queue: QueuePolicy | None = None
    """None: a write that no Backend can take is refused."""
    slo: float | None = None
    """As a Pool's."""
    fallback: Fallback | None = None
    """What it answers with when nothing can serve."""
    priority: Priority = Priority.NORMAL
    rate_limit: RatePolicy | None = None
    sticky: StickyPolicy | None = None
    """None: each request goes where there is room."""
    abort_on: AbortPolicy | None = None
    """When a Pool is cut off from the split; None: when a person says so."""


@dataclass(frozen=True, slots=True)
class ListenerSettings:
    """A bound address that accepts clients."""

    name: str
    address: Address
    proxy_protocol: bool = False
    """Each connection must begin with a header of the PROXY protocol, from one of `trusted_proxies`."""
    connections: int = Limits().connections
    connections_per_client: int | None = None
    tls: ListenerTls | None = None


@dataclass(frozen=True, slots=True)
class AdminSettings:
    """The admin endpoint."""

    address: Address = Address("127.0.0.1", 9900)
    token: str = field(default="", repr=False)
    """Bearer token; required on any address but loopback."""


STANDARD_STREAMS = {"stdout": 1, "stderr": 2}
"""Names in place of an access log's path, and their descriptors."""


@dataclass(frozen=True, slots=True)
class AccessLogSettings:
    """One line for each request."""

    path: str
    """A file, `stdout` or `stderr`."""
    format: str = "json"
    """`json`, `combined`, or a template with fields in braces."""
    sample: float = 1.0
    """The share of successful requests that get a line; all others always do."""
    redact: tuple[str, ...] = ()
    """Query parameters whose values are left out; `*`: the whole query."""
    buffer: int = 1048576
    """Bytes of one worker that may wait to be written; lines beyond are dropped, and counted."""


@dataclass(frozen=True, slots=True)
class JournalSettings:
    """How much of what has happened is remembered."""

    max_entries: int = 10000
    """Entries of the journal, in memory and on the disk; there up to twice as many."""


@dataclass(frozen=True, slots=True)
class Settings:
    """A whole config file, checked."""

    listeners: tuple[ListenerSettings, ...]
    pools: tuple[PoolSettings, ...]
    routes: tuple[RouteSettings, ...]
    workers: int = 1
    admin: AdminSettings = AdminSettings()
    state_dir: str = ""
    drain_delay: float = 0.0
    """Seconds between the failing of `/readyz` and the closing of the listeners."""
    drain_timeout: float = 30.0
    """Seconds that requests in flight have to finish at a stop."""
    replaced_timeout: float = 3600.0
    """Seconds that workers which were replaced have to finish: requests, downloads, tunnels."""
    worker_timeout: float = 10.0
    """Seconds without a word after which a worker is taken for hung and replaced."""
    timeouts: Timeouts = Timeouts()
    """The client's side: `request_head` and `client_idle`."""
    limits: Limits = Limits()
    """The client's side: everything but `max_in_flight`."""
    trusted_proxies: tuple[str, ...] = ()
    """Networks whose `X-Forwarded-*` and `Forwarded` are believed."""
    access_log: AccessLogSettings | None = None
    own_code: str = ""
    """The folder in which a user's own modules are looked for last."""
    tracing: TracingPolicy | None = None
    """None: `traceparent` and `tracestate` pass untouched."""
    journal: JournalSettings = JournalSettings()
