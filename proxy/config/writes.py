"""The blocks of a config file about writes that must not be executed twice. The other blocks are in `policies`."""

from __future__ import annotations

from typing import Annotated

from proxy.config.names import HEADER, METHOD
from proxy.config.policies import MIB, MOST, TIB, Block
from proxy.config.quantities import FLAG, POSITIVE_DURATION, choice, or_word, size, whole
from proxy.core.settings import IdempotencyPolicy, QueuePolicy

IDEMPOTENCY = IdempotencyPolicy()
QUEUE = QueuePolicy()


class Idempotency(Block):
    """Writes with an idempotency key are executed once: a repeat gets the first answer. Needs `state_dir`."""

    header: Annotated[str, HEADER] = IDEMPOTENCY.header
    """The header that holds the key."""
    require_for: tuple[Annotated[str, METHOD], ...] = IDEMPOTENCY.require_for
    """Methods that are answered with 400 without a key. POST, PATCH and unknown methods may always have one."""
    scope: Annotated[str | None, or_word(HEADER, "none")] = IDEMPOTENCY.scope
    """The header that tells clients apart, so that equal keys of two of them don't meet; `none`: no two are equal."""
    on_conflict: Annotated[str, choice("'on_conflict'", ["refuse", "wait"])] = IDEMPOTENCY.on_conflict
    """What a repeat gets while the first is on its way: 409, or a wait for its answer."""
    honoured: Annotated[bool, FLAG] = IDEMPOTENCY.honoured
    """Whether a backend that gets a key twice executes it once. If not, an unknown outcome stays unknown."""
    shares_keys: Annotated[bool, FLAG] = IDEMPOTENCY.shares_keys
    """Whether that holds for all backends of the pool together, so that each of them may get a repeat."""
    keep_for: Annotated[float, POSITIVE_DURATION] = IDEMPOTENCY.keep_for
    """How long a key and its answer are kept, from when the write was last sent."""
    max_entries: Annotated[int, whole(1, 100 * MOST)] = IDEMPOTENCY.max_entries
    """Keys of this pool that are kept; beyond them a new one is answered with 503."""
    max_body: Annotated[int, size(0, MIB)] = IDEMPOTENCY.max_body
    """Bytes of an answer's body that are kept."""


class Queue(Block):
    """How many writes with a key a route accepts for later while no backend can take them. See `on_unavailable`."""

    max_requests: Annotated[int, whole(1, MOST)] = QUEUE.max_requests
    """Writes that wait; beyond them a new one is refused."""
    max_bytes: Annotated[int, size(1, TIB)] = QUEUE.max_bytes
    """Their size together."""
    max_age: Annotated[float, POSITIVE_DURATION] = QUEUE.max_age
    """One that could not be delivered for so long has failed."""
