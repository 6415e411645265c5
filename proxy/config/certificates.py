"""Reads the files that `tls` blocks name, and finds what is wrong with them: unreadable, no PEM, not a pair, encrypted.

What is expired is no mistake: a certificate is renewed while the proxy runs. Called by `loader`, after `checks`.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator
from pathlib import Path as File

from proxy.config.build import TlsSettings, address_of
from proxy.config.files import content, why_unreadable
from proxy.config.mistakes import Finding, Path
from proxy.config.reading import Reading
from proxy.config.tls import BackendTls, ClientAuth, ListenerTls
from proxy.contexts import EncryptedKeyError, describe, load_pair, reason_of
from proxy.core import tls
from proxy.core.certificate import CertificateError, from_pem, read_facts

LARGEST = 4 * 1024**2
"""Bytes: bundles of all authorities of a system have a quarter of a million."""
_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----\s[^-]+-----END CERTIFICATE-----")
_KEY = re.compile(r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY-----.*?-----END (?:[A-Z0-9]+ )*PRIVATE KEY-----", re.DOTALL)


class _WrongFileError(Exception):
    """A file can't be used; says at which key and why."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(key, message)
        self.key = key
        self.message = message


def read_tls(reading: Reading, folder: File) -> tuple[TlsSettings, list[Finding]]:
    """Read all files; relative paths start at `folder`."""
    settings, findings = TlsSettings(), list[Finding]()
    config = reading.config
    listeners = config.listeners if isinstance(config.listeners, dict) else dict(enumerate(config.listeners))
    for key, listener in listeners.items():
        place: Path = ("listeners", key, "tls")
        if listener.tls is not None and reading.is_sure(*place):
            reader = _Reader(folder, place)
            settings.listeners[key] = reader.listener(listener.tls)
            findings += reader.findings
    for name, pool in config.pools.items():
        place = ("pools", name, "tls")
        if pool.tls is not None and reading.is_sure(*place):
            reader = _Reader(folder, place)
            settings.pools[name] = reader.pool(pool.tls)
            findings += reader.findings
            findings += _in_vain(reading, name, pool.tls)
    return settings, findings


def _in_vain(reading: Reading, name: str, block: BackendTls) -> Iterator[Finding]:
    place: Path = ("pools", name, "tls")
    backends = reading.config.pools[name].backends
    if reading.is_sure("pools", name, "backends") and not any(address_of(one).tls for one in backends):
        yield Finding(place, "does nothing without a backend whose URL begins with https://", at_key=True)
    if block.ca and not block.verify:
        yield Finding((*place, "ca"), "does nothing with 'verify: false'", at_key=True)


class _Reader:
    """The files of one block."""

    def __init__(self, folder: File, place: Path) -> None:
        self._folder = folder
        self._place = place
        self.findings: list[Finding] = []

    def listener(self, block: ListenerTls) -> tls.ListenerTls:
        """A Listener's settings, as far as its files can be read."""
        found: list[tls.Certificate | None] = []
        if block.cert:
            found.append(self._pair(block.cert, block.key))
        elif block.key:
            self._note(("key",), "does nothing without 'cert'", at_key=True)
        elif not block.certificates:
            self._note((), "needs 'cert' or 'certificates'", at_key=True)
        found += [self._pair(one.cert, one.key, "certificates", n) for n, one in enumerate(block.certificates)]
        self._check_ciphers(block.ciphers)
        return tls.ListenerTls(
            certificates=tuple(one for one in found if one is not None),
            min_version=block.min_version,
            ciphers=block.ciphers,
            client_auth=self._client_auth(block.client_auth),
            handshake_timeout=block.handshake_timeout,
        )

    def pool(self, block: BackendTls) -> tls.BackendTls:
        """A Pool's settings, as far as its files can be read."""
        if block.key and not block.cert:
            self._note(("key",), "does nothing without 'cert'", at_key=True)
        return tls.BackendTls(
            ca=self._ca(block.ca) if block.ca else "",
            verify=block.verify,
            server_name=block.server_name,
            certificate=self._pair(block.cert, block.key) if block.cert else None,
            min_version=block.min_version,
        )

    def _client_auth(self, block: ClientAuth | None) -> tls.ClientAuth | None:
        if block is None:
            return None
        return tls.ClientAuth(self._ca(block.ca, "client_auth"), block.mode == "required", block.header)

    def _note(self, path: Path, message: str, *, at_key: bool = False) -> None:
        self.findings.append(Finding((*self._place, *path), message, at_key))

    def _ca(self, file: str, *within: str | int) -> str:
        try:
            return _authorities(self._text(file, "ca"))
        except _WrongFileError as wrong:
            self._note((*within, wrong.key), wrong.message)
            return ""

    def _pair(self, cert: str, key: str, *within: str | int) -> tls.Certificate | None:
        try:
            return self._read_pair(cert, key)
        except _WrongFileError as wrong:
            self._note((*within, wrong.key), wrong.message)
            return None

    def _read_pair(self, cert: str, key: str) -> tls.Certificate:
        of_key = "key" if key else "cert"
        chain = self._text(cert, "cert")
        blocks = _CERTIFICATE.findall(chain)
        keys = _KEY.findall(self._text(key, "key") if key else chain)
        try:
            facts = [read_facts(der) for der in from_pem("\n".join(blocks))]
        except CertificateError as error:
            raise _WrongFileError("cert", f"can't be used: {error}") from None
        if not facts:
            raise _WrongFileError("cert", "there is no certificate (PEM) in this file")
        if not keys:
            missing = "there is no private key (PEM) in this file"
            raise _WrongFileError(of_key, missing if key else f"{missing}, and 'key' names none")
        pair = tls.Certificate(
            "\n".join(blocks), tls.PrivateKey(keys[0]), facts[0].names, facts[0].title, facts[0].not_after
        )
        _try(pair, of_key)
        return pair

    def _text(self, file: str, key: str) -> str:
        try:
            return content(self._folder / file, LARGEST).decode("ascii", "replace")
        except OSError as error:
            raise _WrongFileError(key, why_unreadable(error)) from None

    def _check_ciphers(self, ciphers: str) -> None:
        try:
            if ciphers:
                ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).set_ciphers(ciphers)
        except ssl.SSLError:
            self._note(("ciphers",), "OpenSSL finds no cipher for this")


def _authorities(text: str) -> str:
    """The certificates in a file, without what else is there: OpenSSL wants nothing but ASCII."""
    found = "\n".join(_CERTIFICATE.findall(text))
    if not found:
        raise _WrongFileError("ca", "there is no certificate (PEM) in this file")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=found)
    except ssl.SSLError:
        raise _WrongFileError("ca", "there is something in this file that is no certificate") from None
    return found


def _try(pair: tls.Certificate, of_key: str) -> None:
    """See whether OpenSSL takes it. Nothing of a key is ever said."""
    if "ENCRYPTED" in pair.key.pem:
        raise _WrongFileError(of_key, ENCRYPTED)
    try:
        load_pair(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), pair)
    except EncryptedKeyError:
        raise _WrongFileError(of_key, ENCRYPTED) from None
    except ssl.SSLError as error:
        if reason_of(error) == "KEY_VALUES_MISMATCH":
            raise _WrongFileError(of_key, "this key does not belong to the first certificate in 'cert'") from None
        why = describe(error) if reason_of(error) else "no key that OpenSSL can read"
        raise _WrongFileError(of_key, f"can't be used: {why}") from None


ENCRYPTED = "this key is encrypted, and nobody is there to type its password: openssl pkey -in FILE -out PLAIN"
