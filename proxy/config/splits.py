"""What a split of a config file may hold: pools with their shares, and perhaps when one of them is cut off.

Whether it fits is seen in `placing`.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Discriminator, Tag

from proxy.config.names import NAME
from proxy.config.policies import MOST, Block
from proxy.config.quantities import duration_from, share, whole
from proxy.core.requests.canary import AbortPolicy

ABORT = AbortPolicy("")
ABORT_ON = "abort_on"
"""The one key of a split that is no pool."""


class AbortOn(Block):
    """When a pool is cut off from its split, until a person says otherwise: it fails clearly more than the others."""

    pool: Annotated[str, NAME]
    """The one that is watched, and cut off."""
    worse_by: Annotated[float, share(0, 1, above=True)] = ABORT.worse_by
    """By so much its share of failed attempts must be above that of the others, and not by chance."""
    min_requests: Annotated[int, whole(1, MOST)] = ABORT.min_requests
    """Attempts in the window, there and in the others, without which nothing is done."""
    window: Annotated[float, duration_from(2)] = ABORT.window
    """The time that counts."""


SplitPart = Annotated[
    Annotated[float, share(0, 1), Tag("share")] | Annotated[AbortOn, Tag("map")],
    Discriminator(lambda value: "map" if isinstance(value, dict) else "share"),
]
