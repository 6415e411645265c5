"""What the language has words for and the proxy can't do yet: refused by name, never silently ignored.

One line each: building a feature deletes its line. `*` stands for one key or list position. A value is refused that
begins with one of the words on the right; any value, where there is none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from proxy.config.mistakes import Finding, Path

REFUSAL = "not supported yet"
ANYTHING: tuple[str, ...] = ()

NOT_YET: dict[str, tuple[str, ...]] = {
    "cluster": ANYTHING,
    "pools.*.mode": ("leader-follower",),
    "pools.*.leader": ANYTHING,
    "pools.*.read": ANYTHING,
}

Table = dict[str, "Table | tuple[str, ...]"]


def _by_level(patterns: Mapping[str, tuple[str, ...]]) -> Table:
    """The same table as a tree, so that of 10,000 routes only the keys are looked at that it names."""
    top: Table = {}
    for pattern, words in patterns.items():
        level = top
        *above, last = pattern.split(".")
        for part in above:
            below = level.setdefault(part, {})
            assert isinstance(below, dict), f"{pattern}: what is above it is refused already"
            level = below
        level[last] = words
    return top


_TOP = _by_level(NOT_YET)


def not_yet(data: object, path: Path = (), table: Table = _TOP) -> Iterator[Finding]:
    """Find what the proxy can't do yet."""
    for part, below in table.items():
        for key, value in _children(data, part):
            here = (*path, key)
            if isinstance(below, dict):
                yield from not_yet(value, here, below)
                continue
            message = _refusal(value, below)
            if message is not None:
                yield Finding(here, message, at_key=message == REFUSAL)


def _children(data: object, part: str) -> Iterable[tuple[str | int, object]]:
    """What one part of a pattern stands for."""
    if isinstance(data, dict):
        return data.items() if part == "*" else [(part, data[part])] if part in data else ()
    return enumerate(data) if part == "*" and isinstance(data, list) else ()


def _refusal(value: object, words: tuple[str, ...]) -> str | None:
    if not words:
        return REFUSAL
    return next((f"'{one}' is {REFUSAL}" for one in words if isinstance(value, str) and value.startswith(one)), None)
