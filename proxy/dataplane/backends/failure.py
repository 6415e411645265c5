"""How an Attempt failed, and how far its request had got by then: what may be tried again depends on it.

`upstream` asks for its own connection. What follows is decided in `core.retry` and `core.dispatch`.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from proxy.contexts import describe, error_kind, is_refusal
from proxy.core.requests.retry import NOT_SENT, Outcome, Progress
from proxy.errors import ErrorKind

if TYPE_CHECKING:
    from proxy.dataplane.backends.upstream import Upstream


def failure(upstream: Upstream, kind: ErrorKind, detail: str, *, is_uploaded: bool) -> Outcome:
    """How an Attempt on this connection failed."""
    is_answered = upstream.head is not None or upstream.buffer or upstream.interims is not None
    sent = Progress.SENT if is_uploaded else Progress.PARTLY_SENT
    if upstream.tls_error is not None and not is_answered:
        return _refused(upstream.tls_error, upstream.requests, sent)
    if not upstream.is_sent:
        progress = NOT_SENT
    else:
        progress = Progress.ANSWERED if is_answered else sent
    return Outcome(kind, progress=progress, reused=upstream.requests > 1, detail=detail)


def _refused(error: ssl.SSLError, requests: int, sent: Progress) -> Outcome:
    """With TLS 1.3 our handshake may end before the Backend has seen our certificate; it refuses it by an alert.

    It reads no request before (RFC 8446, section 4.4.2.4), so nothing was sent. Later alerts say nothing of that.
    """
    progress = NOT_SENT if is_refusal(error) and requests == 1 else sent
    return Outcome(error_kind(error), progress=progress, reused=requests > 1, detail=describe(error))
