"""Does each value have the form that its key wants: a Document in, a Config and all that is not so out.

Where something is not so, it is left out, or something harmless is put in its place, and the rest is read again: so
`checks` can look at all that is right, and a user learns of every mistake at once. Nothing is ever built from a Config
that was mended like this.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from proxy.config.mistakes import Finding, Path, quoted
from proxy.config.models import Config
from proxy.config.tree import Document

ROUNDS = 20
"""Most times to read again. Each time something is gone that was wrong, so people's files need one or two."""

MESSAGES: dict[str, Callable[[Any], str]] = {
    "dict_type": lambda value: f"expected a map, not {quoted(value)}",
    "too_short": lambda _: "must not be empty",
    "tuple_type": lambda value: f"expected a list, not {quoted(value)}",
}
"""What pydantic's own kinds of errors are called here, with the value that they are about."""

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


def shape(document: Document, data: object, known: Sequence[Finding]) -> Shape:
    """Read the document's data, and mend it where it is wrong; report what is wrong beyond what is known already."""
    result = Shape(aside={finding.path for finding in known})
    result.config, errors = _read(data)
    found = [_finding(error) for error in errors if not _is_consequence(error)]
    result.findings = [one for one in found if not is_below(document.locate(one.path)[0], result.aside)]
    for finding in known:
        _put_aside(data, finding.path)
    mendable = isinstance(data, dict) and (known or errors)
    for _ in range(ROUNDS if mendable else 0):
        result.config, errors = _read(data)
        if result.config is not None:
            break
        for error in errors:
            _mend(data, error, document, result.aside)
    return result


def is_below(path: Path, others: set[Path]) -> bool:
    """Whether a path is one of the others or inside it."""
    return any(path[:length] in others for length in range(len(path) + 1))


def _read(data: object) -> tuple[Config | None, list[Any]]:
    try:
        return Config.model_validate(data), []
    except ValidationError as error:
        return None, error.errors(include_url=False, include_context=False)


def _finding(error: Any) -> Finding:
    path = error["loc"]
    if error["type"] == "missing":
        return Finding(path, f"'{path[-1]}' is missing", at_key=True)
    at_key = error["type"] == "wrong_key" or path[-1:] == ("[key]",)
    say = MESSAGES.get(error["type"])
    return Finding(path, say(error["input"]) if say else error["msg"], at_key)


def _is_consequence(error: Any) -> bool:
    """Whether a list is called too short only because what is in it is wrong."""
    return error["type"] == "too_short" and bool(error["input"])


def _mend(data: Any, error: Any, document: Document, aside: set[Path]) -> None:
    """Change the data so that this error is gone, and note what of the file no longer counts."""
    path: Path = error["loc"]
    is_missing = error["type"] == "missing"
    real = document.locate(path[:-1] if is_missing else path)[0]
    missing = STAND_INS.get(_pattern((*real, path[-1]))) if is_missing else None
    if missing is not None:
        _at(data, real)[path[-1]] = deepcopy(missing)
        aside.add((*real, path[-1]))
    elif path[-1] == "[key]":
        _at(data, real[:-1]).pop(real[-1], None)
        aside.add(real)
    elif not is_below(real, aside):
        aside.add(_put_aside(data, real))


def _put_aside(data: Any, path: Path) -> Path:
    """Replace what is at a path, or take it out; the path of what had to go for that."""
    # Taking something out of a list would move what comes after it to other paths.
    while _pattern(path) not in STAND_INS and isinstance(_at(data, path[:-1]), list):
        path = path[:-1]
    holder, key = _at(data, path[:-1]), path[-1]
    if _pattern(path) in STAND_INS:
        holder[key] = deepcopy(STAND_INS[_pattern(path)])
    else:
        del holder[key]
    return path


def _at(data: Any, path: Path) -> Any:
    for part in path:
        data = data[part]
    return data


def _pattern(path: Path) -> Path:
    return tuple("*" if depth == 1 or isinstance(part, int) else part for depth, part in enumerate(path))
