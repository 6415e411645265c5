"""From a config file to a supervisor that serves: exit codes, what is printed, the file of addresses."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import resource
import sys
from functools import partial
from pathlib import Path

import click
import uvloop

from proxy.config import ConfigError, load
from proxy.config.keys import keep_key
from proxy.controlplane.listeners.inheritance import from_service_manager
from proxy.controlplane.listeners.sockets import BoundListener, StartError
from proxy.controlplane.reload import Fault, Reader, Rejected
from proxy.controlplane.replacement import handover
from proxy.controlplane.replacement.legacy import Legacy
from proxy.controlplane.replacement.rehearsal import rehearse
from proxy.controlplane.signals import heed_signals
from proxy.controlplane.supervisor import Supervisor
from proxy.core.settings import Settings
from proxy.logs import configure

FAILED = 1
BAD_CONFIG = 78
"""EX_CONFIG: tells a service manager that starting again will not help."""


def serve(config: Path, addresses: Path | None) -> int:
    """Serve until a signal ends it; the exit code."""
    try:
        settings = keep_key(load(config, os.environ))
    except ConfigError as error:
        click.echo(error.render(), err=True)
        return BAD_CONFIG
    _raise_descriptor_limit()
    try:
        legacy = handover.receive(os.environ)
        is_rehearsal = legacy is not None and legacy.is_rehearsal
        configure(sys.stderr, logging.WARNING if is_rehearsal else logging.INFO)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            if legacy is not None and is_rehearsal:
                runner.run(rehearse(settings, legacy))
            else:
                runner.run(_supervise(settings, partial(reread, config), addresses, legacy))
    except (StartError, ValueError) as error:
        click.echo(f"error: {error}", err=True)
        return FAILED
    return 0


def reread(config: Path, running: Settings) -> Settings:
    """Read the config anew, for a reload. Raises Rejected."""
    try:
        return keep_key(load(config, os.environ, running))
    except ConfigError as error:
        faults = [Fault(one.message, one.file, one.line, one.column, one.path) for one in error.mistakes]
        raise Rejected(faults) from None


async def _supervise(settings: Settings, read: Reader, addresses: Path | None, legacy: Legacy | None) -> None:
    handover.spare_threads()
    supervisor = Supervisor(settings, legacy=legacy, read=read)
    inheritance = from_service_manager(os.environ) if legacy is None else handover.sockets_of(legacy)
    listeners, admin = supervisor.bind(inheritance)
    heed_signals(supervisor)
    handover.heed_deferred()
    for bound in (*listeners, admin):
        click.echo(f"{bound.name:<10} {_url(bound, settings)}")
    telling = asyncio.create_task(_tell_when_ready(supervisor, admin, addresses))
    try:
        await supervisor.run()
    finally:
        telling.cancel()


async def _tell_when_ready(supervisor: Supervisor, admin: BoundListener, path: Path | None) -> None:
    await supervisor.ready.wait()
    if path is None:
        return
    document = {
        "listeners": {listener.name: str(listener.address) for listener in supervisor.listeners},
        "admin": str(admin.address),
        "pid": os.getpid(),
        "workers": {str(worker.number): worker.pid for worker in supervisor.fleet.workers},
    }
    try:
        _replace(path, json.dumps(document) + "\n")
    except OSError as error:
        click.echo(f"error: {path} can't be written: {error.strerror}", err=True)


def _replace(path: Path, text: str) -> None:
    """Whole or not at all: who waits for the file must not read half."""
    beside = path.with_name(f"{path.name}.new")
    beside.write_text(text)
    beside.replace(path)


def _url(bound: BoundListener, settings: Settings) -> str:
    is_secure = any(one.tls is not None and one.name == bound.name for one in settings.listeners)
    return str(bound.address) if bound.address.path else f"{'https' if is_secure else 'http'}://{bound.address}"


def _raise_descriptor_limit() -> None:
    """As many as this user may have: the usual 1024 is less than the client connections that we allow."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
