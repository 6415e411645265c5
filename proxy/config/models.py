"""The keys of a config file: what each may hold, and what it is for. The policy blocks are in `policies`.

The docstrings are what users read, in `docs/config.md` and in the JSON Schema. Whether keys fit together is seen in
`checks`; `build` makes the value objects of `core`.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Discriminator, Field, Tag

from proxy.config.dotted import BALANCER
from proxy.config.fallback import Fallback, StaleIfError
from proxy.config.logs import AccessLog, Tracing
from proxy.config.names import (
    BACKEND_ADDRESS,
    BACKEND_NAME,
    BODY,
    CONTENT_TYPE,
    FILE,
    HASH_ON,
    HEADER,
    HEADER_VALUE,
    HOST,
    LISTENING_ADDRESS,
    MATCH_PATH,
    METHOD,
    NAME,
    NETWORK,
    PREFIX,
    PROXY_PROTOCOL,
    REDIRECT_STATUS,
    REGION,
    TARGET,
    VERSION,
)
from proxy.config.policies import (
    MOST,
    Block,
    Breaker,
    Damping,
    Defaults,
    Duration,
    Ejection,
    Failover,
    Health,
    Hedge,
    Hold,
    ListenerLimits,
    Locality,
    Outlier,
    PoolLimits,
    PoolQueue,
    PoolTimeouts,
    Retries,
)
from proxy.config.quantities import FLAG, OBJECTIVE, choice, duration_from, or_word, share, whole
from proxy.config.secret import AnySecret
from proxy.config.shedding import PRIORITY, AdaptiveConcurrency, RateLimit
from proxy.config.splits import ABORT_ON, AbortOn, SplitPart
from proxy.config.sticky import Sticky
from proxy.config.tls import BackendTls, ListenerTls
from proxy.config.writes import Idempotency, Queue
from proxy.core import settings
from proxy.core.limits.waiting import Priority

LISTENER = settings.ListenerSettings("", settings.Address())
BACKEND = settings.BackendSettings("", settings.Address())
POOL = settings.PoolSettings("", ())
ANSWER = settings.StaticAnswer()
REDIRECT = settings.Redirect("")
ROUTE = settings.RouteSettings("")
ADMIN = settings.AdminSettings()
SETTINGS = settings.Settings((), (), ())

Name = Annotated[str, NAME]
Address = Annotated[settings.Address, LISTENING_ADDRESS]


def short_for(key: str, bare: Any, block: type[Block]) -> BeforeValidator:
    """Take a bare value for a map with just this key."""
    return BeforeValidator(
        lambda value: value if isinstance(value, dict) else {key: value}, json_schema_input_type=bare | block
    )


# Pools


class Backend(Block):
    """One address of a pool. Just the address does where nothing else is to be said."""

    name: Annotated[str | None, BACKEND_NAME] = None
    """What logs, metrics and commands call it; without one, its address."""
    address: Annotated[settings.Address | None, BACKEND_ADDRESS] = None
    """`host:port`, `[ipv6]:port` or `unix:/path`."""
    url: Annotated[settings.Address | None, BACKEND_ADDRESS] = None
    """The address as `http://host:port` or `https://host:port`, in place of `address`."""
    weight: Annotated[int, whole(0, 1000)] = BACKEND.weight
    """Its share of the requests, beside the weights of the others; 0: none."""
    tier: Annotated[int, whole(1, 100)] = BACKEND.tier
    """1 serves first; a higher tier serves when the lower ones can't."""
    region: Annotated[str, REGION] = ""
    """Where it stands."""
    max_in_flight: Annotated[int | None, or_word(whole(1, MOST), "none")] = Field(default_factory=lambda: None)
    """Requests at a time, over all workers; without it, the pool's `limits.max_in_flight`."""


BackendAddress = Annotated[settings.Address, BACKEND_ADDRESS]
AnyBackend = Annotated[Backend, short_for("address", BackendAddress, Backend)]


class Pool(Block):
    """A named set of backends that can stand in for each other. Just the list does where nothing else is to be said."""

    belongs_elsewhere: ClassVar[dict[str, str]] = {
        "proxy_protocol": "belongs to a listener; towards backends it is called 'send_proxy_protocol'",
        "failback": "belongs in 'failover'",
    }

    mode: Annotated[str, choice("the mode", ["active-active", "active-passive"])] = "active-active"
    """`active-active`: all backends of the lowest tier serve; `active-passive`: one does, the others stand by."""
    backends: Annotated[tuple[AnyBackend, ...], Field(min_length=1)]
    """Who serves."""
    balance: Annotated[str, BALANCER] = POOL.balance
    """Who of the available backends gets a request; or your own code, [in Python](extending.md)."""
    hash_on: Annotated[settings.HashOn | None, HASH_ON] = None
    """What `balance: hash` keeps on one backend."""
    overprovisioning: Annotated[float, share(1, 10)] = POOL.overprovisioning
    """Above a tier's available share times this, the rest of the load goes to the next tier."""
    region: Annotated[str, REGION] = ""
    """Where this proxy stands."""
    locality: Locality | None = Field(default_factory=lambda: None)
    """Whether the own region serves first; without it, all regions are one."""
    obey_backend: Annotated[bool, FLAG] = POOL.obey_backend
    """Whether `X-Backend-State: drain` (or `maint`) and `X-Backend-Weight: 50%` in answers to probes are obeyed."""
    failover: Failover = Field(default_factory=Failover)
    slow_start: Duration = POOL.warmup.duration
    """A backend that is back begins with 10% of its weight and has all of it after this time; 0: at once."""
    damping: Damping | None = Field(default_factory=lambda: None)
    """What flapping costs; without it, nothing but what each failure costs."""
    timeouts: PoolTimeouts = Field(default_factory=PoolTimeouts)
    health: Health = Field(default_factory=Health)
    breaker: Breaker = Field(default_factory=Breaker)
    retries: Retries = Field(default_factory=Retries)
    ejection: Ejection = Field(default_factory=Ejection)
    outlier: Outlier = Field(default_factory=Outlier)
    limits: PoolLimits = Field(default_factory=PoolLimits)
    hold: Hold = Field(default_factory=Hold)
    queue: PoolQueue = Field(default_factory=PoolQueue)
    adaptive_concurrency: AdaptiveConcurrency | None = None
    hedge: Hedge = Field(default_factory=Hedge)
    send_proxy_protocol: Annotated[str, PROXY_PROTOCOL] = POOL.send_proxy_protocol
    """Begin connections with a PROXY header that names the client, whom they then serve alone; `true` is `v1`."""
    idempotency: Idempotency | None = None
    sticky: Sticky | None = Field(default_factory=lambda: None)
    """Keeps each client on one backend; for the routes to this pool alone that don't say it themselves."""
    tls: BackendTls | None = None
    slo: Annotated[float | None, OBJECTIVE] = Field(default_factory=lambda: None)
    """The share of its requests that should go well, such as `99.95%`; without it, there is no error budget."""


AnyPool = Annotated[Pool, short_for("backends", tuple[AnyBackend, ...], Pool)]


# Routes


class Match(Block):
    """What a request must have; what is left out matches everything."""

    host: Annotated[str, HOST] = ""
    """`shop.example`, or `*.shop.example` for every name below it; upper and lower case are one."""
    path: Annotated[str, MATCH_PATH] = ""
    """`/cart` for just that, `/cart/*` for everything that begins with `/cart/`."""
    method: Annotated[str | None, METHOD] = None
    """One method."""
    methods: Annotated[tuple[Annotated[str, METHOD], ...], Field(min_length=1)] = ()
    """Several methods."""
    headers: dict[Annotated[str, HEADER], Annotated[str, HEADER_VALUE]] = Field(default_factory=dict)
    """Header fields and their exact values."""


class Answer(Block):
    """An answer that the proxy gives by itself."""

    status: Annotated[int, whole(200, 599)] = ANSWER.status
    """Its status."""
    body: Annotated[str, BODY] = ANSWER.body
    """Its body."""
    content_type: Annotated[str, CONTENT_TYPE] = ANSWER.content_type
    """What the body is."""


class Redirect(Block):
    """A redirection."""

    to: Annotated[str, TARGET]
    """A path or a URL; `{path}` stands for the request's path and query, `{host}` for its host."""
    status: Annotated[int, REDIRECT_STATUS] = REDIRECT.status
    """301, 302, 303, 307 or 308."""


AnyFallback = Annotated[Fallback, short_for("pool", Name, Fallback)]


class Route(Block):
    """Which requests go where: `pool`, `split`, `answer` or `redirect`. The first route that matches decides."""

    name: Annotated[str | None, NAME] = None
    """What logs and metrics call it; without one, `route-1` for the first and so on."""
    match: Match = Field(default_factory=Match)
    pool: Annotated[str | None, NAME] = None
    """The pool that serves."""
    split: dict[Name, SplitPart] | None = Field(default_factory=lambda: None)
    """Several pools and their shares, which add up to 100%; and, as `abort_on`, when one of them is cut off."""
    sticky: Sticky | None = Field(default_factory=lambda: None)
    """Keeps each client on one backend, and in one pool of the split; without it, the pool's."""
    answer: Answer | None = None
    redirect: Redirect | None = None
    strip_prefix: Annotated[str, PREFIX] = ""
    """Taken off the path before it goes to the backend. Needs a `match.path` that begins with it."""
    preserve_host: Annotated[bool, FLAG] = ROUTE.preserve_host
    """Whether the backend gets the client's `Host`; if not, it gets its own address."""
    priority: Annotated[Priority, PRIORITY] = ROUTE.priority
    """Where all backends of a pool are full: `critical` and `high` come first, `low` is the first to be shed."""
    rate_limit: RateLimit | None = None
    on_unavailable: Annotated[str, choice("'on_unavailable'", ["refuse", "queue"])] = "refuse"
    """What happens to a write with a key that no backend can take: 503, or it is stored and delivered later (202)."""
    queue: Queue = Field(default_factory=Queue)
    slo: Annotated[float | None, OBJECTIVE] = Field(default_factory=lambda: None)
    """The share of its requests that should go well, such as `99.95%`; without it, there is no error budget."""
    fallback: AnyFallback | None = Field(default_factory=lambda: None)
    """What it answers with when nothing can serve: a pool's name, or a map."""
    stale_if_error: StaleIfError | None = Field(default_factory=lambda: None)
    """Whether its last good answers are kept for such times; without it, they are not."""

    @property
    def shares(self) -> dict[str, float]:
        """The pools of the split."""
        parts = (self.split or {}).items()
        return {name: part for name, part in parts if isinstance(part, float) and name != ABORT_ON}

    @property
    def abort_on(self) -> AbortOn | None:
        """When one of them is cut off."""
        part = (self.split or {}).get(ABORT_ON)
        return part if isinstance(part, AbortOn) else None


# The whole file


class Listener(Block):
    """An address that accepts clients."""

    name: Annotated[str | None, NAME] = None
    """What logs call it, in a list; without one, its address."""
    address: Address
    """`host:port`, `[ipv6]:port` or `unix:/path`."""
    proxy_protocol: Annotated[bool, FLAG] = LISTENER.proxy_protocol
    """Whether each connection begins with a PROXY header (version 1 or 2) of one of `trusted_proxies`."""
    limits: ListenerLimits = Field(default_factory=ListenerLimits)
    tls: ListenerTls | None = None


class Admin(Block):
    """The admin endpoint: health, metrics, API, dashboard. Just the address does."""

    address: Address = ADMIN.address
    """Where it listens."""
    token: AnySecret = None
    """The bearer token that requests must bring. Required on every address but loopback and Unix sockets."""


class Journal(Block):
    """What is remembered of all that has happened: in `state_dir`, or without one until the program ends."""

    max_entries: Annotated[int, whole(100, MOST)] = SETTINGS.journal.max_entries
    """Entries that are kept; on the disk there may be twice as many."""


AnyListener = Annotated[Listener, short_for("address", Address, Listener)]
AnyAccessLog = Annotated[AccessLog | None, short_for("path", Annotated[str, FILE], AccessLog)]
AnyAdmin = Annotated[Admin, short_for("address", Address, Admin)]
Listeners = Annotated[
    Annotated[tuple[AnyListener, ...], Field(min_length=1), Tag("list")]
    | Annotated[dict[Name, AnyListener], Field(min_length=1), Tag("map")],
    Discriminator(
        lambda value: {list: "list", dict: "map"}.get(type(value)),
        custom_error_type="config",
        custom_error_message="expected a list of addresses, or a map from names to addresses",
    ),
]


class Config(Block):
    """The keys at the top of the file."""

    version: Annotated[int, VERSION] = 1
    """The version of this language."""
    workers: Annotated[int | None, or_word(whole(1, 1024), "auto")] = None
    """Processes that serve clients; `auto`: one for each CPU that this program may use."""
    listeners: Listeners
    """Where clients connect: a list of addresses, or a map from names to addresses."""
    admin: AnyAdmin = Field(default_factory=Admin)
    access_log: AnyAccessLog = Field(default_factory=lambda: None)
    """Where to write a line for each request; without it, nowhere."""
    tracing: Tracing | None = Field(default_factory=lambda: None)
    """Whether to take part in traces; without it, `traceparent` and `tracestate` pass untouched."""
    state_dir: Annotated[str, FILE] = ""
    """Where to keep what survives a restart (`drain`, the journal). A relative path starts at the config file."""
    journal: Journal = Field(default_factory=Journal)
    drain_delay: Duration = SETTINGS.drain_delay
    """At a stop, from the failing of `/readyz` to the closing of the listeners."""
    drain_timeout: Duration = SETTINGS.drain_timeout
    """At a stop, the time that requests in flight have to finish."""
    replaced_timeout: Duration = SETTINGS.replaced_timeout
    """When the running program is replaced, the time that the old workers have to finish downloads and tunnels."""
    worker_timeout: Annotated[float, duration_from(2)] = SETTINGS.worker_timeout
    """A worker that has said nothing for so long is taken for hung, killed and replaced; at least 2s."""
    trusted_proxies: tuple[Annotated[str, NETWORK], ...] = ()
    """Networks of proxies in front of this one, whose `Forwarded` and `X-Forwarded-*` are believed."""
    defaults: Defaults = Field(default_factory=Defaults)
    pools: dict[Name, AnyPool] = Field(default_factory=dict)
    """Who serves. A pool's value is a list of backends or a map."""
    routes: tuple[Route, ...] = ()
    """Which requests go where. With one pool and no routes, everything goes to it."""
