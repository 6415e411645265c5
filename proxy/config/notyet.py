"""What the language has words for and the proxy can't do yet: refused by name, never silently ignored.

One line each: building a feature deletes its line. `*` stands for one key or list position. A value is refused that
begins with one of the words on the right; any value, where there is none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from proxy.config.mistakes import Finding, Path

ANYTHING: tuple[str, ...] = ()

NOT_YET: dict[str, tuple[str, ...]] = {
    "cluster": ANYTHING,
    "listeners.*.tls": ANYTHING,
    "listeners.*.proxy_protocol": ANYTHING,
    "defaults.hedge": ANYTHING,
    "pools.*.hedge": ANYTHING,
    "pools.*.mode": ("active-passive", "leader-follower"),
    "pools.*.failover": ANYTHING,
    "pools.*.failback": ANYTHING,
    "pools.*.idempotency": ANYTHING,
    "pools.*.leader": ANYTHING,
    "pools.*.read": ANYTHING,
    "pools.*.locality": ANYTHING,
    "pools.*.slow_start": ANYTHING,
    "pools.*.damping": ANYTHING,
    "pools.*.tls": ANYTHING,
    "pools.*.proxy_protocol": ANYTHING,
    "pools.*.sticky": ANYTHING,
    "pools.*.*": ("https://",),
    "pools.*.backends.*": ("https://",),
    "pools.*.*.url": ("https://",),
    "pools.*.backends.*.url": ("https://",),
    "routes.*.sticky": ANYTHING,
}

_PATTERNS = {
    re.compile("\0".join("[^\0]*" if part == "*" else re.escape(part) for part in pattern.split("."))): words
    for pattern, words in NOT_YET.items()
}
_DEEPEST = max(pattern.count(".") for pattern in NOT_YET) + 1


def not_yet(data: object, path: Path = ()) -> Iterator[Finding]:
    """Find what the proxy can't do yet."""
    name = "\0".join(map(str, path))
    words = next(
        (words for pattern, words in _PATTERNS.items() if pattern.fullmatch(name) and _is_meant(data, words)), None
    )
    if words is not None:
        word = next((f"'{word}' is " for word in words if str(data).startswith(word)), "")
        yield Finding(path, f"{word}not supported yet", at_key=not words)
    elif len(path) < _DEEPEST:
        children = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
        for key, child in children:
            yield from not_yet(child, (*path, key))


def _is_meant(data: object, words: tuple[str, ...]) -> bool:
    return not words or (isinstance(data, str) and data.startswith(words))
