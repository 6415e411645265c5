"""What is measured, as data. How: `steady`, `memory`, `failover`, `reload`, `admin`. How it is shown: `report`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LoadCase:
    """One kind of traffic; the figures are CPU per request, requests a second and latencies."""

    name: str
    title: str
    target: float | None = None
    """What this proxy may cost at most, as a multiple of HAProxy in the same rounds."""
    requests: str = "small"
    """A name that `traffic.requests_of` knows."""
    connections: int = 64
    rate: float = 0.0
    """Requests a second of the open loop; 0 is the closed loop."""
    close_each: bool = False
    tls: bool = False
    keyed: bool = False
    """Writes with idempotency keys, which no other proxy here heeds."""
    backends: int = 3
    routes: int = 1
    workers: int = 1
    leaves_out: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    """Proxies between which it compares; empty: all."""

    @property
    def figures(self) -> tuple[str, ...]:
        """Names of what it finds, the main one first."""
        if self.rate:
            return ("p99_us", "p50_us", "p999_us", "max_us", "cpu_us", "rps")
        return ("cpu_us", "rps", "p50_us", "p99_us", "p999_us")


@dataclass(frozen=True, slots=True)
class MemoryCase:
    """How much memory all processes of a proxy hold."""

    name: str
    title: str
    holds: str = ""
    """`idle` or `websocket` connections while it is measured; else none."""
    connections: int = 0
    requests: int = 0
    """Send so many first, and say by how much they made it grow; one round, as it takes minutes."""
    workers: int = 1
    leaves_out: tuple[str, ...] = ()

    @property
    def figures(self) -> tuple[str, ...]:
        if self.holds:
            return ("kib_each", "pss_mib")
        return ("growth_mib", "pss_mib") if self.requests else ("pss_mib", "private_mib", "processes")


@dataclass(frozen=True, slots=True)
class FailoverCase:
    """One backend of three fails and comes back under a fixed rate of GETs, each third request a POST."""

    name: str
    title: str
    fault: str
    """`kill`, `hang`, `unwell` (503 for everything) or `flap` (killed and started anew, in turn)."""
    rate: float = 1000.0
    before: float = 1.0
    """Seconds of the window before the fault."""
    faulty: float = 4.0
    after: float = 3.0
    leaves_out: tuple[str, ...] = ("relay",)
    """A relay protects from nothing: it would only show that."""

    @property
    def figures(self) -> tuple[str, ...]:
        return ("failed", "failed_writes", "duplicates", "gap_ms", "p999_ms", "max_ms", "requests")


@dataclass(frozen=True, slots=True)
class ReloadCase:
    """The config is changed and read anew, again and again, under a fixed rate of GETs."""

    name: str
    title: str
    routes: int
    requests: str
    """A name that `traffic.requests_of` knows."""
    rate: float = 1000.0
    reloads: int = 5
    seconds: float = 10.0
    """Of the window; the reloads have to fit in."""
    leaves_out: tuple[str, ...] = ("haproxy", "nginx", "envoy", "caddy", "aiohttp", "relay")
    """How the others are told to reload, and when they have done so, is of another kind in each."""

    @property
    def figures(self) -> tuple[str, ...]:
        return ("reload_ms", "applied_ms", "failed", "p999_ms", "max_ms", "requests")


@dataclass(frozen=True, slots=True)
class AdminCase:
    """The admin endpoint's longest answers are asked for, again and again, under a fixed rate of GETs."""

    name: str
    title: str
    backends: int
    rate: float = 1000.0
    questions: int = 12
    """Of each kind."""
    seconds: float = 8.0
    """Of the window; the questions have to fit in."""
    leaves_out: tuple[str, ...] = ("haproxy", "nginx", "envoy", "caddy", "aiohttp", "relay")
    """What the others tell is something else in each."""

    @property
    def figures(self) -> tuple[str, ...]:
        return ("pools_ms", "scrape_ms", "failed", "p999_ms", "quiet_p999_ms", "requests")


Case = LoadCase | MemoryCase | FailoverCase | ReloadCase | AdminCase
LOGGING = "logging"
"""This proxy with its access log on; it takes part where it is named."""


def takes_part(case: Case, peer: str) -> bool:
    """Whether a proxy is measured in this case."""
    if isinstance(case, LoadCase) and case.only:
        return peer in case.only
    return peer not in (*case.leaves_out, LOGGING)


_ALL: tuple[Case, ...] = (
    LoadCase("small-get-1", "small GET, 1 connection", connections=1),
    LoadCase("small-get-64", "small GET, 64 connections", 1.5),
    LoadCase("small-get-512", "small GET, 512 connections", 1.5, connections=512),
    LoadCase("small-get-2000", "small GET, 2,000 connections", 0.8, connections=2000),
    LoadCase("varied-get-64", "small GET, headers that differ in each request", 1.5, requests="varied"),
    LoadCase("fixed-rate", "small GET at a fixed 5,000 requests/s", 1.5, rate=5000.0),
    LoadCase("post-2k", "POST of 2 KB", 1.7, requests="post-2k"),
    LoadCase("post-64k", "POST of 64 KB", 1.0, requests="post-64k"),
    LoadCase(
        "keyed-post",
        "POST of 200 B, each with an idempotency key of its own",
        requests="keyed",
        keyed=True,
        leaves_out=("haproxy", "nginx", "envoy", "caddy", "aiohttp", "relay"),
    ),
    LoadCase("get-64k", "GET of 64 KB, counted", 1.1, requests="get-64k"),
    LoadCase("get-64k-chunked", "GET of 64 KB, chunked", 1.2, requests="get-64k-chunked"),
    LoadCase("get-1m", "GET of 1 MB, counted", 0.6, requests="get-1m"),
    LoadCase("get-1m-chunked", "GET of 1 MB, chunked", requests="get-1m-chunked"),
    LoadCase("tls-keep-alive", "small GET over TLS, keep-alive", 1.5, tls=True),
    LoadCase("tls-handshake", "TLS handshake and one GET", 1.5, requests="close", tls=True, close_each=True),
    LoadCase("new-connection", "a new connection for each GET", 1.6, requests="close", close_each=True),
    LoadCase("backends-100", "small GET, 100 backends", backends=100),
    LoadCase("backends-1000", "small GET, 1,000 backends", backends=1000),
    LoadCase("routes-1000", "small GET, 1,000 routes", requests="routes-1000", routes=1000, leaves_out=("relay",)),
    LoadCase("routes-10000", "small GET, 10,000 routes", requests="routes-10000", routes=10000, leaves_out=("relay",)),
    LoadCase("workers-2", "small GET, 2 workers", workers=2),
    LoadCase("access-log", "small GET, with and without an access log", only=("proxy", LOGGING, "haproxy")),
    MemoryCase("memory-start", "memory after the start"),
    MemoryCase("memory-start-2", "memory after the start, 2 workers", workers=2),
    MemoryCase("memory-idle", "memory per idle client connection", holds="idle", connections=2000),
    MemoryCase("memory-websocket", "memory per WebSocket", holds="websocket", connections=1000),
    MemoryCase("memory-million", "memory after a million requests", requests=1_000_000),
    FailoverCase("failover-kill", "one backend of three is killed (kill -9) and comes back", "kill"),
    FailoverCase("failover-hang", "one backend of three hangs for a while", "hang"),
    FailoverCase("failover-503", "one backend of three answers 503 for a while", "unwell"),
    ReloadCase("reload-10000", "reload of 10,000 routes, all of them changed", routes=10000, requests="routes-10000"),
    AdminCase("admin-1000", "the admin endpoint is asked again and again, 1,000 backends", backends=1000),
    FailoverCase("failover-flap", "one backend of three is killed and comes back every second", "flap"),
)

CASES: dict[str, Case] = {case.name: case for case in _ALL}

QUICK_CASES = ("small-get-64", "fixed-rate", "memory-start", "failover-kill")
QUICK_PEERS = ("proxy", "haproxy", "nginx", "envoy", "relay")
"""What `--quick` takes of both, to end in under 90 seconds."""
