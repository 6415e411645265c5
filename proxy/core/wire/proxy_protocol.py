"""The PROXY protocol, versions 1 and 2: whose a connection is, as the proxy before us says, and as we tell a Backend.

Such a header is the first thing on a connection, before TLS and HTTP. Bytes go in and values come out; what is not to
the letter is refused. Who may send one, and in what time, is the worker's matter. The protocol is HAProxy's
(doc/proxy-protocol.txt there); sections of that text are named below.
"""

from __future__ import annotations

import ipaddress
import re
import struct
from dataclasses import dataclass

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
MOST_V1 = 107
"""Bytes of the longest line of version 1 (section 2.1)."""
MOST_V2 = 4096
"""Bytes after the first 16 of version 2 that are taken. The addresses need 216 at most, the rest are TLVs."""
CRC32C = 3
"""The type of the TLV that holds a checksum (section 2.2.3)."""

_FIXED = 16
_PREFIX_V1 = b"PROXY "
_LINE = re.compile(
    rb"PROXY (TCP4|TCP6) ([0-9.]{7,15}|[0-9A-Fa-f:.]{2,39}) ([0-9.]{7,15}|[0-9A-Fa-f:.]{2,39})"
    rb" (0|[1-9][0-9]{0,4}) (0|[1-9][0-9]{0,4})\r\n"
)
_UNKNOWN = re.compile(rb"PROXY UNKNOWN(?: [^\r\n]*)?\r\n")
_TCP4, _TCP6, _UNIX, _UNSPECIFIED = 0x11, 0x21, 0x31, 0x00
_ADDRESSES = {_TCP4: struct.Struct("!4s4sHH"), _TCP6: struct.Struct("!16s16sHH"), _UNIX: struct.Struct("!108s108s")}
_LOCAL, _PROXY = 0x20, 0x21

IP = ipaddress.IPv4Address | ipaddress.IPv6Address


class IntroductionError(Exception):
    """What came is not a header of the PROXY protocol."""


@dataclass(frozen=True, slots=True)
class Origin:
    """From where to where a connection was made, at its very beginning."""

    client: str
    """The client's address; empty where it has none (a Unix socket)."""
    client_port: int = 0
    server: str = ""
    """The address that the client connected to."""
    server_port: int = 0


class Introduction:
    """A header that is being read. Feed it until `is_complete`."""

    __slots__ = ("_data", "is_complete", "origin")

    def __init__(self) -> None:
        self._data = b""
        self.is_complete = False
        self.origin: Origin | None = None
        """None: the connection is the sender's own (LOCAL), or it does not know whose it is (UNKNOWN)."""

    def __repr__(self) -> str:
        return f"<Introduction {self.origin if self.is_complete else f'{len(self._data)} bytes'}>"

    def feed(self, data: bytes) -> int:
        """Take in bytes; how many of them belong to the header. Raises IntroductionError."""
        before = len(self._data)
        self._data += data
        size = _size(self._data)
        if size is None or len(self._data) < size:
            return len(data)
        header = self._data[:size]
        self.origin = _read_v2(header) if header.startswith(SIGNATURE) else _read_v1(header)
        self.is_complete = True
        return size - before


def _size(data: bytes) -> int | None:
    """Bytes of the header that begins so; None while that can't be said. Raises IntroductionError."""
    if data[:12] == SIGNATURE[: len(data)]:
        return _size_v2(data)
    if data[:6] != _PREFIX_V1[: len(data)]:
        raise IntroductionError("no PROXY header")
    end = data.find(b"\n", 0, MOST_V1)
    if end < 0 and len(data) >= MOST_V1:
        raise IntroductionError("the line of version 1 is too long")
    return None if end < 0 else end + 1


def _size_v2(data: bytes) -> int | None:
    if len(data) > 12 and data[12] not in (_LOCAL, _PROXY):
        raise IntroductionError("neither PROXY nor LOCAL of version 2")
    if len(data) < _FIXED:
        return None
    length = int.from_bytes(data[14:16], "big")
    if length > MOST_V2:
        raise IntroductionError("the header of version 2 is too long")
    return _FIXED + length


def _read_v1(line: bytes) -> Origin | None:
    if _UNKNOWN.fullmatch(line):
        return None
    match = _LINE.fullmatch(line)
    if match is None:
        raise IntroductionError("the line of version 1 is malformed")
    kind = ipaddress.IPv4Address if match[1] == b"TCP4" else ipaddress.IPv6Address
    try:
        client, server = kind(match[2].decode()), kind(match[3].decode())
    except ValueError:
        raise IntroductionError("the line of version 1 holds no such address") from None
    ports = int(match[4]), int(match[5])
    if max(ports) > 65535:
        raise IntroductionError("the line of version 1 holds no such port")
    return Origin(_plain(client), ports[0], _plain(server), ports[1])


def _read_v2(header: bytes) -> Origin | None:
    if header[12] == _LOCAL:
        return None
    family = header[13]
    if family == _UNSPECIFIED:
        return None
    addresses = _ADDRESSES.get(family)
    if addresses is None:
        raise IntroductionError("not a family of version 2 for streams")
    if len(header) < _FIXED + addresses.size:
        raise IntroductionError("the addresses of version 2 are cut short")
    _check_tlvs(header, _FIXED + addresses.size)
    found = addresses.unpack_from(header, _FIXED)
    if family == _UNIX:
        return Origin("")
    kind = ipaddress.IPv4Address if family == _TCP4 else ipaddress.IPv6Address
    return Origin(_plain(kind(found[0])), found[2], _plain(kind(found[1])), found[3])


def _check_tlvs(header: bytes, at: int) -> None:
    """What else the sender says is not used, but must be whole, and must have the checksum that it names."""
    while at < len(header):
        start = at + 3
        at = start + int.from_bytes(header[at + 1 : start], "big")
        if start > len(header) or at > len(header):
            raise IntroductionError("a TLV of version 2 is cut short")
        # A field of another length than four can't equal the checksum.
        if header[start - 3] == CRC32C and crc32c(header[:start] + bytes(4) + header[at:]) != header[start:at]:
            raise IntroductionError("the checksum of version 2 is wrong")


def _plain(address: IP) -> str:
    """As text. An IPv4 address that is written as an IPv6 one is the same client."""
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


def _table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return tuple(table)


_CRC_TABLE = _table()


def crc32c(data: bytes) -> bytes:
    """The checksum of RFC 3720, section 12.1 (Castagnoli), as it stands in a header."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _CRC_TABLE[(crc ^ byte) & 0xFF]
    return (crc ^ 0xFFFFFFFF).to_bytes(4, "big")


# What we send


def own_header(version: str) -> bytes:
    """The header of a connection of our own, such as a probe's."""
    return b"PROXY UNKNOWN\r\n" if version == "v1" else SIGNATURE + bytes((_LOCAL, _UNSPECIFIED, 0, 0))


def header_for(origin: Origin, version: str) -> bytes:
    """The header of a connection that we open for a client."""
    if not origin.client or not origin.server:
        return b"PROXY UNKNOWN\r\n" if version == "v1" else SIGNATURE + bytes((_PROXY, _UNSPECIFIED, 0, 0))
    client, server = _alike(_address(origin.client), _address(origin.server))
    family = _TCP4 if client.version == 4 else _TCP6
    if version == "v1":
        name = "TCP4" if family == _TCP4 else "TCP6"
        return f"PROXY {name} {client} {server} {origin.client_port} {origin.server_port}\r\n".encode()
    addresses = _ADDRESSES[family].pack(client.packed, server.packed, origin.client_port, origin.server_port)
    return SIGNATURE + bytes((_PROXY, family)) + len(addresses).to_bytes(2, "big") + addresses


def _address(text: str) -> IP:
    """The scope of a link-local address (`%eth0`) means nothing elsewhere."""
    return ipaddress.ip_address(text.partition("%")[0])


def _alike(one: IP, other: IP) -> tuple[IP, IP]:
    """Both of one family: a header has room for one only."""
    return (one, other) if one.version == other.version else (_as_v6(one), _as_v6(other))


def _as_v6(address: IP) -> IP:
    return ipaddress.IPv6Address(f"::ffff:{address}") if address.version == 4 else address
