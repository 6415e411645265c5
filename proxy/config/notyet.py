"""What the language has words for and the proxy can't do yet: refused by name, never silently ignored.

One line each: building a feature deletes its line. `*` stands for one key or list position, `**` for any number of
them. A value is refused that begins with one of the words on the right; any value, where there is none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from proxy.config.mistakes import Finding, Path

REFUSAL = "not supported yet"
ANYTHING: tuple[str, ...] = ()

NOT_YET: dict[str, tuple[str, ...]] = {
    "cluster": ANYTHING,
    "defaults.hedge": ANYTHING,
    "pools.*.hedge": ANYTHING,
    "pools.*.mode": ("leader-follower",),
    "pools.*.leader": ANYTHING,
    "pools.*.read": ANYTHING,
    "pools.*.sticky": ANYTHING,
    "routes.*.sticky": ANYTHING,
}

_PARTS = {"*": "[^\0]*", "**": ".*"}
_PATTERNS = {
    re.compile("\0".join(_PARTS.get(part) or re.escape(part) for part in pattern.split(".")), re.DOTALL): words
    for pattern, words in NOT_YET.items()
}
# One look at each path, however long the table.
_ANY = re.compile("|".join(pattern.pattern for pattern in _PATTERNS), re.DOTALL)


def not_yet(data: object, path: Path = ()) -> Iterator[Finding]:
    """Find what the proxy can't do yet."""
    message = _refusal("\0".join(map(str, path)), data)
    if message is not None:
        yield Finding(path, message, at_key=message == REFUSAL)
        return
    children = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, child in children:
        yield from not_yet(child, (*path, key))


def _refusal(name: str, value: object) -> str | None:
    if not _ANY.fullmatch(name):
        return None
    for pattern, words in _PATTERNS.items():
        if pattern.fullmatch(name):
            if not words:
                return REFUSAL
            for word in words:
                if isinstance(value, str) and value.startswith(word):
                    return f"'{word}' is {REFUSAL}"
    return None
