"""OpenSSL's contexts made from settings, and its errors in our words. For workers, probes and the check of a config.

Nothing here opens a connection. Certificates come as text: it was read once, when the config was loaded.
"""

from __future__ import annotations

import os
import ssl
import sys
from collections.abc import Mapping

from proxy.core.tls import BackendTls, Certificate, ListenerTls, by_name, looked_up
from proxy.errors import ErrorKind

PROTOCOLS = ["http/1.1"]
"""For ALPN. A client that offers others only gets HTTP/1.1 all the same, as everywhere."""
VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
"""What `min_version` may say."""


class EncryptedKeyError(ValueError):
    """A key that can't be used without a password."""


def server_context(tls: ListenerTls) -> ssl.SSLContext:
    """For a Listener. Raises ssl.SSLError, and EncryptedKeyError."""
    contexts = {certificate: _server_context(tls, certificate) for certificate in tls.certificates}
    first = contexts[tls.certificates[0]]
    if len(contexts) > 1:
        names = {name: contexts[one] for name, one in by_name(tls.certificates).items()}
        first.sni_callback = _Chooser(names)
    return first


def _server_context(tls: ListenerTls, certificate: Certificate) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _harden(context, tls.min_version)
    if tls.ciphers:
        context.set_ciphers(tls.ciphers)
    load_pair(context, certificate)
    if tls.client_auth is not None:
        context.verify_mode = ssl.CERT_REQUIRED if tls.client_auth.is_required else ssl.CERT_OPTIONAL
        context.load_verify_locations(cadata=tls.client_auth.ca)
    return context


class _Chooser:
    """Puts the context for the name that a client asks for in place of the first; they differ in nothing else."""

    def __init__(self, names: Mapping[str, ssl.SSLContext]) -> None:
        self._names = names

    def __call__(self, connection: ssl.SSLObject, name: str | None, first: ssl.SSLContext) -> None:
        context = looked_up(self._names, name) if name else None
        if context is not None:
            connection.context = context


def overlook_bad_names(unraisable: sys.UnraisableHookArgs) -> None:
    """In place of `sys.unraisablehook`: a name that is no ASCII never reaches `_Chooser`, and its client gets an alert.

    Python would print a traceback for each, so that any client could fill the log. The handshake is counted.
    """
    if not (isinstance(unraisable.exc_value, UnicodeDecodeError) and isinstance(unraisable.object, bytes)):
        sys.__unraisablehook__(unraisable)


def client_context(tls: BackendTls) -> ssl.SSLContext:
    """For the Backends of a Pool. Raises ssl.SSLError, and EncryptedKeyError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _harden(context, tls.min_version)
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif tls.ca:
        context.load_verify_locations(cadata=tls.ca)
    else:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    if tls.certificate is not None:
        load_pair(context, tls.certificate)
    return context


def _harden(context: ssl.SSLContext, min_version: str) -> None:
    context.minimum_version = VERSIONS[min_version]
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.set_alpn_protocols(PROTOCOLS)


def load_pair(context: ssl.SSLContext, certificate: Certificate) -> None:
    """Load a certificate and its key, which OpenSSL only takes from a file: one in memory, without a name."""
    file = os.memfd_create("certificate")
    try:
        os.write(file, f"{certificate.chain}\n{certificate.key.pem}\n".encode())
        context.load_cert_chain(f"/proc/self/fd/{file}", password=_refuse_password)
    finally:
        os.close(file)


def _refuse_password() -> str:
    """Without this, OpenSSL would ask on the terminal, and wait."""
    raise EncryptedKeyError


# Errors


def error_kind(error: ssl.SSLError) -> ErrorKind:
    """What a failure of TLS with a Backend is called."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return ErrorKind.TLS_CERTIFICATE_ERROR
    return ErrorKind.TLS_ALERT_RECEIVED if is_alert(error) else ErrorKind.TLS_PROTOCOL_ERROR


def reason_of(error: ssl.SSLError) -> str:
    """OpenSSL's name for it; Python's own errors have none."""
    return getattr(error, "reason", None) or ""


def is_alert(error: ssl.SSLError) -> bool:
    """Whether it was the other side that refused."""
    return "_ALERT_" in reason_of(error)


REFUSALS = ("CERTIFICATE", "UNKNOWN_CA", "ACCESS_DENIED", "HANDSHAKE_FAILURE")
"""What alerts are about that refuse a certificate (RFC 8446, section 6.2)."""


def is_refusal(error: ssl.SSLError) -> bool:
    """Whether the other side refused us, and so has taken nothing from us."""
    return is_alert(error) and any(word in reason_of(error) for word in REFUSALS)


OTHER_NAME = frozenset({62, 63, 64})
"""OpenSSL's codes for a certificate that is for other names; its words for them hold the name that was expected."""


def describe(error: ssl.SSLError) -> str:
    """What went wrong, without OpenSSL's numbers and source lines, and without names: clients may be told this."""
    if isinstance(error, ssl.SSLCertVerificationError):
        why = "it is for another name" if error.verify_code in OTHER_NAME else error.verify_message
        return f"certificate not accepted: {why}"
    reason = reason_of(error).replace("_", " ").lower()
    if is_alert(error):
        return f"TLS alert from the other side: {reason.partition('alert ')[2]}"
    return f"TLS failed: {reason}" if reason else "TLS failed"
