"""Settings as JSON, without anything that is secret. Pure; `config` answers with it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from proxy.core.settings import Address, Match

SECRET = "(secret)"  # noqa: S105 - stands in place of one
TELLING = ("authorization", "cookie", "token", "secret", "key", "password", "credential", "signature")
"""Parts of names of header fields whose values a Route may match, and nobody need see."""
PLAIN = (str, int, bool, type(None))


def shown(value: object) -> Any:
    """A value of the settings as JSON, dataclasses by field. What `repr` leaves out is secret, and so is what is of no
    known kind.
    """
    if isinstance(value, PLAIN):
        return value
    if isinstance(value, bytes):
        return f"({len(value)} bytes)"
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Address):
        return ("https://" if value.tls else "") + str(value)
    if isinstance(value, Match):
        return _fields(value) | {"headers": {name: _of_header(name, text) for name, text in value.headers}}
    if is_dataclass(value) and not isinstance(value, type):
        return _fields(value)
    if isinstance(value, Mapping):
        return {str(name): shown(one) for name, one in value.items()}
    if isinstance(value, list | tuple | frozenset | set):
        return [shown(one) for one in value]
    return SECRET


def _fields(value: Any) -> dict[str, Any]:
    found = {}
    for one in fields(value):
        held = getattr(value, one.name)
        found[one.name] = shown(held) if one.repr or not held else SECRET
    return found


def _of_header(name: str, text: str) -> str:
    return SECRET if any(part in name.lower() for part in TELLING) else text
