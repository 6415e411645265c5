"""The blocks that shed load: adaptive concurrency of a pool, and the rate limit of a route.

The docstrings are what users read, in `docs/config.md` and in the JSON Schema. `models` takes them in.
"""

from __future__ import annotations

import re
from typing import Annotated

from proxy.config.mistakes import quoted
from proxy.config.names import HASH_ON
from proxy.config.policies import MOST, Block, Positive
from proxy.config.quantities import Quantity, WrongValueError, rate, whole
from proxy.core.limits.concurrency import ConcurrencyPolicy
from proxy.core.limits.waiting import Priority
from proxy.core.settings import HashOn, RatePolicy

CONCURRENCY = ConcurrencyPolicy()


class AdaptiveConcurrency(Block):
    """How many requests at a time a pool carries, found out by how long they take. Each worker finds its own limit."""

    tolerance: Annotated[float, rate(1, 100)] = CONCURRENCY.tolerance
    """The median latency may be so many times the latency without load before the limit sinks."""
    window: Positive = CONCURRENCY.window
    """The time over which latencies are compared; longer where there are few requests."""
    min_limit: Annotated[int, whole(1, MOST)] = CONCURRENCY.min_limit
    """Requests at a time in one worker that are always allowed."""
    max_limit: Annotated[int, whole(1, MOST)] = CONCURRENCY.max_limit
    """Requests at a time in one worker that are never exceeded."""


_RATE = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)/(s|m|h)")
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}


def read_rate(value: object) -> float:
    """`100/s`, `30/m` or `1000/h`, a second."""
    match = _RATE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        hint = f"; did you mean {value}/s?" if isinstance(value, int | float) and not isinstance(value, bool) else ""
        raise WrongValueError(f"expected a rate such as 100/s, 30/m or 1000/h, not {quoted(value)}{hint}")
    found = float(match[1]) / _SECONDS[match[2]]
    if not 1 / 3600 <= found <= MOST:
        raise WrongValueError(f"must be from 1/h to {MOST}/s, not {quoted(value)}")
    return found


RATE = Quantity("rate", read_rate, {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?/(s|m|h)$"})


class RateLimit(Block):
    """How many requests of one client a route takes; more are answered with 429. All workers count together."""

    rate: Annotated[float, RATE]
    """Requests in a time that go on and on: `100/s`, `30/m`, `1000/h`."""
    burst: Annotated[int, whole(1, MOST)] = RatePolicy(1.0).burst
    """Requests that may come at once, after a time without any."""
    key: Annotated[HashOn, HASH_ON] = RatePolicy(1.0).key
    """What tells clients apart; one without that header or cookie is told by its address, for IPv6 by its /64."""


def read_priority(value: object) -> Priority:
    """One of four words."""
    if isinstance(value, str) and value.upper() in Priority.__members__ and value == value.lower():
        return Priority[value.upper()]
    raise WrongValueError(f"expected low, normal, high or critical for 'priority', not {quoted(value)}")


PRIORITY = Quantity(
    "`low`, `normal`, `high` or `critical`",
    read_priority,
    {"enum": [one.name.lower() for one in Priority]},
    lambda one: one.name.lower(),
)
