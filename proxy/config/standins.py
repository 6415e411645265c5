"""Does what a route answers with when nothing can serve fit together, and can its files be read. Called by `loader`."""

from __future__ import annotations

import mimetypes
from collections.abc import Iterator, Mapping
from pathlib import Path as File

from proxy.config.build import policy
from proxy.config.fallback import LARGEST_BODY, Fallback
from proxy.config.files import content, why_unreadable
from proxy.config.mistakes import Finding, Path, nearest
from proxy.config.models import Route
from proxy.config.reading import Reading
from proxy.core.requests import fallback
from proxy.core.requests.fallback import FixedAnswer, StalePolicy

OF_THE_ANSWER = ("status", "body", "file", "content_type", "headers")
OURS = frozenset(
    {"connection", "content-length", "content-type", "date", "keep-alive", "proxy-status", "te", "trailer"}
    | {"transfer-encoding", "upgrade", "via", "x-request-id"}
)
"""Fields that the proxy writes itself."""
BODILESS = frozenset({204, 205, 304})

Fallbacks = Mapping[int, fallback.Fallback]
"""What routes have, by their number in the file."""


def read_fallbacks(reading: Reading, folder: File) -> tuple[Fallbacks, list[Finding]]:
    """Read them all; relative paths start at `folder`."""
    found, findings = {}, list[Finding]()
    for number, route in enumerate(reading.config.routes):
        if route.fallback is None and route.stale_if_error is None:
            continue
        wrong = list(_misfits(reading, number, route))
        body, why = _body(route.fallback, folder)
        wrong += [Finding(("routes", number, "fallback", "file"), why)] if why else []
        findings += wrong
        stale = None if route.stale_if_error is None else policy(StalePolicy, route.stale_if_error)
        block = route.fallback or Fallback()
        found[number] = fallback.Fallback(block.pool or "", stale, _answer(block, body))
    return found, findings


def _answer(block: Fallback, body: bytes) -> FixedAnswer | None:
    if block.model_fields_set.isdisjoint(OF_THE_ANSWER):
        return None
    kind = block.content_type or _kind_of(block.file) or FixedAnswer().content_type
    return FixedAnswer(block.status, body, kind, tuple(block.headers.items()))


def _kind_of(file: str | None) -> str | None:
    # The system's own tables are not asked, or two machines would answer differently.
    kind, _ = mimetypes.MimeTypes().guess_type(file) if file else (None, None)
    return f"{kind}; charset=utf-8" if kind is not None and kind.startswith("text/") else kind


def _body(block: Fallback | None, folder: File) -> tuple[bytes, str]:
    """The fixed answer's body, and why its file can't be read."""
    if block is None or block.file is None:
        return (block.body or "").encode() if block is not None else b"", ""
    try:
        return content(folder / block.file, LARGEST_BODY), ""
    except OSError as error:
        return b"", why_unreadable(error)


def _misfits(reading: Reading, number: int, route: Route) -> Iterator[Finding]:
    place: Path = ("routes", number)
    for key in ("fallback", "stale_if_error"):
        if reading.has(*place, key) and (reading.has(*place, "answer") or reading.has(*place, "redirect")):
            yield Finding((*place, key), "does nothing without 'pool' or 'split'", at_key=True)
    methods = (route.match.method,) if route.match.method else route.match.methods
    if route.stale_if_error is not None and methods and not {"GET", "HEAD"} & set(methods):
        yield Finding((*place, "stale_if_error"), "does nothing: only answers to GET are kept", at_key=True)
    if route.fallback is not None:
        yield from _pool(reading, (*place, "fallback"), route, route.fallback.pool)
        yield from _fixed(reading, (*place, "fallback"), route.fallback)


def _pool(reading: Reading, place: Path, route: Route, name: str | None) -> Iterator[Finding]:
    here = (*place, "pool") if reading.has(*place, "pool") else place
    if name is None or not reading.is_sure_of("pools"):
        return
    pools = reading.document.keys("pools")
    if name not in pools:
        yield Finding(here, f"there is no pool '{name}'{nearest(name, pools)}")
    elif name == route.pool or list(route.shares) == [name]:
        yield Finding(here, f"'{name}' is the pool of this route: it can't stand in for itself")
    elif reading.has("pools", name, "idempotency"):
        yield Finding(
            here, f"pool '{name}' has 'idempotency', and writes that come this way would not be in its ledger"
        )


def _fixed(reading: Reading, place: Path, block: Fallback) -> Iterator[Finding]:
    given = block.model_fields_set
    if block.pool is None and given.isdisjoint(OF_THE_ANSWER) and reading.is_sure(*place):
        yield Finding(place, "needs 'pool', 'status', 'body' or 'file'")
    if block.body is not None and block.file is not None:
        yield Finding((*place, "file"), "an answer has one body, and 'body' is given", at_key=True)
    if (block.body or block.file) and block.status in BODILESS:
        yield Finding((*place, "body" if block.body else "file"), f"an answer {block.status} has no body")
    if block.content_type is not None and block.body is None and block.file is None:
        yield Finding((*place, "content_type"), "does nothing without 'body' or 'file'", at_key=True)
    seen: set[str] = set()
    for name in block.headers:
        if name.lower() in OURS:
            yield Finding((*place, "headers", name), "the proxy writes this field itself", at_key=True)
        elif name.lower() in seen:
            yield Finding((*place, "headers", name), "this header is given twice", at_key=True)
        seen.add(name.lower())
