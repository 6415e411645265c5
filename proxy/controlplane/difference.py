"""What a reload changes, by name: the answer to whoever asked for it, and a line in the log.

Names only and never values, so that no secret can be in it. Pure; `reload` makes one of two Settings.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, Protocol

from proxy.core.settings import BackendSettings, Settings

NAMED = ("listeners", "pools", "routes")
"""What in Settings is compared name by name."""
KEYS = {"hold.duration": "hold.for", "split": "pool", "sticky.keys": "sticky.sign_with"}
"""Fields whose key in a file is another."""
ORDER = "order"
"""Said of Routes where it is only their order that has changed: the first match wins."""

Json = dict[str, Any]


class Named(Protocol):
    """A value with a name."""

    @property
    def name(self) -> str:
        """By which it is known before and after."""


@dataclass(frozen=True, slots=True)
class Part:
    """What became of the things of one kind."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By name, the keys that have other values."""

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed)

    def document(self) -> Json:
        """As JSON."""
        changed = {name: list(keys) for name, keys in self.changed.items()}
        return {"added": list(self.added), "removed": list(self.removed), "changed": changed}

    def summary(self) -> str:
        """`2 added, 1 changed`."""
        numbers = (("added", self.added), ("removed", self.removed), ("changed", self.changed))
        return ", ".join(f"{len(names)} {word}" for word, names in numbers if names)


@dataclass(frozen=True, slots=True)
class Difference:
    """All that differs between two Settings."""

    listeners: Part
    pools: Part
    backends: Part
    """By `POOL/BACKEND`; those of Pools that are new or gone too."""
    routes: Part
    settings: tuple[str, ...]
    """Everything else that has another value."""

    def __bool__(self) -> bool:
        return any(self._parts().values()) or bool(self.settings)

    def _parts(self) -> dict[str, Part]:
        return {kind: getattr(self, kind) for kind in ("listeners", "pools", "backends", "routes")}

    def document(self) -> Json:
        """As the API answers."""
        return {kind: part.document() for kind, part in self._parts().items()} | {"settings": list(self.settings)}

    def summary(self) -> dict[str, str]:
        """Of each kind in which something has changed, how much; for the log."""
        found = {kind: part.summary() for kind, part in self._parts().items() if part}
        return found | ({"settings": ", ".join(self.settings)} if self.settings else {})


def difference(before: Settings, after: Settings) -> Difference:
    """What the second Settings change in the first."""
    return Difference(
        listeners=_part(_by_name(before.listeners), _by_name(after.listeners)),
        pools=_part(_by_name(before.pools), _by_name(after.pools), but="backends"),
        backends=_part(_backends(before), _backends(after)),
        routes=_part(_by_name(before.routes), _by_name(after.routes)),
        settings=tuple(_rest(before, after)),
    )


def _by_name(values: Iterable[Named]) -> dict[str, Named]:
    return {one.name: one for one in values}


def _backends(settings: Settings) -> dict[str, BackendSettings]:
    return {f"{pool.name}/{one.name}": one for pool in settings.pools for one in pool.backends}


def _part(before: Mapping[str, object], after: Mapping[str, object], but: str = "") -> Part:
    changed = {}
    for name, value in after.items():
        if name in before and value != before[name]:
            keys = tuple(key for key in changed_keys(before[name], value) if key != but)
            if keys:
                changed[name] = keys
    added = tuple(name for name in after if name not in before)
    return Part(added, tuple(name for name in before if name not in after), changed)


def _rest(before: Settings, after: Settings) -> Iterator[str]:
    for key in changed_keys(before, after):
        if key not in NAMED:
            yield key
    kept = [[one.name for one in settings.routes] for settings in (before, after)]
    common = set(kept[0]) & set(kept[1])
    if [name for name in kept[0] if name in common] != [name for name in kept[1] if name in common]:
        yield f"routes.{ORDER}"


def changed_keys(before: object, after: object) -> Iterator[str]:
    """The fields in which two values of one dataclass differ, those of policies with a dot: `timeouts.connect`."""
    for one in fields(after):  # type: ignore[arg-type]
        was, now = getattr(before, one.name), getattr(after, one.name)
        if was == now:
            continue
        keys = [one.name]
        if is_policy(was) and type(was) is type(now):
            keys = [f"{one.name}.{inner}" for inner in changed_keys(was, now)]
        yield from (KEYS.get(key, key) for key in keys)


def is_policy(value: object) -> bool:
    """Whether this is a block of keys and not one value: all addresses are one value."""
    return is_dataclass(value) and not hasattr(value, "port")
