"""What the admin API answers and takes, as types: the code that builds it is checked against them, and `openapi` is
made from them. A member that is not here can't be answered.

Dates are RFC 3339 in UTC. What a comment says here, the OpenAPI document says to its readers.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired, TypedDict

from proxy.controlplane.admin.schemas import Note
from proxy.controlplane.admin.split_documents import CutDocument
from proxy.controlplane.pools.sentences import PoolState
from proxy.core.messages import AdminState
from proxy.core.pools.breaker import BreakerState
from proxy.core.pools.health import HealthState
from proxy.core.pools.model import Unavailable
from proxy.core.telling.journal import Kind

Json = dict[str, Any]
Date = Annotated[str, Note(format="date-time")]
Count = Annotated[int, Note(minimum=0)]
Share = Annotated[float, Note(minimum=0, maximum=1)]
Rate = Annotated[float, Note(minimum=0, description="So many a second, over about the last five seconds.")]


class Latency(TypedDict):
    """Milliseconds of Attempts, from histograms of about the last minute; null where there were none."""

    p50: float | None
    p99: float | None


class ProbeDocument(TypedDict):
    """One result of a probe."""

    at: Date
    ok: bool
    ms: float
    detail: str


class HealthDocument(TypedDict):
    """What probes say of a Backend."""

    state: HealthState
    since: Date
    last: list[ProbeDocument]


class BreakerDocument(TypedDict):
    """The Breakers of all workers as one: open in any is open."""

    state: BreakerState
    until: Annotated[Date | None, Note("When trials begin, while it is open.")]
    reason: str | None


class Veto(TypedDict):
    """One reason why a Backend gets no new request."""

    reason: Unavailable
    since: Date
    until: Annotated[Date | None, Note("When it ends by the passing of time, or its trials begin.")]
    cause: Annotated[str, Note("What has brought it about.")]
    ends_by: Annotated[str, Note("What ends it.")]


class BackendDocument(TypedDict):
    """A Backend: its state, why it is out if it is, and its traffic over all workers."""

    name: str
    url: str
    pool: str
    tier: int
    weight: Annotated[int, Note("The weight in force.")]
    configured_weight: int
    weight_share: Annotated[float, Note("The part of the weight that counts.")]
    region: str
    available: bool
    reasons: Annotated[list[Unavailable], Note("Why it gets no new request; empty if it does.")]
    vetoes: list[Veto]
    sentence: Annotated[str, Note("Why it is out, what brings it back and when; or that it serves.")]
    since: Annotated[Date, Note("Since when it has been available, or has not.")]
    admin_state: AdminState
    own_state: Annotated[AdminState, Note("What the Backend asks for itself.")]
    drained: Annotated[bool, Note("Whether it was taken out, nothing is in flight, and nothing will be.")]
    clients_until: Annotated[Date | None, Note("While it drains: when the last cookie ends that keeps a client there.")]
    health: HealthDocument
    breaker: BreakerDocument
    in_flight: Count
    idle_connections: Count
    requests_total: Annotated[Count, Note("Attempts.")]
    failures_total: Annotated[Count, Note("Attempts that failed.")]
    requests_per_second: Rate
    failures_per_second: Rate
    latency_ms: Latency


class PendingDocument(TypedDict):
    """A switch that waits for a person."""

    to: str
    cause: str
    evidence: str
    since: Date


class QueueDocument(TypedDict):
    """Writes that were accepted for later."""

    bytes: Count
    oldest_seconds: float
    delivered: Count
    failed: Count


class KeysDocument(TypedDict):
    """Idempotency keys in the ledger."""

    kept: Count
    most: Count
    running: Count
    unknown: Count
    queued: Count
    queue: QueueDocument


class RegionDocument(TypedDict):
    """The Backends of one region, and what goes there."""

    region: str
    available: Count
    total: Count
    requests_per_second: Rate
    share: Annotated[Share | None, Note("Of the pool's Attempts; null where there were none.")]


class PoolHead(TypedDict):
    """A Pool but for its Backends."""

    name: str
    state: PoolState
    sentence: Annotated[str, Note("How the pool stands.")]
    mode: Literal["active-active", "active-passive"]
    active: str | None
    switching_to: str | None
    pinned: bool
    pending: PendingDocument | None
    balance: str
    region: str
    regions: list[RegionDocument]
    available: Count
    total: Count
    panic: bool
    degraded: Annotated[str | None, Note("What is wrong with the pool as a whole.")]
    requests_per_second: Rate
    failures_per_second: Rate
    retries_total: Count
    retry_budget_exhausted_total: Count
    saved_requests_total: Count
    held_requests_total: Count
    waiting_requests: Annotated[Count, Note("Those that wait for a Backend now.")]
    waits_total: Annotated[dict[str, int], Note("Requests that found all Backends full, by how that ended.")]
    hedges_total: Annotated[dict[str, int], Note("Slow requests, by what came of a second Attempt beside the first.")]
    concurrency_limit: Annotated[int | None, Note("What adaptive concurrency allows now, over all workers.")]
    unknown_outcomes_total: Count
    keys: Annotated[KeysDocument | None, Note("Null where the pool heeds no idempotency keys.")]


class PoolDocument(PoolHead):
    """A Pool with its Backends."""

    backends: list[BackendDocument]


class PoolsDocument(TypedDict):
    """All Pools, and how the proxy itself stands."""

    pools: list[PoolDocument]
    cut_off: Annotated[list[CutDocument], Note("Pools that are cut off from a split.")]
    readiness: str
    problems: Annotated[list[str], Note("What is wrong with the proxy itself.")]


class BackendPatch(TypedDict, total=False):
    """What to change of a Backend: one of them, or both."""

    state: AdminState
    weight: Annotated[int | None, Note(minimum=0, maximum=1000, description="Null: the configured one.")]


class FailoverBody(TypedDict, total=False):
    """Who is to be the active one; nobody named: approve what is pending."""

    to: str
    force: Annotated[bool, Note("Though it looks as if it were out; needs `to`.")]


class FailbackBody(TypedDict, total=False):
    """Nothing can be said: the place goes to the first in line that is well."""


class PartDocument(TypedDict):
    """What became of the things of one kind."""

    added: list[str]
    removed: list[str]
    changed: Annotated[dict[str, list[str]], Note("By name, the keys that have other values.")]


class ReloadDocument(TypedDict):
    """What a reload has changed."""

    changed: bool
    seconds: float
    applied_in_seconds: float
    late_workers: Annotated[list[int], Note("Workers that have not yet taken the new settings.")]
    listeners: PartDocument
    pools: PartDocument
    backends: PartDocument
    routes: PartDocument
    settings: list[str]


class Mistake(TypedDict):
    """One thing that is wrong with a config."""

    file: str
    line: int
    column: int
    key: str
    message: str
    text: Annotated[str, Note("All of it in one line.")]


class CostDocument(TypedDict):
    """What a switch of the active Backend took, and what became of requests meanwhile."""

    detect_s: float
    switch_s: float
    failed: Count
    retried: Count
    saved: Count
    held: Count
    unknown: Count


Change = TypedDict("Change", {"from": str | None, "to": str | None})
"""`from` is a word of Python, and no class can have it."""


class EntryDocument(Change):
    """One change."""

    id: Annotated[int, Note("Counts up, over restarts too.", minimum=1)]
    time: Date
    kind: Kind
    pool: str | None
    backend: str | None
    cause: str
    rule: Annotated[str | None, Note("The rule or the setting that fired.")]
    who: str
    evidence: Json
    sentence: str
    cost: NotRequired[CostDocument]


class JournalDocument(TypedDict):
    """Entries of the journal, the newest last."""

    entries: list[EntryDocument]
    last_id: Annotated[Count, Note("Of the newest entry that there is.")]


class BudgetDocument(TypedDict):
    """How much may fail in a window, and how much has."""

    allowed: Annotated[float, Note("Requests, of those that there were.", minimum=0)]
    spent: Annotated[Count, Note("Requests that went badly, or of which nobody knows.")]
    left_share: Annotated[float, Note("Below 0 where more was spent than there was.")]


class WindowDocument(TypedDict):
    """One window of a Route or Pool."""

    good: Count
    bad: Annotated[Count, Note("Answers 5xx and broken ones.")]
    unknown: Annotated[Count, Note("Writes that may have been executed, or not.")]
    saved: Annotated[Count, Note("Of the good ones: those that would have failed without another attempt.")]
    availability: Annotated[float | None, Note("Good ones of all; null without a request.")]
    nines: Annotated[float | None, Note("3 for 99.9%; null without a request, and where nothing failed.")]
    bad_minutes: Annotated[Count, Note("Minutes in which one request in twenty failed, or more.")]
    budget: Annotated[BudgetDocument | None, Note("Null without an `slo`.")]


Windows = TypedDict("Windows", {"1h": WindowDocument, "24h": WindowDocument, "30d": WindowDocument})
"""No class can have such names."""


class AvailabilityOf(TypedDict):
    """One Route or Pool."""

    name: str
    slo: Annotated[float | None, Note("The share of requests that should go well.")]
    windows: Windows


class AvailabilityDocument(TypedDict):
    """How available Pools and Routes were."""

    pools: list[AvailabilityOf]
    routes: list[AvailabilityOf]


class ConfigDocument(TypedDict):
    """The settings in force, every default filled in, durations in seconds, sizes in bytes; without secrets."""

    version: Annotated[int, Note("Counts up with each reload.")]
    since: Date
    settings: Annotated[Json, Note("What is secret is shown as `(secret)`.")]


class RefusalDocument(TypedDict):
    """Why a request goes nowhere."""

    status: int
    detail: str


class ExplainedBackend(TypedDict):
    """A Backend, as one request would find it."""

    name: str
    available: bool
    reasons: list[Unavailable]
    sentence: str
    tier: int
    region: str
    weight: Annotated[float, Note("What counts of it now.")]
    in_flight: Count
    chance: Annotated[Share, Note("Of being picked first, where no trial is due.")]


class ChoiceDocument(TypedDict):
    """What one Pool would do with a request."""

    pool: str
    share: Annotated[Share, Note("Of such requests that come to this pool; 1 where there is no split.")]
    state: PoolState | None
    pool_sentence: str | None
    sentence: str
    picked: Annotated[str | None, Note("The backend that it would go to, one of those with a chance.")]
    kept: Annotated[bool, Note("Whether a cookie of the client says that it belongs there.")]
    trial: bool
    refused: RefusalDocument | None
    panic: bool
    balance: str
    backends: list[ExplainedBackend]
    timeouts: Annotated[Json, Note("Seconds.")]
    retries: Json
    repeats: Annotated[str, Note("Whether it may be tried again.")]


class EarlierRoute(TypedDict):
    """A Route before the one that matched."""

    route: str
    why_not: str


class ExplanationDocument(TypedDict):
    """What would become of a request."""

    request: str
    sentence: str
    refused: RefusalDocument | None
    route: str | None
    settings: Annotated[Json | None, Note("Of the route, without secrets.")]
    earlier: list[EarlierRoute]
    earlier_left_out: Annotated[Count, Note("Earlier routes that are not named.")]
    choices: Annotated[list[ChoiceDocument], Note("One for each pool of a split; none where the route answers.")]


class WhyDocument(TypedDict):
    """Why a Backend is out, what will bring it back, and when."""

    sentence: str
    backend: BackendDocument


class ProblemDocument(TypedDict):
    """An error (RFC 9457)."""

    type: str
    title: str
    status: Annotated[int, Note(minimum=400, maximum=599)]
    detail: str
    mistakes: NotRequired[Annotated[list[Mistake], Note("What is wrong with the config.")]]
