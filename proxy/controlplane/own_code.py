"""A user's own code, as the supervisor has it: its probes, and what is said where it goes wrong, here or in workers.

Each is spoken of once, until other settings are in force. Who runs a probe is `probing.probe`.
"""

from __future__ import annotations

from collections.abc import Callable

from proxy.controlplane.pools.change import Change
from proxy.core.extending import Probe
from proxy.core.settings import Settings
from proxy.extensions import PROBE, ExtensionError, Named, described, load

BUILT_IN = "built in"
"""What stands in for it."""


class OwnCode:
    """What is known of it."""

    def __init__(self, settings: Settings, carry_out: Callable[[list[Change]], None]) -> None:
        self._carry_out = carry_out
        self._probes: dict[str, Probe | None] = {}
        self._said: set[str] = set()
        self._folder = settings.own_code

    def obey(self, settings: Settings) -> None:
        """Follow other settings."""
        self._folder = settings.own_code
        self._probes.clear()
        self._said.clear()

    def probe(self, path: str) -> Probe | None:
        """The probe of this dotted path; None if it can't be loaded any more."""
        if path not in self._probes:
            self._probes[path] = None
            try:
                self._probes[path] = load(Named(PROBE, path), self._folder)
            except ExtensionError as error:
                self.complain(path, error)
        return self._probes[path]

    def complain(self, path: str, error: BaseException) -> None:
        """It went wrong here."""
        self.tell(path, described(error))

    def tell(self, path: str, reason: str) -> None:
        """It went wrong somewhere."""
        if path not in self._said:
            self._said.add(path)
            self._carry_out([Change("extension", "", "", path, BUILT_IN, reason)])
