"""Sticky clients: what a cookie of ours says, how it is signed, found in a request and taken out of it.

A cookie holds when it ends, the client's seed (for splits) and its owner: the Backend that the client belongs to, as a
keyed hash of its name, which tells nobody who that is. Whatever is forged, garbage or over is as good as no cookie.
This file knows nothing of whether an owner serves: that is the Pool's to say.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable
from hmac import compare_digest, digest
from math import ceil
from typing import NamedTuple

from proxy.core.settings import StickyPolicy
from proxy.core.wire.http1 import RequestHead

Owner = tuple[str, str]
"""Names of a Pool and a Backend in it."""

SEED_BITS = 32
MOST_TRIED = 3
"""Cookies of our name in one request that are looked at: browsers send two where path or domain have changed."""

_WHEN, _SEED, _OWNER, _MAC = 5, 4, 11, 16
"""Bytes: 36 in all, which 48 characters of base64 hold to the last bit, so that each value is written in one way."""
_VALUE = re.compile(rb"[A-Za-z0-9_-]{48}")
_LINE = re.compile(rb"\n[Cc][Oo][Oo][Kk][Ii][Ee]:([^\r\n]*)\r")
_IS_PRIVATE = re.compile(rb"\ncache-control:[^\r\n]*\b(?:private|no-store)\b(?!=)", re.IGNORECASE)


class Bond(NamedTuple):
    """What a good cookie says."""

    expires: int
    """Seconds of the clock on the wall."""
    seed: int
    owner: Owner | None
    """None: a Backend that is in no Pool of this Route any more."""
    is_current: bool
    """Whether it is signed with the key that new ones are signed with."""


class Seal:
    """One key at work for one cookie: another name, or another key, and nothing fits."""

    __slots__ = ("_names", "_signs")

    def __init__(self, key: bytes, cookie: bytes) -> None:
        if not key:
            raise ValueError("cookies can't be signed without a key")
        self._signs = digest(key, b"sticky: signature: " + cookie, "sha256")
        self._names = digest(key, b"sticky: owner: " + cookie, "sha256")

    def __repr__(self) -> str:
        return "<Seal>"

    def identity(self, owner: Owner) -> bytes:
        """What stands for a Backend in a cookie."""
        pool, backend = owner[0].encode(), owner[1].encode()
        return digest(self._names, b"%d:%b%b" % (len(pool), pool, backend), "sha256")[:_OWNER]

    def write(self, expires: int, seed: int, identity: bytes) -> bytes:
        """A cookie's value."""
        said = expires.to_bytes(_WHEN, "big") + seed.to_bytes(_SEED, "big") + identity
        return urlsafe_b64encode(said + self._mac(said))

    def read(self, value: bytes) -> tuple[int, int, bytes] | None:
        """What was written; None if it was not written with this key."""
        raw = urlsafe_b64decode(value)
        said, mac = raw[:-_MAC], raw[-_MAC:]
        if not compare_digest(mac, self._mac(said)):
            return None
        return int.from_bytes(said[:_WHEN], "big"), int.from_bytes(said[_WHEN : _WHEN + _SEED], "big"), said[-_OWNER:]

    def _mac(self, said: bytes) -> bytes:
        return digest(self._signs, said, "sha256")[:_MAC]


class Stickiness:
    """The cookies of one Route."""

    __slots__ = ("_attributes", "_known", "_name", "_owners", "_seals", "policy")

    def __init__(self, policy: StickyPolicy, owners: Iterable[Owner]) -> None:
        self.policy = policy
        self._name = policy.cookie.encode()
        self._seals = tuple(Seal(key, self._name) for key in policy.keys)
        if not self._seals:
            raise ValueError("cookies can't be signed without a key")
        self._owners = everybody = frozenset(owners)
        self._known = tuple({seal.identity(owner): owner for owner in everybody} for seal in self._seals)
        self._attributes = _attributes(policy)

    def __repr__(self) -> str:
        return f"<Stickiness {self.policy.cookie} {len(self._known[0])} owners>"

    def take(self, request: RequestHead, now: float) -> Bond | None:
        """What the client's cookie says; the Backend does not see it. None where there is none that is good."""
        for value in take_cookies(request, self._name)[:MOST_TRIED]:
            bond = self.read(value, now)
            if bond is not None:
                return bond
        return None

    def read(self, value: bytes, now: float) -> Bond | None:
        """What one value says; None if it is not ours, or over."""
        if not _VALUE.fullmatch(value):
            return None
        for number, (seal, known) in enumerate(zip(self._seals, self._known, strict=True)):
            found = seal.read(value)
            if found is not None:
                expires, seed, identity = found
                return Bond(expires, seed, known.get(identity), number == 0) if now < expires else None
        return None

    def is_due(self, bond: Bond | None, owner: Owner, now: float) -> bool:
        """Whether a client that this Backend has served needs a new cookie. No other Pool's has clients here."""
        if owner not in self._owners:
            return False
        if bond is None or bond.owner != owner or not bond.is_current:
            return True
        # A reload may have made the time shorter.
        return not self.policy.ttl / 2 <= bond.expires - now <= self.policy.ttl + 1

    def fields(self, owner: Owner, seed: int, now: float, head: bytes, *, is_secure: bool) -> bytes:
        """What is added to an answer with this head: the cookie, and that no cache may give it to another client."""
        value = self._seals[0].write(ceil(now + self.policy.ttl), seed, self._seals[0].identity(owner))
        secure = is_secure if self.policy.secure is None else self.policy.secure
        field = b"Set-Cookie: %b=%b%b%b\r\n" % (self._name, value, self._attributes, b"; Secure" if secure else b"")
        return field if _IS_PRIVATE.search(head) else field + b"Cache-Control: private\r\n"


def _attributes(policy: StickyPolicy) -> bytes:
    """What is the same in each cookie (RFC 6265, section 4.1)."""
    parts = [f"; Max-Age={ceil(policy.ttl)}; Path={policy.path}"]
    if policy.domain:
        parts.append(f"; Domain={policy.domain}")
    if policy.http_only:
        parts.append("; HttpOnly")
    parts.append(f"; SameSite={policy.same_site.capitalize()}")
    return "".join(parts).encode()


def take_cookies(request: RequestHead, name: bytes) -> list[bytes]:
    """Take all cookies of this name out of the request; their values. A line in which nothing is left goes, too."""
    if name + b"=" not in request.head:
        return []
    values: list[bytes] = []
    gone: list[tuple[int, int, bytes]] = []
    for line in _LINE.finditer(request.head):
        pairs = line[1].split(b";")
        kept = [pair for pair in pairs if not _is_named(pair, name)]
        if len(kept) < len(pairs):
            values += [pair.partition(b"=")[2].rstrip(b" \t") for pair in pairs if _is_named(pair, name)]
            is_empty = not any(pair.strip(b" \t") for pair in kept)
            gone.append((line.start(), line.end(), b"") if is_empty else (*line.span(1), b";".join(kept)))
    if gone:
        _replace(request, gone)
    return values


def _is_named(pair: bytes, name: bytes) -> bool:
    return pair.lstrip(b" \t").startswith(name + b"=")


def _replace(request: RequestHead, gone: list[tuple[int, int, bytes]]) -> None:
    """Change the head, and where its cuts are: none begins or ends inside of what changes."""
    head, parts, at = request.head, [], 0
    for start, end, instead in gone:
        parts += [head[at:start], instead]
        at = end
    request.head = b"".join([*parts, head[at:]])
    request.cuts = [(_moved(start, gone), _moved(end, gone)) for start, end in request.cuts]


def _moved(position: int, gone: list[tuple[int, int, bytes]]) -> int:
    return position - sum(end - start - len(instead) for start, end, instead in gone if end <= position)
