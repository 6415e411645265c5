"""What a probe says of a TLS connection that failed: which certificate, and since when it is out of date.

Seen by administrators only, so names are named; what clients are told is in `contexts.describe`.
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import replace
from time import time

from proxy.contexts import client_context, describe
from proxy.controlplane.probing.expiry import date
from proxy.core.certificate import CertificateError, Facts, read_facts
from proxy.core.settings import Address
from proxy.core.tls import BackendTls
from proxy.dialling import dial

NOT_YET_VALID, EXPIRED = 9, 10
"""OpenSSL's codes (`X509_V_ERR_…`)."""


def tls_fault(error: BaseException) -> str:
    """What a failed handshake is called; empty for any other failure."""
    if type(error) is ConnectionResetError and not error.args:
        # As uvloop has it, and nothing else.
        return "closed during the TLS handshake"
    return describe(error) if isinstance(error, ssl.SSLError) else ""


async def certificate_fault(
    error: ssl.SSLCertVerificationError, address: Address, words: bytes, tls: BackendTls
) -> str:
    """Why a Backend's certificate was not accepted, with its dates where those are the reason."""
    why = f"certificate not accepted: {error.verify_message.rstrip('.')}"
    if error.verify_code not in {NOT_YET_VALID, EXPIRED}:
        return why
    facts = await _facts(address, words, tls)
    now = time()
    if facts is not None and facts.not_after <= now:
        return f"certificate expired on {date(facts.not_after)}"
    if facts is not None and facts.not_before > now:
        return f"certificate is not valid before {date(facts.not_before)}"
    return f"{why} (one that it was signed with)" if facts is not None else why


async def _facts(address: Address, words: bytes, tls: BackendTls) -> Facts | None:
    """What the certificate says, read over a connection of its own: OpenSSL keeps none that it refused."""
    context = client_context(replace(tls, verify=False))
    name = tls.server_name or address.host
    try:
        sock = await dial(address, words)
        transport, _ = await asyncio.get_running_loop().create_connection(
            asyncio.Protocol, sock=sock, ssl=context, server_hostname=name
        )
    except OSError:
        return None
    try:
        shown = transport.get_extra_info("ssl_object").getpeercert(binary_form=True)
        return read_facts(shown) if shown else None
    except CertificateError:
        return None
    finally:
        transport.abort()
