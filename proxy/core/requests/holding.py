"""How long an answer is held before it is begun: a small one that breaks off can then still be retried.

The rule is `behaviour.md`, section 2, "Small answers are begun when they are whole".
"""

from __future__ import annotations

from math import inf

from proxy.core.wire.grammar import COUNTED
from proxy.core.wire.http1 import RequestHead
from proxy.core.wire.http1_answers import ResponseHead

UNKNOWN_LENGTH = 0.01
"""Seconds that an answer of unknown length is held, in case it is short."""


def hold_for(request: RequestHead, response: ResponseHead, most: int) -> float:
    """Seconds to hold this answer for; 0: it is passed on as it comes, infinite: until it is whole.

    `most`: bytes that may be held (`retries.hold_answer`).
    """
    if not request.idempotent or response.status == 101:
        return 0.0
    is_counted = response.body is COUNTED
    if (is_counted and response.length > most) or response.is_event_stream or _asks_for_events(request):
        return 0.0
    return inf if is_counted else UNKNOWN_LENGTH


def _asks_for_events(request: RequestHead) -> bool:
    return any(b"text/event-stream" in value.lower() for value in request.fields(b"accept"))
