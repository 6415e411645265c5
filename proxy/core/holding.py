"""How long an answer is held before it is begun: a small one that breaks off can then still be retried.

The rule is `behaviour.md`, section 2, "Small answers are begun when they are whole".
"""

from __future__ import annotations

from math import inf

from proxy.core.grammar import COUNTED
from proxy.core.http1 import RequestHead, ResponseHead

UNKNOWN_LENGTH = 0.01
"""Seconds that an answer of unknown length is held, in case it is short."""


def hold_for(request: RequestHead, response: ResponseHead, most: int) -> float:
    """Seconds to hold this answer for; 0: it is passed on as it comes, infinite: until it is whole.

    `most`: bytes that may be held (`retries.hold_answer`).
    """
    if not request.idempotent or response.status == 101:
        return 0.0
    if response.body is COUNTED:
        return inf if response.length <= most else 0.0
    is_stream = b"text/event-stream" in (request.field(b"accept") or b"") or response.is_event_stream
    return 0.0 if is_stream else UNKNOWN_LENGTH
