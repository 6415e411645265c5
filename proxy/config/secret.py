"""Secrets that a config names and does not hold: where one is found, and the keys that are read from there.

What is said of a wrong one never holds any of it. Used by `models`, `sticky` and `keys`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator

from proxy.config.files import content, why_unreadable
from proxy.config.mistakes import Finding
from proxy.config.mistakes import Path as Place
from proxy.config.names import ENVIRONMENT_NAME, FILE
from proxy.config.policies import Block
from proxy.config.quantities import wrong

LARGEST = 64 * 1024
SHORTEST_KEY = 16
MOST_KEYS = 2


class Secret(Block):
    """Where a secret is found; one of the two."""

    file: Annotated[str | None, FILE] = None
    """A file that holds it; a relative path starts at the config file."""
    env: Annotated[str | None, ENVIRONMENT_NAME] = None
    """An environment variable that holds it."""


def _inline(value: Any) -> Any:
    """Refuse a secret in the file itself, without repeating it."""
    if isinstance(value, dict):
        return value
    raise wrong("expected {file: PATH} or {env: NAME}: a secret does not stand in the file itself")


AnySecret = Annotated[Secret | None, BeforeValidator(_inline)]


def read_secret(secret: Secret, place: Place, folder: Path, environ: Mapping[str, str]) -> tuple[str, list[Finding]]:
    """Its text; empty where something is wrong."""
    if secret.env is None and secret.file is None:
        return "", [Finding(place, "needs 'file' or 'env'")]
    if secret.env is not None and secret.file is not None:
        return "", [Finding((*place, "env"), "a secret has one source, and 'file' is given", at_key=True)]
    if secret.env is not None:
        found = environ.get(secret.env, "")
        return found, [] if found else [Finding((*place, "env"), f"the environment variable {secret.env} is not set")]
    try:
        found = content(folder / (secret.file or ""), LARGEST).decode("ascii", "replace").strip()
    except OSError as error:
        return "", [Finding((*place, "file"), why_unreadable(error))]
    return found, [] if found else [Finding((*place, "file"), "the file is empty")]


def keys_in(text: str) -> tuple[tuple[bytes, ...], str]:
    """The keys of a text, the one that signs first; or what is wrong with it."""
    keys = text.split()
    if len(keys) > MOST_KEYS:
        return (), "holds more than two keys: the one that signs, and the one before it"
    if any(not key.isascii() or not key.isprintable() for key in keys):
        return (), "a key is made of ASCII letters, digits and signs"
    if not keys or any(len(key) < SHORTEST_KEY for key in keys):
        return (), f"a key has at least {SHORTEST_KEY} characters"
    return tuple(key.encode() for key in keys), ""
