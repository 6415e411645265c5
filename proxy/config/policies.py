"""The policy blocks of a config file: what each key may hold, and what it is for.

The docstrings are what users read, in `docs/config.md` and in the JSON Schema. Defaults are those of the policies in
`core`: nothing is said twice. The keys around these blocks are in `models`.
"""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, ModelWrapValidatorHandler, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from proxy.config.dotted import OWN_CODE
from proxy.config.failback import FAILBACK
from proxy.config.hedges import HEDGE_AFTER
from proxy.config.mistakes import nearest, quoted
from proxy.config.names import CONDITION, PROBE_PATH, REGEX, STATUS_RANGE
from proxy.config.quantities import (
    DURATION,
    FLAG,
    POSITIVE_DURATION,
    choice,
    duration_from,
    or_word,
    rate,
    share,
    size,
    whole,
    wrong,
)
from proxy.core.limits.waiting import WaitingPolicy
from proxy.core.pools.active import FailoverPolicy
from proxy.core.pools.breaker import BreakerPolicy
from proxy.core.pools.damping import DampingPolicy
from proxy.core.pools.health import HealthPolicy
from proxy.core.pools.locality import LocalityPolicy
from proxy.core.pools.outlier import EjectionPolicy, OutlierPolicy
from proxy.core.requests.hedging import HedgeAfter, HedgePolicy
from proxy.core.requests.retry import RetryPolicy
from proxy.core.settings import HoldPolicy
from proxy.core.settings import Limits as LimitSettings
from proxy.core.settings import Timeouts as TimeoutSettings

TIMEOUTS = TimeoutSettings()
LIMITS = LimitSettings()
HOLD = HoldPolicy()
HEDGE = HedgePolicy()
WAITING = WaitingPolicy()
HEALTH = HealthPolicy()
BREAKER = BreakerPolicy()
RETRIES = RetryPolicy()
EJECTION = EjectionPolicy()
FAILOVER = FailoverPolicy()
LOCALITY = LocalityPolicy()
OUTLIER = OutlierPolicy()
DAMPING = DampingPolicy()

Duration = Annotated[float, DURATION]
Positive = Annotated[float, POSITIVE_DURATION]
OUTLIER_WINDOW_MOST = 600.0
"""Seconds: of each, a sample of every backend is kept."""
MIB, TIB = 1024**2, 1024**4
MOST = 1_000_000
"""For numbers of connections and requests, which memory bounds in the end."""


class Block(BaseModel):
    """A map with known keys. A wrong one is reported with the key that was probably meant."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)
    belongs_elsewhere: ClassVar[dict[str, str]] = {}
    """What to say of keys that users look for here."""

    @model_validator(mode="wrap")
    @classmethod
    def _explain(cls, value: Any, handler: ModelWrapValidatorHandler[Block]) -> Block:
        if not isinstance(value, dict):
            raise wrong(f"expected a map, not {quoted(value)}")
        known = _known(cls)
        refused = {key: message for key in value if (message := cls._refusal(key, value[key], known))}
        if not refused:
            return handler(value)
        errors = [InitErrorDetails(type=_at_key(message), loc=(key,), input=None) for key, message in refused.items()]
        try:
            handler({key: one for key, one in value.items() if key not in refused})
        except ValidationError as error:
            others = error.errors(include_url=False, include_context=False)
            errors += [_again(one) for one in others if one["loc"][0] not in refused]
        raise ValidationError.from_exception_data(cls.__name__, errors)

    @classmethod
    def _refusal(cls, key: str, value: object, known: frozenset[str]) -> str | None:
        """Why this key can't be here at all, or not without a value."""
        if key not in known:
            return cls.belongs_elsewhere.get(key) or f"unknown key{nearest(key, sorted(known))}"
        return "has no value; give it one or take the key away" if value is None else None


@cache
def _known(block: type[Block]) -> frozenset[str]:
    """The keys of a block; kept, as a file may have 10,000 of a kind."""
    return frozenset(field.alias or name for name, field in block.model_fields.items())


def _at_key(message: str) -> PydanticCustomError:
    return PydanticCustomError("wrong_key", "{message}", {"message": message})


def _again(error: Any) -> InitErrorDetails:
    """An error that pydantic reported, to be reported once more."""
    kind = PydanticCustomError(error["type"], "{message}", {"message": error["msg"]})
    return InitErrorDetails(type=kind, loc=error["loc"], input=error["input"])


class PoolTimeouts(Block):
    """Bounds on every wait."""

    belongs_elsewhere = dict.fromkeys(
        ("request_head", "client_idle"),
        "belongs in 'defaults': it bounds a wait for clients, whose pool is not known yet",
    )

    connect: Positive = TIMEOUTS.connect
    """To open a connection to a backend."""
    first_byte: Positive = TIMEOUTS.first_byte
    """From the request's last byte to the response head, for each attempt."""
    stall: Positive = TIMEOUTS.stall
    """A body in which no byte moves for so long is cut."""
    backend_idle: Positive = TIMEOUTS.backend_idle
    """An idle connection to a backend is kept so long."""
    tunnel_idle: Positive = TIMEOUTS.tunnel_idle
    """A tunnel (WebSocket) in which no byte moves is kept so long."""
    total: Annotated[float | None, or_word(POSITIVE_DURATION, "none")] = TIMEOUTS.total
    """For a request with all its attempts and waits, to the response head."""


class Timeouts(PoolTimeouts):
    """Bounds on every wait."""

    belongs_elsewhere = {}

    request_head: Positive = TIMEOUTS.request_head
    """For a client to send a whole request head. Only in `defaults`."""
    client_idle: Positive = TIMEOUTS.client_idle
    """An idle client connection is kept so long. Only in `defaults`."""


class Health(Block):
    """Probes: how backends are checked, whether or not there is traffic."""

    path: Annotated[str | None, or_word(PROBE_PATH, "none")] = HEALTH.path
    """GET this path; without one, a probe just connects."""
    interval: Positive = HEALTH.interval
    """From probe to probe, while nothing changes."""
    timeout: Positive = HEALTH.timeout
    """A probe without a result for so long has failed."""
    fall: Annotated[int, whole(1, 1000)] = HEALTH.fall
    """Bad probes in a row that take a backend out."""
    rise: Annotated[int, whole(1, 1000)] = HEALTH.rise
    """Good probes in a row that bring it back."""
    fast_interval: Positive = HEALTH.fast_interval
    """From probe to probe, while the state is changing or not yet known."""
    down_interval: Annotated[float | None, or_word(POSITIVE_DURATION, "interval")] = HEALTH.down_interval
    """From probe to probe, while a backend is out for good; `interval`: the same as `interval`."""
    jitter: Annotated[float, share(0, 1)] = HEALTH.jitter
    """Each wait is moved by up to half of this share, earlier or later, so that probes spread out."""
    initial: Annotated[str, choice("the state at the start", ["up", "down", "last"])] = HEALTH.initial
    """State before the first verdict; `last`: as before the restart."""
    status: Annotated[tuple[Annotated[tuple[int, int], STATUS_RANGE], ...], Field(min_length=1)] = HEALTH.status
    """Statuses and ranges of statuses that a good answer may have. Needs `path`."""
    check: Annotated[str | None, or_word(OWN_CODE, "none")] = HEALTH.check
    """Your own probe, [in Python](extending.md), in place of a GET or a connection."""
    body: Annotated[str | None, or_word(REGEX, "none")] = HEALTH.body
    """A regular expression that must be found in the first 64 KiB of a good answer. Needs `path`."""


class Breaker(Block):
    """The breaker of each backend: its own traffic takes it out, trials bring it back."""

    consecutive: Annotated[int, whole(1, MOST)] = BREAKER.consecutive
    """Failures in a row that open it."""
    failure_rate: Annotated[float, share(0, 1, above=True)] = BREAKER.failure_rate
    """Share of failures in the window that opens it."""
    window: Positive = BREAKER.window
    """The time over which the failure rate is taken."""
    min_requests: Annotated[int, whole(1, MOST)] = BREAKER.min_requests
    """Requests in the window below which the failure rate says nothing."""
    open_for: Positive = BREAKER.open_for
    """How long it stays open the first time; doubles with each failed trial."""
    open_for_max: Positive = BREAKER.open_for_max
    """The longest it stays open."""
    trials: Annotated[int, whole(1, MOST)] = BREAKER.trials
    """Trial requests at a time once that time is over."""
    trial_successes: Annotated[int, whole(1, MOST)] = BREAKER.trial_successes
    """Good trials in a row that close it."""


class Retries(Block):
    """When a failed attempt is tried again on another backend. A POST that may have been executed never is."""

    attempts: Annotated[int, whole(1, 100)] = RETRIES.attempts
    """Most attempts per request, the first included."""
    on: tuple[Annotated[str, CONDITION], ...] = RETRIES.on
    """Failures and statuses after which to try again; or your own condition, [in Python](extending.md)."""
    budget: Annotated[float, share(0, 10)] = RETRIES.budget
    """Retries of the last 10 s may be this share of the requests of the last 10 s …"""
    budget_min: Annotated[float, rate(0, MOST)] = RETRIES.budget_min
    """… plus so many a second."""
    backoff: Duration = RETRIES.backoff
    """Upper bound of the first wait, once every backend was tried; doubles each time round."""
    backoff_max: Duration = RETRIES.backoff_max
    """The longest wait."""
    hold_answer: Annotated[int, size(0, 64 * MIB)] = RETRIES.hold_answer
    """Answers up to this size are passed on when they are whole, so that one which breaks off can be tried again."""
    buffer_body: Annotated[int, size(0, 64 * MIB)] = RETRIES.buffer_body
    """Request bodies up to this size are kept for another attempt."""
    unsafe_reuse: Duration = RETRIES.unsafe_reuse
    """A connection that was idle for longer carries no request that must not be repeated."""


class Ejection(Block):
    """How many backends their own traffic may take out, and when too few are left to believe it."""

    max_ejected: Annotated[float, share(0, 1)] = EJECTION.max_ejected
    """Largest share of a pool that may be out by traffic at one time; of two or more backends, one always may."""
    panic_below: Annotated[float, share(0, 1)] = EJECTION.panic_below
    """With a smaller share available, probes and breakers are ignored; `0%`: only when none is left."""


class Outlier(Block):
    """Comparison with peers, by real traffic: who does clearly worse loses weight step by step, and then is ejected."""

    detect: Annotated[bool, FLAG] = OUTLIER.detect
    """Whether backends are compared. Where each gets requests of another kind (`balance: hash`), they may differ."""
    margin: Annotated[float, share(0, 1, above=True)] = OUTLIER.margin
    """A share of failed, or of slow requests that is higher than its peers' by so much is clearly worse."""
    latency_factor: Annotated[float, rate(1.1, 1000)] = OUTLIER.latency_factor
    """A request is slow that takes so many times as long as half of its peers' requests do."""
    window: Annotated[float, duration_from(0.1, OUTLIER_WINDOW_MOST)] = OUTLIER.window
    """The time that is looked at, at most 10m; less of it where there are many requests."""
    min_requests: Annotated[int, whole(1, MOST)] = OUTLIER.min_requests
    """Requests in that time below which nothing is said of a backend."""
    eject_for: Positive = OUTLIER.eject_for
    """How long it is out the first time, until trials begin; doubles each time."""
    eject_for_max: Positive = OUTLIER.eject_for_max
    """The longest it is out."""


class PoolLimits(Block):
    """Bounds on sizes and numbers."""

    belongs_elsewhere = dict.fromkeys(
        ("request_line", "headers", "header_bytes", "connections", "connections_per_client"),
        "belongs in 'defaults': it bounds what clients send, before a pool is chosen",
    )

    body: Annotated[int | None, or_word(size(0, TIB), "none")] = LIMITS.body
    """A larger request body is answered with 413."""
    max_in_flight: Annotated[int | None, or_word(whole(1, MOST), "none")] = LIMITS.max_in_flight
    """Requests at a time on one backend, over all workers."""


class Limits(PoolLimits):
    """Bounds on sizes and numbers."""

    belongs_elsewhere = {}

    request_line: Annotated[int, size(64, MIB)] = LIMITS.request_line
    """A longer request line is answered with 414. Only in `defaults`."""
    headers: Annotated[int, whole(1, 10_000)] = LIMITS.headers
    """A request with more header fields is answered with 431. Only in `defaults`."""
    header_bytes: Annotated[int, size(64, MIB)] = LIMITS.header_bytes
    """A request with a larger head is answered with 431. Only in `defaults`."""
    connections: Annotated[int, whole(1, MOST)] = LIMITS.connections
    """Client connections of one listener, over all workers; more are answered with 503. Not in a pool."""
    connections_per_client: Annotated[int | None, or_word(whole(1, MOST), "none")] = LIMITS.connections_per_client
    """The same for one client's address (for IPv6: its /64). `trusted_proxies` have no such limit. Not in a pool."""


class ListenerLimits(Block):
    """Bounds on the numbers of this listener's connections, in place of those in `defaults`."""

    connections: Annotated[int | None, whole(1, MOST)] = Field(default_factory=lambda: None)
    """Client connections, over all workers; more are answered with 503."""
    connections_per_client: Annotated[int | None, or_word(whole(1, MOST), "none")] = Field(default_factory=lambda: None)
    """The same for one client's address (for IPv6: its /64). `trusted_proxies` have no such limit."""


class Hold(Block):
    """Requests wait a little while a pool has just lost its last backend."""

    duration: Annotated[float, DURATION] = Field(default=HOLD.duration, alias="for")
    """How long after the loss requests wait."""
    max_requests: Annotated[int, whole(0, MOST)] = HOLD.max_requests
    """Requests of one worker that may wait at a time; more are answered with 503."""


class PoolQueue(Block):
    """Requests wait a little while all backends have as many as `max_in_flight` or `adaptive_concurrency` allow."""

    max_requests: Annotated[int, whole(0, MOST)] = WAITING.max_requests
    """Requests of one worker that may wait at a time; more are answered with 503."""
    max_wait: Positive = WAITING.max_wait
    """One that has waited for so long is answered with 503."""
    lifo_after: Duration = WAITING.lifo_after
    """Once the oldest has waited for longer, the newest comes first: its client still waits."""


class Hedge(Block):
    """A second backend is asked beside a slow one, and the first good answer wins. Only for GET, HEAD and OPTIONS."""

    after: Annotated[HedgeAfter | None, HEDGE_AFTER] = HEDGE.after
    """When: after a time (`50ms`), or once a request takes longer than a share of the others (`p95`); `none`: never."""
    min_requests: Annotated[int, whole(1, MOST)] = HEDGE.min_requests
    """Requests in the last 10 to 20 s below which no percentile is believed."""


class Locality(Block):
    """The proxy's own region serves first. Needs the pool's `region`."""

    prefer: Annotated[str, choice("what to prefer", ["region"])] = "region"
    """Backends of the pool's own `region` go before all others."""
    spill_below: Annotated[float, share(0, 1, above=True)] = LOCALITY.spill_below
    """With a smaller share of the own region available, the rest of the load goes to the others, by weight."""


class Failover(Block):
    """One backend at a time is active; the others stand by. Only in a pool with `mode: active-passive`."""

    mode: Annotated[str, choice("who decides", ["auto", "manual"])] = "auto"
    """`auto`: when the active one is out, the first that is well takes over; `manual`: a person has to approve."""
    after: Duration = FAILOVER.after
    """How long the active one has to be out before, with `mode: auto`."""
    failback: Annotated[float | None, FAILBACK] = FAILOVER.failback_after
    """When who comes first gets its place back: at once, once it was well for so long, or if a person approves."""


class Damping(Block):
    """Flap damping: who goes up and down again and again stays out until it was quiet for long enough."""

    penalty: Annotated[float, rate(1, 100_000)] = DAMPING.penalty
    """What each transition adds to a backend's penalty, from well to unwell or back."""
    half_life: Positive = DAMPING.half_life
    """The time in which the penalty decays by half."""
    suppress: Annotated[float, rate(1, 100_000)] = DAMPING.suppress
    """From this penalty on a backend stays out …"""
    reuse: Annotated[float, rate(1, 100_000)] = DAMPING.reuse
    """… until it has decayed to this one."""
    longest: Positive = DAMPING.longest
    """Once it is quiet, a backend is back after this time, whatever it did before."""


class Defaults(Block):
    """What every pool starts from. A pool's own block changes the keys that it names and keeps the others."""

    timeouts: Timeouts = Field(default_factory=Timeouts)
    health: Health = Field(default_factory=Health)
    breaker: Breaker = Field(default_factory=Breaker)
    retries: Retries = Field(default_factory=Retries)
    ejection: Ejection = Field(default_factory=Ejection)
    outlier: Outlier = Field(default_factory=Outlier)
    limits: Limits = Field(default_factory=Limits)
    hold: Hold = Field(default_factory=Hold)
    queue: PoolQueue = Field(default_factory=PoolQueue)
    hedge: Hedge = Field(default_factory=Hedge)
