"""What one measurement found. Plain data: written by `runner`, read by `summary`, kept in the JSON file."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Figure:
    """How a figure is named and shown."""

    title: str
    unit: str
    decimals: int = 0
    is_comparable: bool = True
    """Whether a ratio says anything: not where the best is none at all."""


FIGURES: dict[str, Figure] = {
    "cpu_us": Figure("CPU per request", "µs", 1),
    "rps": Figure("requests", "/s"),
    "p50_us": Figure("p50", "µs"),
    "p99_us": Figure("p99", "µs"),
    "p999_us": Figure("p99.9", "µs"),
    "max_us": Figure("slowest", "µs"),
    "client": Figure("client's core", "%"),
    "pss_mib": Figure("memory", "MiB", 1),
    "private_mib": Figure("unshared", "MiB", 1),
    "processes": Figure("processes", ""),
    "kib_each": Figure("per connection", "KiB", 1),
    "growth_mib": Figure("growth", "MiB", 1, is_comparable=False),
    "failed": Figure("failed", "", is_comparable=False),
    "failed_writes": Figure("of these POST", ""),
    "duplicates": Figure("POSTs done twice", ""),
    "gap_ms": Figure("longest gap", "ms", 1),
    "p999_ms": Figure("p99.9", "ms", 1),
    "max_ms": Figure("slowest", "ms", 1),
    "requests": Figure("requests", ""),
    "reload_ms": Figure("slowest reload", "ms"),
    "pools_ms": Figure("slowest /v1/pools", "ms"),
    "scrape_ms": Figure("slowest /metrics", "ms"),
    "quiet_p999_ms": Figure("p99.9 unasked", "ms"),
    "applied_ms": Figure("of it in workers", "ms", 1),
}


@dataclass(slots=True)
class Measurement:
    """One proxy in one round of one case."""

    case: str
    peer: str
    round: int
    figures: dict[str, float] = field(default_factory=dict)
    """By names of `FIGURES`."""
    errors: dict[str, int] = field(default_factory=dict)
    """What clients saw fail, by kind."""
    trouble: str = ""
    """Why there are no figures."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How long each measurement takes, and how many rounds there are."""

    rounds: int = 3
    warmup: float = 0.7
    measure: float = 2.0
    other_rounds: int = 3
    """Rounds of the memory and failover cases, which differ less from one to the next."""
    failover_scale: float = 1.0
    """By which the phases of a failover case are shortened."""


QUICK_PACE = Pace(rounds=3, warmup=0.4, measure=0.8, other_rounds=1, failover_scale=0.4)
