"""Metrics as text that Prometheus reads: the text format 0.0.4, or OpenMetrics 1.0 for who asks for it.

Ours, and not prometheus-client's encoder: that takes 0.3 s for a thousand Backends, in one piece, while probes wait
(`docs/adr`, metrics as text). What the numbers are is `metrics`; the admin endpoint serves `Page`.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from math import inf, isnan
from time import monotonic
from typing import Any

from aiohttp import web

from proxy.controlplane.pools.tally import Histogram
from proxy.core.messages import DURATION_BUCKETS

SLICE = 0.004
"""Seconds of work after which the loop may look at others."""
ROWS = 256
"""Rows that are written between two looks at the clock."""
WORTH_A_THREAD = 65536
"""Bytes from which a page is compressed beside the loop."""
QUICKLY = 1
"""zlib's level: ten times smaller already, at a fifth of the time of the highest."""
SHARED = 2
"""Labels in front that many series share: Pool and Backend. What is behind them repeats for each."""
AS_GZIP = 31
"""zlib's word for the format of gzip."""
TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text"
OPENMETRICS_1 = f"{OPENMETRICS}; version=1.0.0; charset=utf-8"

Row = tuple[Sequence[str], float]
"""Label values and the number."""


@dataclass(frozen=True, slots=True)
class Family:
    """One metric with all its series."""

    kind: str
    """`counter`, `gauge` or `histogram`."""
    name: str
    """Without the `_total` of a counter."""
    text: str
    labels: Sequence[str]
    rows: Sequence[Row] | Sequence[tuple[Sequence[str], Histogram]]

    def lines(self, *, openmetrics: bool) -> Iterator[str]:
        """The family as text, a part at a time."""
        name = f"{self.name}_total" if self.kind == "counter" and not openmetrics else self.name
        yield f"# HELP {name} {_escaped(self.text)}\n# TYPE {name} {self.kind}\n"
        write: Callable[[Family, Sequence[Any]], str] = _histogram_lines if self.kind == "histogram" else _plain_lines
        for start in range(0, len(self.rows), ROWS):
            yield write(self, self.rows[start : start + ROWS])


Source = Callable[[], Iterable[Family]]
"""Tells Families as they are now."""


def _plain_lines(family: Family, rows: Sequence[tuple[Sequence[str], float]]) -> str:
    name = f"{family.name}_total" if family.kind == "counter" else family.name
    labels = tuple(family.labels)
    if len(labels) <= SHARED:
        return "".join([f"{name}{_braced(labels, tuple(values))} {_number(number)}\n" for values, number in rows])
    whose, what = labels[:SHARED], labels[SHARED:]
    return "".join(
        [
            f"{name}{_braced(whose, tuple(values[:SHARED]))[:-1]},{_braced(what, tuple(values[SHARED:]))[1:]}"
            f" {_number(number)}\n"
            for values, number in rows
        ]
    )


_BUCKETS = tuple(f',le="{bound if bound < inf else "+Inf"}"}} ' for bound in (*DURATION_BUCKETS, inf))


def _histogram_lines(family: Family, rows: Sequence[tuple[Sequence[str], Histogram]]) -> str:
    parts: list[str] = []
    labels = tuple(family.labels)
    for values, histogram in rows:
        braced = _braced(labels, tuple(values))
        bucket = f"{family.name}_bucket{braced[:-1]}"
        total = 0
        for bound, total in zip(_BUCKETS, accumulate(histogram.buckets), strict=True):
            parts.append(f"{bucket}{bound}{total}\n")
        parts.append(f"{family.name}_count{braced} {total}\n{family.name}_sum{braced} {_number(histogram.seconds)}\n")
    return "".join(parts)


@lru_cache(maxsize=65536)
def _braced(labels: tuple[str, ...], values: tuple[str, ...]) -> str:
    """Labels in braces; the same ones are asked for at each scrape."""
    pairs = ",".join(f'{name}="{_escaped(value)}"' for name, value in zip(labels, values, strict=True))
    return f"{{{pairs}}}" if pairs else ""


def _escaped(text: str) -> str:
    return str(text).replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _number(value: float) -> str:
    if isinstance(value, int):
        return str(int(value))
    if abs(value) == inf or isnan(value):
        return {inf: "+Inf", -inf: "-Inf"}.get(value, "NaN")
    return repr(value)


class Page:
    """The page of all sources, in their order."""

    def __init__(self, *sources: Source) -> None:
        self._sources = sources

    def __repr__(self) -> str:
        return f"<Page {len(self._sources)} sources>"

    def families(self) -> Iterator[Family]:
        """All that there is."""
        for source in self._sources:
            yield from source()

    def parts(self, *, openmetrics: bool = False) -> Iterator[str]:
        """The page as text, a part at a time."""
        for family in self.families():
            yield from family.lines(openmetrics=openmetrics)
        if openmetrics:
            yield "# EOF\n"

    async def write(self, *, openmetrics: bool = False) -> bytes:
        """The page, written in slices: others have their turn in between."""
        parts: list[str] = []
        until = monotonic() + SLICE
        for part in self.parts(openmetrics=openmetrics):
            parts.append(part)
            if monotonic() >= until:
                await asyncio.sleep(0)
                until = monotonic() + SLICE
        return "".join(parts).encode()

    async def answer(self, request: web.Request) -> web.Response:
        """For the admin endpoint."""
        openmetrics = OPENMETRICS in request.headers.get("Accept", "")
        body = await self.write(openmetrics=openmetrics)
        headers = {"Content-Type": OPENMETRICS_1 if openmetrics else TEXT, "Vary": "Accept, Accept-Encoding"}
        if "gzip" in request.headers.get("Accept-Encoding", ""):
            headers["Content-Encoding"] = "gzip"
            compress = _gzipped
            body = compress(body) if len(body) < WORTH_A_THREAD else await asyncio.to_thread(compress, body)
        return web.Response(body=body, headers=headers)


def _gzipped(body: bytes) -> bytes:
    return zlib.compress(body, QUICKLY, AS_GZIP)
