"""What is wrong with a config file, where, and what was probably meant.

A Finding is known by its path in the file; with a line and a column it is a Mistake; all Mistakes of one file are one
ConfigError. Used by every module of this package; shown by `check`, `run` and the reload.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

Path = tuple[str | int, ...]
"""Keys and list positions from the top of a file down to a value."""

WIDTH = 140
"""Most characters of a source line that are shown."""
COMPARED = 1000
"""Most names that are looked through for a near one: it takes milliseconds for each mistake."""
USER = re.compile(r"//[^/\s]*@")
"""In a URL: a user, and maybe a password. A message about it goes to the log, the journal and the API."""
QUOTED = 40
"""Most characters of a wrong value that a message repeats."""


class Finding(NamedTuple):
    """Something wrong at a path, before its line is known."""

    path: Path
    message: str
    at_key: bool = False
    """Whether the key is wrong, and not the value."""


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing that must be put right before the file can be used."""

    file: str
    line: int
    """From 1; 0 where the whole file is meant."""
    column: int
    path: str
    message: str
    source_line: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return ": ".join(part for part in (place, "error", self.path, self.message) if part)

    def render(self) -> str:
        """The message with the line it is about, and a caret under the place."""
        if not self.source_line.strip():
            return str(self)
        # A file in one line (JSON) would fill the screen.
        start = max(0, min(self.column - WIDTH // 2, len(self.source_line) - WIDTH))
        shown = self.source_line[start : start + WIDTH]
        before = "".join("\t" if character == "\t" else " " for character in shown[: self.column - 1 - start])
        return f"{self}\n{self.line:>6} | {shown}\n       | {before}^"


class ConfigError(Exception):
    """A config that cannot be used, with everything that is wrong with it in the order of the file."""

    def __init__(self, mistakes: Iterable[Mistake]) -> None:
        self.mistakes = sorted(mistakes, key=lambda one: (one.line, one.column, one.path, one.message))
        super().__init__(self.mistakes)

    def __str__(self) -> str:
        return self.render()

    def render(self) -> str:
        """All mistakes as text for a terminal."""
        return "\n".join(mistake.render() for mistake in self.mistakes)


def nearest(word: str, known: Collection[str]) -> str:
    """Say which known word was probably meant, as the end of a message; nothing where none is near."""
    if len(known) > COMPARED:
        return ""
    by_folded = {_folded(name): name for name in known}
    near = difflib.get_close_matches(_folded(word), by_folded, n=1, cutoff=0.6)
    return f"; did you mean '{by_folded[near[0]]}'?" if near else ""


def _folded(word: str) -> str:
    return word.lower().replace("-", "_")


def one_of(names: Sequence[str]) -> str:
    """`a, b or c`."""
    return f"{', '.join(names[:-1])} or {names[-1]}" if len(names) > 1 else "".join(names)


def quoted(value: object) -> str:
    """A wrong value as a message names it: short, and in one line whatever it holds."""
    match value:
        case None:
            return "nothing"
        case bool():
            return str(value).lower()
        case dict():
            return "a map"
        case list():
            return "a list"
        case str():
            value = USER.sub("//…@", value)
            shown = value if len(value) <= QUOTED else value[:QUOTED] + "…"
            return f"'{printable(shown)}'"
        case _:
            return str(value)


def printable(text: str) -> str:
    """The text with a sign in place of everything that a terminal might obey."""
    return "".join(character if character.isprintable() or character == "\t" else "\ufffd" for character in text)


def dotted(path: Path) -> str:
    """`pools.app.backends[0].weight`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{printable(part)}"
    return text.removeprefix(".")
