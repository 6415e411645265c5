"""From a file, or its text, to Settings, or to every mistake in it.

The stages, each of which goes on where the one before found mistakes: `tree` reads YAML, `notyet` names what can't be
done yet, `shape` reads the keys, `checks` sees whether they fit together, `certificates` reads files, `build` makes the
Settings.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from proxy.config.build import TlsSettings, build
from proxy.config.certificates import read_tls
from proxy.config.checks import check
from proxy.config.files import content, why_unreadable
from proxy.config.keys import Keys, read_keys
from proxy.config.mistakes import ConfigError, Finding, Mistake
from proxy.config.notyet import not_yet
from proxy.config.own_code import read_own_code
from proxy.config.reading import Reading
from proxy.config.secret import Secret, read_secret
from proxy.config.shape import shape
from proxy.config.standins import Fallbacks, read_fallbacks
from proxy.config.tree import Document, read
from proxy.core.settings import Settings

LARGEST_FILE = 16 * 1024**2


def load(path: Path, environ: Mapping[str, str], running: Settings | None = None) -> Settings:
    """Read a config file; a ConfigError holds every mistake in it. `running`: for a reload, the settings in force."""
    try:
        data = content(path, LARGEST_FILE)
    except OSError as error:
        raise ConfigError([Mistake(str(path), 0, 0, "", why_unreadable(error))]) from None
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        lines = (data[: error.start].decode() + "x").splitlines()
        message = f"not UTF-8: byte 0x{data[error.start]:02X}"
        raise ConfigError([Mistake(str(path), len(lines), len(lines[-1]), "", message)]) from None
    return loads(text, str(path), environ, running)


def loads(text: str, name: str, environ: Mapping[str, str], running: Settings | None = None) -> Settings:
    """Read a config's text. `name` is the file it is from: messages begin with it, relative paths start beside it."""
    folder = Path(name).parent
    document = read(text, name, environ)
    if document.root is None:
        raise ConfigError(document.mistakes)
    if document.root.value is None:
        document.note(1, 1, "there is nothing in this file; the least it needs is 'listeners' and 'pools'")
        raise ConfigError(document.mistakes)
    data = document.data()
    findings = list(not_yet(data))
    shaped = shape(document, data, findings)
    findings += shaped.findings
    token, tls = "", TlsSettings()
    fallbacks: Fallbacks = {}
    keys: Keys = {}
    if shaped.config is not None:
        reading = Reading(shaped.config, document, shaped.aside)
        findings += check(reading)
        token, wrong = _token(shaped.config.admin.token, folder, environ)
        findings += wrong
        keys, wrong = read_keys(shaped.config, folder, environ)
        findings += wrong
        tls, wrong = read_tls(reading, folder)
        findings += wrong
        fallbacks, wrong = read_fallbacks(reading, folder)
        findings += wrong
        findings += read_own_code(reading, folder)
    for finding in findings:
        document.add(finding)
    if document.mistakes or shaped.config is None:
        raise ConfigError(document.mistakes)
    settings = build(shaped.config, token, tls, folder, fallbacks, keys=keys)
    if running is not None:
        _refuse_change(settings, running, document)
    return settings


def _refuse_change(settings: Settings, running: Settings, document: Document) -> None:
    """What can't be changed while the proxy runs is a mistake in a file that is read by a reload."""
    for path, was, now in (
        (("admin", "address"), running.admin.address, settings.admin.address),
        (("state_dir",), running.state_dir, settings.state_dir),
    ):
        if was != now:
            document.add(Finding(path, "can't be changed while the proxy runs: restart it"))
    if document.mistakes:
        raise ConfigError(document.mistakes)


def _token(secret: Secret | None, folder: Path, environ: Mapping[str, str]) -> tuple[str, list[Finding]]:
    """The admin token. What is said of a wrong one never holds any of it."""
    if secret is None:
        return "", []
    token, wrong = read_secret(secret, ("admin", "token"), folder, environ)
    if token and (not token.isascii() or not token.isprintable() or " " in token):
        source = "env" if secret.env is not None else "file"
        message = "a token is one line of ASCII letters, digits and signs, without spaces"
        return "", [Finding(("admin", "token", source), message)]
    return token, wrong
