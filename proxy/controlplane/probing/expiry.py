"""When our own certificates expire: for the metrics page, and as a warning at the start and with `check`.

Certificates of Backends are the probes' matter.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from time import time

from proxy.core.settings import Settings
from proxy.core.tls import Certificate
from proxy.logs import say

log = logging.getLogger(__name__)

SOON = 7 * 86400.0
"""Seconds before its end from which a certificate is worth a warning."""

Place = tuple[str, str, str]
"""Listener, Pool (one of the two is empty) and the certificate's title."""


def _certificates(settings: Settings) -> Iterator[tuple[Place, Certificate]]:
    for listener in settings.listeners:
        for one in listener.tls.certificates if listener.tls is not None else ():
            yield (listener.name, "", one.title), one
    for pool in settings.pools:
        if pool.tls.certificate is not None:
            yield ("", pool.name, pool.tls.certificate.title), pool.tls.certificate


def expiries(settings: Settings) -> dict[Place, float]:
    """The Unix time at which each certificate expires; of several that are called alike, the first to do so."""
    found: dict[Place, float] = {}
    for place, certificate in _certificates(settings):
        found[place] = min(certificate.not_after, found.get(place, certificate.not_after))
    return found


def warnings(settings: Settings, now: float) -> list[str]:
    """What to say of certificates that have expired, or will soon, at the Unix time `now`."""
    return [_warning(place, at, now) for place, at in expiries(settings).items() if at - now < SOON]


def warn_of_expiry(settings: Settings) -> None:
    """Say so in the log, at the start and at each reload."""
    for warning in warnings(settings, time()):
        say(log, logging.WARNING, warning)


def _warning(place: Place, at: float, now: float) -> str:
    listener, pool, title = place
    where = f"listener {listener}" if listener else f"pool {pool}"
    verb = "expired on" if at <= now else "will expire on"
    return f"{where}: the certificate for {title} {verb} {date(at)}"


def date(at: float) -> str:
    """A Unix time as people read it."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M} UTC"
