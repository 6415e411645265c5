"""Loads a user's own code into a worker, and tells the supervisor once where it goes wrong. Called by `worker`."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from proxy.core.messages import ExtensionNews
from proxy.core.settings import Settings
from proxy.extensions import described, install

if TYPE_CHECKING:
    from proxy.dataplane.worker import Worker


def follow_own_code(worker: Worker, settings: Settings) -> None:
    """Have ready what these settings name, before a Pool looks for it."""
    said: set[str] = set()

    def complain(path: str, error: BaseException) -> None:
        if path not in said and worker.control is not None:
            said.add(path)
            worker.control.send(ExtensionNews(worker.number, path, described(error), monotonic()))

    if settings.own_code:
        install(settings, complain)
