"""This proxy with all its defaults on, from the tree that the benchmark is in."""

from __future__ import annotations

import sys
from importlib import import_module

from benchmarks.peers.contract import ANSWER_TIMEOUT, PROBE_INTERVAL, Setup

TITLE = "this proxy"
INSTALL = "pip install -e ."

_CONFIG = """\
workers: {workers}
state_dir: {folder}/state
listeners:
  web: {listener}
admin: {{ address: 127.0.0.1:{admin_port} }}
defaults:
{defaults}
pools:
  app:{keyed}
    backends:
{backends}
{routes}
"""


def version() -> str | None:
    """What is installed."""
    try:
        return str(import_module("proxy").__version__)
    except ImportError:
        return None


def command(setup: Setup) -> list[str]:
    """Write the config; start it so."""
    listener = f"127.0.0.1:{setup.port}"
    if setup.certificate:
        files = f"cert: {setup.certificate.chain}, key: {setup.certificate.key}"
        listener = f"{{ address: {listener}, tls: {{ {files} }} }}"
    routes = ""
    if setup.routes > 1:
        lines = [f"  - {{ match: {{ path: /r{number}/* }}, pool: app }}" for number in range(setup.routes)]
        routes = "\n".join(["routes:", *lines])
    config = setup.folder / "proxy.yaml"
    config.write_text(
        _CONFIG.format(
            workers=setup.workers,
            folder=setup.folder,
            defaults=_defaults(setup),
            keyed="\n    idempotency: {}" if setup.keyed else "",
            listener=listener,
            admin_port=setup.admin_port,
            backends="\n".join(f"      - 127.0.0.1:{port}" for port in setup.backends),
            routes=routes,
        )
    )
    return [
        sys.executable,
        "-P",
        "-m",
        "proxy",
        "run",
        str(config),
        "--addresses",
        str(setup.folder / "addresses.json"),
    ]


def _defaults(setup: Setup) -> str:
    """Only what the case asks for; everything else is as a user gets it."""
    health = {"path": "/healthz"}
    lines = []
    if setup.probe_interval != PROBE_INTERVAL:
        health["interval"] = f"{setup.probe_interval}s"
    if setup.answer_timeout != ANSWER_TIMEOUT:
        lines.append(f"  timeouts: {{ first_byte: {setup.answer_timeout}s }}")
    lines.append(f"  health: {{ {', '.join(f'{key}: {value}' for key, value in health.items())} }}")
    return "\n".join(lines)
