"""The `tls` blocks of listeners and pools: what each key may hold, and what it is for.

The docstrings are what users read. The files that these keys name are read in `certificates`.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from proxy.config.mistakes import quoted
from proxy.config.names import FILE, HEADER, SERVER_NAME
from proxy.config.policies import Block, Positive
from proxy.config.quantities import FLAG, Quantity, WrongValueError, choice, number, text
from proxy.contexts import VERSIONS
from proxy.core import tls
from proxy.core.wire.grammar import UNNAMEABLE

LISTENER = tls.ListenerTls(())
BACKEND = tls.BackendTls()
AUTH = tls.ClientAuth("")

HOP_BY_HOP = frozenset({"connection", "keep-alive", "te", "trailer", "upgrade", "expect"})


def read_version(value: object) -> str:
    """`1.2` or `1.3`; without quotes a number."""
    found = str(number(value))
    if found not in VERSIONS:
        raise WrongValueError(f"expected 1.2 or 1.3, not {quoted(value)}: older versions are not safe")
    return found


VERSION = Quantity("`1.2` or `1.3`", read_version, {"enum": [*VERSIONS, *map(float, VERSIONS)]}, float)


def read_own_header(value: object) -> str:
    """A header's name that means nothing else."""
    name = str(HEADER.read(value))
    lowered = name.lower().replace("_", "-")
    if lowered.encode() in UNNAMEABLE or lowered in HOP_BY_HOP or lowered.startswith("proxy-"):
        raise WrongValueError(f"{quoted(value)} has a meaning of its own; such as {AUTH.header}")
    return name


OWN_HEADER = Quantity(HEADER.name, read_own_header, HEADER.schema)
CIPHERS = text("ciphers", "OpenSSL's names of ciphers", "[!-~]+", "ECDHE+AESGCM")


class CertificateFiles(Block):
    """A certificate and its key, both in PEM."""

    cert: Annotated[str, FILE]
    """The file with the certificate, and after it those between it and a root."""
    key: Annotated[str, FILE] = ""
    """The file with its key, not encrypted; without one, the key is in `cert` too."""


class ClientAuth(Block):
    """Clients show certificates. Just the `ca` does."""

    ca: Annotated[str, FILE]
    """The file with the authorities whose certificates are believed."""
    mode: Annotated[str, choice("'mode'", ["required", "optional"])] = "required"
    """`optional`: a client may have none. One with a wrong one is refused."""
    header: Annotated[str, OWN_HEADER] = AUTH.header
    """Tells backends the certificate's subject. What clients send under this name is removed, on all listeners."""


def _short(value: Any) -> Any:
    return value if isinstance(value, dict) else {"ca": value}


AnyClientAuth = Annotated[ClientAuth, BeforeValidator(_short, json_schema_input_type=Annotated[str, FILE] | ClientAuth)]


class ListenerTls(Block):
    """TLS with clients. Certificates are read again with each reload."""

    cert: Annotated[str, FILE] = ""
    """The file with the certificate, in PEM, and after it those between it and a root."""
    key: Annotated[str, FILE] = ""
    """The file with its key, not encrypted; without one, the key is in `cert` too."""
    certificates: Annotated[tuple[CertificateFiles, ...], Field(min_length=1)] = ()
    """More of them, chosen by the name that a client asks for. The first of all serves who asks for no such name."""
    min_version: Annotated[str, VERSION] = LISTENER.min_version
    """Clients that only know older versions are refused."""
    ciphers: Annotated[str, CIPHERS] = LISTENER.ciphers
    """For TLS 1.2, as OpenSSL writes lists of them; without it, OpenSSL's own choice."""
    client_auth: AnyClientAuth | None = Field(default_factory=lambda: None)
    """Clients show certificates. Just the `ca` does."""
    handshake_timeout: Positive = LISTENER.handshake_timeout
    """A handshake that takes longer is cut."""


class BackendTls(Block):
    """TLS with backends whose URL begins with `https://`."""

    ca: Annotated[str, FILE] = ""
    """The file with the authorities that are believed; without one, those of the system."""
    verify: Annotated[bool, FLAG] = BACKEND.verify
    """Whether the certificate must be genuine, in time and for `server_name`. If not, anybody can be the backend."""
    server_name: Annotated[str, SERVER_NAME] = BACKEND.server_name
    """Asked for (SNI) and expected in the certificate; without it, the host of the backend's URL."""
    cert: Annotated[str, FILE] = ""
    """The file with the certificate that is shown to backends which ask for one."""
    key: Annotated[str, FILE] = ""
    """The file with its key, not encrypted; without one, the key is in `cert` too."""
    min_version: Annotated[str, VERSION] = BACKEND.min_version
    """Backends that only know older versions are refused."""
