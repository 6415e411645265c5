"""Writes with an idempotency key: which requests are keyed, by what a repeat is known, and what a repeat gets.

The header is that of the IETF draft (draft-ietf-httpapi-idempotency-key-header). This file knows nothing of stores and
sockets: entries come in, decisions go out. `dataplane.keyed` carries them out; which Backend may get a keyed write
again is decided in `keyed`.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

from proxy.core.requests.decisions import Refuse
from proxy.core.requests.retry import IDEMPOTENT
from proxy.core.settings import IdempotencyPolicy
from proxy.errors import ErrorKind

RETRY_AFTER = 1
"""Seconds that a client is asked to wait before it repeats."""
LONGEST_KEY = 255
"""Bytes."""
REPLAYED = b"Idempotency-Replayed: true\r\n"

_BARE = re.compile(rb"[!#-+\--~]{1,%d}" % LONGEST_KEY)
_QUOTED = re.compile(rb'"((?:[ !#-\[\]-~]|\\["\\]){1,%d})"' % LONGEST_KEY)
_ESCAPED = re.compile(rb'\\(["\\])')


class KeyState(enum.IntEnum):
    """What is known of a write."""

    RUNNING = 1
    """It is on its way; whoever carries it lives, or the state is UNKNOWN."""
    UNKNOWN = 2
    """It may have been executed by the Backend that is noted, and nobody knows."""
    QUEUED = 3
    """It was accepted and has not been sent to anybody yet."""
    DONE = 4
    """It was answered."""


@dataclass(frozen=True, slots=True)
class Kept:
    """An answer as it is kept."""

    head: bytes
    """As the Backend sent it."""
    body: bytes
    trailer: bytes = b""


@dataclass(frozen=True, slots=True)
class Entry:
    """What the store holds of one key."""

    number: int
    """The store's own."""
    fingerprint: bytes
    state: KeyState
    backend: str
    """Who may have executed it, by name."""
    turn: int
    """Counts those who carried it: late news of an earlier one is dropped."""
    token: str = ""
    """Of a queued one, for its status URL."""


class Verdict(enum.Enum):
    """What a request gets whose key is known."""

    RUN = "run"
    """Send it as if it were new."""
    ONLY_TO = "only to"
    """Send it to the Backend that may have executed it, and to nobody else."""
    REPLAY = "replay"
    QUEUED = "queued"
    CONFLICT = "conflict"
    MISMATCH = "mismatch"
    UNKNOWN = "unknown"
    """Nobody may get it, and nobody knows whether it was executed."""


# Which requests are keyed


def concerns(policy: IdempotencyPolicy, method: bytes) -> bool:
    """Whether a key on a request with this method is heeded: a safe or idempotent one may be repeated anyway."""
    return method not in IDEMPOTENT or method.decode() in policy.require_for


def read_key(values: Sequence[bytes]) -> bytes | None:
    """The key from the header's values, without its quotation marks; None if there is not exactly one that is valid."""
    if len(values) != 1:
        return None
    value = values[0]
    quoted = _QUOTED.fullmatch(value)
    if quoted is not None:
        return _ESCAPED.sub(rb"\1", quoted[1])
    return value if _BARE.fullmatch(value) else None


# By what a repeat is known


def key_id(pool: str, scope: Sequence[bytes], key: bytes) -> bytes:
    """What a key is stored as. A digest: keys of two clients never meet, and no credential reaches the disk."""
    return _digest(pool.encode(), b"\0".join(scope), key)


def fingerprint(method: bytes, target: bytes, body: bytes) -> bytes:
    """What a repeat must be equal in."""
    return _digest(method, target, sha256(body).digest())


def _digest(*parts: bytes) -> bytes:
    digest = sha256()
    for part in parts:
        digest.update(b"%d:" % len(part))
        digest.update(part)
    return digest.digest()


# What a repeat gets


def judge(entry: Entry, wanted: bytes, policy: IdempotencyPolicy) -> Verdict:
    """What a request with this fingerprint gets whose key has this Entry."""
    if entry.fingerprint != wanted:
        return Verdict.MISMATCH
    if entry.state is KeyState.UNKNOWN:
        if policy.shares_keys:
            return Verdict.RUN
        return Verdict.ONLY_TO if policy.honoured else Verdict.UNKNOWN
    return _OF_STATE[entry.state]


_OF_STATE = {
    KeyState.RUNNING: Verdict.CONFLICT,
    KeyState.QUEUED: Verdict.QUEUED,
    KeyState.DONE: Verdict.REPLAY,
}

TRIED_AGAIN = frozenset({408, 409, 425, 429})
"""4xx that speak of this moment and not of the write: the repeat may bring another."""


def is_final(status: int, policy: IdempotencyPolicy) -> bool:
    """Whether an answer settles a write, so that repeats get this one and no Backend sees them.

    One that is not leaves open whether the write was executed. Backends that don't honour keys get no repeat, so there
    every answer is the last.
    """
    return not policy.honoured or (status < 500 and status not in TRIED_AGAIN)


# What a client is told


@dataclass(frozen=True, slots=True)
class Denial:
    """Why a keyed write is not sent, in the words of a problem document."""

    name: str
    status: int
    title: str
    kind: ErrorKind = ErrorKind.HTTP_REQUEST_DENIED
    executed: str | None = None
    retry_after: int | None = None

    def refuse(self, detail: str = "") -> Refuse:
        """As a decision."""
        return Refuse(self.kind, self.status, detail, self.executed, self.retry_after, self.name, self.title)


NO_KEY = Denial("idempotency_key_missing", 400, "This request needs an idempotency key", executed="no")
BAD_KEY = Denial("idempotency_key_invalid", 400, "The idempotency key is not valid", executed="no")
TOO_LARGE = Denial("idempotency_body_too_large", 413, "Too large for a request with an idempotency key", executed="no")
REUSED = Denial("idempotency_key_reused", 422, "The idempotency key was used for another request")
BUSY = Denial("idempotency_key_busy", 409, "A request with this idempotency key is being processed", retry_after=1)
NOT_KEPT = Denial("idempotency_answer_not_kept", 409, "The request was answered, and its answer was not kept")
NOT_READABLE = Denial(
    "idempotency_store_unavailable",
    503,
    "The request was answered, and its answer can't be read now",
    ErrorKind.PROXY_INTERNAL_ERROR,
    retry_after=RETRY_AFTER,
)
NOT_KNOWN = Denial(
    "idempotency_outcome_unknown",
    503,
    "Nobody can say now whether the request was executed",
    ErrorKind.DESTINATION_UNAVAILABLE,
    executed="unknown",
    retry_after=RETRY_AFTER,
)
STORE_FAILED = Denial(
    "idempotency_store_unavailable",
    503,
    "The request could not be recorded, so it was not sent",
    ErrorKind.PROXY_INTERNAL_ERROR,
    executed="no",
    retry_after=RETRY_AFTER,
)
STORE_FULL = Denial(
    "idempotency_store_full",
    503,
    "As many idempotency keys are kept as may be, so the request was not sent",
    ErrorKind.PROXY_INTERNAL_ERROR,
    executed="no",
    retry_after=RETRY_AFTER,
)
