"""All Pools as JSON, written piece by piece: the loop goes on in between, for probes and workers must not wait.

`pools` answers with it, and `events` finds out by it what has changed. Backends are kept as bytes, each by itself.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from dataclasses import dataclass

from proxy.controlplane.admin.view import LAST_IN_LIST, View
from proxy.controlplane.pools.registry import Registry

AT_A_TIME = 200
"""Backends between two looks of the loop at what else there is to do: some 8 ms, in which no probe is late. More looks
would have an answer wait for more rounds of a busy loop."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One Pool."""

    head: bytes
    """Its document but for the Backends, without the closing brace."""
    backends: dict[str, bytes]

    def whole(self, names: Iterable[str] | None = None) -> bytes:
        """The Pool with these Backends; all of them if none are named."""
        shown = self.backends.values() if names is None else [self.backends[name] for name in names]
        return b'%b, "backends": [%b]}' % (self.head, b", ".join(shown))


Sheet = dict[str, Entry]


async def draw(registry: Registry, view: View) -> Sheet:
    """All Pools as they are now; what a reload takes away meanwhile is left out."""
    sheet: Sheet = {}
    for name, pool in list(registry.pools.items()):
        backends: dict[str, bytes] = {}
        for number, record in enumerate(list(pool.backends.values())):
            if number % AT_A_TIME == AT_A_TIME - 1:
                await asyncio.sleep(0)
            if registry.pools.get(name) is not pool:
                break
            backends[record.settings.name] = json.dumps(view.backend(record, LAST_IN_LIST)).encode()
        else:
            sheet[name] = Entry(json.dumps(view.head(pool)).encode()[:-1], backends)
    return sheet


def names(sheet: Sheet) -> list[tuple[str, list[str]]]:
    """Who there is, in order."""
    return [(name, list(entry.backends)) for name, entry in sheet.items()]


def difference(before: Sheet, after: Sheet) -> bytes | None:
    """The Pools that differ, each with the Backends that do; None if nothing does."""
    found = []
    for name, entry in after.items():
        was = before.get(name, Entry(b"", {}))
        changed = [one for one, document in entry.backends.items() if was.backends.get(one) != document]
        if changed or entry.head != was.head:
            found.append(entry.whole(changed))
    return b'{"pools": [%b]}' % b", ".join(found) if found else None
