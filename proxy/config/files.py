"""Files that a config names. Each is read once, while the config is loaded, and up to a bound."""

from __future__ import annotations

from pathlib import Path


def content(path: Path, most: int) -> bytes:
    """What is in a file; raises OSError, also for one of more than `most` bytes."""
    with path.open("rb") as file:
        found = file.read(most + 1)
    if len(found) > most:
        raise OSError(f"larger than {most} bytes")
    return found


def why_unreadable(error: OSError) -> str:
    """The end of a message about a file."""
    return f"can't be read: {error.strerror or error}"
