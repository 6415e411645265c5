"""The blocks of a route for times when nothing can serve. What must fit together is seen in `standins`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from proxy.config.names import BODY, CONTENT_TYPE, FILE, HEADER, HEADER_VALUE, NAME
from proxy.config.policies import MIB, TIB, Block
from proxy.config.quantities import POSITIVE_DURATION, size, whole
from proxy.core.requests.fallback import FixedAnswer, StalePolicy

FIXED = FixedAnswer()
STALE = StalePolicy()


class Fallback(Block):
    """What a route answers with when nothing can serve: another pool, else a fixed answer. Just a pool's name does."""

    pool: Annotated[str | None, NAME] = None
    """The pool that is asked then."""
    status: Annotated[int, whole(200, 599)] = FIXED.status
    """The fixed answer's status."""
    body: Annotated[str | None, BODY] = None
    """Its body."""
    file: Annotated[str | None, FILE] = None
    """A file of up to 1 MiB with its body, in place of `body`. It is read at start and at each reload."""
    content_type: Annotated[str | None, CONTENT_TYPE] = None
    """What the body is; without it, what the file's name says, or plain text."""
    headers: dict[Annotated[str, HEADER], Annotated[str, HEADER_VALUE]] = Field(default_factory=dict)
    """More fields of its head, such as `Retry-After`."""


class StaleIfError(Block):
    """The last good answers to GET are kept and given, marked with their `Age`, when nothing can serve (RFC 5861)."""

    duration: Annotated[float, POSITIVE_DURATION] = Field(default=STALE.duration, alias="for")
    """How old they may be; less, where an answer's own `Cache-Control` says less."""
    max_bytes: Annotated[int, size(1024, TIB)] = STALE.max_bytes
    """Memory for them in each worker; the answer that was not asked for the longest goes first."""


LARGEST_BODY = MIB
