"""The keys that sign the cookies of sticky routes: read from where `sign_with` says, or kept in `state_dir`.

`read_keys` is part of reading a config, and changes nothing. `keep_key` is for whoever serves: it makes the key in
`state_dir`, for its owner's eyes alone, if there is none yet.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from proxy.config.files import content, why_unreadable
from proxy.config.mistakes import ConfigError, Finding, Mistake
from proxy.config.mistakes import Path as Place
from proxy.config.models import Config
from proxy.config.secret import LARGEST, keys_in, read_secret
from proxy.config.sticky import Sticky
from proxy.core.settings import Settings, StickyPolicy

KEPT = "sticky.key"
"""The file in `state_dir`."""

Keys = dict[Place, tuple[bytes, ...]]
"""By the place of the `sticky` that has them."""


def stickies(config: Config) -> Iterator[tuple[Place, Sticky]]:
    """All `sticky` blocks of a config."""
    for name, pool in config.pools.items():
        if pool.sticky is not None:
            yield ("pools", name, "sticky"), pool.sticky
    for number, route in enumerate(config.routes):
        if route.sticky is not None:
            yield ("routes", number, "sticky"), route.sticky


def read_keys(config: Config, folder: Path, environ: Mapping[str, str]) -> tuple[Keys, list[Finding]]:
    """The keys that the config names."""
    keys: Keys = {}
    findings: list[Finding] = []
    for place, sticky in stickies(config):
        if sticky.sign_with is None:
            continue
        where = (*place, "sign_with")
        text, wrong = read_secret(sticky.sign_with, where, folder, environ)
        if not wrong:
            keys[place], problem = keys_in(text)
            source = "env" if sticky.sign_with.env is not None else "file"
            wrong = [Finding((*where, source), problem)] if problem else []
        findings += wrong
    return keys, findings


def keep_key(settings: Settings) -> Settings:
    """The same, where the cookies without a key of their own have the one in `state_dir`. Raises ConfigError."""
    policies = [*(route.sticky for route in settings.routes), *(pool.sticky for pool in settings.pools)]
    if not any(map(_lacks_key, policies)):
        return settings
    path = Path(settings.state_dir) / KEPT
    try:
        keys, problem = keys_in(_kept(path))
    except OSError as error:
        problem = f"the key of cookies {why_unreadable(error).replace('read', 'read or made', 1)}"
    if problem:
        raise ConfigError([Mistake(str(path), 0, 0, "", problem)])
    return replace(
        settings,
        routes=tuple(replace(one, sticky=_with(one.sticky, keys)) if one.sticky else one for one in settings.routes),
        pools=tuple(replace(one, sticky=_with(one.sticky, keys)) if one.sticky else one for one in settings.pools),
    )


def _lacks_key(policy: StickyPolicy | None) -> bool:
    return policy is not None and bool(policy.cookie) and not policy.keys


def _with(policy: StickyPolicy, keys: tuple[bytes, ...]) -> StickyPolicy:
    return replace(policy, keys=keys) if _lacks_key(policy) else policy


def _kept(path: Path) -> str:
    """What the file holds, which is made if it is not there. Raises OSError."""
    try:
        return content(path, LARGEST).decode("ascii", "replace")
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    try:
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_hex(32) + "\n")
            file.flush()
            os.fsync(file.fileno())
        # Another proxy may just have made it: then its key counts.
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(beside)
    finally:
        beside.unlink(missing_ok=True)
    return content(path, LARGEST).decode("ascii", "replace")
