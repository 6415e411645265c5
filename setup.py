"""Builds the package; all that is fixed stands in pyproject.toml.

With `FAILOVER_PROXY_COMPILE=1` in the environment mypyc compiles the hot path (docs/adr/0009-compiled-hot-path.md).
Without it, and wherever a compiled module is missing, the same files run as they are.
"""

import os

from setuptools import Extension, setup

COMPILER = "mypy[mypyc]>=2.4,<3"
HOT = [
    "proxy/core/telling/accesslog.py",
    "proxy/core/wire/answers.py",
    "proxy/core/pools/balancer.py",
    "proxy/core/pools/breaker.py",
    "proxy/core/wire/chunked.py",
    "proxy/core/requests/decisions.py",
    "proxy/core/requests/dispatch.py",
    "proxy/core/wire/grammar.py",
    "proxy/core/pools/group.py",
    "proxy/core/wire/headers.py",
    "proxy/core/requests/holding.py",
    "proxy/core/wire/http1.py",
    "proxy/core/wire/http1_answers.py",
    "proxy/core/pools/model.py",
    "proxy/core/wire/plain.py",
    "proxy/core/pools/pool.py",
    "proxy/core/requests/retry.py",
    "proxy/core/requests/routing.py",
    "proxy/core/pools/tiers.py",
    "proxy/dataplane/exchanges/answering.py",
    "proxy/dataplane/exchanges/asking.py",
    "proxy/dataplane/clients/downstream.py",
    "proxy/dataplane/exchanges/exchange.py",
    "proxy/dataplane/exchanges/racing.py",
    "proxy/dataplane/backends/idle.py",
    "proxy/dataplane/transport/outbox.py",
    "proxy/dataplane/transport/pause.py",
    "proxy/dataplane/exchanges/relay.py",
    "proxy/dataplane/stats.py",
    "proxy/dataplane/exchanges/tunnel.py",
    "proxy/dataplane/exchanges/upload.py",
    "proxy/dataplane/backends/upstream.py",
]
"""What runs for each request. Not the worker: a compiled module can't be started by name."""


def extensions() -> list[Extension]:
    """The compiled modules; none unless asked for."""
    if not wanted:
        return []
    from mypyc.build import mypycify  # noqa: PLC0415 - present only where it is asked for

    return mypycify(HOT, opt_level="3")


wanted = os.environ.get("FAILOVER_PROXY_COMPILE") == "1"
setup(ext_modules=extensions(), setup_requires=[COMPILER] if wanted else [])
