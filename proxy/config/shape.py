"""Does each value have the form that its key wants: a Document in, a Config and all that is not so out.

Where something is not so, it is left out, or something harmless is put in its place, and the rest is read again: so
`checks` can look at all that is right, and a user learns of every mistake at once. Nothing is ever built from a Config
that was mended like this.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from proxy.config.mistakes import Finding, Path
from proxy.config.models import Config
from proxy.config.tree import Document

ROUNDS = 20
"""Most times to read again. Each time something is gone that was wrong, so people's files need one or two."""

MESSAGES = {
    "dict_type": "expected a map",
    "too_short": "must not be empty",
    "tuple_type": "expected a list",
}
"""What pydantic's own kinds of errors are called here."""

STAND_INS: dict[Path, Any] = {
    ("listeners",): ["stand-in.invalid:0"],
    ("listeners", "*"): "stand-in.invalid:0",
    ("pools", "*"): ["stand-in.invalid:1"],
    ("pools", "*", "*"): "stand-in.invalid:1",
    ("pools", "*", "backends"): ["stand-in.invalid:1"],
    ("pools", "*", "backends", "*"): "stand-in.invalid:1",
    ("routes", "*"): {"answer": {}},
}
"""What takes the place of something that can't be left out. `*` is a name or a list position."""


@dataclass(slots=True)
class Shape:
    """A Config as far as one could be read."""

    config: Config | None = None
    findings: list[Finding] = field(default_factory=list)
    aside: set[Path] = field(default_factory=set)
    """Paths of all that was left out or replaced: nothing can be said of what is there."""


def shape(document: Document, known: Sequence[Finding]) -> Shape:
    """Read the document's data; report what is wrong beyond what is known already."""
    data = document.data()
    result = Shape(aside={finding.path for finding in known})
    result.config, errors = _read(data)
    found = [_finding(error) for error in errors]
    result.findings = [one for one in found if not is_below(document.locate(one.path)[0], result.aside)]
    for finding in known:
        _put_aside(data, finding.path)
    for _ in range(ROUNDS if known or errors else 0):
        result.config, errors = _read(data)
        if result.config is not None:
            break
        result.aside.update([_put_aside(data, error["loc"]) for error in errors])
    return result


def is_below(path: Path, others: Iterable[Path]) -> bool:
    """Whether a path is one of the others or inside it."""
    return any(path[: len(other)] == other for other in others)


def _read(data: object) -> tuple[Config | None, list[Any]]:
    try:
        return Config.model_validate(data), []
    except ValidationError as error:
        return None, error.errors(include_url=False, include_context=False, include_input=False)


def _finding(error: Any) -> Finding:
    path = error["loc"]
    if error["type"] == "missing":
        return Finding(path, f"'{path[-1]}' is missing", at_key=True)
    at_key = error["type"] == "wrong_key" or path[-1:] == ("[key]",)
    return Finding(path, MESSAGES.get(error["type"], error["msg"]), at_key)


def _put_aside(top: Any, path: tuple[Any, ...]) -> Path:
    """Take what is at a path out of the data; the path of what had to go for that."""
    holders: list[Any] = []
    real: Path = ()
    data = top
    for part in path:
        if (isinstance(data, dict) and part in data) or (isinstance(data, list) and part in range(len(data))):
            holders.append(data)
            real = (*real, part)
            data = data[part]
    if isinstance(data, dict) and _pattern((*real, path[-1])) in STAND_INS:
        # A key that is missing.
        data[path[-1]] = deepcopy(STAND_INS[_pattern((*real, path[-1]))])
        return (*real, path[-1])
    while real:
        holder, key = holders.pop(), real[-1]
        if _pattern(real) in STAND_INS and path[-1] != "[key]":
            holder[key] = deepcopy(STAND_INS[_pattern(real)])
            return real
        if isinstance(holder, dict):
            del holder[key]
            return real
        real = real[:-1]
    return real


def _pattern(path: Path) -> Path:
    return tuple("*" if depth == 1 or isinstance(part, int) else part for depth, part in enumerate(path))
