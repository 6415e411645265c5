"""TLS as settings say it, and what of it is decided without a socket: which certificate, and what Backends are told.

Handshakes are `dataplane.tls`'s matter, contexts those of `proxy.contexts`. Files are read when a config is loaded, so
all processes, also a worker that begins later, have the same certificates until the next reload.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


class PrivateKey:
    """A key in PEM. No dataclass: no dump of settings, log or error may ever hold what is in it."""

    __slots__ = ("pem",)

    def __init__(self, pem: str) -> None:
        self.pem = pem

    def __repr__(self) -> str:
        return "<PrivateKey>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PrivateKey) and self.pem == other.pem

    def __hash__(self) -> int:
        return hash(self.pem)


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate of ours."""

    chain: str
    """PEM: the certificate itself, then those between it and a root."""
    key: PrivateKey
    names: tuple[str, ...] = ()
    """Names of servers that it is for, in lower case."""
    title: str = ""
    """What to call it."""
    not_after: float = 0.0
    """Unix time at which it expires."""


@dataclass(frozen=True, slots=True)
class ClientAuth:
    """Clients show certificates."""

    ca: str
    """PEM of the authorities that are believed."""
    is_required: bool = True
    """Whether a client without one is refused; one with a wrong one always is."""
    header: str = "X-Client-Cert-Subject"
    """Tells Backends the subject. Clients' own fields of this name are always removed."""


@dataclass(frozen=True, slots=True)
class ListenerTls:
    """TLS with clients."""

    certificates: tuple[Certificate, ...]
    """The first serves clients that ask for no name, or for one that none of them is for."""
    min_version: str = "1.2"
    ciphers: str = ""
    client_auth: ClientAuth | None = None
    handshake_timeout: float = 10.0


@dataclass(frozen=True, slots=True)
class BackendTls:
    """TLS with Backends."""

    ca: str = ""
    """PEM of the authorities that are believed; empty: those of the system."""
    verify: bool = True
    server_name: str = ""
    """Asked for and expected in the certificate; empty: the host of the Backend's URL."""
    certificate: Certificate | None = None
    """Shown to Backends that ask for one."""
    min_version: str = "1.2"


# Which certificate


def by_name(certificates: Sequence[Certificate]) -> dict[str, Certificate]:
    """Each name with the first certificate for it."""
    table: dict[str, Certificate] = {}
    for certificate in certificates:
        for name in certificate.names:
            table.setdefault(name, certificate)
    return table


def looked_up(table: Mapping[str, T], name: str) -> T | None:
    """Whatever is there for a name or, failing that, for its parent's wildcard (RFC 9525, section 6.3)."""
    name = name.lower()
    return table.get(name) or table.get("*." + name.partition(".")[2])


# What Backends are told of a client

SHORT = {
    "commonName": "CN",
    "localityName": "L",
    "stateOrProvinceName": "ST",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "countryName": "C",
    "streetAddress": "STREET",
    "domainComponent": "DC",
    "userId": "UID",
}
"""Types that RFC 4514, section 3, abbreviates; others keep OpenSSL's name."""
_SPECIAL = re.compile(rb'[,+"\\<>;=]')
_UNPRINTABLE = re.compile(rb"[^ -~]")

Subject = tuple[tuple[tuple[str, str], ...], ...]
"""A subject as the `ssl` module gives it."""


def subject_text(subject: Subject) -> bytes:
    """A subject as RFC 4514 writes it, all ASCII: whatever a certificate holds, it can't end a header field."""
    parts = ("+".join(f"{SHORT.get(name, name)}={_escaped(value)}" for name, value in rdn) for rdn in reversed(subject))
    return ",".join(parts).encode("ascii")


def _escaped(value: str) -> str:
    data = _SPECIAL.sub(lambda m: b"\\" + m[0], value.encode("utf-8", "surrogateescape"))
    data = _UNPRINTABLE.sub(lambda m: b"\\%02X" % m[0][0], data)
    if data[:1] in (b" ", b"#"):
        data = b"\\" + data
    if data[-1:] == b" " and data != b"\\ ":
        data = data[:-1] + b"\\ "
    return data.decode("ascii")
