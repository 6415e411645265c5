"""What a certificate says of itself: for which names it is, and from when until when. DER in, a value out.

It is read to choose a certificate of ours by the name that a client asks for, and to tell people about dates. Whether a
certificate is genuine is decided by OpenSSL alone: nothing here is a check of anything.
"""

from __future__ import annotations

import binascii
import ipaddress
import re
from calendar import timegm
from collections.abc import Iterator
from dataclasses import dataclass

SEQUENCE, INTEGER, OID, UTC_TIME, GENERALIZED_TIME = 0x30, 0x02, 0x06, 0x17, 0x18
VERSION, EXTENSIONS, DNS_NAME, IP_ADDRESS = 0xA0, 0xA3, 0x82, 0x87
COMMON_NAME = bytes.fromhex("550403")
ALTERNATIVE_NAMES = bytes.fromhex("551d11")

_PEM = re.compile(r"-----BEGIN CERTIFICATE-----\s([^-]+)-----END CERTIFICATE-----")


class CertificateError(ValueError):
    """It can't be read as a certificate."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a certificate says of itself."""

    names: tuple[str, ...]
    """DNS names, in lower case; `*.shop.example` is one for all directly below `shop.example`."""
    title: str
    """What to call it: its first name, whatever kind of name that is."""
    not_before: float
    not_after: float
    """Unix times between which it is valid."""


def from_pem(text: str) -> list[bytes]:
    """The certificates of a PEM file, in its order, as DER."""
    try:
        return [binascii.a2b_base64(match[1]) for match in _PEM.finditer(text)]
    except binascii.Error:
        raise CertificateError("not Base64 between the lines of a certificate") from None


def read_facts(der: bytes) -> Facts:
    """Read a certificate (RFC 5280, section 4.1); raises CertificateError."""
    try:
        return _facts(der)
    except (IndexError, ValueError):
        raise CertificateError("not a certificate") from None


def _facts(der: bytes) -> Facts:
    signed = _inside(_inside(der))
    parts = [content for tag, content in _items(signed) if tag != VERSION]
    not_before, not_after = (_time(tag, content) for tag, content in _items(parts[3]))
    extensions = [content for tag, content in _items(signed) if tag == EXTENSIONS]
    alternative = list(_alternative_names(extensions[0])) if extensions else []
    common = list(_common_names(parts[4]))
    names = [content.decode("ascii").lower() for tag, content in alternative if tag == DNS_NAME]
    addresses = [str(ipaddress.ip_address(content)) for tag, content in alternative if tag == IP_ADDRESS]
    # Where there are alternative names, a common name counts for nothing (RFC 9525, section 2).
    names = names if alternative else [one.lower() for one in common]
    title = next(iter([*names, *addresses, *common]), "without a name")
    return Facts(tuple(names), title, not_before, not_after)


def _common_names(subject: bytes) -> Iterator[str]:
    for _, relative in _items(subject):
        for _, pair in _items(relative):
            (_, kind), (_, value) = _items(pair)
            if kind == COMMON_NAME:
                yield value.decode("utf-8", "replace")


def _alternative_names(extensions: bytes) -> Iterator[tuple[int, bytes]]:
    for _, extension in _items(_inside(extensions)):
        parts = [content for _, content in _items(extension)]
        if parts[0] == ALTERNATIVE_NAMES:
            yield from _items(_inside(parts[-1]))


def _time(tag: int, content: bytes) -> float:
    text = content.decode("ascii")
    if tag == UTC_TIME:
        # RFC 5280, section 4.1.2.5.1: two digits from 50 on are of the last century.
        text = ("19" if text >= "50" else "20") + text
    elif tag != GENERALIZED_TIME:
        raise ValueError(tag)
    year, *rest = int(text[:4]), *(int(text[at : at + 2]) for at in range(4, 14, 2))
    return float(timegm((year, *rest)))


def _inside(data: bytes) -> bytes:
    """The content of the first item."""
    return next(_items(data), (0, b""))[1]


def _items(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The items of a structure: tag and content (X.690, definite lengths, as DER has only these)."""
    at = 0
    while at < len(data):
        tag, length, at = data[at], data[at + 1], at + 2
        if length >= 0x80:
            size = length & 0x7F
            length, at = int.from_bytes(data[at : at + size], "big"), at + size
        if at + length > len(data):
            raise ValueError("cut off")
        yield tag, data[at : at + length]
        at += length
