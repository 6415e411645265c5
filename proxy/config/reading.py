"""A Config as it was read: with the lines of its file, and with what could not be read. `checks` looks at it."""

from __future__ import annotations

from dataclasses import dataclass, field

from proxy.config.mistakes import Path
from proxy.config.models import Config
from proxy.config.shape import is_below
from proxy.config.tree import Document


@dataclass(slots=True)
class Reading:
    """A Config, the file that it was read from, and what of that could not be read."""

    config: Config
    document: Document
    aside: set[Path]
    above: set[Path] = field(init=False)
    """What holds any of that, however deep."""

    def __post_init__(self) -> None:
        self.above = {path[:length] for path in self.aside for length in range(len(path) + 1)}

    def has(self, *path: str | int) -> bool:
        """Whether the file has this key."""
        return self.document.has(path)

    def is_sure(self, *path: str | int) -> bool:
        """Whether all that is at a path and below it could be read."""
        return self.is_sure_of(*path) and path not in self.above

    def is_sure_of(self, *path: str | int) -> bool:
        """Whether what is at a path could be read, whatever is below it."""
        return not is_below(path, self.aside)

    def line(self, path: Path) -> int:
        """The line in which something stands."""
        return self.document.locate(path)[1]
