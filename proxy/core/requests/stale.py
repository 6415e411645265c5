"""LastGood: the last good answers of a Route's GETs, kept for a time in which there are none (RFC 5861, section 4).

No cache: nothing here is served while a Backend can answer. What may be kept, and for how long, is more narrow than
RFC 9111, section 3: whatever could be meant for one client alone is not. Memory is bounded; who was not asked for the
longest goes first.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from dataclasses import dataclass
from math import inf

from proxy.core.requests.fallback import StalePolicy
from proxy.core.wire.grammar import UNTIL_CLOSE, options_of, with_nominated
from proxy.core.wire.http1 import RequestHead
from proxy.core.wire.http1_answers import ResponseHead
from proxy.core.writes.queueing import CHECKED

_TELLING = re.compile(rb"\n(cache-control|vary|set-cookie|age):[ \t]*([^\r]*)\r", re.IGNORECASE)
FORBIDDING = frozenset({b"no-store", b"no-cache", b"private", b"must-revalidate", b"proxy-revalidate"})
"""Directives of an answer that never goes to anybody later."""
MOST_VARIANTS = 16
"""Of one URL; the oldest goes first."""
OVERHEAD = 1024
"""Bytes that an answer takes up beside its own."""
GONE = frozenset({401, 403, 404, 410, 451})
"""Statuses after which what was there before is not shown any more."""
NAMES_CLIENT = (b"authorization", b"proxy-authorization")
SAID_BY_US = frozenset({b"x-forwarded-for", b"forwarded", b"x-request-id", b"traceparent", b"tracestate"})
"""Fields by which we tell Backends one client or request from another: the client's own say nothing of what varies."""

READING = frozenset({b"GET", b"HEAD", b"OPTIONS", b"TRACE"})

Key = tuple[bytes, ...]


@dataclass(slots=True)
class Kept:
    """One answer."""

    head: ResponseHead
    body: bytes
    at: float
    """When it came."""
    age: int
    """How old it was then, by its own `Age`."""
    usable_for: float
    is_public: bool
    key_bytes: int
    """Of all that it is found by: a client may make that larger than the answer."""

    @property
    def size_bytes(self) -> int:
        return len(self.head.head) + len(self.body) + self.key_bytes + OVERHEAD


class _Resource:
    """All that is kept of one URL: by the values of the fields that its last answer varies with."""

    __slots__ = ("names", "size_bytes", "variants")

    def __init__(self) -> None:
        self.names: Key = ()
        self.size_bytes = 0
        self.variants: OrderedDict[Key, Kept] = OrderedDict()

    def put(self, values: Key, kept: Kept) -> None:
        self.drop(values)
        while len(self.variants) >= MOST_VARIANTS:
            self.drop(next(iter(self.variants)))
        self.variants[values] = kept
        self.size_bytes += kept.size_bytes

    def drop(self, values: Key) -> None:
        gone = self.variants.pop(values, None)
        if gone is not None:
            self.size_bytes -= gone.size_bytes


class LastGood:
    """The kept answers of one Route in one worker."""

    __slots__ = ("_resources", "policy", "size_bytes")

    def __init__(self, policy: StalePolicy) -> None:
        self.policy = policy
        self.size_bytes = 0
        self._resources: OrderedDict[Key, _Resource] = OrderedDict()

    def __repr__(self) -> str:
        return f"<LastGood {len(self._resources)} resources {self.size_bytes} bytes>"

    def keep(self, request: RequestHead, scheme: bytes, response: ResponseHead, body: bytes | None, now: float) -> None:
        """Take a whole answer, if it may be kept; or forget the one before, if this one says that it holds no more.

        None: its body has not come to its end yet.
        """
        key = (scheme, request.authority, request.target)
        if not _may_be_kept(request, response):
            if _ends_what_was(request, response):
                self._forget(key)
            return
        if body is None:
            return
        told = _Told(response)
        cookies = request.field(b"cookie") is not None
        if told.usable_for <= 0.0 or (cookies and not told.is_public):
            return
        values = _values(request, told.varies)
        usable_for, key_bytes = min(self.policy.duration, told.usable_for), _length(key, told.varies, values)
        kept = Kept(response, body, now, told.age, usable_for, told.is_public, key_bytes)
        if kept.size_bytes <= self.policy.max_bytes:
            self._put(key, told.varies, values, kept)

    def _drop(self, key: Key, resource: _Resource, values: Key) -> None:
        """One variant is too old; of a URL without any nothing stays."""
        before = resource.size_bytes
        resource.drop(values)
        self.size_bytes += resource.size_bytes - before
        if not resource.variants:
            del self._resources[key]

    def _forget(self, key: Key) -> None:
        gone = self._resources.pop(key, None)
        if gone is not None:
            self.size_bytes -= gone.size_bytes

    def _put(self, key: Key, names: Key, values: Key, kept: Kept) -> None:
        resource = self._resources.pop(key, None)
        if resource is not None:
            self.size_bytes -= resource.size_bytes
        if resource is None or resource.names != names:
            resource = _Resource()
            resource.names = names
        resource.put(values, kept)
        self._resources[key] = resource
        self.size_bytes += resource.size_bytes
        while self.size_bytes > self.policy.max_bytes:
            _, gone = self._resources.popitem(last=False)
            self.size_bytes -= gone.size_bytes

    def find(self, request: RequestHead, scheme: bytes, now: float) -> tuple[Kept, int] | None:
        """The last good answer for this request and its age in seconds; None where there is none to give."""
        if _is_personal(request):
            return None
        key = (scheme, request.authority, request.target)
        resource = self._resources.get(key)
        if resource is None:
            return None
        values = _values(request, resource.names)
        kept = resource.variants.get(values)
        if kept is None:
            return None
        if now - kept.at > kept.usable_for:
            self._drop(key, resource, values)
            return None
        if request.field(b"cookie") is not None and not kept.is_public:
            return None
        self._resources.move_to_end(key)
        return kept, kept.age + int(now - kept.at)


def as_kept(response: ResponseHead) -> ResponseHead:
    """The same head for another request, whose id is another, and of an age that we tell."""
    # Read anew: where it is compiled, a head can't be copied.
    changed = ResponseHead(response.head, CHECKED)
    changed.cuts = with_nominated(changed.cuts, response.head.lower(), {b"age", b"x-request-id"})
    changed.has_request_id = False
    return changed


def _may_be_kept(request: RequestHead, response: ResponseHead) -> bool:
    """Whether these two could be, whatever the answer says of itself."""
    is_whole_200 = response.status == 200 and response.body is not UNTIL_CLOSE
    return request.method == b"GET" and is_whole_200 and request.field(b"range") is None and not _is_personal(request)


def _ends_what_was(request: RequestHead, response: ResponseHead) -> bool:
    """Whether the resource has changed (RFC 9111, section 4.4), or is there no more."""
    if request.method in READING:
        return response.status in GONE and not _is_personal(request)
    return response.status < 400


def _is_personal(request: RequestHead) -> bool:
    """Whether the request says who asks, or that nothing of it may be kept."""
    if any(request.field(name) is not None for name in NAMES_CLIENT):
        return True
    return b"no-store" in options_of((request.field(b"cache-control") or b"").lower())


def _values(request: RequestHead, names: Key) -> Key:
    """What the request has in these fields."""
    return tuple(b",".join(request.fields(name)) for name in names)


def _length(*keys: Key) -> int:
    return sum(len(part) for key in keys for part in key)


class _Told:
    """What an answer says of how it may be used."""

    def __init__(self, response: ResponseHead) -> None:
        found: dict[bytes, list[bytes]] = {}
        for match in _TELLING.finditer(response.head):
            found.setdefault(match[1].lower(), []).append(match[2].strip(b" \t"))
        directives = _directives(b",".join(found.get(b"cache-control", ())))
        self.varies = tuple(sorted(options_of(b",".join(found.get(b"vary", ())).lower())))
        self.is_public = b"public" in directives
        self.age = _seconds(next(iter(found.get(b"age", ())), b"")) or 0
        is_one_clients = b"set-cookie" in found or b"*" in self.varies or not SAID_BY_US.isdisjoint(self.varies)
        is_barred = is_one_clients or not FORBIDDING.isdisjoint(directives)
        self.usable_for = 0.0 if is_barred else _usable_for(directives) - self.age


def _usable_for(directives: dict[bytes, bytes]) -> float:
    """How old it may become: an answer for shared caches says when it must not be used any more."""
    shared = _seconds(directives.get(b"s-maxage", b""))
    extra = _seconds(directives.get(b"stale-if-error", b""))
    if extra is not None:
        fresh = shared if shared is not None else _seconds(directives.get(b"max-age", b""))
        return float((fresh or 0) + extra)
    return inf if shared is None else float(shared)


def _directives(value: bytes) -> dict[bytes, bytes]:
    """Of those that are given twice, the least."""
    found: dict[bytes, bytes] = {}
    for part in value.lower().split(b","):
        name, _, text = part.strip(b" \t").partition(b"=")
        text = text.strip(b' \t"')
        found[name] = min(found.get(name, text), text, key=lambda one: (len(one), one))
    return found


def _seconds(value: bytes) -> int | None:
    return int(value) if value.isdigit() and len(value) < 10 else None
