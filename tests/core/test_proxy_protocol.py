"""Promises of `proxy.core.wire.proxy_protocol`."""

from __future__ import annotations

import ipaddress
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.wire.proxy_protocol import (
    MOST_V1,
    MOST_V2,
    SIGNATURE,
    Introduction,
    IntroductionError,
    Origin,
    crc32c,
    header_for,
    own_header,
)

ORIGIN = Origin("192.0.2.1", 56324, "198.51.100.7", 443)
ORIGIN_6 = Origin("2001:db8::1", 56324, "2001:db8::2", 443)
V4 = bytes((192, 0, 2, 1, 198, 51, 100, 7)) + struct.pack("!HH", 56324, 443)
REQUEST = b"GET / HTTP/1.1\r\n"
VERSIONS = ("v1", "v2")


def v2(family: int, payload: bytes, command: int = 0x21) -> bytes:
    return SIGNATURE + bytes((command, family)) + struct.pack("!H", len(payload)) + payload


def tlv(kind: int, value: bytes) -> bytes:
    return bytes((kind,)) + struct.pack("!H", len(value)) + value


def with_checksum(payload: bytes) -> bytes:
    header = v2(0x11, payload + tlv(3, bytes(4)))
    return header[:-4] + crc32c(header)


def read(header: bytes) -> Introduction:
    introduction = Introduction()
    assert len(header) == introduction.feed(header)
    return introduction


GOOD = {
    "v1 over IPv4": (b"PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n", ORIGIN),
    "v1 over IPv6": (b"PROXY TCP6 2001:db8::1 2001:db8::2 56324 443\r\n", ORIGIN_6),
    "v1 with IPv6 at its longest": (
        b"PROXY TCP6 " + b" ".join([b"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"] * 2) + b" 65535 65535\r\n",
        Origin(":".join(["ffff"] * 8), 65535, ":".join(["ffff"] * 8), 65535),
    ),
    "v1 with an IPv4 address as IPv6": (
        b"PROXY TCP6 ::ffff:192.0.2.1 2001:db8::2 1 2\r\n",
        Origin("192.0.2.1", 1, "2001:db8::2", 2),
    ),
    "v1 that does not know": (b"PROXY UNKNOWN\r\n", None),
    "v1 that does not know and says more": (b"PROXY UNKNOWN " + b"f" * (MOST_V1 - 16) + b"\r\n", None),
    "v2 over IPv4": (v2(0x11, V4), ORIGIN),
    "v2 over IPv6": (
        v2(
            0x21,
            ipaddress.IPv6Address("2001:db8::1").packed
            + ipaddress.IPv6Address("2001:db8::2").packed
            + struct.pack("!HH", 56324, 443),
        ),
        ORIGIN_6,
    ),
    "v2 over a Unix socket": (v2(0x31, b"/run/a".ljust(108, b"\0") + b"/run/b".ljust(108, b"\0")), Origin("")),
    "v2 of an unnamed family": (v2(0x00, b"whatever"), None),
    "v2 of its own": (v2(0x00, b"", command=0x20), None),
    "v2 of its own, with a block to skip": (v2(0x11, b"\xff" * 20, command=0x20), None),
    "v2 with TLVs": (v2(0x11, V4 + tlv(1, b"h2") + tlv(4, bytes(30)) + tlv(0xEE, b"")), ORIGIN),
    "v2 with a checksum": (with_checksum(V4), ORIGIN),
    "v2 with a checksum after others": (with_checksum(V4 + tlv(2, b"shop.example")), ORIGIN),
    "v2 at its longest": (v2(0x11, V4 + tlv(4, bytes(MOST_V2 - len(V4) - 3))), ORIGIN),
}


@pytest.mark.parametrize(("header", "origin"), GOOD.values(), ids=GOOD)
def test_a_good_header_says_whose_connection_it_is(header: bytes, origin: Origin | None) -> None:
    introduction = read(header)

    assert introduction.is_complete
    assert origin == introduction.origin


@pytest.mark.parametrize("header", [header for header, _ in GOOD.values()], ids=GOOD)
def test_what_follows_a_header_does_not_belong_to_it(header: bytes) -> None:
    introduction = Introduction()

    assert len(header) == introduction.feed(header + REQUEST)


@given(header=st.sampled_from([header for header, _ in GOOD.values()]), data=st.data())
def test_a_header_may_come_in_any_pieces(header: bytes, data: st.DataObject) -> None:
    sent = header + REQUEST
    introduction, taken = Introduction(), 0
    while not introduction.is_complete:
        taken += introduction.feed(sent[taken : taken + data.draw(st.integers(1, 40))])

    assert len(header) == taken
    assert read(header).origin == introduction.origin


BAD = {
    "a request": b"GET / HTTP/1.1\r\n\r\n",
    "TLS": b"\x16\x03\x01",
    "one wrong byte": b"X",
    "lower case": b"proxy TCP4 192.0.2.1 198.51.100.7 1 2\r\n",
    "v1 without a kind": b"PROXY \r\n",
    "v1 of an unknown kind": b"PROXY UDP4 192.0.2.1 198.51.100.7 1 2\r\n",
    "v1 that does not quite not know": b"PROXY UNKNOWNS\r\n",
    "v1 with two spaces": b"PROXY TCP4  192.0.2.1 198.51.100.7 1 2\r\n",
    "v1 with a tab": b"PROXY TCP4\t192.0.2.1 198.51.100.7 1 2\r\n",
    "v1 without ports": b"PROXY TCP4 192.0.2.1 198.51.100.7\r\n",
    "v1 with more at its end": b"PROXY TCP4 192.0.2.1 198.51.100.7 1 2 3\r\n",
    "v1 with a space at its end": b"PROXY TCP4 192.0.2.1 198.51.100.7 1 2 \r\n",
    "v1 with a port over 65535": b"PROXY TCP4 192.0.2.1 198.51.100.7 65536 2\r\n",
    "v1 with a port that begins with 0": b"PROXY TCP4 192.0.2.1 198.51.100.7 01 2\r\n",
    "v1 with a signed port": b"PROXY TCP4 192.0.2.1 198.51.100.7 +1 2\r\n",
    "v1 with an address that begins with 0": b"PROXY TCP4 192.0.02.1 198.51.100.7 1 2\r\n",
    "v1 with an address over 255": b"PROXY TCP4 192.0.2.256 198.51.100.7 1 2\r\n",
    "v1 with IPv6 called IPv4": b"PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n",
    "v1 with IPv4 called IPv6": b"PROXY TCP6 192.0.2.1 198.51.100.7 1 2\r\n",
    "v1 with two abbreviations": b"PROXY TCP6 2001::db8::1 2001:db8::2 1 2\r\n",
    "v1 with a name": b"PROXY TCP4 shop.example 198.51.100.7 1 2\r\n",
    "v1 with a bare LF": b"PROXY TCP4 192.0.2.1 198.51.100.7 1 2\n",
    "v1 with a bare CR": b"PROXY UNKNOWN a\rb\r\n",
    "v1 that is too long": b"PROXY UNKNOWN " + b"f" * (MOST_V1 - 15) + b"\r\n",
    "v1 that never ends": b"PROXY UNKNOWN " + b"f" * MOST_V1,
    "v2 of version 1": SIGNATURE + b"\x11\x11\0\0",
    "v2 of version 3, not waited for": SIGNATURE + b"\x31",
    "v2 with an unknown command": SIGNATURE + b"\x22\x11\0\0",
    "v2 over UDP": v2(0x12, V4),
    "v2 of an unknown family": v2(0x41, V4),
    "v2 with addresses cut short": v2(0x11, V4[:-1]),
    "v2 that is too long, not waited for": SIGNATURE + b"\x21\x11" + struct.pack("!H", MOST_V2 + 1),
    "v2 with a TLV without a length": v2(0x11, V4 + b"\x04\0"),
    "v2 with a TLV cut short": v2(0x11, V4 + b"\x04\0\x05abcd"),
    "v2 with a checksum that is wrong": v2(0x11, V4 + tlv(3, bytes(4))),
    "v2 with a checksum of three bytes": v2(0x11, V4 + tlv(3, bytes(3))),
    "v2 whose checksum is another header's": with_checksum(V4)[:-20] + b"\0" + with_checksum(V4)[-19:],
}


@pytest.mark.parametrize("header", BAD.values(), ids=BAD)
def test_what_is_not_to_the_letter_is_refused(header: bytes) -> None:
    with pytest.raises(IntroductionError):
        Introduction().feed(header)


@given(st.binary(max_size=200), st.sampled_from([b"", b"PROXY ", SIGNATURE, SIGNATURE + b"\x21\x11", b"PROXY TCP6 "]))
def test_whatever_comes_is_taken_in_or_refused_in_our_own_words(data: bytes, start: bytes) -> None:
    introduction = Introduction()
    try:
        taken = introduction.feed(start + data)
    except IntroductionError:
        return
    assert taken <= len(start + data)
    assert introduction.is_complete or taken == len(start + data)


def test_the_checksum_is_that_of_castagnoli() -> None:
    """The examples of RFC 3720, appendix B.4, and the usual check value."""
    assert 0xE3069283 == int.from_bytes(crc32c(b"123456789"), "big")
    assert 0x8A9136AA == int.from_bytes(crc32c(bytes(32)), "big")


# What we send


ADDRESSES = st.ip_addresses().map(str)
PORTS = st.integers(0, 65535)


@pytest.mark.parametrize("version", VERSIONS)
@given(origin=st.builds(Origin, ADDRESSES, PORTS, ADDRESSES, PORTS))
def test_what_we_send_is_read_as_what_was_meant(version: str, origin: Origin) -> None:
    found = read(header_for(origin, version)).origin

    assert found is not None
    pairs = [(origin.client, found.client), (origin.server, found.server)]
    for meant, said in pairs:
        assert {said} & {meant, str(getattr(ipaddress.ip_address(meant), "ipv4_mapped", None))}
    assert (origin.client_port, origin.server_port) == (found.client_port, found.server_port)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_client_without_an_address_is_said_to_be_unknown(version: str) -> None:
    assert read(header_for(Origin(""), version)).origin is None


@pytest.mark.parametrize("version", VERSIONS)
def test_the_header_of_our_own_connections_names_nobody(version: str) -> None:
    assert read(own_header(version)).origin is None


def test_our_headers_to_the_byte() -> None:
    assert [b"PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n", v2(0x11, V4)] == [
        header_for(ORIGIN, version) for version in VERSIONS
    ]
    assert [b"PROXY UNKNOWN\r\n", v2(0x00, b"", command=0x20)] == [own_header(version) for version in VERSIONS]


def test_the_scope_of_an_address_is_left_out() -> None:
    assert b"PROXY TCP6 fe80::1 fe80::2 1 2\r\n" == header_for(Origin("fe80::1%eth0", 1, "fe80::2%eth0", 2), "v1")


def test_a_header_shows_how_far_it_has_been_read() -> None:
    introduction = Introduction()
    introduction.feed(b"PROXY ")

    assert "<Introduction 6 bytes>" == repr(introduction)
    introduction.feed(b"UNKNOWN\r\n")
    assert "<Introduction None>" == repr(introduction)
