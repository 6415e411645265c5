"""What is measured, as data. How: `runner`, `memory`, `failover`. In which words it is shown: `report`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LoadCase:
    """One kind of traffic; the figures are CPU per request, requests a second and latencies."""

    name: str
    title: str
    requests: str = "small"
    """A name that `traffic.requests_of` knows."""
    connections: int = 64
    rate: float = 0.0
    """Requests a second of the open loop; 0 is the closed loop."""
    close_each: bool = False
    tls: bool = False
    backends: int = 3
    routes: int = 1
    workers: int = 1


CASES: dict[str, LoadCase] = {
    case.name: case
    for case in (
        LoadCase("small-get-64", "small GET, 64 connections"),
    )
}
